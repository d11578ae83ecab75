"""Training on a simulated cell that is killed as suddenly as can be: what was finished is on disk, and goes on."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from hardware.cell_file import load_cell, save_cell
from robo_rl.data.episodes import Episode
from robo_rl.data.journal import read_journal
from robo_rl.training.checkpoint import load_checkpoint
from robo_rl.training.run_folder import RunFolder

pytestmark = [pytest.mark.realtime, pytest.mark.slow, pytest.mark.timeout(600)]


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
    whole = sum(len(Episode.load(path)) for path in run.glob("episodes/episode_*.safetensors"))
    return whole + sum(1 for path in run.glob("episodes/*.journal") for _ in read_journal(path))


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


def wait_for(condition, process, seconds=150.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_killed_training_on_a_cell_loses_no_finished_step_and_goes_on(terminal, cell, caplog):
    words = [*terminal.small, "--demos", "0", "--num-envs", "1", "--eval-envs", "1", "--eval-episodes", "1"]
    words += ["--eval-every", "100000", "--checkpoint-every", "15", "--cell", cell]
    process = terminal.start("train", "reach", *words, "--robot", "panda", "--steps", "100000")
    runs = terminal.folder / "runs"
    wait_for(lambda: list(runs.glob("*/checkpoints/*")) and finished(terminal.only_run()) > 25, process)
    run = terminal.only_run()
    before = finished(run)
    process.kill()
    process.communicate()
    kept = finished(run)
    assert kept >= before
    assert not caplog.records, "a step that was not whole is left out with a warning"
    deadline = time.monotonic() + 20.0
    while running_nodes(load_cell(cell).name):
        assert time.monotonic() < deadline, "its nodes have outlived it"
        time.sleep(0.1)
    steps = load_checkpoint(RunFolder.open(run).checkpoints, "latest").env_steps
    code, out, err = terminal.run(
        "train", "--resume", str(run), "--steps", str(steps + 10), "--final-episodes", "1", "--video-episodes", "0"
    )
    assert code == 0, err
    assert json.loads(out)["env_steps"] == steps + 10
    assert finished(run) >= kept + 10
    assert not list(run.glob("episodes/*.journal"))
