"""Episode files: what goes in comes out, whatever happens to other files, the disk or the process."""

import errno
import json
import logging
import signal
import subprocess
import sys
import time
import zlib
from importlib.metadata import version
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robo_rl.contracts import DEVICES, LABELS, Provenance, Step
from robo_rl.contracts.human import device_code
from robo_rl.data import episode_file as module
from robo_rl.data.episode_file import EpisodeError
from robo_rl.data.episode_writer import EpisodeWriter
from robo_rl.data.episodes import Episode, check_episodes, fill_replay, load_episodes
from robo_rl.data.headers import read_header
from robo_rl.data.journal import Journal
from robo_rl.errors import UserError
from robo_rl.replay.buffer import ReplayBuffer
from robo_rl.training.durable import StorageError

SPACE = gym.spaces.Dict(
    state=gym.spaces.Box(-np.inf, np.inf, (3,)),
    camera=gym.spaces.Box(0, 255, (4, 4, 3), np.uint8),
)
ACTION = gym.spaces.Box(-1, 1, (2,))


def observation(moments):
    value = torch.as_tensor(moments, dtype=torch.float32)[:, None]
    return {
        "state": value.expand(-1, 3).clone(),
        "camera": value.to(torch.uint8)[:, :, None, None].expand(-1, 4, 4, 3).clone(),
    }


def step_to(moments, ends, executed):
    return Step(
        observation(moments),
        torch.as_tensor(moments, dtype=torch.float32),
        torch.tensor([end == "terminated" for end in ends]),
        torch.tensor([end == "truncated" for end in ends]),
        {"success": torch.tensor([end == "terminated" for end in ends]), "executed_action": executed},
    )


def writer_to(folder, **options):
    options = {"task": "reach", "robot": "panda", "seed": 4, "source": "scripted"} | options
    spaces = [options.pop("observation_space", SPACE), options.pop("action_space", ACTION)]
    return EpisodeWriter(folder, *spaces, **options)


def record(writer, length, start=0, end="terminated", env=0):
    """One episode through the moments start..start + length of one environment."""
    for t in range(start, start + length):
        action = torch.full((1, 2), float(t))
        last = end if t == start + length - 1 else None
        writer.add(observation([t]), action, step_to([t + 1], [last], action / 2), env_ids=[env])


def assert_episode(episode, length, start=0, end="terminated"):
    moments = torch.arange(start, start + length + 1)
    assert len(episode) == length
    for key, value in observation(moments).items():
        assert torch.equal(episode.obs[key], value)
        assert episode.obs[key].dtype == value.dtype
    assert episode.action.tolist() == [[float(t)] * 2 for t in moments[:-1]]
    assert episode.executed_action.tolist() == [[t / 2] * 2 for t in moments[:-1].tolist()]
    assert episode.reward.tolist() == moments[1:].tolist()
    last = [False] * (length - 1)
    assert episode.terminated.tolist() == [*last, end == "terminated"]
    assert episode.truncated.tolist() == [*last, end == "truncated"]
    assert episode.success.tolist() == [*last, end == "terminated"]
    assert episode.terminated.dtype == torch.bool


def test_what_is_recorded_is_what_is_loaded(tmp_path):
    with writer_to(tmp_path) as writer:
        record(writer, 3)
        record(writer, 5, start=10, end="truncated")
    first, second = load_episodes(tmp_path)
    assert_episode(first, 3)
    assert_episode(second, 5, start=10, end="truncated")
    assert first.metadata["task"] == "reach"
    assert first.metadata["robot"] == "panda"
    assert first.metadata["seed"] == 4
    assert first.metadata["source"] == "scripted"
    assert first.metadata["versions"]["torch"] == version("torch")
    assert first.metadata["observations"]["camera"] == {"shape": [4, 4, 3], "dtype": "uint8"}
    described = json.loads((tmp_path / "dataset.json").read_text())
    assert described["task"] == "reach"
    assert described["action"] == [2]


def test_environments_side_by_side_go_to_files_of_their_own(tmp_path):
    """Two environments of which the second ends early and starts again."""
    writer = writer_to(tmp_path)
    now = [0, 50]
    for t in range(4):
        action = torch.tensor([[float(m)] * 2 for m in now])
        after = [m + 1 for m in now]
        over = ["terminated" if t == 3 else None, "truncated" if t == 1 else None]
        files = writer.add(observation(now), action, step_to(after, over, action / 2))
        assert len(files) == sum(end is not None for end in over)
        now = [after[0], 80 if over[1] else after[1]]
    writer.finish()
    lengths = {int(e.obs["state"][0, 0]): e for e in load_episodes(tmp_path)}
    assert_episode(lengths[50], 2, start=50, end="truncated")
    assert_episode(lengths[0], 4)
    assert_episode(lengths[80], 2, start=80, end=None)


def test_a_reset_that_nobody_announced_starts_another_episode(tmp_path):
    with writer_to(tmp_path) as writer:
        record(writer, 3, end=None)
        record(writer, 2, start=20)
    first, second = load_episodes(tmp_path)
    assert_episode(first, 3, end=None)
    assert_episode(second, 2, start=20)


def test_an_error_in_the_loop_loses_nothing_and_discard_forgets(tmp_path):
    def loop():
        with writer_to(tmp_path) as writer:
            record(writer, 2, end=None, env=1)
            writer.discard([1])
            record(writer, 3, end=None)
            raise RuntimeError("the cable came off")

    with pytest.raises(RuntimeError, match="cable"):
        loop()
    (episode,) = load_episodes(tmp_path)
    assert_episode(episode, 3, end=None)


def test_the_writer_keeps_copies(tmp_path):
    """An environment may hand out the same tensors again at every step."""
    obs, action = observation([0]), torch.zeros(1, 2)
    after = step_to([1], ["terminated"], action.clone())
    other = step_to([1], [None], action.clone())
    with writer_to(tmp_path) as writer:
        writer.add(obs, action, other)
        obs["state"].fill_(9.0)
        action.fill_(9.0)
        writer.add(observation([1]), torch.ones(1, 2), after)
    (episode,) = load_episodes(tmp_path)
    assert episode.obs["state"][:, 0].tolist() == [0.0, 1.0, 1.0]
    assert episode.action[:, 0].tolist() == [0.0, 1.0]


def test_recording_goes_on_in_the_same_folder(tmp_path):
    for start in (0, 10, 20):
        with writer_to(tmp_path, seed=start) as writer:
            record(writer, 2, start=start)
    assert [e.metadata["seed"] for e in load_episodes(tmp_path)] == [0, 10, 20]


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"task": "peg_insertion"}, "task"),
        ({"robot": "widowx250s"}, "robot"),
        ({"action_space": gym.spaces.Box(-1, 1, (7,))}, "action"),
        ({"observation_space": gym.spaces.Dict(state=gym.spaces.Box(-1, 1, (4,)))}, "observations"),
    ],
)
def test_another_task_is_not_mixed_in(tmp_path, other, named):
    with writer_to(tmp_path) as writer:
        record(writer, 2)
    with pytest.raises(UserError, match=named):
        writer_to(tmp_path, **other)
    assert len(load_episodes(tmp_path)) == 1


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A folder of three episodes, and the bytes of the middle one."""
    folder = tmp_path_factory.mktemp("three")
    with writer_to(folder) as writer:
        for start in (0, 10, 20):
            record(writer, 3, start=start)
    return folder, writer.stored[1].read_bytes()


def assert_read_up_to_the_damage(folder, caplog, left=None):
    """The others whole, of the middle one the first ``left`` steps (some, if None) or nothing; and it is said so."""
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        first, *middle, last = load_episodes(folder)
    assert_episode(first, 3)
    assert_episode(last, 3, start=20)
    assert "left out" in caplog.text
    assert "episode_000001" in caplog.text
    assert len(middle) <= 1
    for episode in middle:
        assert_episode(episode, len(episode), start=10, end=None)
        assert len(episode) < 3
    if left is not None:
        assert [len(episode) for episode in middle] == [left] * bool(left)
        assert left == 0 or f"steps {left} to 2 are left out" in caplog.text


def rows_of(whole):
    """Where the first row begins, and how long each of the four is."""
    start = 8 + int.from_bytes(whole[:8], "little")
    length, rest = divmod(len(whole) - start, 4)
    assert not rest
    return start, length


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_read_up_to_there(three, caplog, share):
    folder, whole = three
    start, length = rows_of(whole)
    kept = int(share * len(whole))
    (folder / "episode_000001.safetensors").write_bytes(whole[:kept])
    assert_read_up_to_the_damage(folder, caplog, max(0, (kept - start) // length - 1))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_byte_changed_anywhere_is_noticed_and_what_comes_before_is_read(three, caplog, share, flip):
    folder, whole = three
    start, length = rows_of(whole)
    position = int(share * len(whole))
    changed = bytearray(whole)
    changed[position] ^= flip
    path = folder / "episode_000001.safetensors"
    path.write_bytes(changed)
    if position >= start:
        assert_read_up_to_the_damage(folder, caplog, max(0, (position - start) // length - 1))
        with pytest.raises(EpisodeError, match="does not hold the numbers"):
            Episode.load(path)
        return
    try:
        episode = Episode.load(path)
    except EpisodeError:
        assert_read_up_to_the_damage(folder, caplog)
    else:  # only the way that things are written changed: white space, the case of an escape, what true looks like
        assert_episode(episode, 3, start=10)


def test_cuts_at_the_edges_of_the_format(three, caplog):
    folder, whole = three
    header, length = rows_of(whole)
    path = folder / "episode_000001.safetensors"
    for kept in (0, 1, 7, 8, 9, header - 1, header, header + 1, header + 2 * length - 1):
        path.write_bytes(whole[:kept])
        assert_read_up_to_the_damage(folder, caplog, 0)
    for kept, left in ((header + 2 * length, 1), (header + 3 * length, 2), (len(whole) - 1, 2)):
        path.write_bytes(whole[:kept])
        assert_read_up_to_the_damage(folder, caplog, left)
        told = []
        assert len(Episode.load(path, lambda what, steps, told=told: told.append(steps))) == left
        assert told == [3 - left]
    path.write_bytes(whole + b"\0")
    caplog.clear()
    assert [len(episode) for episode in load_episodes(folder)] == [3, 3, 3]
    assert "1 bytes that nobody stored" in caplog.text
    path.write_bytes(whole)
    assert len(load_episodes(folder)) == 3


def test_files_of_the_first_format_are_read_and_checked_as_before(tmp_path, caplog):
    """One tensor a column and one checksum: whole or not at all."""
    with writer_to(tmp_path) as writer:
        record(writer, 3)
        record(writer, 3, start=10)
    (path, _), (episode, _) = writer.stored, load_episodes(tmp_path)
    tensors = {f"obs/{key}": value for key, value in episode.obs.items()}
    names = ("action", "executed_action", "reward", "terminated", "truncated", "success")
    tensors |= {name: getattr(episode, name).clone() for name in names}
    header = {**episode.metadata, "format": module.FIRST_FORMAT}
    crc = zlib.crc32(json.dumps(header, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        crc = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), crc)
        crc = zlib.crc32(tensor.contiguous().numpy().tobytes(), crc)
    text = {"robo_rl": json.dumps({**header, "checksum": crc}, sort_keys=True)}
    module.save_file(tensors, str(path), metadata=text)
    old, new = load_episodes(tmp_path)
    assert_episode(old, 3)
    assert_episode(new, 3, start=10)
    assert {key: value for key, value in old.metadata.items() if key != "format"} == {
        key: value for key, value in episode.metadata.items() if key != "format"
    }
    head = read_header(path)
    assert (head.steps, head.end, head.success, head.human) == (3, "terminated", True, False)
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(damaged)
        caplog.clear()
        assert len(load_episodes(tmp_path)) == 1
        assert "left out" in caplog.text


def test_numbers_that_are_not_finite_are_left_out(tmp_path, caplog):
    with writer_to(tmp_path) as writer:
        record(writer, 2)
        action = torch.full((1, 2), torch.nan)
        writer.add(observation([5]), action, step_to([6], ["terminated"], action))
    (episode,) = load_episodes(tmp_path)
    assert_episode(episode, 2)
    assert "not finite" in caplog.text


def test_nothing_to_read_says_so(tmp_path):
    with pytest.raises(UserError, match="no episodes"):
        load_episodes(tmp_path / "nowhere")
    (tmp_path / "episode_000000.safetensors").write_bytes(b"torn")
    with pytest.raises(UserError, match="none of its 1 episodes"):
        load_episodes(tmp_path)
    (tmp_path / "episode_000000.safetensors").write_bytes(b"")
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(UserError, match=r"dataset\.json"):
        writer_to(tmp_path)


def test_a_full_disk_keeps_what_is_finished(tmp_path, monkeypatch):
    writer = writer_to(tmp_path)
    record(writer, 2)
    real = module.save_file

    def full(tensors, name, metadata):
        real(tensors, name, metadata=metadata)
        with open(name, "r+b") as file:
            file.truncate(100)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(UserError, match="disk is full"):
        record(writer, 3, start=10)
    assert len(load_episodes(tmp_path)) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == [
            "dataset.json", "episode_000000.safetensors", "under_way_0.journal",
        ]  # fmt: skip
    monkeypatch.setattr(module, "save_file", real)
    writer.finish()  # somebody made room
    first, second = load_episodes(tmp_path)
    assert_episode(first, 2)
    assert_episode(second, 3, start=10)


def record_many(writer, episodes):
    for _ in range(episodes):
        record(writer, 20)


def test_a_disk_that_is_really_full(small_disk):
    folder = small_disk(256)
    writer = writer_to(folder)
    with pytest.raises(UserError, match="disk is full"):
        record_many(writer, 1000)
    finished = len(writer.stored)
    assert finished > 5
    assert len(load_episodes(folder)) == finished
    writer.stored[0].unlink()  # somebody makes room
    writer.finish()
    assert_episode(load_episodes(folder)[-1], 20)


RECORD_FOREVER = """
import sys
sys.path.insert(0, sys.argv[2])
from test_episodes import record, writer_to
writer = writer_to(sys.argv[1])
print("ready", flush=True)
while True:
    record(writer, 20)
"""


def test_a_killed_process_leaves_whole_episodes_only(tmp_path, caplog):
    here = str(Path(__file__).parent)
    process = subprocess.Popen(
        [sys.executable, "-c", RECORD_FOREVER, str(tmp_path), here], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob("episode_*"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    loaded = load_episodes(tmp_path)
    assert len(loaded) == len(list(tmp_path.glob("episode_*"))) >= 3
    assert not caplog.text
    for episode in loaded:
        assert_episode(episode, 20)
    with writer_to(tmp_path) as writer:
        record(writer, 1, start=7)
    assert not list(tmp_path.glob(".unfinished-*"))
    assert_episode(load_episodes(tmp_path)[-1], 1, start=7)


@pytest.mark.parametrize("num_envs", [1, 2])
def test_replay_is_filled_with_the_executed_actions(tmp_path, num_envs):
    with writer_to(tmp_path) as writer:
        record(writer, 3)
        record(writer, 2, start=3, end="truncated")  # starts where the first one ended
        record(writer, 2, start=10, end=None)
    episodes = load_episodes(tmp_path)
    buffer = ReplayBuffer(SPACE, ACTION, capacity=10, num_envs=num_envs, n_step=2, discount=0.5)
    assert fill_replay(buffer, episodes) == 7
    batch = buffer.gather(buffer.valid_indices())
    starts = [0.0, 1.0, 2.0, 3.0, 4.0, 10.0, 11.0]
    assert batch.obs["state"][:, 0].tolist() == starts
    assert batch.action[:, 0].tolist() == [t / 2 for t in starts]
    assert batch.reward.tolist() == [1 + 1, 2 + 1.5, 3, 4 + 2.5, 5, 11 + 6, 12]
    assert batch.discount.tolist() == [0.25, 0, 0, 0.25, 0.5, 0.25, 0.5]
    assert batch.next_obs["camera"][:, 0, 0, 0].tolist() == [2, 3, 3, 5, 5, 12, 12]
    with pytest.raises(UserError, match="capacity"):
        fill_replay(buffer, episodes)


def test_an_episode_whose_actions_are_one_tensor_is_stored(tmp_path):
    flags = torch.zeros(2, dtype=torch.bool)
    action = torch.arange(4.0).reshape(2, 2).T
    Episode(observation([0, 1, 2]), action, action, torch.ones(2), flags, flags, flags).save(tmp_path / "one")
    episode = Episode.load(tmp_path / "one")
    assert torch.equal(episode.action, action)
    assert torch.equal(episode.executed_action, action)


def test_demonstrations_of_another_task_are_refused(tmp_path):
    with writer_to(tmp_path) as writer:
        record(writer, 2)
    episodes = load_episodes(tmp_path)
    check_episodes(episodes, SPACE, ACTION)
    wider = gym.spaces.Dict(SPACE.spaces | {"state": gym.spaces.Box(-1, 1, (9,))})
    with pytest.raises(UserError, match=r"'state' .* reach, is float32 \(3,\), in this task float32 \(9,\)"):
        check_episodes(episodes, wider, ACTION)
    with pytest.raises(UserError, match=r"'camera' .* absent"):
        check_episodes(episodes, gym.spaces.Dict(state=SPACE["state"]), ACTION)
    with pytest.raises(UserError, match="action"):
        check_episodes(episodes, SPACE, gym.spaces.Box(-1, 1, (7,)))


def said(label="none", segment=-1):
    """What a step of one environment tells of a person's part in it."""
    one = torch.ones(1, 2)
    return Provenance(
        policy_action=0.5 * one, human_action=0.25 * one,
        authority=torch.tensor([int(segment >= 0)], dtype=torch.uint8), active=torch.tensor([segment >= 0]),
        segment=torch.tensor([segment]), onset=torch.tensor([segment >= 0]), offset=torch.tensor([False]),
        device=torch.tensor([device_code("gamepad")], dtype=torch.uint8), latency=torch.tensor([0.125]),
        label=torch.tensor([LABELS.index(label)], dtype=torch.uint8),
    )  # fmt: skip


def test_what_a_person_did_is_stored_step_by_step_and_survives_a_kill(tmp_path):
    writer = writer_to(tmp_path)
    for t, segment in enumerate([-1, 0, -1]):
        step = step_to([t + 1], [None], torch.zeros(1, 2))
        step.info.update(said(segment=segment).to_info())
        writer.add(observation([t]), torch.ones(1, 2), step)
    writer_to(tmp_path)  # the first one was killed, as far as the folder can tell
    (episode,) = load_episodes(tmp_path)
    assert episode.provenance["segment"].tolist() == [-1, 0, -1]
    assert episode.provenance["authority"].tolist() == [0, 1, 0]
    there = Provenance.of(episode.provenance)
    for name, value in said().to_info().items():
        assert there.to_info()[name].dtype == value.dtype
        assert there.to_info()[name].shape == (3, *value.shape[1:])
    assert [DEVICES[code] for code in episode.provenance["device"]] == ["gamepad"] * 3


def test_an_episode_that_a_person_discards_is_not_stored(tmp_path):
    with writer_to(tmp_path) as writer:
        for label in ("discard", "failure"):
            for t, end in enumerate([None, "truncated"]):
                step = step_to([t + 1], [end], torch.zeros(1, 2))
                step.info.update(said(label if end else "none").to_info())
                writer.add(observation([t]), torch.ones(1, 2), step)
    (episode,) = load_episodes(tmp_path)
    assert LABELS[episode.provenance["label"][-1]] == "failure"


def test_files_from_before_people_had_a_say_are_read(tmp_path):
    with writer_to(tmp_path) as writer:
        record(writer, 2)
    (episode,) = load_episodes(tmp_path)
    assert episode.provenance == {}
    assert Provenance.of(episode.provenance) is None


def test_a_full_disk_loses_no_row_of_the_other_environments(tmp_path, monkeypatch):
    writer = writer_to(tmp_path)
    real = Journal.append

    def full(journal, record):
        raise StorageError("the disk is full")

    for t in range(3):
        monkeypatch.setattr(Journal, "append", full if t == 1 else real)
        arrived = step_to([t + 1, t + 101], ["", ""], torch.zeros(2, 2))
        if t == 1:
            with pytest.raises(UserError, match="disk is full"):
                writer.add(observation([t, t + 100]), torch.zeros(2, 2), arrived)
        else:
            writer.add(observation([t, t + 100]), torch.zeros(2, 2), arrived)
    writer.finish()
    assert [len(episode) for episode in load_episodes(tmp_path)] == [3, 3]
