"""Our learner: ``python -m benchmarks.learners.ours [--bfloat16]``."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import torch

from benchmarks.learners.timing import ACTIONS, BATCH, OBS, TRANSITIONS, UTD, serve
from robo_rl.agents.exported import ExportedPolicy
from robo_rl.agents.sac import SAC, SACConfig
from robo_rl.contracts.learning import Step
from robo_rl.replay.buffer import ReplayBuffer
from robo_rl.threads import configure

SPACE = gymnasium.spaces.Dict(state=gymnasium.spaces.Box(-np.inf, np.inf, (OBS,), np.float32))
ACTION_SPACE = gymnasium.spaces.Box(-1.0, 1.0, (ACTIONS,), np.float32)


def filled() -> ReplayBuffer:
    """A buffer of random transitions."""
    memory = ReplayBuffer(SPACE, ACTION_SPACE, capacity=TRANSITIONS, num_envs=100)
    obs = {"state": torch.randn(100, OBS)}
    for _ in range(TRANSITIONS // 100):
        nothing = torch.zeros(100, dtype=torch.bool)
        step = Step({"state": torch.randn(100, OBS)}, torch.randn(100), nothing, nothing, {})
        memory.add(obs, 2.0 * torch.rand(100, ACTIONS) - 1.0, step)
        obs = step.obs
    return memory


def cases(**options: Any) -> dict[str, Any]:
    """What is timed."""
    memory = filled()
    block = memory.sample(UTD * BATCH)
    ten = SAC(SPACE, ACTION_SPACE, SACConfig(critics=10, entropy_backup=True, **options))
    two = SAC(SPACE, ACTION_SPACE, SACConfig(critics=2, entropy_backup=True, **options))
    plain = SAC(
        SPACE, ACTION_SPACE,
        SACConfig(critics=2, entropy_backup=True, critic_norm="none", actor_q="min", **options),
    )  # fmt: skip
    obs = {"state": torch.randn(1, OBS)}
    exported = ExportedPolicy.of(plain.policy, {"state": OBS}, {})
    return {
        "block_10": partial(ten.update, block, UTD),
        "block_2": partial(two.update, block, UTD),
        "sac": lambda: plain.update(memory.sample(BATCH), 1),
        "act": partial(plain.act, obs, explore=True),
        "act_exported": partial(exported.act, {"state": obs["state"][0].numpy()}),
        "replay": partial(memory.sample, BATCH),
    }


if __name__ == "__main__":
    configure()
    torch.manual_seed(0)
    words = sys.argv[1:]
    serve(cases(bfloat16="--bfloat16" in words), ("torch",))
