"""Symmetric sampling of online data and demonstrations (RLPD: Ball et al. 2023, arXiv 2302.02948, section 4.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from robo_rl.contracts import Batch
from robo_rl.errors import UserError
from robo_rl.replay.layout import Block, spread

if TYPE_CHECKING:
    from robo_rl.agents.augmentation import Augmentation
    from robo_rl.replay.buffer import ReplayBuffer


class MixedReplay:
    """Draws every mini-batch from two sources at a fixed ratio, whatever their sizes.

    Where one of them has nothing to give (no demonstrations, no experience yet) the other gives all. A batch lies in
    memory that is used again: it holds until as many others were drawn as there are ``blocks``.

    Args:
        online: the learner's own experience.
        demonstrations: prior data of the same spaces, None if there is none.
        demo_ratio: share of demonstrations in each mini-batch, 0 to 1; rounded to whole rows.
        following: steps from each transition on that come with it, 0 for none.
        augment: what is done to images and feature maps while they are copied; None leaves it to the learner.
        blocks: batches that can be in use at a time.

    Raises:
        UserError: if the ratio is out of range.

    Example:
        >>> batch = MixedReplay(online, demos).sample(256, parts=4)     # doctest: +SKIP
        >>> metrics = agent.update(batch, utd=4)                        # doctest: +SKIP
    """

    def __init__(
        self,
        online: ReplayBuffer,
        demonstrations: ReplayBuffer | None,
        demo_ratio: float = 0.5,
        *,
        following: int = 0,
        augment: Augmentation | None = None,
        blocks: int = 1,
    ) -> None:
        if not 0.0 <= demo_ratio <= 1.0:
            raise UserError(f"demo_ratio: {demo_ratio}; give a share from 0 to 1")
        self.online = online
        self.demonstrations = demonstrations
        self.demo_ratio = demo_ratio
        self.following = following
        self.augment = augment
        self.blocks = blocks
        self._blocks: list[Block | None] = [None] * blocks
        self._turn = 0

    def sample(self, batch_size: int, parts: int = 1) -> Batch:
        """Draw ``parts * batch_size`` transitions; each block of ``batch_size`` rows that follow each other is mixed.

        So ``batch.split(parts)`` gives ``parts`` mini-batches of the wanted ratio. Each source copies its rows to their
        places by itself.

        Raises:
            ValueError: if both sources are empty.
        """
        block = self._block(parts * batch_size)
        demo_rows = round(batch_size * self.demo_ratio)
        if self.demonstrations is None or len(self.demonstrations) == 0 or (demo_rows == 0 and len(self.online)):
            shares = [(self.online, batch_size)]
        elif len(self.online) == 0 or demo_rows == batch_size:
            shares = [(self.demonstrations, batch_size)]
        else:
            shares = [(self.online, batch_size - demo_rows), (self.demonstrations, demo_rows)]
        if len(shares) == 1:
            shares[0][0].sample_into(block, [slice(0, block.size, 1)], following=self.following, augment=self.augment)
        else:
            for (source, _), places in zip(shares, spread([rows for _, rows in shares], parts), strict=True):
                source.sample_into(block, places, following=self.following, augment=self.augment)
        return block.batch(augmented=self.augment is not None)

    def random_state(self) -> list[torch.Tensor]:
        """Return the state of the sampling of all sources."""
        return [source.random_state() for source in (self.online, self.demonstrations) if source is not None]

    def set_random_state(self, states: list[torch.Tensor]) -> None:
        """Sample from here on as it would have been done after :meth:`random_state`."""
        sources = [source for source in (self.online, self.demonstrations) if source is not None]
        for source, state in zip(sources, states, strict=True):
            source.set_random_state(state)

    def _block(self, size: int) -> Block:
        """Return the block whose turn it is."""
        block = self._blocks[self._turn]
        if block is None or block.size != size:
            block = self.online.block(size, augmented=self.augment is not None)
            self._blocks[self._turn] = block
        block.wait()
        self._turn = (self._turn + 1) % len(self._blocks)
        return block
