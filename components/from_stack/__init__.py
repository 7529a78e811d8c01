"""The one place where what a stack declares becomes component arguments; a file a subject."""
