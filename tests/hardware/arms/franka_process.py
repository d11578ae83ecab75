"""Runs scenarios of ``franka_scenarios.py`` in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def run_scenario(name: str, drive: str, address: str, within: tuple[str, ...] = ()) -> None:
    """Run one, behind the words ``within``; fails with what it printed."""
    script = Path(__file__).with_name("franka_scenarios.py")
    done = subprocess.run(
        [*within, sys.executable, str(script), name, drive, address],
        env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
