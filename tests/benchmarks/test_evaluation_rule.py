from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch

from benchmarks.evaluation_rule import EvaluationRule
from robo_rl.contracts.learning import Step


class Threshold:
    """One step an episode. Start i of n wants an action above i / n: a policy that gives c succeeds in a share c."""

    num_envs, horizon, device = 2, 1, torch.device("cpu")
    observation_space = gymnasium.spaces.Dict({"state": gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)})
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, episodes_by_seed):
        self._episodes, self._wanted = episodes_by_seed, torch.zeros(2)

    def seed(self, seed):
        pass

    def reset(self, mask=None, *, seeds=None):
        for row, seed in zip(mask.nonzero()[:, 0], seeds, strict=True):
            start, i = divmod(seed, 1_000_003)
            self._wanted[row] = i / self._episodes[start]
        return {"state": torch.zeros(2, 1)}

    def step(self, action):
        success = action[:, 0] > self._wanted + 1e-6
        over = torch.ones(2, dtype=torch.bool)
        info = {"success": success, "executed_action": action}
        return Step({"state": torch.zeros(2, 1)}, success.float(), success, over & ~success, info)

    def close(self):
        pass


class Policy:
    """Gives one number, which "training" sets."""

    def __init__(self):
        self.level = 0.0

    def act(self, obs, *, explore):
        return torch.full((2, 1), self.level)

    def restore(self, level):
        self.level = level


@pytest.fixture
def policy():
    return Policy()


@pytest.fixture
def rule(policy):
    from robo_rl.training.trainer import CONFIRMATION_SEED, FINAL_SEED, PERIODIC_SEED

    env = Threshold({PERIODIC_SEED: 10, CONFIRMATION_SEED: 20, FINAL_SEED: 20})
    return EvaluationRule(env, policy.act, lambda: policy.level, target=0.9, episodes=10, final_episodes=20)


def test_the_best_policy_is_evaluated_at_the_end_not_the_last(rule, policy):
    for steps, level in enumerate((0.3, 0.7, 0.5), start=1):
        policy.level = level
        rule.evaluate(steps, 2 * steps)
    found = rule.finish(policy.restore)
    assert policy.level == 0.7
    assert (found["successes"], found["episodes"]) == (14, 20)
    assert [(p["env_steps"], p["updates"], p["success_rate"]) for p in found["curve"]] == [
        (1, 2, 0.3),
        (2, 4, 0.7),
        (3, 6, 0.5),
    ]
    assert not rule.target_reached
    assert found["seconds_to_target"] is None


def test_of_equals_the_newest_is_kept(rule, policy):
    for level in (0.71, 0.75):  # both succeed in 8 of 10
        policy.level = level
        rule.evaluate(1, 1)
    rule.finish(policy.restore)
    assert policy.level == 0.75


def test_a_good_evaluation_stops_training_only_if_it_is_confirmed(rule, policy):
    policy.level = 0.82  # 9 of 10, but 17 of 20
    rule.evaluate(100, 100)
    assert not rule.target_reached
    policy.level = 0.97
    rule.evaluate(200, 200)
    assert rule.target_reached
    assert rule.finish(policy.restore)["steps_to_target"] == 200


def test_without_a_target_nothing_is_confirmed(policy):
    from robo_rl.training.trainer import FINAL_SEED, PERIODIC_SEED

    env = Threshold({PERIODIC_SEED: 10, FINAL_SEED: 10})  # a confirmation would not find its seed
    rule = EvaluationRule(env, policy.act, lambda: policy.level, target=None, episodes=10, final_episodes=10)
    policy.level = 1.0
    rule.evaluate(1, 1)
    assert not rule.target_reached
    assert rule.finish(policy.restore)["success_rate"] == 1.0
