"""The parts of `python -m scripts.benchmark_judge`: cells, judges, statistics, document."""
