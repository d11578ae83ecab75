from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def folder():
    """A folder whose path is short enough for a socket."""
    made = Path(tempfile.mkdtemp(prefix="cell."))
    yield made
    shutil.rmtree(made, ignore_errors=True)
