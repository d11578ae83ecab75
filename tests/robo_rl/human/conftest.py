"""A person who says what a test wants, and an environment that shows what is carried out."""

from __future__ import annotations

from collections import deque

import gymnasium
import numpy as np
import pytest
import torch

from robo_rl.contracts import HumanInput, Step, View


class Puppet:
    """Says the lines that it was given, one a period, and nothing after that."""

    device = "gamepad"

    def __init__(self, *lines: HumanInput | None) -> None:
        self.lines = deque(lines)
        self.episodes = 0
        self.views: list[View] = []
        self.closed = 0

    def begin(self):
        self.episodes += 1

    def read(self, view):
        self.views.append(view)
        return self.lines.popleft() if self.lines else HumanInput(device=self.device)

    def close(self):
        self.closed += 1


class CountingEnv:
    """Observes how many steps were taken since the beginning, and remembers what it was told to do."""

    device = torch.device("cpu")
    control_dt = 0.1
    observation_space = gymnasium.spaces.Dict({"state": gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)})
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, num_envs: int = 1, horizon: int = 50) -> None:
        self.num_envs, self.horizon = num_envs, horizon
        self.moment = torch.zeros(num_envs)
        self.age = torch.zeros(num_envs)
        self.told: list[torch.Tensor] = []
        self.succeeds = False
        self.closed = 0

    def seed(self, seed):
        self.moment = torch.full((self.num_envs,), float(seed))

    def reset(self, mask=None, *, start=None):
        mask = torch.ones(self.num_envs, dtype=torch.bool) if mask is None else mask
        self.moment = self.moment + 1000.0 * mask
        self.age = torch.where(mask, 0.0, self.age)
        return {"state": self.moment[:, None].clone()}

    def step(self, action):
        self.told.append(action.clone())
        self.moment, self.age = self.moment + 1.0, self.age + 1.0
        success = torch.full((self.num_envs,), self.succeeds)
        cut = (self.age >= self.horizon) & ~success
        info = {"success": success, "executed_action": 0.5 * action}  # a world that carries out half of it
        return Step({"state": self.moment[:, None].clone()}, success.float(), success, cut, info)

    def close(self):
        self.closed += 1


@pytest.fixture
def puppet():
    return Puppet


@pytest.fixture
def counting_env():
    return CountingEnv
