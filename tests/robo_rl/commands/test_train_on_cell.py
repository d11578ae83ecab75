"""Training on a simulated cell that is killed as suddenly as can be: what was finished is on disk, and goes on."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from hardware.cell import load_cell, save_cell
from robo_rl.data.journal import read_journal

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(300)]


@pytest.fixture
def cell(tmp_path):
    shipped = load_cell("sim")
    file = tmp_path / "cell.yaml"
    ros = replace(shipped.ros, domain=100 + os.getpid() % 100, max_age=1.0)
    simulation = replace(shipped.simulation, task="reach", delay=0.0)
    save_cell(replace(shipped, name=f"learns_{os.getpid()}", cameras={}, ros=ros, simulation=simulation), file)
    return str(file)


def finished(run: Path) -> int:
    """Transitions on disk: of whole episodes, and of the one under way."""
    under_way = sum(1 for path in run.glob("episodes/*.journal") for _ in read_journal(path))
    manifest = [json.loads(each.read_text()) for each in run.glob("episodes/*.json")]
    return under_way + sum(int(each.get("length", each.get("steps", 0))) for each in manifest)


def running_nodes(name: str) -> int:
    """Processes that serve a device of the cell."""
    found = 0
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = each.read_text()
        except OSError:  # it has ended meanwhile
            continue
        found += "hardware.serve" in line and name in line
    return found
