"""Benchmarks are run from the repository's root and are not installed: make them importable here too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
