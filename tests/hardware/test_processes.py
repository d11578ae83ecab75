"""What the processes of a cell tell of a node that does not start: to whoever started them, and to whoever looks."""

from __future__ import annotations

import os
import signal
import stat
import time

import pytest

from hardware import processes
from hardware.cell import ArmEntry, CameraEntry, Cell
from hardware.processes import CellProcesses, Deaths, trouble
from robo_rl.training.durable import StorageError

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
    program = f'if [ $4 = arm -a ! -e {flag} ]; then touch {flag}; echo "$4: error: not yet"; exit 2; fi; exec sleep 60'
    with nodes(program):
        wait(lambda: trouble(tmp_path / "cell", "arm") == "not yet")
        wait(lambda: trouble(tmp_path / "cell", "arm") == "")


def test_nothing_is_known_of_a_cell_that_never_ran(tmp_path):
    assert trouble(tmp_path, "arm") == ""
    (tmp_path / "nodes.json").write_text("{")
    assert trouble(tmp_path, "arm") == ""


def test_a_full_disk_is_told_and_nodes_are_looked_after_all_the_same(nodes, tmp_path, monkeypatch, caplog):
    refuse = 'if [ $4 = top ]; then echo "top: error: no camera"; exit 2; fi; exec sleep 60'
    real = processes.write_json

    def full(path, value):
        raise StorageError(f"the disk is full: could not write {path}")

    with nodes(refuse) as cell:
        monkeypatch.setattr(processes, "write_json", full)
        first = cell.running["arm"]
        os.kill(first.pid, signal.SIGKILL)
        wait(lambda: cell.running["arm"] is not first)
        wait(lambda: "the disk is full" in caplog.text)
        time.sleep(0.5)
        assert caplog.text.count("the disk is full") == 1
        monkeypatch.setattr(processes, "write_json", real)
        wait(lambda: "no camera" in trouble(tmp_path / "cell", "top"))


class Ended:
    """A process that has ended."""


def test_deaths_are_counted_once_and_too_many_are_the_end(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(processes.time, "monotonic", lambda: now[0])
    deaths, process = Deaths(), Ended()
    assert deaths.ago("arm") == float("inf")
    assert deaths.count("arm", process) == 1
    assert deaths.count("arm", process) == 0
    assert not deaths.start_again("arm")
    now[0] += 1.5
    assert deaths.ago("arm") == 1.5
    assert deaths.start_again("arm")
    assert deaths.count("camera", process) == 1  # of another name, which has deaths of its own
    assert [deaths.count("arm", Ended()) for _ in range(3)] == [2, 3, 4]
    now[0] += 59.0  # the first is forgotten
    assert deaths.count("arm", Ended()) == 4
    assert not deaths.left_alone("arm")
    assert deaths.count("arm", Ended()) == 5
    now[0] += 3600.0
    assert deaths.left_alone("arm")
    assert not deaths.start_again("arm")
    assert deaths.start_again("camera")
