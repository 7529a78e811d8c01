"""Models that show what modelramp does."""
