"""The learner solves small tasks, and fails where it must."""

import math
from collections.abc import Callable

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor

from robo_rl.agents.auxiliary import AuxiliaryConfig
from robo_rl.agents.experts import ExpertsConfig
from robo_rl.agents.perturbation import PerturbationConfig
from robo_rl.agents.sac import SAC, SACConfig
from robo_rl.contracts.learning import Batch, Following

STEP, RADIUS, HORIZON, DISCOUNT = 0.15, 0.1, 20, 0.95
OBSERVATIONS = gymnasium.spaces.Dict(state=gymnasium.spaces.Box(-4, 4, (2,), np.float32))
ACTIONS = gymnasium.spaces.Box(-1, 1, (2,), np.float32)


def episode(act: Callable[[Tensor], Tensor], generator: torch.Generator) -> Tensor:
    """A point, started one metre from the origin, is rewarded once: at the origin, which ends the episode.

    Returns rows of position 2, action 2, reward, next position 2, discount.
    """
    angle = 2 * math.pi * torch.rand((), generator=generator)
    position, rows = torch.stack([angle.cos(), angle.sin()]), []
    for _ in range(HORIZON):
        action = act(position)
        after = position + STEP * action
        arrived = (after.norm() < RADIUS).float()
        rows.append(torch.cat([position, action, arrived[None], after, DISCOUNT * (1 - arrived)[None]]))
        position = after
        if arrived:
            break
    return torch.stack(rows)


def follow(rows: Tensor, index: Tensor, steps: int) -> list[Tensor]:
    """Actions, next positions, rewards and validity of the steps from the rows at ``index`` (2, n) on."""
    if not steps:
        return []
    chain, valid = [index], [torch.ones_like(index, dtype=torch.bool)]
    for _ in range(steps - 1):
        after = (chain[-1] + 1).clamp(max=len(rows) - 1)
        goes_on = valid[-1] & (after > chain[-1]) & (rows[after, :2] == rows[chain[-1], 5:7]).all(-1)
        chain.append(torch.where(goes_on, after, chain[-1]))
        valid.append(goes_on)
    path, whole = rows[torch.stack(chain, dim=2)], torch.stack(valid, dim=2)
    return [path[..., 2:4], path[..., 5:7], (path[..., 4] * whole).sum(-1), whole]


def train(
    config: SACConfig, *, steps: int, demonstrations: int = 10, shuffle_rewards: bool = False, seed: int = 0
) -> float:
    """Train at two updates a step on half demonstrations, and return the success rate of the mode over 50 episodes."""
    generator = torch.Generator().manual_seed(seed)
    agent = SAC(OBSERVATIONS, ACTIONS, config, seed=seed)

    def expert(position: Tensor) -> Tensor:
        return (-position / STEP).clamp(-1, 1)

    def policy(explore: bool) -> Callable[[Tensor], Tensor]:
        return lambda position: agent.act({"state": position[None]}, explore=explore)[0]

    def draw(rows: Tensor, n: int) -> tuple[Tensor, list[Tensor]]:
        index = torch.randint(len(rows), (2, n), generator=generator)
        return rows[index], follow(rows, index, config.auxiliary.following)

    def success() -> float:
        starts = torch.Generator().manual_seed(1)
        return sum(episode(policy(False), starts)[-1, 4].item() for _ in range(50)) / 50

    demos = torch.cat([episode(expert, generator) for _ in range(demonstrations)]) if demonstrations else None
    online, rate = torch.empty(0, 8), 0.0
    while len(online) < steps and rate < 0.95:
        check = len(online) // 200
        new = episode(policy(True), generator)
        online = torch.cat([online, new])
        agent.remember_episode(new[:, 4].sum().item())
        for _ in range(len(new)):
            drawn = [draw(online, 64)] if demos is None else [draw(online, 32), draw(demos, 32)]
            rows = torch.cat([part for part, _ in drawn], dim=1).flatten(0, 1)
            ahead = [torch.cat(parts, dim=1).flatten(0, 1) for parts in zip(*(path for _, path in drawn), strict=True)]
            following = Following(ahead[0], {"state": ahead[1]}, ahead[2], ahead[3]) if ahead else None
            if shuffle_rewards:
                rows[:, 4] = rows[torch.randperm(len(rows), generator=generator), 4]
            here, after = {"state": rows[:, :2]}, {"state": rows[:, 5:7]}
            batch = Batch(here, rows[:, 2:4], rows[:, 4], after, rows[:, 7], following)
            agent.update(batch, utd=2)
        if len(online) // 200 > check:
            rate = success()
    return success()


def config(**settings: object) -> SACConfig:
    return SACConfig(**({"critics": 2, "hidden": (64, 64), "critic_lr": 1e-3, "actor_lr": 1e-3} | settings))


EXPERTS = ExpertsConfig(count=4, active=2, width=32)
SOLVES: dict[str, dict[str, object]] = {
    "weight_norm": {"critic_norm": "weight"},
    "crossq": {"critic_norm": "batch", "critic_hidden": (128, 128), "adam_beta1": 0.5},
    "droq": {"critic_dropout": 0.01},
    "adan": {"optimiser": "adan"},
    "experts": {"experts": EXPERTS},
    "drm": {"perturb": PerturbationConfig(every=400), "dormant_exploration": 1.0},
    "mentor": {
        "experts": EXPERTS,
        "perturb": PerturbationConfig(every=400, towards="best"),
        "dormant_exploration": 0.8,
    },
    "curl": {"auxiliary": AuxiliaryConfig(loss="curl", width=16)},
    "taco": {"auxiliary": AuxiliaryConfig(loss="taco", width=16, hidden=64)},
    "prediction": {"auxiliary": AuxiliaryConfig(loss="prediction", width=16, hidden=64, steps=3)},
}


@pytest.mark.parametrize("settings", [{}, {"hl_gauss": True, "q_bounds": (0.0, 1.0)}], ids=["scalar", "hl_gauss"])
def test_reaches_from_a_sparse_reward_and_demonstrations(settings: dict[str, object]) -> None:
    assert train(config(**settings), steps=1500) >= 0.95


@pytest.mark.parametrize("without", [{"demonstrations": 0}, {"shuffle_rewards": True}], ids=["demos", "true_rewards"])
def test_fails_without(without: dict[str, object]) -> None:
    assert train(config(), steps=600, **without) <= 0.3


@pytest.mark.slow
def test_swings_up_a_pendulum() -> None:
    env = gymnasium.make("Pendulum-v1")
    observations = gymnasium.spaces.Dict(state=env.observation_space)
    settings = SACConfig(critics=2, initial_temperature=1.0, entropy_backup=True, critic_lr=1e-3, actor_lr=1e-3)
    agent = SAC(observations, gymnasium.spaces.Box(-1, 1, (1,), np.float32), settings)
    generator = torch.Generator().manual_seed(0)
    rows, returns = torch.empty(0, 3 + 1 + 1 + 3), []
    for i in range(30):
        state, total = torch.as_tensor(env.reset(seed=i)[0]), 0.0
        for _ in range(200):
            action = agent.act({"state": state[None]}, explore=True)[0]
            after, reward, *_ = env.step(2.0 * action.numpy())
            rows = torch.cat(
                [rows, torch.cat([state, action, torch.tensor([reward]).float(), torch.as_tensor(after)])[None]]
            )
            state, total = torch.as_tensor(after), total + float(reward)
            if len(rows) > 200:
                b = rows[torch.randint(len(rows), (256,), generator=generator)]
                batch = Batch({"state": b[:, :3]}, b[:, 3:4], b[:, 4], {"state": b[:, 5:8]}, torch.full((256,), 0.99))
                agent.update(batch, utd=1)
        returns.append(total)
    assert np.mean(returns[:3]) < -800  # random swinging
    assert np.mean(returns[-5:]) > -250


@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="no bfloat16 products here")
@pytest.mark.parametrize("seed", [0, 1])
def test_reaches_as_well_in_bfloat16(seed: int) -> None:
    """The bounds are those of float32, in as many steps."""
    assert train(config(bfloat16=True), steps=1500, seed=seed) >= 0.95


@pytest.mark.parametrize("name", SOLVES)
def test_reaches_with_each_option(name: str) -> None:
    assert train(config(**SOLVES[name]), steps=2500) >= 0.95
