"""Environments that observe feature maps of a frozen backbone in place of images, each frame encoded once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch

from robo_rl.agents.augmentation import Augmentation
from robo_rl.agents.backbones import Backbone
from robo_rl.agents.encoders import make_backbones
from robo_rl.contracts.learning import Step

if TYPE_CHECKING:
    from robo_rl.agents.sac import SACConfig
    from robo_rl.contracts.learning import BatchedEnv, Obs
    from robo_rl.data.episodes import Episode

_FINITE = 65504.0  # the largest float16


class FeatureEnv:
    """A ``BatchedEnv`` around another whose images become feature maps (K, C, h, w), float16.

    The first of the K maps is of the image as it is, the others of augmented ones. All are computed when a frame is
    first observed and never again: what is acted on is what is stored and learned from. Whatever is not said here is
    the environment's inside.

    Args:
        env: whose observations hold images (H, W, 3) uint8.
        backbones: frozen, by observation key; these images are encoded.
        augment: what makes the other maps.
        variants: K.
        seed: of the augmentation.
        device: where the backbones compute.

    Attributes:
        env: the environment inside.
        encode_seconds: that encoding has taken so far.
    """

    def __init__(
        self,
        env: BatchedEnv,
        backbones: Mapping[str, Backbone],
        augment: Augmentation,
        *,
        variants: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.env = env
        self.num_envs, self.device, self.horizon = env.num_envs, env.device, env.horizon
        self.action_space = env.action_space
        self._backbones = {key: net.to(device).requires_grad_(False) for key, net in backbones.items()}
        self._augment, self._variants, self._encoder_device = augment, variants, torch.device(device)
        spaces: dict[str, gymnasium.Space] = dict(env.observation_space.spaces)
        for key, net in backbones.items():
            spaces[key] = gymnasium.spaces.Box(-np.inf, np.inf, (variants, *net.map_shape), np.float16)
        self.observation_space = gymnasium.spaces.Dict(spaces)
        self.encode_seconds = 0.0
        self._maps: Obs = {}  # of what each environment shows now
        self._generator = torch.Generator(self._encoder_device).manual_seed(seed)

    def __getattr__(self, name: str) -> Any:
        if name == "env":  # not there yet
            raise AttributeError(name)
        return getattr(self.env, name)

    def reset(self, mask: torch.Tensor | None = None, *, start: Any = None) -> Obs:
        """Begin new episodes where ``mask`` is true; only their frames are encoded."""
        obs = self.env.reset(mask) if start is None else self.env.reset(mask, start=start)  # type: ignore[call-arg]
        if mask is None or not self._maps:
            return self._observed(obs, self.encode(obs))
        maps = {key: value.clone() for key, value in self._maps.items()}
        if bool(mask.any()):
            fresh = self.encode({key: obs[key][mask] for key in self._backbones})
            for key, value in fresh.items():
                maps[key][mask] = value
        return self._observed(obs, maps)

    def seed(self, seed: int) -> None:
        """Make the starts and the augmentation to come a function of ``seed``."""
        self.env.seed(seed)
        self._generator.manual_seed(seed)

    def step(self, action: torch.Tensor) -> Step:
        """Take one action (B, A) in each environment."""
        step = self.env.step(action)
        return replace(step, obs=self._observed(step.obs, self.encode(step.obs)))

    def close(self) -> None:
        """Free what the environment inside holds."""
        self.env.close()

    def encode(self, obs: Obs) -> Obs:
        """Return the feature maps (N, K, C, h, w) float16 of the images (N, H, W, 3) in ``obs``, where those are."""
        began = time.perf_counter()
        maps = {}
        with torch.no_grad():
            for key, net in self._backbones.items():
                images = obs[key].to(self._encoder_device)
                changed = [self._augment.images(images, self._generator) for _ in range(self._variants - 1)]
                encoded = net(torch.cat([images, *changed])).clamp_(-_FINITE, _FINITE).to(torch.float16)
                encoded = encoded.unflatten(0, (self._variants, len(images))).transpose(0, 1)
                maps[key] = encoded.to(obs[key].device).contiguous()
        self.encode_seconds += time.perf_counter() - began
        return maps

    def encoded(self, episode: Episode) -> Episode:
        """Return a recorded episode with feature maps in place of its images."""
        return replace(episode, obs={**episode.obs, **self.encode(episode.obs)})

    def _observed(self, obs: Obs, maps: Obs) -> Obs:
        self._maps = maps
        return {**obs, **maps}


def with_features(
    env: BatchedEnv, agent: SACConfig, *, seed: int = 0, device: str = "cpu", variants: int | None = None
) -> BatchedEnv:
    """Return ``env`` in a :class:`FeatureEnv` if a learner's configuration says so, and as it is otherwise.

    Args:
        env: to wrap.
        agent: of the learner; its ``encoder_weights`` name a file.
        seed: of the augmentation.
        device: where the backbones compute.
        variants: maps of each frame; as configured if None. One is enough to act on.

    Raises:
        UserError: if the weights are not there or do not fit the images.
    """
    if not agent.cache_features:
        return env
    spaces = env.observation_space.spaces
    wanted = agent.observation_keys or tuple(spaces)
    images = [key for key in wanted if spaces[key].dtype == np.uint8]
    backbones = make_backbones(dict(spaces), images, agent, None)
    augment = agent.augmentation
    several = 4 if augment.shift or augment.colour_jitter else 1
    return FeatureEnv(
        env,
        dict(zip(images, backbones, strict=True)),
        augment,
        variants=variants or agent.feature_variants or several,
        seed=seed,
        device=device,
    )
