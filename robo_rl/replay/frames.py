"""Images of a replay buffer, or feature maps of them: each is stored once, however many transitions show it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import gymnasium
import torch

if TYPE_CHECKING:
    from robo_rl.contracts.learning import Obs


_TYPES = {"uint8": torch.uint8, "float16": torch.float16}


def is_image(space: gymnasium.Space) -> bool:
    """Tell whether observations of ``space`` are kept as frames, once each: of three dimensions or more.

    Images are uint8, feature maps of images float16.
    """
    return isinstance(space, gymnasium.spaces.Box) and str(space.dtype) in _TYPES and len(space.shape) >= 3


class FrameStore:
    """A pool of frames. One frame is what all cameras saw at one instant; its id is its place in the pool.

    A frame is held once by every transition that starts or ends with it, and its place is free again as soon as nobody
    holds it. So a frame that a transition shows is never overwritten.

    Args:
        spaces: the spaces by observation key, each (H, W, C) uint8, (K, C, h, w) float16 or the like.
        capacity: frames.
        device: where they live.
    """

    def __init__(self, spaces: Mapping[str, gymnasium.Space], capacity: int, device: torch.device) -> None:
        self.capacity = capacity
        self.images = {
            key: torch.empty((capacity, *_shape(space)), dtype=_TYPES[str(space.dtype)], device=device)
            for key, space in spaces.items()
        }
        self._holders = torch.zeros(capacity, dtype=torch.int32, device=device)
        self._free = torch.arange(capacity - 1, -1, -1, device=device)  # a stack; ids from 0 up are taken first
        self.free_count = capacity
        self._touched = 0  # ids below this have been used at some time

    @staticmethod
    def bytes_for(spaces: Mapping[str, gymnasium.Space], capacity: int) -> int:
        """Return the bytes that a store of ``capacity`` frames takes, bookkeeping included."""
        frame = sum(math.prod(_shape(space)) * _TYPES[str(space.dtype)].itemsize for space in spaces.values())
        return capacity * (frame + 4 + 8)

    def put(self, obs: Obs) -> torch.Tensor:
        """Store the images in ``obs``, each (M, ...), and return their ids (M,); nobody holds them yet.

        The caller has made sure that ``free_count`` is at least M.
        """
        count = next(len(obs[key]) for key in self.images)
        ids = self._free[self.free_count - count : self.free_count].flip(0)
        self.free_count -= count
        self._touched = max(self._touched, self.capacity - self.free_count)
        for key, images in self.images.items():
            images[ids] = obs[key].to(images.device)
        return ids

    def hold(self, ids: torch.Tensor) -> None:
        """Hold the frames ``ids`` once for each time that they are named."""
        self._holders.index_add_(0, ids, torch.ones_like(ids, dtype=torch.int32))

    def release(self, ids: torch.Tensor) -> None:
        """Undo one :meth:`hold` for each time that a frame is named."""
        self._holders.index_add_(0, ids, torch.full_like(ids, -1, dtype=torch.int32))
        unheld = ids.unique()
        unheld = unheld[self._holders[unheld] == 0]
        self._free[self.free_count : self.free_count + len(unheld)] = unheld
        self.free_count += len(unheld)

    def get(self, ids: torch.Tensor) -> Obs:
        """Return copies of the frames ``ids`` (N,), each (N, ...)."""
        return {key: images.index_select(0, ids) for key, images in self.images.items()}

    def equal(self, ids: torch.Tensor, obs: Obs) -> torch.Tensor:
        """Return (M,) bool: whether frame ``ids[i]`` is the one in row i of ``obs``."""
        same = torch.ones(len(ids), dtype=torch.bool, device=ids.device)
        for key, images in self.images.items():
            same &= (images[ids] == obs[key].to(images.device)).flatten(1).all(1)
        return same

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the images that were ever used, as views (they are too large to copy), by ``frames.KEY``."""
        return {f"frames.{key}": images[: self._touched] for key, images in self.images.items()}

    def load_state_dict(self, state: dict[str, torch.Tensor], held: torch.Tensor) -> None:
        """Go on from :meth:`state_dict`; ``held`` names each frame once for each transition end that shows it."""
        for key, images in self.images.items():
            saved = state[f"frames.{key}"]
            images[: len(saved)] = saved.to(images.device)
            self._touched = len(saved)
        self._holders.zero_()
        self.hold(held)
        free = (self._holders == 0).nonzero().squeeze(1).flip(0)
        self._free[: len(free)] = free
        self.free_count = len(free)


def _shape(space: gymnasium.Space) -> tuple[int, ...]:
    assert space.shape is not None  # is_image has seen to it
    return space.shape
