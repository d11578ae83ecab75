from __future__ import annotations

import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from envs.gymnasium_adapters import IDS, GymEnv, GymVectorEnv
from envs.registry import task_names


def test_every_task_has_an_id_for_both_arms():
    assert {task for task, _ in IDS.values()} == set(task_names())
    assert {"robo_rl/Reach-v0", "robo_rl/PegInsertionHard-v0", "robo_rl/WidowXPickCube-v0"} <= set(IDS)
    assert all(env_id in gymnasium.registry for env_id in IDS)


def test_an_id_can_be_made_by_naming_the_package():
    code = "import gymnasium; print(gymnasium.make('envs:robo_rl/Reach-v0').unwrapped.horizon)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "50"
    )


@pytest.mark.parametrize("env_id", IDS)
def test_gymnasium_s_own_checker_finds_nothing(env_id):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make(env_id)
        check_env(env.unwrapped)
        env.close()


@pytest.mark.parametrize("env_id", ["robo_rl/Reach-v0", "robo_rl/PegInsertion-v0"])
def test_an_episode_is_a_function_of_seed_and_actions(env_id):
    def episode(seed):
        env = gymnasium.make(env_id)
        observed = [env.reset(seed=seed)[0]]
        env.action_space.seed(0)
        observed += [env.step(env.action_space.sample())[0] for _ in range(10)]
        observed.append(env.reset()[0])  # the next start as well
        env.close()
        return np.stack(observed)

    np.testing.assert_array_equal(episode(3), episode(3))
    assert not np.array_equal(episode(3)[0], episode(4)[0])


def test_without_a_seed_starts_differ():
    first, second = (GymEnv("reach").reset()[0] for _ in range(2))
    assert not np.array_equal(first, second)


def test_success_ends_the_episode_and_is_told_under_both_names():
    env = GymEnv("reach", overrides={"tolerance": 10.0})  # reached wherever it is
    env.reset(seed=0)
    obs, reward, terminated, truncated, info = env.step(np.zeros(3, np.float32))
    assert env.observation_space.contains(obs)
    assert (reward, terminated, truncated) == (1.0, True, False)
    assert info["success"] is info["is_success"] is True
    np.testing.assert_array_equal(info["executed_action"], np.zeros(3))


def test_the_horizon_cuts_and_does_not_terminate():
    env = GymEnv("reach", overrides={"horizon": 3, "tolerance": 1e-9})
    env.reset(seed=0)
    ends = [env.step(np.zeros(3, np.float32))[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]


def test_dense_reward_is_asked_for_by_name():
    env = gymnasium.make("robo_rl/Reach-v0", reward="dense")
    env.reset(seed=0)
    assert env.step(np.zeros(3, np.float32))[1] < 0  # minus the distance


class TestVector:
    @staticmethod
    def make(**overrides):
        return GymVectorEnv(3, "reach", overrides={"horizon": 4, **overrides}, threads=1)

    def test_gymnasium_makes_it_from_the_id(self):
        env = gymnasium.make_vec("robo_rl/Reach-v0", num_envs=2)
        assert isinstance(env.unwrapped, GymVectorEnv)
        assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
        obs, _ = env.reset(seed=0)
        assert env.observation_space.contains(obs)
        env.close()

    def test_it_goes_where_the_single_one_goes(self):
        vector, single = GymVectorEnv(1, "reach"), GymEnv("reach")
        np.testing.assert_array_equal(vector.reset(seed=5)[0][0], single.reset(seed=5)[0])
        action = np.array([0.3, -0.2, 0.1], np.float32)
        for _ in range(5):
            np.testing.assert_array_equal(vector.step(action[None])[0][0], single.step(action)[0])

    def test_the_last_observation_is_told_and_the_next_episode_begun_in_the_same_step(self):
        env = self.make(tolerance=1e-9)
        env.reset(seed=2)
        action = np.full((3, 3), 0.5, np.float32)
        for _ in range(3):
            obs, _, terminated, truncated, info = env.step(action)
            assert "final_obs" not in info
            assert not (terminated | truncated).any()
        before_end = obs
        obs, _, terminated, truncated, info = env.step(action)
        assert truncated.all()
        assert not terminated.any()
        last = np.stack(list(info["final_obs"]))
        assert info["_final_obs"].all()
        # One step moves the tool by a few millimetres; a new start moves it by decimetres.
        assert np.abs(last[:, :3] - before_end[:, :3]).max() < 0.5
        assert np.abs(obs[:, :3] - last[:, :3]).max(axis=1).min() > 0.05
        assert info["final_info"]["_success"].all()
        assert not info["_success"].any()
        after = env.step(action)  # and it goes on from there
        assert np.abs(after[0][:, :3] - obs[:, :3]).max() < 0.5
        assert not after[3].any()

    def test_only_those_that_ended_begin_anew(self):
        env = self.make(horizon=200, tolerance=0.02)
        obs, _ = env.reset(seed=0)
        for _ in range(100):
            way = obs[:, :3] * 0.1  # observed in decimetres
            action = np.where(np.arange(3)[:, None] == 1, way / 0.03, 0.0)  # the second one goes for its goal
            obs, reward, terminated, truncated, info = env.step(np.clip(action, -1, 1).astype(np.float32))
            if terminated.any():
                break
        assert terminated.tolist() == [False, True, False]
        assert reward.tolist() == [0.0, 1.0, 0.0]
        assert not truncated.any()
        assert info["_final_obs"].tolist() == [False, True, False]
        assert info["final_obs"][0] is None
        assert np.abs(info["final_obs"][1][:3]).max() * 0.1 < 0.02  # at the goal
        assert np.abs(obs[1, :3]).max() * 0.1 > 0.02  # away from the next one
        assert info["final_info"]["success"].tolist() == [False, True, False]
        assert info["_is_success"].tolist() == [True, False, True]

    def test_gymnasium_s_statistics_wrapper_counts_right(self):
        env = RecordEpisodeStatistics(self.make(tolerance=1e-9))
        env.reset(seed=0)
        for _ in range(8):
            env.step(np.zeros((3, 3), np.float32))
        assert list(env.length_queue) == [4] * 6

    def test_seeds_decide_every_start(self):
        first, second, other = (self.make() for _ in range(3))
        a, b, c = first.reset(seed=1)[0], second.reset(seed=1)[0], other.reset(seed=2)[0]
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)
        assert not np.array_equal(a[0], a[1])


def test_stable_baselines3_s_checker_finds_nothing():
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checker.check_env(GymEnv("peg_insertion"))
