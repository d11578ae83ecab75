import json

import pytest
import torch

from robo_rl.data.episodes import Episode, episode_path, load_episodes
from robo_rl.data.journal import Journal
from robo_rl.data.store import Damage, read_folder, write_dataset
from robo_rl.errors import UserError
from tests.robo_rl.data.drawn import assert_same, make_episode


@pytest.fixture
def three(tmp_path):
    episodes = [make_episode(number, 3 + number, human=True) for number in range(3)]
    assert write_dataset(tmp_path / "three", episodes) == 3
    return tmp_path / "three", episodes


def test_what_is_written_is_read_also_by_training(three):
    folder, episodes = three
    assert_same(episodes, read_folder(folder))
    assert_same(episodes, load_episodes(folder))
    assert json.loads((folder / "dataset.json").read_text())["task"] == "reach"


def test_up_to_the_damage(three):
    folder, episodes = three
    path = episode_path(folder, 1)
    path.write_bytes(path.read_bytes()[:-1])
    (folder / "dataset.json").write_text("{")
    about, first, begun, damage, last = read_folder(folder)
    assert "dataset.json" in str(about)
    assert isinstance(damage, Damage)
    assert damage.steps == 1
    assert "episode_000001" in str(damage)
    assert "steps 3 to 3 are left out" in str(damage)
    assert_same([episodes[0], episodes[2]], [first, last])
    assert len(begun) == 3
    assert torch.equal(begun.obs["state"], episodes[1].obs["state"][:4])
    assert torch.equal(begun.provenance["segment"], episodes[1].provenance["segment"][:3])
    assert not (begun.terminated | begun.truncated).any()
    path.write_bytes(b"")
    kinds = [type(each) for each in read_folder(folder)]
    assert kinds == [Damage, Episode, Damage, Episode]


def test_what_is_under_way_is_read_up_to_the_step_that_was_being_written(three):
    folder, episodes = three
    episode = episodes[0]
    journal = Journal(folder / "under_way_0.journal")
    for t in range(len(episode)):
        row = {f"obs/{key}": value[t] for key, value in episode.obs.items()}
        row |= {f"next/{key}": value[t + 1] for key, value in episode.obs.items()}
        for name in ("action", "executed_action", "reward", "terminated", "truncated", "success"):
            row[name] = getattr(episode, name)[t]
        journal.append(row)
    assert len(list(read_folder(folder))) == 3
    *_, whole = read_folder(folder, under_way=True)
    assert isinstance(whole, Episode)
    assert torch.equal(whole.obs["state"], episode.obs["state"])
    assert whole.metadata["source"] == "interrupted"
    path = folder / "under_way_0.journal"
    path.write_bytes(path.read_bytes()[:-3])
    *_, cut, damage = read_folder(folder, under_way=True)
    assert torch.equal(cut.action, episode.action[:-1])
    assert torch.equal(cut.obs["state"], episode.obs["state"][:-1])
    assert "left out from byte" in str(damage)


def test_episodes_that_do_not_belong_together(tmp_path):
    with pytest.raises(UserError, match="task 'push' instead of 'reach'"):
        write_dataset(tmp_path / "out", [make_episode(), make_episode(task="push")])
    with pytest.raises(UserError, match="observations"):
        write_dataset(tmp_path / "out", [make_episode(), make_episode(keys=("proprio",))])
    assert list(tmp_path.iterdir()) == []


def test_no_such_folder(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        list(read_folder(tmp_path / "nothing"))
