import json
import zlib

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robo_rl.data.episode_file import EpisodeError
from robo_rl.data.episodes import episode_path
from robo_rl.data.headers import Header, read_header, read_headers
from tests.robo_rl.data.drawn import ENDS, make_episode


@settings(max_examples=30, deadline=None)
@given(steps=st.integers(1, 9), end=st.sampled_from(ENDS), human=st.booleans())
def test_a_header_says_what_the_episode_says(tmp_path_factory, steps, end, human):
    path = tmp_path_factory.mktemp("one") / "episode_000000.safetensors"
    episode = make_episode(3, steps, ("state", "front.rgb"), end, human)
    episode.save(path)
    header = read_header(path)
    assert (header.steps, header.end, header.human, header.size) == (steps, end, human, path.stat().st_size)
    assert header.success == bool(episode.success[-1])
    assert header.metadata.items() >= episode.metadata.items()


def test_a_huge_episode_costs_no_more_than_a_small_one(tmp_path):
    """Its 3 GB of images are a hole in the file: who reads them needs them in memory, and the time for it."""
    path = tmp_path / "episode_000000.safetensors"
    make_episode(keys=("state",)).save(path)
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    head = json.loads(whole[8 : 8 + length])
    said = json.loads(head["__metadata__"]["robo_rl"])
    said["columns"].append(["obs/big", "uint8", [1 << 29]])
    del said["checksum"]
    said["checksum"] = zlib.crc32(json.dumps(said, sort_keys=True).encode())
    head["__metadata__"]["robo_rl"] = json.dumps(said)
    rows, row = head["rows"]["shape"]
    size = rows * (row + (1 << 29))
    head["rows"] |= {"shape": [rows, row + (1 << 29)], "data_offsets": [0, size]}
    text = json.dumps(head).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + size)
    assert read_header(path).steps == 5
    assert path.stat().st_blocks * 512 < 1 << 20


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_told_from_a_whole_one(tmp_path_factory, share):
    folder = tmp_path_factory.mktemp("cut")
    for number in range(3):
        make_episode(number).save(episode_path(folder, number))
    path = episode_path(folder, 1)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    first, damage, last = read_headers(folder)
    assert isinstance(first, Header)
    assert isinstance(damage, EpisodeError)
    assert "episode_000001" in str(damage)
    assert isinstance(last, Header)


def test_it_is_said_how_many_steps_of_a_file_that_is_cut_off_are_left(tmp_path):
    path = episode_path(tmp_path, 0)
    make_episode(steps=5).save(path)
    path.write_bytes(path.read_bytes()[:-1])
    (damage,) = read_headers(tmp_path)
    assert "4 of 5 steps are left" in str(damage)


def test_what_is_no_episode(tmp_path):
    from safetensors.torch import save_file

    path = episode_path(tmp_path, 0)
    for content in (
        b"",
        b"\0" * 100,
        b"\xff" * 100,
        (2).to_bytes(8, "little") + b"[]",
        (2).to_bytes(8, "little") + b"{}",
    ):
        path.write_bytes(content)
        assert [type(each) for each in read_headers(tmp_path)] == [EpisodeError]
    save_file({"reward": torch.zeros(3)}, path)
    assert [type(each) for each in read_headers(tmp_path)] == [EpisodeError]
