"""cpprb's replay memory. It has no augmentation."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from cpprb import ReplayBuffer
from timing import Setup, serve

SETUP = Setup.read()


def memory(count: int, *, images: bool, shared: bool = False) -> ReplayBuffer:
    """A full buffer; ``shared``: next observations are those that the next transition begins with."""
    random = np.random.default_rng(0)
    shapes: dict[str, Any] = {"state": {"shape": SETUP.obs, "dtype": np.float32}}
    for i in range(SETUP.cameras if images else 0):
        shapes[f"camera.{i}"] = {"shape": (SETUP.image, SETUP.image, 3), "dtype": np.uint8}
    names = tuple(shapes)
    following = {} if shared else {f"next_{name}": dict(shape) for name, shape in shapes.items()}
    rest = {"act": {"shape": SETUP.actions, "dtype": np.float32}, "rew": {}, "done": {"dtype": np.uint8}}
    buffer = ReplayBuffer(count, {**shapes, **following, **rest}, next_of=names if shared else None)

    def draw() -> dict[str, np.ndarray]:
        return {
            name: random.integers(256, size=shape["shape"], dtype=np.uint8)
            if shape["dtype"] == np.uint8
            else random.standard_normal(shape["shape"]).astype(np.float32)
            for name, shape in shapes.items()
        }

    for number in range(count):
        if number % SETUP.episode == 0:
            obs = draw()
        after = draw()
        action = random.uniform(-1, 1, SETUP.actions).astype(np.float32)
        buffer.add(**obs, **{f"next_{name}": value for name, value in after.items()}, act=action, rew=0.0, done=0)
        if number % SETUP.episode == SETUP.episode - 1:
            buffer.on_episode_end()
        obs = after
    return buffer


if __name__ == "__main__":
    serve(
        {
            "replay": lambda: partial(memory(SETUP.transitions, images=False).sample, SETUP.batch),
            "replay_images": lambda: partial(memory(SETUP.frames, images=True).sample, SETUP.batch),
        },
        ("cpprb", "numpy"),
        stores={
            "state": partial(memory, images=False),
            "state_shared": partial(memory, images=False, shared=True),
            "images": partial(memory, images=True),
            "images_shared": partial(memory, images=True, shared=True),
        },
    )
