"""Runs scenarios of ``franka_scenarios.py`` in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def run_scenario(name: str, drive: str, address: str, within: tuple[str, ...] = ()) -> tuple[int, str]:
    """Run one, behind the words ``within``; return its exit code and the end of what it printed."""
    script = Path(__file__).with_name("franka_scenarios.py")
    return _run([*within, sys.executable, str(script), name, drive, address], {})


def run_contract(drive: str, address: str) -> tuple[int, str]:
    """Run ``franka_contract.py``; return its exit code and the end of what it printed."""
    suite = Path(__file__).with_name("franka_contract.py")
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", str(suite)]
    return _run(command, {"FRANKA_DRIVE": drive, "FRANKA_ADDRESS": address})


def _run(command: list[str], more: dict[str, str]) -> tuple[int, str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=500)
    return done.returncode, done.stdout[-4000:] + done.stderr[-4000:]
