"""What the processes of a cell tell of a node that does not start: to whoever started them, and to whoever looks."""

from __future__ import annotations

import os
import signal
import stat
import time

import pytest

from hardware import processes
from hardware.cell import ArmEntry, CameraEntry, Cell
from hardware.processes import CellProcesses, trouble

CELL = Cell(
    "mine",
    {"arm": ArmEntry("fr3", "franky", {"address": "172.16.0.2"})},
    {"top": CameraEntry("webcam", settings={"address": 0})},
)


@pytest.fixture
def nodes(tmp_path, monkeypatch):
    """Let a program of the test's own be every node; it is given the name of its device as ``$4``."""

    def run(program):
        node = tmp_path / "node"
        node.write_text(f"#!/bin/sh\n{program}\n")
        node.chmod(node.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(processes.sys, "executable", str(node))
        return CellProcesses(CELL, tmp_path / "cell")

    monkeypatch.setattr(processes, "_RESTART_AFTER", 0.05)
    return run


def wait(true, seconds=15.0):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_node_that_refuses_to_start_is_told_in_its_own_line_and_left_alone_in_the_end(nodes, tmp_path):
    refuse = 'if [ $4 = top ]; then echo noise; echo "top: error: no camera"; echo bye; exit 2; fi; exec sleep 60'
    with nodes(refuse) as cell:
        wait(lambda: trouble(tmp_path / "cell", "top"))
        assert trouble(tmp_path / "cell", "top") == "no camera"
        assert trouble(tmp_path / "cell", "arm") == ""
        wait(lambda: "5 times within a minute and is left alone" in trouble(tmp_path / "cell", "top"))
        assert trouble(tmp_path / "cell", "top").endswith("the last time saying: no camera")
        assert cell.dead() == ["top"]
        number = cell.running["top"].pid
        time.sleep(0.5)
        assert cell.running["top"].pid == number
    assert cell.dead() == ["arm", "top"]


def test_a_node_that_was_killed_is_started_anew_and_no_refusal(nodes, tmp_path):
    with nodes("exec sleep 60") as cell:
        first = cell.running["arm"]
        os.kill(first.pid, signal.SIGKILL)
        wait(lambda: cell.running["arm"] is not first)
        assert trouble(tmp_path / "cell", "arm") == ""
        assert cell.dead() == []


def test_a_refusal_is_forgotten_once_a_successor_runs(nodes, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "_SETTLED", 0.3)
    flag = tmp_path / "flag"
    program = f'if [ ! -e {flag} ]; then touch {flag}; echo "$4: error: not yet"; exit 2; fi; exec sleep 60'
    with nodes(program):
        wait(lambda: trouble(tmp_path / "cell", "arm") + trouble(tmp_path / "cell", "top") == "not yet")
        wait(lambda: trouble(tmp_path / "cell", "arm") + trouble(tmp_path / "cell", "top") == "")


def test_nothing_is_known_of_a_cell_that_never_ran(tmp_path):
    assert trouble(tmp_path, "arm") == ""
    (tmp_path / "nodes.json").write_text("{")
    assert trouble(tmp_path, "arm") == ""
