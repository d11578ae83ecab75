"""Augmentation of what cameras see: random shifts (DrQ, Kostrikov et al. 2020; DrQ-v2, Yarats et al. 2021), colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from robo_rl.contracts.learning import Obs


@dataclass(frozen=True)
class Augmentation:
    """What is done to observations before they are learned from; vectors are left as they are.

    Attributes:
        shift: largest shift of an image, pixels.
        colour_jitter: largest relative change of its contrast and of each colour; twice the largest change of its
            brightness.
    """

    shift: int = 4
    colour_jitter: float = 0.0

    def __call__(self, obs: Obs, generator: torch.Generator) -> Obs:
        """Return observations of which each image (B, H, W, C) uint8 is changed, each row by draws of its own.

        Of feature maps (B, K, C, h, w) float16, made of K such changes, one is drawn: (B, 1, C, h, w).
        """
        return {key: self._changed(value, generator) for key, value in obs.items()}

    def images(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return changed images (B, H, W, C) uint8."""
        if self.shift:
            images = random_shift(images, self.shift, generator)
        return jitter_colours(images, self.colour_jitter, generator) if self.colour_jitter else images

    def _changed(self, value: Tensor, generator: torch.Generator) -> Tensor:
        if value.dtype == torch.uint8:
            return self.images(value, generator)
        return draw_variant(value, generator) if is_maps(value) else value


def is_maps(value: Tensor) -> bool:
    """Tell whether ``value`` is a batch of cached feature maps (B, K, C, h, w)."""
    return value.dtype == torch.float16 and value.ndim == 5


def random_shift(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Shift each of ``images`` (B, H, W, C) by up to ``pixels`` along each axis; edges are continued (replicated).

    The same as to pad the image by ``pixels`` on all sides, each edge repeated, and to crop it at a random place.
    """
    count, height, width, channels = images.shape
    padded = _replicate(_replicate(images, pixels, 1), pixels, 2).contiguous()
    # Every crop is a view of the padded images: (B, dy, dx, H, W * C), and one gather copies those that were drawn.
    row, image = padded.stride(1), padded.stride(0)
    reach = 2 * pixels + 1
    crops = padded.as_strided(
        (count, reach, reach, height, width * channels), (image, row, channels, row, 1), padded.storage_offset()
    )
    dy, dx = (shifts.to(images.device) + pixels for shifts in draw_shifts(count, pixels, generator))
    return crops[torch.arange(count, device=images.device), dy, dx].unflatten(-1, (width, channels))


def draw_shifts(count: int, pixels: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return by how many pixels each of ``count`` images is shifted down and to the right, (N,) each."""
    dy, dx = torch.randint(2 * pixels + 1, (2, count), generator=generator, device=generator.device) - pixels
    return dy, dx


def _replicate(images: Tensor, pixels: int, axis: int) -> Tensor:
    size = images.shape[axis]
    places = torch.arange(-pixels, size + pixels, device=images.device).clamp(0, size - 1)
    return images.index_select(axis, places)


def jitter_colours(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Change contrast, colours and brightness of each of ``images`` (B, H, W, C) uint8.

    ``x' = (x - 0.5) (1 + s u_0) (1 + s u_c) + 0.5 + s u_1 / 2`` for values in [0, 1], each u uniform in [-1, 1].
    """
    count, channels = images.shape[0], images.shape[-1]
    u = 2.0 * torch.rand(count, 1, 1, 2 + channels, generator=generator, device=generator.device) - 1.0
    u = strength * u.to(images.device)
    gain = (1.0 + u[..., :1]) * (1.0 + u[..., 2:])
    changed = (images.to(torch.float32) - 127.5) * gain + 127.5 * (1.0 + u[..., 1:2])
    return changed.round_().clamp_(0.0, 255.0).to(torch.uint8)


def draw_variant(maps: Tensor, generator: torch.Generator) -> Tensor:
    """Return one of the K maps of each row, (B, 1, C, h, w) of (B, K, C, h, w)."""
    drawn = torch.randint(maps.shape[1], (len(maps),), generator=generator, device=generator.device).to(maps.device)
    return maps[torch.arange(len(maps), device=maps.device), drawn].unsqueeze(1)
