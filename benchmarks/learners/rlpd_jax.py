"""The authors' RLPD in JAX, from a checkout whose path is in RLPD_ROOT; it is on no package index."""

from __future__ import annotations

import os
import sys
from functools import partial

sys.path.insert(0, os.environ["RLPD_ROOT"])

import gym
import jax
import numpy as np
import tensorflow_probability.substrates.jax  # noqa: F401  RLPD takes it for loaded
from rlpd.agents import SACLearner
from rlpd.data import ReplayBuffer
from timing import Setup, Work, serve

SETUP = Setup.read()
STATE, ACTION = gym.spaces.Box(-np.inf, np.inf, (SETUP.obs,)), gym.spaces.Box(-1, 1, (SETUP.actions,))


def make(critics: int, *, layer_norm: bool) -> SACLearner:
    """A learner."""
    return SACLearner.create(
        0, gym.spaces.Box(-1, 1, (SETUP.obs,)), ACTION, hidden_dims=(SETUP.hidden, SETUP.hidden), num_qs=critics,
        num_min_qs=2, critic_layer_norm=layer_norm,
    )  # fmt: skip


def memory(count: int) -> ReplayBuffer:
    """A full buffer."""
    buffer = ReplayBuffer(STATE, ACTION, count)
    random = np.random.default_rng(0)
    for _ in range(count):
        obs, following = random.standard_normal((2, SETUP.obs)).astype(np.float32)
        action = random.uniform(-1, 1, SETUP.actions).astype(np.float32)
        buffer.insert(
            {
                "observations": obs, "next_observations": following, "actions": action, "rewards": 0.0,
                "masks": 1.0, "dones": False,
            }
        )  # fmt: skip
    return buffer


def train(critics: int, *, layer_norm: bool, updates: int, sample: bool = False) -> Work:
    """Updates. What comes back is waited for, or only the call would be timed."""
    buffer = memory(SETUP.transitions)
    held = make(critics, layer_norm=layer_norm)
    block = buffer.sample(updates * SETUP.batch)

    def update() -> None:
        nonlocal held
        held, _ = held.update(buffer.sample(updates * SETUP.batch) if sample else block, updates)
        jax.block_until_ready((held.critic.params, held.actor.params))

    return update


def act() -> Work:
    """One action."""
    held = make(2, layer_norm=False)
    obs = np.random.default_rng(1).standard_normal(SETUP.obs).astype(np.float32)
    return lambda: held.sample_actions(obs)


if __name__ == "__main__":
    serve(
        {
            "block_10": partial(train, 10, layer_norm=True, updates=SETUP.utd),
            "block_2": partial(train, 2, layer_norm=True, updates=SETUP.utd),
            "sac": partial(train, 2, layer_norm=False, updates=1, sample=True),
            "act": act,
            "replay": lambda: partial(memory(SETUP.transitions).sample, SETUP.batch),
        },
        ("jax", "flax"),
        stores={"state": memory},
    )
