"""One task, one file."""
