"""Observation encoders: what policy and critics see of an observation, as one row of features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn

from robo_rl.agents.backbones import Backbone, BackboneSpec, draw_weights
from robo_rl.agents.encoder_weights import EncoderWeights, load_weights
from robo_rl.errors import UserError, unknown_name

if TYPE_CHECKING:
    from robo_rl.agents.sac_config import SACConfig
    from robo_rl.contracts.learning import Obs

IMAGE_FEATURES = 256
"""Features of one camera's image."""
PROPRIO_FEATURES = 64
"""Features of all vectors."""


class Encoder(nn.Module):
    """Observations to features: every vector of the dictionary, in sorted order of its name, side by side.

    It has no weights. Goal dictionaries (``observation``, ``achieved_goal``, ``desired_goal``) need nothing special.

    Args:
        space: of one environment.
        keys: names to learn from; all if empty.

    Attributes:
        learns: whether it has weights that are learned.

    Raises:
        UserError: if the space is no dictionary, a name is unknown, or a value is no vector of real numbers.
    """

    learns = False

    def __init__(self, space: gymnasium.Space, keys: Sequence[str] = ()) -> None:
        super().__init__()
        spaces = _chosen(space, keys)
        self.keys = tuple(spaces)
        self.width = sum(_vector_width(key, entry) for key, entry in spaces.items())

    def forward(self, obs: Obs) -> Tensor:
        """Return features (B, width), float32, of observations, each (B, n)."""
        vectors = [obs[key].to(torch.float32) for key in self.keys]
        return vectors[0] if len(vectors) == 1 else torch.cat(vectors, dim=-1)


class PixelEncoder(nn.Module):
    """Camera images, or cached feature maps of them, and vectors to features.

    Of each image: backbone, then :class:`ImageHead`. Of all vectors together: linear, layer norm, tanh. It is learned
    by whoever differentiates its output; a frozen backbone is not. Where frozen backbones give codes, maps of a
    single place, these and the vectors are the features, just as they are: nothing is left to be learned.

    Args:
        space: of one environment: images (H, W, 3) uint8, feature maps (K, C, h, w) float16, vectors.
        config: of the learner; its ``encoder`` fields.
        generator: draws the initial weights.

    Raises:
        UserError: if an observation is none of these, or the backbone cannot be made.
    """

    learns = True

    def __init__(self, space: gymnasium.Space, config: SACConfig, generator: torch.Generator) -> None:
        super().__init__()
        spaces = _chosen(space, config.observation_keys)
        self.cameras = tuple(key for key, entry in spaces.items() if _is_image(entry) or _is_maps(entry))
        vectors = [key for key in spaces if key not in self.cameras]
        self.vectors = Encoder(space, vectors) if vectors else None
        shapes = [spaces[key].shape or () for key in self.cameras]
        cached = [_is_maps(spaces[key]) for key in self.cameras]
        if config.cache_features and not all(cached):
            raise UserError(
                "agent.cache_features: the observations hold images, not feature maps of them; wrap the environment "
                "in robo_rl.training.feature_env.FeatureEnv"
            )
        if config.share_encoder and len(set(shapes)) > 1:
            raise UserError("agent.share_encoder: the cameras give images of different sizes; leave it False")
        own = self.cameras[:1] if config.share_encoder else self.cameras
        self.frozen = config.encoder == "frozen"
        nets = [] if all(cached) else make_backbones(spaces, own, config, generator)
        self.backbones = nn.ModuleList(nets)
        maps = [shape[1:] for shape in shapes] if all(cached) else [net.map_shape for net in nets]
        vector = 0 if self.vectors is None else self.vectors.width
        self.proprio: nn.Module | None = None
        if self.frozen and all(h * w == 1 for _, h, w in maps):
            self.heads = nn.ModuleList(nn.Flatten() for _ in own)
            self.width = sum(maps[min(i, len(maps) - 1)][0] for i in range(len(self.cameras))) + vector
            return
        self.heads = nn.ModuleList(ImageHead((c, h, w), generator) for c, h, w in maps[: len(own)])
        self.width = len(self.cameras) * IMAGE_FEATURES
        if vector:
            self.proprio = _squashed(vector, PROPRIO_FEATURES)
            draw_weights(self.proprio, generator)
            self.width += PROPRIO_FEATURES

    def forward(self, obs: Obs) -> Tensor:
        """Return features (B, width) float32; of cached feature maps, the first of the K variants counts."""
        parts = []
        for i, key in enumerate(self.cameras):
            place = min(i, len(self.heads) - 1)  # 0 for all cameras that share
            maps = obs[key][:, 0].to(torch.float32) if not self.backbones else self._maps(place, obs[key])
            parts.append(self.heads[place](maps))
        if self.vectors is not None:
            vectors = self.vectors(obs)
            parts.append(vectors if self.proprio is None else self.proprio(vectors))
        return torch.cat(parts, dim=-1)

    def _maps(self, place: int, images: Tensor) -> Tensor:
        if not self.frozen:
            return self.backbones[place](images)
        with torch.no_grad():
            return self.backbones[place](images)


class ImageHead(nn.Module):
    """A feature map to features: spatial learned embeddings, linear, layer norm, tanh (SERL, Luo et al. 2024).

    ``e_ck = sum_xy m_cxy w_ckxy`` with k = 1 to 8 kernels w for each channel c of the map m. A map of a single place is
    taken as it is.

    Args:
        shape: (C, h, w) of the map.
        generator: draws the initial weights.
    """

    def __init__(self, shape: tuple[int, int, int], generator: torch.Generator, kernels: int = 8) -> None:
        super().__init__()
        channels, height, width = shape
        self.kernels: nn.Parameter | None = None
        inputs = channels
        if height * width > 1:
            spread = (height * width) ** -0.5
            self.kernels = nn.Parameter(spread * torch.randn(channels, height * width, kernels, generator=generator))
            inputs = channels * kernels
        self.out = _squashed(inputs, IMAGE_FEATURES)
        draw_weights(self.out, generator)

    def forward(self, maps: Tensor) -> Tensor:
        """Return features (B, 256) of maps (B, C, h, w)."""
        if self.kernels is None:
            return self.out(maps.flatten(1))
        # (C, B, places) @ (C, places, kernels): one small matrix product for each channel
        embedded = torch.bmm(maps.flatten(2).transpose(0, 1), self.kernels)
        return self.out(embedded.transpose(0, 1).flatten(1))


def make_encoder(space: gymnasium.Space, config: SACConfig, generator: torch.Generator) -> Encoder | PixelEncoder:
    """Return the encoder of a space: of vectors if it has nothing else that is asked for, of images otherwise.

    Raises:
        UserError: if the space cannot be encoded, or options for images are given where there is none.
    """
    spaces = _chosen(space, config.observation_keys)
    if any(_is_image(entry) or _is_maps(entry) for entry in spaces.values()):
        return PixelEncoder(space, config, generator)
    if (field := config.set_for_images()) is not None:
        raise UserError(f"agent.{field}: there is no image to encode; give --obs pixels, or leave it out")
    return Encoder(space, config.observation_keys)


def make_backbones(
    spaces: dict[str, gymnasium.Space], keys: Sequence[str], config: SACConfig, generator: torch.Generator | None
) -> list[Backbone]:
    """Return the backbones of the images ``keys``: new ones, or with the weights that the configuration names.

    Raises:
        UserError: if there are no such weights, or they do not fit.
    """
    sizes = {key: (entry.shape[0], entry.shape[1]) for key, entry in spaces.items() if key in keys and entry.shape}
    if config.encoder_weights is None:
        if config.encoder == "frozen":
            raise UserError("agent.encoder_weights: a frozen encoder needs some; see robo-rl pretrain-encoder")
        return [Backbone(BackboneSpec(config.encoder, sizes[key]), generator) for key in keys]
    weights = load_weights(config.encoder_weights)
    check_fit(weights, config)
    backbones = [weights.backbone(key, sizes[key]) for key in keys]
    if config.encoder == "frozen":
        for backbone in backbones:
            backbone.requires_grad_(False)
    return backbones


def check_fit(weights: EncoderWeights, config: SACConfig) -> None:
    """Refuse weights that are not those of the encoder that is asked for.

    Raises:
        UserError: if so.
    """
    there = weights.spec.architecture
    if config.encoder not in ("frozen", there):
        raise UserError(
            f"agent.encoder: the weights are of {there!r}, not of {config.encoder!r}; "
            f"give --agent.encoder {'frozen' if there == 'keypoints' else there}"
        )
    if weights.cameras and config.share_encoder:
        raise UserError("agent.share_encoder: the weights are of each camera's own backbone; leave it False")


def _chosen(space: gymnasium.Space, keys: Sequence[str]) -> dict[str, gymnasium.Space]:
    if not isinstance(space, gymnasium.spaces.Dict):
        raise UserError(f"observation_space must be a gymnasium Dict of vectors, not {type(space).__name__}")
    for key in keys:
        if key not in space.spaces:
            raise unknown_name("observation_keys entry", key, space.spaces)
    return {key: space.spaces[key] for key in sorted(keys or space.spaces)}


def _squashed(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.LayerNorm(outputs), nn.Tanh())


def _is_image(space: gymnasium.Space) -> bool:
    return isinstance(space, gymnasium.spaces.Box) and space.dtype == np.uint8 and space.shape[2:] == (3,)


def _is_maps(space: gymnasium.Space) -> bool:
    return isinstance(space, gymnasium.spaces.Box) and space.dtype == np.float16 and len(space.shape) == 4


def _vector_width(key: str, space: gymnasium.Space) -> int:
    if isinstance(space, gymnasium.spaces.Box):
        if space.dtype == np.uint8:
            raise UserError(
                f"observation {key!r} is an image, and this agent learns from vectors: "
                "name the vectors to use in observation_keys (of our tasks: 'state')"
            )
        if len(space.shape) == 1 and np.issubdtype(space.dtype, np.floating):
            return space.shape[0]
    raise UserError(f"observation {key!r} is no vector of real numbers but {space}; leave it out with observation_keys")
