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
    _run([*within, sys.executable, str(script), name, drive, address], {})


def run_contract(drive: str, address: str) -> None:
    """Run ``franka_contract.py``; fails with what it printed."""
    suite = Path(__file__).with_name("franka_contract.py")
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", str(suite)]
    _run(command, {"FRANKA_DRIVE": drive, "FRANKA_ADDRESS": address})


def _run(command: list[str], more: dict[str, str]) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
