"""SBX, the JAX port of Stable-Baselines3; its target is the minimum of all critics."""

from __future__ import annotations

from functools import partial

import gymnasium
import numpy as np
from sbx import SAC
from stable_baselines3.common.logger import Logger
from timing import ACTIONS, BATCH, HIDDEN, OBS, TRANSITIONS, UTD, serve


class Space(gymnasium.Env):
    """An environment that is asked for its spaces only."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (OBS,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (ACTIONS,), np.float32)


def make(critics: int, *, layer_norm: bool, updates: int) -> SAC:
    """A learner with a full buffer; ``updates`` of the critics to one of the policy."""
    model = SAC(
        "MlpPolicy", Space(), batch_size=BATCH, buffer_size=TRANSITIONS, gradient_steps=updates, policy_delay=updates,
        policy_kwargs={"net_arch": [HIDDEN, HIDDEN], "n_critics": critics, "layer_norm": layer_norm},
    )  # fmt: skip
    model.set_logger(Logger(None, []))
    random = np.random.default_rng(0)
    for _ in range(TRANSITIONS):
        obs, following = random.standard_normal((2, 1, OBS)).astype(np.float32)
        action = random.uniform(-1, 1, (1, ACTIONS)).astype(np.float32)
        model.replay_buffer.add(obs, following, action, random.standard_normal(1), np.zeros(1), [{}])
    return model


def main() -> None:
    """Serve. The blocks include sampling, 2 % of them."""
    ten, two = make(10, layer_norm=True, updates=UTD), make(2, layer_norm=True, updates=UTD)
    plain = make(2, layer_norm=False, updates=1)
    obs = np.random.default_rng(1).standard_normal(OBS).astype(np.float32)
    serve(
        {
            "block_10": partial(ten.train, BATCH, UTD),
            "block_2": partial(two.train, BATCH, UTD),
            "sac": partial(plain.train, BATCH, 1),
            "act": partial(plain.predict, obs),
        },
        ("sbx-rl", "jax", "stable-baselines3"),
    )


if __name__ == "__main__":
    main()
