"""LeRobot's SAC and replay memory; see lerobot_updates.py beside it for how it is updated and installed."""

from __future__ import annotations

from functools import partial

import torch
from lerobot_updates import STATE, Learner, ReplayBuffer
from timing import Setup, Work, serve

SETUP = Setup.read()
CAMERAS = tuple(f"observation.images.{i}" for i in range(SETUP.cameras))


def make(critics: int, *, images: bool = False) -> Learner:
    """A learner."""
    shapes = dict.fromkeys(CAMERAS if images else (), (3, SETUP.image, SETUP.image))
    return Learner(SETUP.obs, SETUP.actions, critics=critics, device=SETUP.device, images=shapes)


def observed(*, images: bool) -> dict[str, torch.Tensor]:
    """A random observation; images as LeRobot keeps them, float32 in [0, 1]."""
    found = {STATE: torch.randn(1, SETUP.obs)}
    for key in CAMERAS if images else ():
        found[key] = torch.rand(1, 3, SETUP.image, SETUP.image)
    return found


def memory(count: int, *, images: bool, shared: bool = False, augment: bool = True) -> ReplayBuffer:
    """A full buffer; ``shared``: next observations are those of the next row, also where an episode was cut."""
    keys = [STATE, *(CAMERAS if images else ())]
    buffer = ReplayBuffer(
        capacity=count, device=SETUP.device, state_keys=keys, storage_device="cpu", use_drq=augment,
        optimize_memory=shared,
    )  # fmt: skip
    for number in range(count):
        if number % SETUP.episode == 0:
            obs = observed(images=images)
        after = observed(images=images)
        ends = number % SETUP.episode == SETUP.episode - 1
        action = 2.0 * torch.rand(1, SETUP.actions) - 1.0
        buffer.add(state=obs, action=action, reward=0.0, next_state=after, done=False, truncated=ends)
        obs = after
    return buffer


def block(critics: int) -> Work:
    """The block of RLPD."""
    buffer = memory(SETUP.transitions, images=False)
    return partial(make(critics).updates, [dict(buffer.sample(SETUP.batch)) for _ in range(SETUP.utd)])


def single(count: int, *, images: bool) -> Work:
    """One update, sampling included."""
    buffer, learner = memory(count, images=images), make(2, images=images)
    return lambda: learner.updates([dict(buffer.sample(SETUP.batch))])


def act(*, images: bool = False) -> Work:
    """One action."""
    obs = {key: value.to(SETUP.device) for key, value in observed(images=images).items()}
    return partial(make(2, images=images).policy.select_action, obs)


if __name__ == "__main__":
    serve(
        {
            "block_10": partial(block, 10),
            "block_2": partial(block, 2),
            "sac": partial(single, SETUP.transitions, images=False),
            "pixels": partial(single, SETUP.frames, images=True),
            "act": act,
            "act_pixels": partial(act, images=True),
            "replay": lambda: partial(memory(SETUP.transitions, images=False).sample, SETUP.batch),
            "replay_images": lambda: partial(memory(SETUP.frames, images=True).sample, SETUP.batch),
        },
        ("lerobot", "torch"),
        stores={
            "state": partial(memory, images=False),
            "state_shared": partial(memory, images=False, shared=True),
            "images": partial(memory, images=True),
            "images_shared": partial(memory, images=True, shared=True),
        },
        wait=torch.cuda.synchronize if SETUP.device == "cuda" else lambda: None,
    )
