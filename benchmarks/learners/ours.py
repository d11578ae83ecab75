"""Our learner: ``python -m benchmarks.learners.ours SETUP OPTIONS``, both as JSON.

Options are those of the learner, and ``cuda_graphs``: false compiles without them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import torch

from benchmarks.learners.timing import Setup, Work, serve
from robo_rl.agents.augmentation import Augmentation
from robo_rl.agents.backbones import Backbone, BackboneSpec
from robo_rl.agents.exported import ExportedPolicy
from robo_rl.agents.sac import SAC, SACConfig
from robo_rl.contracts.learning import Batch, Step
from robo_rl.replay.buffer import ReplayBuffer
from robo_rl.threads import configure
from robo_rl.training.feature_env import FeatureEnv

PLAIN = {"critics": 2, "critic_norm": "none", "actor_q": "min"}
"""What makes SAC of the RLPD recipe."""
_STREAMS = 25  # that memories of vectors are filled by


class Ours:
    """What is timed of ours.

    Args:
        setup: sizes and device.
        options: of the learner, beside those of each case.
    """

    def __init__(self, setup: Setup, options: dict[str, Any]) -> None:
        self.setup = setup
        hidden = (setup.hidden, setup.hidden)
        self.options = {"entropy_backup": True, "hidden": hidden, **options}
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (setup.actions,), np.float32)

    def space(self, images: int | None = None, maps: tuple[int, ...] | None = None) -> gymnasium.spaces.Dict:
        """Vectors alone, or with images of so many pixels, or with feature maps of such a shape."""
        cameras: dict[str, gymnasium.Space] = {}
        for i in range(self.setup.cameras):
            if images is not None:
                cameras[f"camera.{i}"] = gymnasium.spaces.Box(0, 255, (images, images, 3), np.uint8)
            elif maps is not None:
                cameras[f"camera.{i}"] = gymnasium.spaces.Box(-np.inf, np.inf, maps, np.float16)
        return gymnasium.spaces.Dict(state=gymnasium.spaces.Box(-np.inf, np.inf, (self.setup.obs,)), **cameras)

    def observed(self, space: gymnasium.spaces.Dict, count: int) -> dict[str, torch.Tensor]:
        """Random observations, on the device."""
        device = self.setup.device
        found = {}
        for key, each in space.spaces.items():
            shape = (count, *(each.shape or ()))
            if each.dtype == np.uint8:
                found[key] = torch.randint(256, shape, dtype=torch.uint8, device=device)
            else:
                found[key] = torch.randn(shape, device=device).to(torch.float16 if len(shape) > 2 else torch.float32)
        return found

    def filled(self, space: gymnasium.spaces.Dict, count: int, envs: int = 1) -> ReplayBuffer:
        """A full buffer: whole episodes, the next observation of a transition is what the next one begins with."""
        memory = ReplayBuffer(space, self.action_space, capacity=count, num_envs=envs, device=self.setup.device)
        for number in range(count // envs):
            if number % self.setup.episode == 0:
                obs = self.observed(space, envs)
            ends = torch.full((envs,), number % self.setup.episode == self.setup.episode - 1)
            step = Step(self.observed(space, envs), torch.randn(envs), torch.zeros_like(ends), ends, {})
            memory.add(obs, 2.0 * torch.rand(envs, self.setup.actions) - 1.0, step)
            obs = step.obs
        return memory

    def agent(self, space: gymnasium.spaces.Dict, **options: Any) -> SAC:
        """A learner."""
        return SAC(space, self.action_space, SACConfig(**self.options | options), device=self.setup.device)

    def batch(self, space: gymnasium.spaces.Dict, count: int) -> Batch:
        """Random transitions, on the device."""
        device = self.setup.device
        action = 2.0 * torch.rand(count, self.setup.actions, device=device) - 1.0
        reward = torch.randn(count, device=device)
        return Batch(self.observed(space, count), action, reward, self.observed(space, count), 0.99 * reward.ne(9.0))

    def drawn(self, memory: ReplayBuffer) -> Callable[[], Batch]:
        """Batches, images augmented on the way."""
        return partial(memory.sample, self.setup.batch, augment=Augmentation())

    def block(self, critics: int) -> Work:
        """UTD critic updates and one of policy and temperature."""
        memory = self.filled(self.space(), self.setup.transitions, _STREAMS)
        block = memory.sample(self.setup.utd * self.setup.batch)
        return partial(self.agent(self.space(), critics=critics).update, block, self.setup.utd)

    def sac(self) -> Work:
        """One update of plain SAC, sampling included."""
        memory = self.filled(self.space(), self.setup.transitions, _STREAMS)
        agent = self.agent(self.space(), **PLAIN)
        return lambda: agent.update(memory.sample(self.setup.batch), 1)

    def update(self, critics: int = 10, batch: int = 256, image: int = 0) -> Work:
        """One update, of vectors or of images of so many pixels, without sampling."""
        space = self.space(image or None)
        agent = self.agent(space, critics=critics, target_subset=min(critics, 2))
        return partial(agent.update, self.batch(space, batch), 1)

    def pixels(self) -> Work:
        """One update from images, two critics, sampling and augmentation included."""
        space = self.space(self.setup.image)
        memory = self.filled(space, self.setup.frames)
        draw, agent = self.drawn(memory), self.agent(space, critics=2, encoder="conv")
        return lambda: agent.update(draw(), 1)

    def cached(self, architecture: str) -> Work:
        """One update from cached feature maps of a frozen encoder, ten critics, sampling included."""
        size = (self.setup.image, self.setup.image)
        space = self.space(maps=(4, *Backbone(BackboneSpec(architecture, size)).map_shape))
        memory = self.filled(space, self.setup.frames)
        draw, agent = self.drawn(memory), self.agent(space, critics=10, encoder="frozen", cache_features=True)
        return lambda: agent.update(draw(), 1)

    def act(self) -> Work:
        """One action for one observation."""
        agent = self.agent(self.space(), **PLAIN)
        return partial(agent.act, self.observed(self.space(), 1), explore=True)

    def act_exported(self) -> Work:
        """The same by the exported policy."""
        policy = self.agent(self.space(), **PLAIN).policy
        exported = ExportedPolicy.of(policy, {"state": self.setup.obs}, {})
        return partial(exported.act, {"state": np.random.default_rng(0).standard_normal(self.setup.obs, np.float32)})

    def act_pixels(self) -> Work:
        """One action for one observation with images."""
        space = self.space(self.setup.image)
        return partial(self.agent(space, critics=2, encoder="conv").act, self.observed(space, 1), explore=True)

    def act_features(self) -> Work:
        """One action by a policy on features of a frozen encoder, encoding included."""
        size = (self.setup.image, self.setup.image)
        space = self.space(self.setup.image)
        cameras = [key for key, each in space.spaces.items() if each.dtype == np.uint8]
        inside: Any = SimpleNamespace(
            num_envs=1, device=torch.device("cpu"), horizon=1, observation_space=space, action_space=self.action_space
        )
        nets = {key: Backbone(BackboneSpec("keypoints", size)) for key in cameras}
        env = FeatureEnv(inside, nets, Augmentation(), variants=1, device=self.setup.device)
        agent = self.agent(env.observation_space, critics=2, encoder="frozen", cache_features=True)
        obs = self.observed(space, 1)
        return lambda: agent.act({**obs, **env.encode(obs)}, explore=True)

    def replay(self) -> Work:
        """A batch of transitions."""
        return partial(self.filled(self.space(), self.setup.transitions, _STREAMS).sample, self.setup.batch)

    def replay_images(self) -> Work:
        """A batch of transitions with images, each image shifted at random."""
        return self.drawn(self.filled(self.space(self.setup.image), self.setup.frames))

    def cases(self) -> dict[str, Callable[..., Work]]:
        """All of it, by name."""
        return {
            "block_10": partial(self.block, 10),
            "block_2": partial(self.block, 2),
            "sac": self.sac,
            "update": self.update,
            "pixels": self.pixels,
            "cached_keypoints": partial(self.cached, "keypoints"),
            "cached_resnet10": partial(self.cached, "resnet10"),
            "act": self.act,
            "act_exported": self.act_exported,
            "act_pixels": self.act_pixels,
            "act_features": self.act_features,
            "replay": self.replay,
            "replay_images": self.replay_images,
        }


def _without_graphs(compile_: Callable[..., Any]) -> Callable[..., Any]:
    return lambda function, **options: compile_(function, **{**options, "mode": None})


def main() -> None:
    """Serve."""
    setup, options = Setup.read(), json.loads(sys.argv[2])
    if not options.pop("cuda_graphs", True):
        torch.compile = _without_graphs(torch.compile)  # the learner itself always takes them
    if unknown := set(options) - {field.name for field in fields(SACConfig)}:
        raise SystemExit(f"this version of the learner has no option {', '.join(sorted(unknown))}")
    torch.manual_seed(0)
    ours = Ours(setup, options)
    serve(
        ours.cases(),
        ("torch",),
        stores={
            "state": lambda count: ours.filled(ours.space(), count),
            "images": lambda count: ours.filled(ours.space(setup.image), count),
        },
        wait=torch.cuda.synchronize if setup.device == "cuda" else lambda: None,
    )


if __name__ == "__main__":
    configure()
    main()
