"""Deployment and training on a cell at a terminal: the stop key, and what is on disk whatever happens."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hardware.cell_file import load_cell, save_cell
from robo_rl.data.episodes import load_episodes
from robo_rl.data.journal import read_journal


@pytest.fixture
def cell(tmp_path):
    pytest.importorskip("rclpy")
    shipped = load_cell("sim")
    file = tmp_path / "cell.yaml"
    name, ros = f"deployed_{os.getpid()}", replace(shipped.ros, domain=100 + os.getpid() % 100)
    save_cell(replace(shipped, name=name, cameras={}, ros=ros), file)
    return str(file)


class Seat:
    """A command on a pseudo-terminal, and the person in front of it."""

    def __init__(self, terminal, *words):
        self.person, program = os.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "robo_rl.cli", *words], cwd=terminal.folder, env=terminal.environment,
            stdin=program, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        os.close(program)
        self.said = ""

    def hear(self, words, seconds=120.0):
        deadline = time.monotonic() + seconds
        while words not in self.said:
            assert time.monotonic() < deadline, self.said
            if select.select([self.process.stderr], [], [], 0.2)[0]:
                read = os.read(self.process.stderr.fileno(), 65536).decode(errors="replace")
                assert read, self.said
                self.said += read

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=90)
        os.close(self.person)
        return out.decode(), self.said + err.decode(errors="replace")


@pytest.mark.realtime
def test_the_stop_key_stops_a_deployment_until_a_person_acknowledges_it(terminal, cell, run):
    seat = Seat(terminal, "deploy", str(run), "--cell", cell, "--episodes", "500")
    try:
        seat.hear("space or Escape stops the arms")
        seat.hear("episode 1 of 500")
        os.write(seat.person, b" ")
        seat.hear("the stop key was pressed")
        told = seat.said.count("episode ")
        time.sleep(1.0)  # nobody but a person goes on
        code, out, err = terminal.run("cell", "recover", cell)
        assert code == 0, err
        assert json.loads(out)["modes"] == {"arm": "holding"}
        seat.hear(f"episode {told + 2} of 500")
    finally:
        _, err = seat.end()
    assert seat.process.returncode == 130
    assert "interrupted after" in err
    stored = load_episodes(run / "deployments" / load_cell(cell).name)
    assert len(stored) >= 3
    assert all(bool((each.terminated | each.truncated)[-1]) for each in stored[:-1])
    assert {each.metadata["source"] for each in stored} == {"policy"}


@pytest.mark.realtime
def test_what_a_killed_deployment_had_done_is_on_disk_and_stored_by_the_next(terminal, cell, run):
    process = terminal.start("deploy", str(run), "--cell", cell, "--episodes", "500")
    folder = run / "deployments" / load_cell(cell).name
    journal = folder / "under_way_0.journal"
    deadline = time.monotonic() + 120.0
    while not (journal.exists() and len(list(read_journal(journal))) > 3):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.kill()
    process.communicate()
    steps = len(list(read_journal(journal)))
    assert steps > 3
    before = len(list(folder.glob("*.safetensors")))
    end = time.monotonic() + 60.0
    while _nodes(load_cell(cell).name):  # its nodes end when they are told to, not by themselves
        for number in _nodes(load_cell(cell).name):
            os.kill(number, signal.SIGTERM)
        assert time.monotonic() < end
        time.sleep(0.1)
    code, out, err = terminal.run("deploy", str(run), "--cell", cell, "--episodes", "1")
    assert code == 0, err
    stored = load_episodes(folder)
    assert json.loads(out)["transitions"] == str(folder)
    assert len(stored) == before + 2
    assert len(stored[before]) == steps


def _nodes(name):
    """Numbers of the processes of a cell that was left behind: its nodes and its physics."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = each.read_text()
        except OSError:
            continue
        if "hardware.serve" in line and name in line:
            found.append(int(each.parent.name))
    return found


@pytest.mark.slow
@pytest.mark.realtime
def test_training_on_a_cell_tells_its_overruns_and_has_the_stop_key(terminal, cell):
    words = [*terminal.small, "--num-envs", "1", "--eval-envs", "1", "--demos", "0", "--steps", "60"]
    words += ["--final-episodes", "1", "--eval-every", "1000", "--video-episodes", "0"]
    seat = Seat(terminal, "train", "reach", *words, "--cell", cell)
    seat.hear("space or Escape stops the arms")
    deadline = time.monotonic() + 200.0
    while seat.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    out, err = seat.end()
    assert seat.process.returncode == 0, err
    assert json.loads(out)["overruns"] >= 0
    summary = json.loads((terminal.only_run() / "summary.json").read_text())
    assert summary["overruns"] == json.loads(out)["overruns"]
