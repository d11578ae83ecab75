"""The authors' RLPD in JAX, from a checkout whose path is in RLPD_ROOT; it is on no package index."""

from __future__ import annotations

import os
import sys
from functools import partial

sys.path.insert(0, os.environ["RLPD_ROOT"])

import gym
import jax
import numpy as np
from rlpd.agents import SACLearner
from timing import ACTIONS, BATCH, OBS, UTD, serve


def make(critics: int, *, layer_norm: bool) -> SACLearner:
    """A learner."""
    return SACLearner.create(
        0, gym.spaces.Box(-1, 1, (OBS,)), gym.spaces.Box(-1, 1, (ACTIONS,)), num_qs=critics, num_min_qs=2,
        critic_layer_norm=layer_norm,
    )  # fmt: skip


def main() -> None:
    """Serve. What comes back is waited for, or only the call would be timed."""
    random = np.random.default_rng(0)

    def batch(size: int) -> dict[str, np.ndarray]:
        return {
            "observations": random.standard_normal((size, OBS)).astype(np.float32),
            "actions": random.uniform(-1, 1, (size, ACTIONS)).astype(np.float32),
            "rewards": random.standard_normal(size).astype(np.float32),
            "masks": np.ones(size, np.float32),
            "next_observations": random.standard_normal((size, OBS)).astype(np.float32),
        }

    held = {"ten": make(10, layer_norm=True), "two": make(2, layer_norm=True), "plain": make(2, layer_norm=False)}

    def update(name: str, block: dict[str, np.ndarray], updates: int) -> None:
        held[name], _ = held[name].update(block, updates)
        jax.block_until_ready(held[name].critic.params)

    block, one = batch(UTD * BATCH), batch(BATCH)
    obs = one["observations"][0]
    serve(
        {
            "block_10": partial(update, "ten", block, UTD),
            "block_2": partial(update, "two", block, UTD),
            "sac": partial(update, "plain", one, 1),
            "act": lambda: held["plain"].sample_actions(obs),
        },
        ("jax", "flax"),
    )


if __name__ == "__main__":
    main()
