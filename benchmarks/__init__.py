"""Measurements: ``python -m benchmarks.NAME``, from the repository's root, writes ``benchmarks/results/NAME.json``."""
