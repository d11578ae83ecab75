"""What is converted to another format and back is what it was, to the bit; but for mp4, whose loss is measured."""

import dataclasses
import math
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robo_rl.data.conversion import kind_of, picture_quality, read, summary, write
from robo_rl.data.formats.lerobot_write import LeRobotOptions
from robo_rl.data.formats.pictures import decode_png, encode_png, psnr
from robo_rl.errors import UserError
from tests.robo_rl.data.drawn import assert_same, datasets, differences, make_episode

NAMES = {"robo_rl": "ours", "lerobot": "lerobot", "robomimic": "demos.hdf5", "minari": "minari"}
FOREIGN = ("lerobot", "robomimic", "minari")


@pytest.mark.parametrize("kind", NAMES)
@settings(max_examples=12, deadline=None)
@given(episodes=datasets())
def test_every_format_gives_back_what_it_was_given(kind, episodes):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / NAMES[kind]
        assert write(path, kind, episodes) == len(episodes)
        assert kind_of(path) == kind
        assert_same(episodes, read(path, kind))
        if kind in FOREIGN:
            assert summary(path, kind) == (len(episodes), sum(map(len, episodes)))


@settings(max_examples=5, deadline=None)
@given(episodes=datasets(keys=("state", "front.rgb", "count")))
def test_through_all_formats_one_after_the_other(episodes):
    with tempfile.TemporaryDirectory() as folder:
        path, kind = Path(folder) / "begin", "robo_rl"
        write(path, kind, episodes)
        for number, after in enumerate((*FOREIGN, "robo_rl")):
            there = Path(folder) / f"{number}_{NAMES[after]}"
            write(there, after, read(path, kind))
            path, kind = there, after
        assert_same(episodes, read(path, kind))
        for number in range(len(episodes)):
            name = f"episode_{number:06d}.safetensors"
            assert (path / name).read_bytes() == (Path(folder) / "begin" / name).read_bytes()


def test_files_that_are_full_are_followed_by_others(tmp_path):
    episodes = [make_episode(seed, 4, ("state", "front.rgb")) for seed in range(5)]
    write(tmp_path / "png", "lerobot", episodes, LeRobotOptions(data_mb=0))
    assert len(list((tmp_path / "png" / "data").glob("*/*.parquet"))) == 5
    assert_same(episodes, read(tmp_path / "png", "lerobot"))
    write(tmp_path / "mp4", "lerobot", episodes, LeRobotOptions("mp4", video_mb=-1))
    assert len(list((tmp_path / "mp4" / "videos").glob("*/*/*.mp4"))) == 5
    assert len(list(read(tmp_path / "mp4", "lerobot"))) == 5


def scene(steps, height, width, phase):
    """A soft pattern that moves: what cameras see, not noise."""
    t, y, x = np.meshgrid(np.arange(steps), np.arange(height), np.arange(width), indexing="ij")
    light = np.stack([np.sin(phase + 0.3 * k + 0.1 * t + 0.08 * x - 0.05 * y) for k in range(3)], -1)
    return torch.from_numpy((127.5 + 120 * light).astype(np.uint8))


@settings(max_examples=5, deadline=None)
@given(lengths=st.lists(st.integers(1, 8), min_size=1, max_size=3), half=st.integers(8, 16), phase=st.floats(0, 6))
def test_mp4_keeps_pictures_at_the_quality_that_it_states_and_all_else_to_the_bit(lengths, half, phase):
    episodes = []
    for number, steps in enumerate(lengths):
        plain = make_episode(number, steps, ("state", "proprio"), human=True)
        obs = plain.obs | {"front": scene(steps + 1, 2 * half, 2 * half + 4, phase + number)}
        episodes.append(dataclasses.replace(plain, obs=obs))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mp4"
        write(path, "lerobot", episodes, LeRobotOptions("mp4"))
        stored = list(read(path, "lerobot"))
        quality = picture_quality(episodes, stored)
        assert quality["front"] > 32  # dB at the default quality
        for one, other in zip(episodes, stored, strict=True):
            assert differences(one, other) in ([], ["obs/front"])
            assert torch.equal(one.obs["front"][-1], other.obs["front"][-1])  # which LeRobot has no row for
        worse = Path(folder) / "worse"
        write(worse, "lerobot", episodes, LeRobotOptions("mp4", quality=45))
        assert picture_quality(episodes, read(worse, "lerobot"))["front"] < quality["front"]


def test_pictures_in_a_video_are_those_of_their_own_step(tmp_path):
    """Each picture has a grey of its own, so that a shift by one would show."""
    episodes = []
    for number, steps in enumerate((3, 7, 1, 5)):
        plain = make_episode(number, steps)
        grey = torch.arange(steps + 1)[:, None, None, None] * 12 + 30 * number
        obs = plain.obs | {"front": grey.expand(-1, 16, 16, 3).to(torch.uint8).clone()}
        episodes.append(dataclasses.replace(plain, obs=obs))
    write(tmp_path / "mp4", "lerobot", episodes, LeRobotOptions("mp4"))
    for one, other in zip(episodes, read(tmp_path / "mp4", "lerobot"), strict=True):
        assert (one.obs["front"].int() - other.obs["front"].int()).abs().max() <= 4


def test_psnr_by_hand():
    black, grey = np.zeros((2, 2), np.uint8), np.full((2, 2), 10, np.uint8)
    assert psnr([(black, grey)]) == pytest.approx(10 * math.log10(255**2 / 100))
    assert psnr([(grey, grey)]) == math.inf


@given(seed=st.integers(0, 2**32), height=st.integers(1, 9), width=st.integers(1, 9), channels=st.sampled_from((1, 3)))
def test_png_loses_nothing(seed, height, width, channels):
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    assert np.array_equal(decode_png(encode_png(picture)), picture)


def test_a_number_changed_in_another_format_is_a_number_changed_here(tmp_path):
    """The comparison above would notice."""
    episode = make_episode(keys=("state", "front.rgb"), human=True)
    write(tmp_path / "a.hdf5", "robomimic", [episode])
    for name in ("actions", "rewards", "obs/state", "next_obs/front.rgb", "human/segment", "terminated"):
        with h5py.File(tmp_path / "a.hdf5", "r+") as file:
            data = file["data/demo_0"][name]
            before = data[-1]
            data[-1] = ~before if data.dtype == bool else before + 1
        (changed,) = read(tmp_path / "a.hdf5", "robomimic")
        assert len(differences(episode, changed)) == 1, name
        with h5py.File(tmp_path / "a.hdf5", "r+") as file:
            file["data/demo_0"][name][-1] = before


@pytest.mark.parametrize(
    ("episode", "options", "said"),
    [
        (make_episode(control_dt=None), LeRobotOptions(), "fps"),
        (make_episode(keys=("front.rgb", "depth")), LeRobotOptions("mp4"), "png"),
    ],
)
def test_what_lerobot_cannot_hold_is_refused_and_nothing_is_left(tmp_path, episode, options, said):
    with pytest.raises(UserError, match=said):
        write(tmp_path / "out", "lerobot", [episode], options)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_lerobot_does_not_take(tmp_path):
    episode = make_episode()
    episode = dataclasses.replace(episode, obs={"arm/state": episode.obs["state"]})
    with pytest.raises(UserError, match="arm/state"):
        write(tmp_path / "out", "lerobot", [episode])


@pytest.mark.parametrize("kind", NAMES)
def test_nothing_is_overwritten_and_nothing_is_no_dataset(tmp_path, kind):
    with pytest.raises(UserError, match="no episode"):
        write(tmp_path / "empty", kind, [])
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match="there already"):
        write(tmp_path / "there", kind, [make_episode()])
