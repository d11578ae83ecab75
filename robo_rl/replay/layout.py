"""How observations, actions and rewards lie in the rows of a replay buffer, and the blocks that batches are made in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import gymnasium
import numpy as np
import torch

from robo_rl.contracts import Batch, Following
from robo_rl.errors import UserError
from robo_rl.replay.frames import is_image

if TYPE_CHECKING:
    from robo_rl.contracts.learning import Obs
    from robo_rl.replay.storage import Storage


class Layout:
    """Columns of a row ``[vectors of the observation | action | reward]``, float32; images lie elsewhere.

    Args:
        observation_space: of one environment; boxes only. With three dimensions or more, uint8 is an image and
            float16 a feature map; all else is a vector.
        action_space: of one environment.

    Attributes:
        shapes: of each observation.
        images: spaces of those kept as frames.
        vectors: columns of each of the others.
        action: columns.
        reward: column.
        width: of a row.

    Raises:
        UserError: if a space cannot be stored.
    """

    def __init__(self, observation_space: gymnasium.spaces.Dict, action_space: gymnasium.spaces.Box) -> None:
        for key, space in observation_space.spaces.items():
            if not isinstance(space, gymnasium.spaces.Box):
                raise UserError(f"observation_space: {key!r} is a {type(space).__name__}; flatten it to a Box first")
        self.shapes = {key: space.shape or () for key, space in observation_space.spaces.items()}
        self.images = {key: space for key, space in observation_space.spaces.items() if is_image(space)}
        self.vectors: dict[str, slice] = {}
        width = 0
        for key, shape in self.shapes.items():
            if key not in self.images:
                self.vectors[key] = slice(width, width + math.prod(shape))
                width += math.prod(shape)
        self.action = slice(width, width + math.prod(action_space.shape))
        self.reward = self.action.stop
        self.width = self.reward + 1

    def flat(self, obs: Obs, count: int, device: torch.device) -> torch.Tensor:
        """Return the vectors of ``count`` observations side by side, (B, n) float32.

        Raises:
            ValueError: if a shape does not fit the spaces.
        """
        for key, shape in self.shapes.items():
            if obs[key].shape != (count, *shape):
                raise ValueError(f"obs[{key!r}]: want shape {(count, *shape)}, got {tuple(obs[key].shape)}")
        parts = [obs[key].reshape(count, -1).to(device, torch.float32) for key in self.vectors]
        return torch.cat(parts, dim=1) if parts else torch.empty((count, 0), device=device)

    def unpack(self, rows: torch.Tensor) -> Obs:
        """Return the vectors in ``rows`` (N, width) by name, views where those are one-dimensional."""
        obs = {}
        for key, columns in self.vectors.items():
            part = rows[:, columns]
            obs[key] = part if len(self.shapes[key]) == 1 else part.reshape(len(rows), *self.shapes[key])
        return obs


class Block:
    """Memory for a batch of N transitions, which several sources fill in part.

    Args:
        layout: of the rows.
        size: N.
        storage: what the memory is made by.
        images: shape and kind of number of each image or feature map, as the batch shows it.

    Attributes:
        both_sides: (2 N, width), rows that transitions start in, then rows that hold their next observations.
        rows: the same, (2, N, width).
        images: each (2, N, ...).
        discount: (N,).
        following: the following steps, where there are some.
    """

    def __init__(
        self,
        layout: Layout,
        size: int,
        storage: Storage,
        images: Mapping[str, tuple[tuple[int, ...], torch.dtype]],
    ) -> None:
        self.layout = layout
        self.size = size
        self.learner = storage.learner
        self.both_sides = storage.block((2 * size, layout.width), torch.float32)
        self.rows = self.both_sides.view(2, size, layout.width)
        self.images = {key: storage.block((2, size, *shape), kind) for key, (shape, kind) in images.items()}
        self.discount = storage.block((size,), torch.float32)
        self.following: Following | None = None
        self._fetched: torch.cuda.Event | None = None  # by the GPU

    def wait(self) -> None:
        """Wait until the batch that was made before is on the learner's device, so that the memory is free."""
        if self._fetched is not None:
            self._fetched.synchronize()

    def write(self, place: slice | torch.Tensor, part: Block) -> None:
        """Copy all of another block to the rows ``place`` of this one."""
        self.rows[:, place] = part.rows
        for key, images in self.images.items():
            images[:, place] = part.images[key]
        self.discount[place] = part.discount

    def set_discount(self, place: slice, discount: np.ndarray) -> None:
        """Write the discounts of the rows ``place``."""
        if len(discount) == self.size and not self.discount.is_pinned():
            self.discount = torch.from_numpy(discount).to(self.rows.device)
        else:
            self.discount[place] = torch.from_numpy(discount).to(self.rows.device)

    def add_following(self, place: slice | torch.Tensor, part: Following) -> None:
        """Copy the following steps of the rows ``place``."""
        if self.following is None or self.following.valid.shape[1] != part.valid.shape[1]:

            def room(value: torch.Tensor) -> torch.Tensor:
                return value.new_empty((self.size, *value.shape[1:]))

            obs = {key: room(value) for key, value in part.obs.items()}
            self.following = Following(room(part.action), obs, room(part.reward), room(part.valid))
        for key, value in part.obs.items():
            self.following.obs[key][place] = value
        self.following.action[place] = part.action
        self.following.reward[place] = part.reward
        self.following.valid[place] = part.valid

    def batch(self, *, augmented: bool = False) -> Batch:
        """Return what is in here as a batch on the learner's device; views, where it is there already."""
        rows, images, discount, following = self.rows, self.images, self.discount, self.following
        if self.learner.type != rows.device.type:
            rows, discount = self._moved(rows), self._moved(discount)
            images = {key: self._moved(value) for key, value in images.items()}
            if following is not None:
                ahead = {key: self._moved(value) for key, value in following.obs.items()}
                action, reward, valid = map(self._moved, (following.action, following.reward, following.valid))
                following = Following(action, ahead, reward, valid)
            self._fetched = torch.cuda.Event()
            self._fetched.record()
        first, second = rows.unbind()
        obs, next_obs = self.layout.unpack(first), self.layout.unpack(second)
        for key, value in images.items():
            obs[key], next_obs[key] = value.unbind()
        action, reward = first[:, self.layout.action], first[:, self.layout.reward]
        return Batch(obs, action, reward, next_obs, discount, following, augmented)

    def _moved(self, value: torch.Tensor) -> torch.Tensor:
        return value.to(self.learner, non_blocking=value.is_pinned())


def spread(counts: Sequence[int], parts: int) -> list[list[slice]]:
    """Return which rows each source fills, so that each of ``parts`` mini-batches holds ``counts[i]`` of source i.

    A place is a slice, which a gather writes to by itself. So there should be few of them: the sources either take
    turns row by row, with a period that divides the mini-batch, or fill one piece of each mini-batch.

    Example:
        >>> spread([128, 128], parts=20)
        [[slice(0, 5120, 2)], [slice(1, 5120, 2)]]
        >>> spread([3, 5], parts=1)
        [[slice(0, 3, 1)], [slice(3, 8, 1)]]
    """
    size, common = sum(counts), math.gcd(*counts)
    period = size // common
    places: list[list[slice]] = []
    begin = 0
    for count in counts:
        if parts > 1 and period < len(counts) * parts:
            first = begin // common
            places.append([slice(k, parts * size, period) for k in range(first, first + count // common)])
        else:
            places.append([slice(p * size + begin, p * size + begin + count, 1) for p in range(parts)])
        begin += count
    return places
