"""Datasets of others, with more or less in them; and ours, as others' libraries see them."""

import json

import gymnasium
import h5py
import minari
import numpy as np
import pytest
from minari.data_collector.episode_buffer import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage

from robo_rl.data.conversion import read, write
from robo_rl.data.episodes import Episode
from robo_rl.data.formats.foreign import Assumptions, Recorded, adopt
from robo_rl.data.store import Damage
from tests.robo_rl.data.drawn import make_episode

T = 5
STATE = np.arange(3.0 * T).reshape(T, 3)
ACTION = np.ones((T, 2))


def last(value):
    return np.arange(T) == (T - 1 if value else T)


def adopted(assume=None, **told):
    return adopt(Recorded("x", {"state": STATE}, ACTION, **told), assume or Assumptions())


def test_a_success_at_the_end_is_terminal_and_its_observation_repeated():
    episode = adopted(reward=last(True).astype(float), done=last(True))
    assert len(episode) == T
    assert episode.success.tolist() == last(True).tolist()
    assert episode.terminated.tolist() == last(True).tolist()
    assert not episode.truncated.any()
    assert episode.obs["state"].tolist() == [*STATE.tolist(), STATE[-1].tolist()]
    assert str(episode.obs["state"].dtype) == str(episode.action.dtype) == "torch.float32"


def test_without_success_the_step_that_leads_nowhere_is_left_out():
    episode = adopted(reward=np.zeros(T))
    assert len(episode) == T - 1
    assert episode.obs["state"].tolist() == STATE.tolist()
    assert episode.truncated.tolist() == [False, False, False, True]
    assert not episode.terminated.any()


def test_dense_rewards_tell_no_success():
    assert not adopted(reward=np.linspace(0, 3, T)).success.any()
    assert adopted(reward=np.linspace(0, 3, T), success=last(True)).success[-1]


def test_without_rewards_somebody_must_say_that_they_are_demonstrations():
    damage = adopted()
    assert isinstance(damage, Damage)
    assert "--demonstrations" in str(damage)
    episode = adopted(Assumptions(demonstrations=True, task="push", robot="fr3"))
    assert episode.reward.tolist() == [0, 0, 0, 0, 1]
    assert (episode.metadata["task"], episode.metadata["robot"]) == ("push", "fr3")


@pytest.mark.parametrize("obs", [{}, {"state": np.array(["a"] * T)}])
def test_what_holds_no_numbers_is_damage(obs):
    assert isinstance(adopt(Recorded("x", obs, ACTION, reward=np.zeros(T)), Assumptions()), Damage)


def test_robomimics_layout(tmp_path):
    episode = make_episode(keys=("state", "front.rgb"), human=True)
    write(tmp_path / "a.hdf5", "robomimic", [episode, make_episode(1, 3, ("state", "front.rgb"), human=True)])
    with h5py.File(tmp_path / "a.hdf5") as file:
        data = file["data"]
        assert data.attrs["total"] == 8
        assert set(json.loads(data.attrs["env_args"])) == {"env_name", "type", "env_kwargs"}
        demo = data["demo_0"]
        assert demo.attrs["num_samples"] == 5
        assert np.array_equal(demo["actions"], episode.executed_action)
        assert np.array_equal(demo["obs/state"], episode.obs["state"][:-1])
        assert np.array_equal(demo["next_obs/state"], episode.obs["state"][1:])
        assert np.array_equal(demo["obs/front.rgb"], episode.obs["front.rgb"][:-1])
        assert demo["dones"][:].tolist() == [0, 0, 0, 0, 1]
        assert np.array_equal(demo["human/authority"], episode.provenance["authority"])


def test_a_file_as_robomimic_publishes_them(tmp_path):
    """Numbers as float64, no next observations, sparse rewards, demos that are not in the order of their names."""
    path = tmp_path / "low_dim.hdf5"
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "type": 1, "env_kwargs": {"robots": ["Panda"]}})
        for number in (0, 2, 10):
            demo = data.create_group(f"demo_{number}")
            demo["obs/robot0_eef_pos"] = STATE + number
            demo["actions"], demo["rewards"], demo["dones"] = ACTION, last(True).astype(float), last(True).astype(int)
            demo.attrs["num_samples"] = T
        del data["demo_2/actions"]
        file.create_group("mask")["train"] = np.array([b"demo_0"])
    first, damage, third = read(path, "robomimic")
    assert first.obs["robot0_eef_pos"][0].tolist() == STATE[0].tolist()
    assert isinstance(damage, Damage)
    assert "demo_2" in str(damage)
    assert third.obs["robot0_eef_pos"][0].tolist() == (STATE[0] + 10).tolist()
    assert (first.metadata["task"], first.metadata["robot"]) == ("Lift", "Panda")
    path.write_bytes(path.read_bytes()[:1000])
    (damage,) = read(path, "robomimic")
    assert isinstance(damage, Damage)


def test_minaris_own_loader_reads_the_same(tmp_path):
    episodes = [make_episode(n, 3 + n, ("state", "front.rgb", "count"), human=True) for n in range(3)]
    write(tmp_path / "set", "minari", episodes)
    dataset = minari.MinariDataset(tmp_path / "set" / "data")
    assert (dataset.total_episodes, dataset.total_steps) == (3, 12)
    for episode, there in zip(episodes, dataset.iterate_episodes(), strict=True):
        assert np.array_equal(there.actions, episode.executed_action)
        assert np.array_equal(there.rewards, episode.reward)
        assert np.array_equal(there.terminations, episode.terminated)
        assert np.array_equal(there.truncations, episode.truncated)
        for key, value in episode.obs.items():
            assert np.array_equal(there.observations[key], value)
        assert np.array_equal(there.infos["human.segment"][1:], episode.provenance["segment"])
        assert dataset.observation_space.contains(
            {key: np.asarray(value[0]) for key, value in there.observations.items()}
        )


def test_a_minari_dataset_of_somebody_else(tmp_path):
    box = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)
    space = gymnasium.spaces.Dict(hand=gymnasium.spaces.Dict(pos=box), goal=box)
    storage = MinariStorage.new(
        tmp_path, space, gymnasium.spaces.Box(-1, 1, (2,), np.float64), data_format="hdf5", jpeg_encoding=False
    )
    states = np.concatenate([STATE, STATE[-1:] + 1])
    storage.update_episodes(
        [
            EpisodeBuffer(
                observations={"hand": {"pos": states}, "goal": -states},
                actions=ACTION,
                rewards=np.linspace(0, 2, T),
                terminations=last(False),
                truncations=last(True),
                infos={"success": np.array([False] * T + [True])},
            )
        ]
    )
    storage.update_metadata({"dataset_id": "door/human-v0", "minari_version": minari.__version__})
    (episode,) = read(tmp_path, "minari")
    assert isinstance(episode, Episode)
    assert episode.obs["hand.pos"].tolist() == states.tolist()
    assert episode.obs["goal"][0].tolist() == (-states[0]).tolist()
    assert (len(episode), bool(episode.success[-1]), bool(episode.truncated[-1])) == (T, True, True)
    assert episode.metadata["task"] == "door/human-v0"
    (tmp_path / "main_data.hdf5").write_bytes(b"\0" * 100)
    (damage,) = read(tmp_path, "minari")
    assert isinstance(damage, Damage)
