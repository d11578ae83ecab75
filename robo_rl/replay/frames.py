"""Images of a replay buffer, or feature maps of them: one place for each row, what cameras saw at one instant."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import gymnasium
import torch

from robo_rl.agents.augmentation import Augmentation, draw_shifts, jitter_colours

if TYPE_CHECKING:
    from torch import Tensor

    from robo_rl.contracts.learning import Obs
    from robo_rl.replay.storage import Storage

_TYPES = {"uint8": torch.uint8, "float16": torch.float16}


def is_image(space: gymnasium.Space) -> bool:
    """Tell whether observations of ``space`` are kept as frames: of three dimensions or more.

    Images are uint8, feature maps of images float16.
    """
    return isinstance(space, gymnasium.spaces.Box) and str(space.dtype) in _TYPES and len(space.shape) >= 3


class Frames:
    """The images of one observation key, by row.

    A shifted image is the part of the image that stays in view, its edges continued. That is what OpenCV's border copy
    makes in one pass, straight from where the image lies to where the batch wants it.

    Args:
        space: (H, W, C) uint8, (K, C, h, w) float16 or the like.
        capacity: rows.
        name: of what it keeps in the storage.
        storage: where it lives.
    """

    def __init__(self, space: gymnasium.Space, capacity: int, name: str, storage: Storage) -> None:
        self.shape, self.dtype = _shape(space), _TYPES[str(space.dtype)]
        self.rows = storage.empty(name, (capacity, *self.shape), self.dtype)

    @staticmethod
    def bytes_for(space: gymnasium.Space, capacity: int) -> int:
        """Return the bytes that ``capacity`` rows take."""
        return capacity * math.prod(_shape(space)) * _TYPES[str(space.dtype)].itemsize

    @property
    def drawn_shape(self) -> tuple[int, ...]:
        """Shape of one row with an augmentation: of K feature maps only one is left."""
        return (1, *self.shape[1:]) if self._is_maps else self.shape

    @property
    def _is_maps(self) -> bool:
        return self.dtype == torch.float16 and len(self.shape) == 4

    def equal(self, slots: Tensor, values: Tensor) -> Tensor:
        """Return (B,) bool: whether row ``slots[i]`` is what ``values[i]`` is."""
        return (self.rows[slots] == values.to(self.rows.device)).flatten(1).all(1)

    def get(self, slots: Tensor, out: Tensor) -> None:
        """Copy the rows ``slots`` (N,) to ``out`` (N, ...)."""
        torch.index_select(self.rows, 0, slots, out=out)

    def draw(self, slots: Tensor, out: Tensor, augment: Augmentation, generator: torch.Generator) -> None:
        """Copy the rows ``slots`` (N,) to ``out`` (N, ...), each image changed, of K feature maps one drawn."""
        if self._is_maps:
            variants = self.shape[0]
            which = torch.randint(variants, (len(slots),), generator=generator).to(slots.device)
            torch.index_select(self.rows.flatten(0, 1), 0, slots * variants + which, out=out.squeeze(1))
        elif self.dtype != torch.uint8 or len(self.shape) != 3:
            self.get(slots, out)
        else:
            if augment.shift:
                self.shifted(slots, *draw_shifts(len(slots), augment.shift, generator), out)
            else:
                self.get(slots, out)
            if augment.colour_jitter:
                out.copy_(jitter_colours(out, augment.colour_jitter, generator))

    def shifted(self, slots: Tensor, dy: Tensor, dx: Tensor, out: Tensor) -> None:
        """Copy images to ``out`` (N, H, W, C): pixel (y, x) is the one at (y + dy, x + dx), or the nearest there is."""
        height, width, _ = self.shape
        largest = int(torch.maximum(dy.abs().max(), dx.abs().max())) if len(slots) else 0
        if self.rows.device.type != "cpu" or largest >= min(height, width):
            dy, dx = dy.to(slots.device), dx.to(slots.device)
            y = (torch.arange(height, device=slots.device) + dy[:, None]).clamp(0, height - 1)
            x = (torch.arange(width, device=slots.device) + dx[:, None]).clamp(0, width - 1)
            out.copy_(self.rows[slots[:, None, None], y[:, :, None], x[:, None, :]])
            return
        import cv2

        images = self.rows.numpy()
        for slot, down, across, shown in zip(slots.tolist(), dy.tolist(), dx.tolist(), out.numpy(), strict=True):
            in_view, borders = _cut(height, width, down, across)
            cv2.copyMakeBorder(images[slot][in_view], *borders, cv2.BORDER_REPLICATE, shown)


@lru_cache(4096)
def _cut(height: int, width: int, down: int, across: int) -> tuple[tuple[slice, slice], tuple[int, int, int, int]]:
    """Return what stays in view of a shifted image, and how far its top, bottom, left and right are continued."""
    top, left, bottom, right = max(-down, 0), max(-across, 0), max(down, 0), max(across, 0)
    return (slice(bottom, height - top), slice(right, width - left)), (top, bottom, left, right)


def _shape(space: gymnasium.Space) -> tuple[int, ...]:
    assert space.shape is not None  # is_image has seen to it
    return space.shape


def put(frames: Mapping[str, Frames], slots: Tensor, obs: Obs) -> None:
    """Store the images in ``obs``, each (B, ...), in the rows ``slots`` (B,)."""
    for key, one in frames.items():
        one.rows[slots] = obs[key].to(one.rows.device)
