"""The learner solves a small task from images, and fails where the images say nothing."""

import gymnasium
import numpy as np
import torch
from torch import Tensor

from robo_rl.agents.sac import SAC, SACConfig
from robo_rl.contracts.learning import Batch

SIZE, STEP, RADIUS, HORIZON, DISCOUNT = 16, 0.5, 0.12, 3, 0.9
OBSERVATIONS = gymnasium.spaces.Dict(camera=gymnasium.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8))
ACTIONS = gymnasium.spaces.Box(-1, 1, (1,), np.float32)


def picture(x: Tensor) -> Tensor:
    """A bright bar at x (N,) in [-1, 1] on a dark ground, (N, 16, 16, 3) uint8."""
    columns = torch.linspace(-1.0, 1.0, SIZE)
    bar = (1.0 - 4.0 * (columns - x[:, None]).abs()).clamp_min(0.0)  # (N, 16)
    return (30 + 200 * bar)[:, None, :, None].expand(-1, SIZE, -1, 3).to(torch.uint8)


def train(*, shuffle_images: bool, seed: int = 0) -> float:
    """A point on a line shall come to its middle within three steps; success rate of the mode over 100 starts."""
    generator = torch.Generator().manual_seed(seed)
    settings = SACConfig(critics=2, hidden=(64, 64), critic_lr=1e-3, actor_lr=1e-3, random_shift=0, q_bounds=(0.0, 1.0))
    agent = SAC(OBSERVATIONS, ACTIONS, settings, seed=seed)

    def start(n: int) -> Tensor:
        far = 0.25 + 0.75 * torch.rand(n, generator=generator)
        return far * (2.0 * torch.randint(2, (n,), generator=generator) - 1.0)

    def roll(x: Tensor, act) -> list[Tensor]:
        """Transitions of many points side by side: rows of x, action, reward, next x, discount."""
        rows = []
        for _ in range(HORIZON):
            action = act(x)
            after = (x + STEP * action[:, 0]).clamp(-1.0, 1.0)
            arrived = (after.abs() < RADIUS).float()
            rows.append(torch.stack([x, action[:, 0], arrived, after, DISCOUNT * (1.0 - arrived)], dim=1))
            x = after[arrived == 0]
            if not len(x):
                break
        return rows

    def act(explore: bool):
        return lambda x: agent.act({"camera": picture(x)}, explore=explore)

    demos = torch.cat(roll(start(20), lambda x: (-x / STEP).clamp(-1, 1)[:, None]))
    online = torch.cat(roll(start(20), lambda x: 2.0 * torch.rand(len(x), 1, generator=generator) - 1.0))
    for _ in range(60):
        online = torch.cat([online, *roll(start(4), act(True))])
        for _ in range(5):
            drawn = [rows[torch.randint(len(rows), (32,), generator=generator)] for rows in (online, demos)]
            x, action, reward, after, discount = torch.cat(drawn).unbind(1)
            order = torch.randperm(64, generator=generator) if shuffle_images else torch.arange(64)
            images, next_images = picture(x)[order], picture(after)[order]
            data = Batch({"camera": images}, action[:, None], reward, {"camera": next_images}, discount)
            agent.update(data, utd=1)
    arrived = sum(row[:, 2].sum().item() for row in roll(start(100), act(False)))
    return arrived / 100


def test_finds_the_middle_from_images() -> None:
    assert train(shuffle_images=False) >= 0.9


def test_fails_when_images_do_not_belong_to_what_happened() -> None:
    assert train(shuffle_images=True) <= 0.6
