"""The environment whose success is what a classifier sees."""

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch

from robo_rl.contracts import Step
from robo_rl.errors import UserError
from robo_rl.rewards.classified_env import ClassifiedEnv
from robo_rl.training.evaluation import evaluate

CAMERA = "camera.front.rgb"


class Lamp:
    """Shows how bright the action made it; done, in truth, where the second entry of the action is positive."""

    device = torch.device("cpu")
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    observation_space = gymnasium.spaces.Dict(
        {
            "state": gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32),
            CAMERA: gymnasium.spaces.Box(0, 255, (24, 24, 3), np.uint8),
        }
    )

    def __init__(self, num_envs=2, horizon=6):
        self.num_envs, self.horizon = num_envs, horizon
        self.steps = torch.zeros(num_envs, dtype=torch.long)
        self.failed = False
        self.reading = {}

    def seed(self, seed):
        self.seeded = seed

    def reset(self, mask=None, *, start=None):
        self.steps = torch.where(torch.ones(self.num_envs, dtype=torch.bool) if mask is None else mask, 0, self.steps)
        return self.look(torch.full((self.num_envs,), -1.0))

    def look(self, brightness):
        level = (127.5 * (brightness + 1.0)).to(torch.uint8)
        return {"state": brightness[:, None], CAMERA: level[:, None, None, None].expand(-1, 24, 24, 3).clone()}

    def step(self, action):
        self.steps = self.steps + 1
        success = action[:, 1] > 0
        terminated = success | self.failed
        cut = (self.steps >= self.horizon) & ~terminated
        return Step(
            self.look(action[:, 0]), success.float() + 0.25, terminated, cut,
            {"success": success, "executed_action": action},
        )  # fmt: skip

    def close(self):
        self.closed = True


@pytest.fixture
def classifier(drawn_classifier):
    """Says success where it is bright, two steps in a row: the least thing that a lamp can be mistaken in."""
    drawn = drawn_classifier()

    class Bright(type(drawn.net)):
        def logits(self, images):
            return images[CAMERA].double().mean((1, 2, 3)) / 25.5 - 5.0

    drawn.net.__class__ = Bright
    return dataclasses.replace(drawn, threshold=1.0)


def act(*rows):
    return torch.tensor(rows)


def test_the_classifier_rewards_and_ends_and_the_truth_is_told(classifier):
    env = ClassifiedEnv(Lamp(), classifier)
    env.reset()
    first = env.step(act((1.0, -1.0), (-1.0, 1.0)))  # bright and not done, dark and done
    assert first.info["success"].tolist() == [False, True]
    assert first.info["success_classified"].tolist() == [False, False]  # one frame is none yet
    assert not bool(first.done.any()), "the truth ends nothing"
    assert first.reward.tolist() == [0.25, 0.25]
    second = env.step(act((1.0, -1.0), (-1.0, 1.0)))
    assert second.info["success_classified"].tolist() == [True, False]
    assert second.terminated.tolist() == [True, False]
    assert second.reward.tolist() == [1.25, 0.25]
    assert second.info["success"].tolist() == [False, True]
    env.reset(second.done)
    assert not bool(env.step(act((1.0, -1.0), (1.0, 1.0))).done.any()), "the count has begun anew"


def test_a_success_that_is_not_noticed_is_cut_by_the_horizon(classifier):
    env = ClassifiedEnv(Lamp(), classifier)
    env.reset()
    steps = [env.step(act((-1.0, 1.0), (-1.0, -1.0))) for _ in range(6)]
    assert [bool(step.done.any()) for step in steps] == [False] * 5 + [True]
    assert steps[-1].truncated.tolist() == [True, True]
    assert not bool(steps[-1].terminated.any())


def test_failure_and_interruption_end_as_before(classifier):
    lamp = Lamp()
    env = ClassifiedEnv(lamp, classifier)
    env.reset()
    lamp.failed = True
    step = env.step(act((-1.0, -1.0), (-1.0, 1.0)))
    assert step.terminated.tolist() == [True, False]  # who has succeeded has not failed
    lamp.failed = False
    env.reset()
    lamp.reading = {"interrupted": torch.tensor([False, True])}
    step = env.step(act((-1.0, -1.0), (-1.0, 1.0)))
    assert step.truncated.tolist() == [False, True]


def test_pictures_can_be_the_classifiers_alone(classifier):
    env = ClassifiedEnv(Lamp(), classifier, hidden=[CAMERA])
    assert set(env.observation_space.spaces) == set(env.reset()) == {"state"}
    assert set(env.step(torch.zeros(2, 2)).obs) == {"state"}


def test_without_its_cameras_it_is_refused(drawn_classifier):
    with pytest.raises(UserError, match=r"camera\.wrist\.rgb"):
        ClassifiedEnv(Lamp(), drawn_classifier(("camera.wrist.rgb",)))


@pytest.mark.parametrize(
    ("action", "true", "claimed", "false"),
    [((1.0, 1.0), 1.0, 1.0, 0.0), ((1.0, -1.0), 0.0, 1.0, 1.0), ((-1.0, 1.0), 1.0, 0.0, 0.0)],
)
def test_an_evaluation_tells_exploitation(classifier, action, true, claimed, false):
    """Right; a policy that only turns the light on; one that the classifier does not notice."""
    env = ClassifiedEnv(Lamp(), classifier)
    found = evaluate(env, lambda obs, explore: torch.tensor([action] * 2), 4).to_json()
    assert (found["success_rate"], found["classified_rate"], found["classified_falsely"]) == (true, claimed, false)


def test_without_a_classifier_an_evaluation_tells_none():
    found = evaluate(Lamp(), lambda obs, explore: torch.ones(2, 2), 2).to_json()
    assert not [name for name in found if name.startswith("classified")]
