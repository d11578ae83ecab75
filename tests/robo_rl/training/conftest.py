"""A point on a line that has to come to the origin: the smallest environment with the contract of the real ones."""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium
import numpy as np
import pytest
import torch

from robo_rl.contracts.learning import Step


@dataclass(frozen=True)
class PointStart:
    position: torch.Tensor  # (n,)

    def __getitem__(self, rows):
        return PointStart(self.position[rows])


class PointTask:
    name = "point"

    def start(self, generator, n):
        return PointStart(2.0 * torch.rand(n, generator=generator) - 1.0)


class PointEnv:
    """x' = x + 0.2 a; success within 0.1 of the origin; long and short episodes, depending on the start.

    Args:
        num_envs: side by side.
        horizon: steps.
    """

    device = torch.device("cpu")
    control_dt = 0.1
    observation_space = gymnasium.spaces.Dict({"state": gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)})
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, num_envs: int = 1, horizon: int = 20, seed: int = 0) -> None:
        self.num_envs, self.horizon, self.task = num_envs, horizon, PointTask()
        self.x = torch.zeros(num_envs)
        self.t = torch.zeros(num_envs)
        self.started: list[float] = []
        self.closed = False
        self.seed(seed)

    def seed(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def reset(self, mask=None, *, start=None):
        mask = torch.ones(self.num_envs, dtype=torch.bool) if mask is None else mask
        start = start if start is not None else self.task.start(self.generator, int(mask.sum()))
        self.x = self.x.clone()
        self.x[mask] = start.position
        self.t = torch.where(mask, 0.0, self.t)
        self.started += start.position.tolist()
        return self.observe()

    def observe(self):
        return {"state": torch.stack([self.x, self.t / self.horizon], dim=1)}

    def expert_action(self):
        return (-self.x[:, None] / 0.2).clamp(-1.0, 1.0)

    def step(self, action):
        executed = action.clamp(-1.0, 1.0)
        self.x = self.x + 0.2 * executed[:, 0]
        self.t = self.t + 1
        success = self.x.abs() < 0.1
        cut = (self.t >= self.horizon) & ~success
        return Step(self.observe(), success.float(), success, cut, {"success": success, "executed_action": executed})

    def render(self, camera=None, env_index=0, width=320, height=240):
        picture = np.zeros((height, width, 3), np.uint8)
        column = int(np.clip((self.x[env_index].item() + 1.5) / 3.0, 0.0, 0.999) * width)
        picture[:, column] = 255
        return picture

    def close(self):
        self.closed = True


@pytest.fixture
def point_env():
    return PointEnv
