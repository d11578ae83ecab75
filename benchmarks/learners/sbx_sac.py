"""SBX, the JAX port of Stable-Baselines3. Its target is the minimum of all critics, and its blocks include sampling."""

from __future__ import annotations

from functools import partial

import gymnasium
import numpy as np
from sbx import SAC
from stable_baselines3.common.logger import Logger
from timing import Setup, Work, serve

SETUP = Setup.read()


class Space(gymnasium.Env):
    """An environment that is asked for its spaces only."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (SETUP.obs,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (SETUP.actions,), np.float32)


def make(critics: int, *, layer_norm: bool, updates: int) -> SAC:
    """A learner with a full buffer; ``updates`` of the critics to one of the policy."""
    model = SAC(
        "MlpPolicy", Space(), batch_size=SETUP.batch, buffer_size=SETUP.transitions,
        gradient_steps=updates, policy_delay=updates,
        policy_kwargs={
            "net_arch": [SETUP.hidden, SETUP.hidden], "n_critics": critics, "layer_norm": layer_norm,
        },
    )  # fmt: skip
    model.set_logger(Logger(None, []))
    random = np.random.default_rng(0)
    for _ in range(SETUP.transitions):
        obs, following = random.standard_normal((2, 1, SETUP.obs)).astype(np.float32)
        action = random.uniform(-1, 1, (1, SETUP.actions)).astype(np.float32)
        model.replay_buffer.add(obs, following, action, random.standard_normal(1), np.zeros(1), [{}])
    return model


def train(critics: int, *, layer_norm: bool, updates: int) -> Work:
    """Updates. ``train`` itself waits for them: it hands figures of the losses to its logger."""
    model = make(critics, layer_norm=layer_norm, updates=updates)
    return partial(model.train, gradient_steps=updates, batch_size=SETUP.batch)


def act() -> Work:
    """One action."""
    model = make(2, layer_norm=False, updates=1)
    return partial(model.predict, np.random.default_rng(1).standard_normal(SETUP.obs).astype(np.float32))


if __name__ == "__main__":
    serve(
        {
            "block_10": partial(train, 10, layer_norm=True, updates=SETUP.utd),
            "block_2": partial(train, 2, layer_norm=True, updates=SETUP.utd),
            "sac": partial(train, 2, layer_norm=False, updates=1),
            "act": act,
        },
        ("sbx-rl", "jax", "stable-baselines3"),
    )
