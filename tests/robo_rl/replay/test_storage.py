"""What a buffer is saved as and where it lies: files that outlive a kill, states of earlier versions, full disks."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, load_file, save

from robo_rl.contracts import Step
from robo_rl.errors import UserError
from robo_rl.replay import storage as storage_module
from robo_rl.replay.buffer import ReplayBuffer
from robo_rl.replay.storage import Storage
from robo_rl.training.durable import StorageError

SPACE = gym.spaces.Dict(cam=gym.spaces.Box(0, 255, (4, 5, 3), np.uint8), state=gym.spaces.Box(-np.inf, np.inf, (3,)))
ACTION = gym.spaces.Box(-1, 1, (2,))
GAMMA = 0.5


def seen(moments):
    return {
        "cam": torch.stack([torch.full((4, 5, 3), m % 251, dtype=torch.uint8) for m in moments]),
        "state": torch.tensor(moments, dtype=torch.float32)[:, None].expand(-1, 3),
    }


def walk(buffer, ends, start=0):
    """One transition for each of ``ends``; a new episode after each end. Returns the moment of the last observation."""
    moment = start
    for end in ends:
        flags = torch.tensor([end == "terminated"]), torch.tensor([end == "truncated"])
        step = Step(seen([moment + 1]), torch.tensor([float(moment % 5)]), *flags, {})
        buffer.add(seen([moment]), torch.full((1, 2), float(moment)), step, env_ids=[0])
        moment += 2 if end else 1
    return moment


def table(buffer):
    """What every transition says, sorted: (before, after, reward, discount, action, images)."""
    batch = buffer.gather(buffer.valid_indices())
    parts = [batch.obs["state"][:, 0], batch.next_obs["state"][:, 0], batch.reward, batch.discount, batch.action[:, 0]]
    parts += [batch.obs["cam"].flatten(1).float().mean(1), batch.next_obs["cam"].flatten(1).float().mean(1)]
    return sorted(torch.stack(parts, dim=1).tolist())


def make(folder=None, capacity=20, **options):
    storage = None if folder is None else Storage("file", "cpu", folder)
    options = {"n_step": 2, "discount": GAMMA} | options
    return ReplayBuffer(SPACE, ACTION, capacity=capacity, storage=storage, **options)


ENDS = st.lists(st.sampled_from([None, None, None, "terminated", "truncated"]), min_size=1, max_size=40)


@given(before=ENDS, after=ENDS, capacity=st.integers(4, 30), larger=st.integers(0, 20))
@settings(max_examples=60, deadline=None)
def test_a_state_goes_on_in_a_larger_ring(before, after, capacity, larger):
    buffer, other = make(capacity=capacity), make(capacity=capacity + larger, seed=5)
    moment = walk(buffer, before)
    other.load_state_dict(load(save(buffer.state_dict())))
    assert table(other) == table(buffer)
    assert torch.equal(other.sample(30).obs["state"], buffer.sample(30).obs["state"])
    walk(buffer, after, moment)
    walk(other, after, moment)
    kept = table(buffer)
    assert [row for row in table(other) if row in kept] == kept


def pairs(buffer):
    """The state as earlier versions saved it: each transition with its own next observation, frames in a pool."""
    slots = buffer.valid_indices().numpy()
    ring, observed = buffer._ring, buffer.layout.action.start
    number = {int(slot): i for i, slot in enumerate(slots)}
    ends = (slots + abs(ring.hop[slots].astype(int))) % buffer.capacity
    alive = torch.from_numpy((ring.hop[slots] > 0).astype(np.float32))[:, None]
    newest = torch.full((buffer.num_envs,), -1)
    for stream, row in enumerate(ring.open.tolist()):
        if row >= 0:
            newest[stream] = list(ends).index(row % buffer.capacity)
    return {
        "rows": torch.cat([buffer._rows[slots], alive, buffer._rows[ends][:, :observed]], dim=1),
        "successor": torch.tensor([number.get(int(end), -1) for end in ends]),
        "last": newest,
        "generator": torch.Generator().get_state(),
        "obs_frame": torch.from_numpy(slots.astype(np.int64)),
        "next_frame": torch.from_numpy(ends.astype(np.int64)),
        "frames.cam": buffer._frames["cam"].rows,
    }


@given(before=ENDS, after=ENDS, capacity=st.integers(4, 30))
@settings(max_examples=60, deadline=None)
def test_a_state_of_an_earlier_version_goes_on(before, after, capacity):
    buffer, other = make(capacity=capacity), make(capacity=2 * capacity)
    moment = walk(buffer, before)
    other.load_state_dict(load(save(pairs(buffer))))
    assert table(other) == table(buffer)
    walk(buffer, after, moment)
    walk(other, after, moment)
    kept = table(buffer)
    assert [row for row in table(other) if row in kept] == kept


def test_of_an_earlier_version_the_newest_go_on_where_last_observations_leave_no_room_for_all():
    buffer, other = make(capacity=40), make(capacity=20)
    walk(buffer, [None, "truncated"] * 8)
    other.load_state_dict(pairs(buffer))
    assert len(other) < len(buffer) == 16
    assert table(other) == [row for row in table(buffer) if row in table(other)] == table(buffer)[-len(other) :]


@given(before=ENDS, lost=ENDS, after=ENDS, capacity=st.integers(4, 30))
@settings(max_examples=40, deadline=None)
def test_a_file_goes_on_where_its_checkpoint_was(tmp_path_factory, before, lost, after, capacity):
    """What was written after the checkpoint is not there, nor what it overwrote, and all that is there is right."""
    folder = tmp_path_factory.mktemp("replay")
    buffer = make(folder, capacity)
    moment = walk(buffer, before)
    state = load(save(buffer.state_dict()))
    assert sum(value.numel() for value in state.values()) < 6000  # the generator's state, and bytes
    stored = table(buffer)
    walk(buffer, lost, 500)
    del buffer
    resumed = make(folder, capacity)
    resumed.load_state_dict(state)
    resumed.break_stream()
    found = table(resumed) if len(resumed) else []
    if len(before) + len(lost) + sum(map(bool, before + lost)) + 2 <= capacity:
        assert found == stored
    by_start = {row[0]: row for row in stored}
    for row in found:
        assert row == by_start[row[0]]
    walk(resumed, after, moment)
    second = load(save(resumed.state_dict()))
    again = make(folder, capacity)
    again.load_state_dict(second)
    assert table(again) == table(resumed)


CHILD = """
import sys, json
from pathlib import Path
sys.path.insert(0, {tests!r})
from safetensors.torch import save_file
from test_storage import *
folder = Path({folder!r})
buffer = make(folder, 300)
moment = walk(buffer, ([None] * 9 + ["truncated"]) * 40)
save_file(buffer.state_dict(), folder / "state.safetensors")
(folder / "table.json").write_text(json.dumps(table(buffer)))
print("saved", flush=True)
while True:
    moment = walk(buffer, [None] * 9 + ["truncated"], moment)
"""


def test_a_killed_process_leaves_a_file_that_goes_on_at_once(tmp_path):
    code = textwrap.dedent(CHILD).format(tests=os.path.dirname(__file__), folder=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "saved\n"
        storage = Storage("file", "cpu", tmp_path)
        while storage.written < 500:  # it goes on writing over what was saved
            assert child.poll() is None
        child.send_signal(signal.SIGKILL)
    resumed = make(tmp_path, 300)
    resumed.load_state_dict(load_file(tmp_path / "state.safetensors"))
    stored = json.loads((tmp_path / "table.json").read_text())
    found = table(resumed) if len(resumed) else []
    assert len(found) < len(stored)
    assert all(row in stored for row in found)


def test_a_file_that_is_gone_or_not_asked_for_is_told(tmp_path):
    buffer = make(tmp_path / "replay")
    walk(buffer, [None] * 5)
    state = buffer.state_dict()
    with pytest.raises(UserError, match="replay_storage: the run keeps its transitions in a file"):
        make().load_state_dict(state)
    with pytest.raises(UserError, match="are gone, or of another size"):
        make(tmp_path / "elsewhere").load_state_dict(state)
    with pytest.raises(UserError, match="environments"):
        make(tmp_path / "replay", num_envs=2).load_state_dict(state)


def test_a_state_with_its_rows_moves_into_a_file(tmp_path):
    buffer, other = make(), make(tmp_path, capacity=40)
    walk(buffer, [None] * 30)
    other.load_state_dict(buffer.state_dict())
    assert table(other) == table(buffer)
    again = make(tmp_path, capacity=40)
    again.load_state_dict(other.state_dict())
    assert table(again) == table(buffer)


def test_a_full_disk_is_told_at_the_start_in_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(handle, offset, size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage_module.os, "posix_fallocate", full)
    with pytest.raises(StorageError, match="the disk is full: could not write") as told:
        make(tmp_path / "replay")
    assert "\n" not in str(told.value)
    assert list((tmp_path / "replay").iterdir()) == []


def test_all_space_of_a_file_is_taken_at_once(tmp_path):
    make(tmp_path, capacity=5000)
    taken = sum(file.stat().st_blocks * 512 for file in tmp_path.iterdir())
    assert taken >= 5000 * (4 * 6 + 4 * 5 * 3)


def test_a_budget_of_files_is_that_of_the_disk(tmp_path):
    with pytest.raises(UserError, match=r"but disk_budget is 1.0 MB; lower capacity to .* or raise disk_budget"):
        make(tmp_path, capacity=1_000_000, memory_budget=1_000_000)
    assert list(tmp_path.iterdir()) == [tmp_path / "written.bin"]


def test_without_a_folder_a_file_is_only_measured():
    storage = Storage("file")
    buffer = ReplayBuffer(SPACE, ACTION, capacity=10**9, storage=storage, memory_budget=10**12)
    assert buffer._rows.is_meta
    assert "file" in buffer.describe()


@pytest.mark.parametrize("kind", ["pinned", "device"])
def test_what_needs_a_gpu_is_refused_without(kind):
    with pytest.raises(UserError, match=f"replay_storage: {kind} is for a learner on a GPU"):
        Storage(kind, "cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("kind", ["ram", "pinned", "device"])
def test_batches_appear_on_the_gpu_wherever_they_lie(kind):
    plain = make(seed=3)
    buffer = ReplayBuffer(
        SPACE, ACTION, capacity=20, n_step=2, discount=GAMMA, seed=3, device="cuda", storage=Storage(kind, "cuda")
    )
    for one in (plain, buffer):
        walk(one, [None, None, "truncated"] * 10)
    for _ in range(3):
        want, found = plain.sample(40), buffer.sample(40)
        assert found.reward.device.type == "cuda"
        assert torch.equal(found.obs["cam"].cpu(), want.obs["cam"])
        assert torch.equal(found.next_obs["state"].cpu(), want.next_obs["state"])
        assert torch.equal(found.reward.cpu(), want.reward)
        assert torch.equal(found.discount.cpu(), want.discount)
