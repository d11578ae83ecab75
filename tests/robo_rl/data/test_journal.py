"""Steps on disk as they come: a killed process loses at most the step being written."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from robo_rl.contracts import Step
from robo_rl.data.episode_writer import EpisodeWriter
from robo_rl.data.episodes import load_episodes
from robo_rl.data.journal import Journal, read_journal
from robo_rl.training.durable import StorageError

SPACE = gymnasium.spaces.Dict({"state": gymnasium.spaces.Box(-1, 1, (2,), np.float32)})
ACTION = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

WRITES_UNTIL_KILLED = """
import sys, torch
sys.path.insert(0, {here!r})
from test_journal import write_steps, writer
w = writer(sys.argv[1]).__enter__()
write_steps(w, 7)
print("written", flush=True)
sys.stdin.read()
"""


def writer(folder):
    return EpisodeWriter(folder, SPACE, ACTION, task="made_up", robot="panda", seed=0, source="policy")


def write_steps(to, n, begin=0):
    for t in range(begin, begin + n):
        action = torch.full((1, 1), t / 100)
        info = {"executed_action": action / 2, "success": torch.tensor([False])}
        step = Step(
            {"state": torch.full((1, 2), (t + 1) / 100)}, torch.tensor([float(t)]),
            torch.tensor([False]), torch.tensor([False]), info,
        )  # fmt: skip
        to.add({"state": torch.full((1, 2), t / 100)}, action, step)


def test_what_a_killed_process_had_under_way_is_stored_by_the_next(tmp_path):
    code = WRITES_UNTIL_KILLED.format(here=os.path.dirname(__file__))
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    with writer(tmp_path) as again:
        write_steps(again, 3, begin=50)
    first, second = load_episodes(tmp_path)
    assert len(first) == 7
    assert first.reward.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert torch.allclose(first.obs["state"][:, 0], torch.arange(8) / 100)
    assert torch.allclose(first.executed_action[:, 0], torch.arange(7) / 200)
    assert len(second) == 3
    assert not list(tmp_path.glob("*.journal"))


@pytest.mark.parametrize("kept", [0, 1, 5])
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_what_comes_before_the_damage_is_read(tmp_path, kept, damage, caplog):
    journal = Journal(tmp_path / "a.journal")
    ends = []
    for t in range(6):
        journal.append({"x": torch.full((3,), float(t))})
        ends.append(journal.path.stat().st_size)
    begin = ends[kept - 1] if kept else 0
    data = bytearray(journal.path.read_bytes())
    if damage == "cut":
        data = data[: begin + 5]
    else:
        data[begin + 12] ^= 0xFF
    journal.path.write_bytes(bytes(data))
    assert [record["x"][0].item() for record in read_journal(journal.path)] == list(range(kept))
    assert f"from byte {begin}" in caplog.text


def test_a_finished_or_discarded_episode_leaves_no_journal(tmp_path):
    with writer(tmp_path) as w:
        write_steps(w, 2)
        assert list(tmp_path.glob("*.journal"))
        w.discard()
        assert not list(tmp_path.glob("*.journal"))
        write_steps(w, 2)
        w.finish()
        assert not list(tmp_path.glob("*.journal"))
    assert len(load_episodes(tmp_path)) == 1


def test_a_full_disk_is_told():
    with pytest.raises(StorageError, match="disk is full"):
        Journal(Path("/dev/full")).append({"x": torch.zeros(3)})


@contextmanager
def no_file_beyond(size):
    """A disk that takes ``size`` bytes of a file, and what is written across that in part, as a full one does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def values(path):
    return [float(record["x"]) for record in read_journal(path)]


def test_what_a_full_disk_takes_in_part_is_cut_off_and_goes_before_what_comes_next(tmp_path):
    path = tmp_path / "a.journal"
    journal = Journal(path)
    journal.append({"x": torch.tensor(1.0)})
    size = path.stat().st_size
    for value in (2.0, 3.0):
        with no_file_beyond(size + 10), pytest.raises(StorageError, match="could not write"):
            journal.append({"x": torch.tensor(value)})
        assert path.stat().st_size == size
        assert values(path) == [1.0]
    journal.append({"x": torch.tensor(4.0)})
    assert values(path) == [1.0, 2.0, 3.0, 4.0]


def test_what_was_under_way_on_a_full_disk_is_stored_by_the_next_recorder(tmp_path):
    full = writer(tmp_path)
    write_steps(full, 5)
    journal = tmp_path / "under_way_0.journal"
    with no_file_beyond(100):
        with pytest.raises(StorageError):
            write_steps(full, 1, begin=5)
        with pytest.raises(StorageError):
            full.finish()
    del full  # as of a process that ended with the error
    with writer(tmp_path):
        (episode,) = load_episodes(tmp_path)
    assert len(episode) == 5
    assert not journal.exists()


def test_a_recorder_that_goes_on_once_there_is_room_has_lost_no_step(tmp_path):
    with writer(tmp_path) as to:
        write_steps(to, 3)
        with no_file_beyond((tmp_path / "under_way_0.journal").stat().st_size + 10), pytest.raises(StorageError):
            write_steps(to, 1, begin=3)
        write_steps(to, 2, begin=4)
        assert len(list(read_journal(tmp_path / "under_way_0.journal"))) == 6
    (episode,) = load_episodes(tmp_path)
    assert episode.reward.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
