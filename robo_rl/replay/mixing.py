"""Symmetric sampling of online data and demonstrations (RLPD: Ball et al. 2023, arXiv 2302.02948, section 4.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from robo_rl.contracts import Batch, Following
from robo_rl.errors import UserError

if TYPE_CHECKING:
    from robo_rl.contracts.learning import Obs


class Samplable(Protocol):
    """What batches are drawn from."""

    def __len__(self) -> int:
        """Transitions that can be drawn."""
        ...

    def sample(self, n: int, *, following: int = 0) -> Batch:
        """Draw n of them, with that many following steps."""
        ...


class MixedReplay:
    """Draws every mini-batch from two sources at a fixed ratio, whatever their sizes.

    Where one of them has nothing to give (no demonstrations, no experience yet) the other gives all.

    Args:
        online: the learner's own experience.
        demonstrations: prior data, None if there is none.
        demo_ratio: share of demonstrations in each mini-batch, 0 to 1; rounded to whole rows.
        following: steps from each transition on that come with it, 0 for none.

    Raises:
        UserError: if the ratio is out of range.

    Example:
        >>> batch = MixedReplay(online, demos).sample(256, parts=4)     # doctest: +SKIP
        >>> metrics = agent.update(batch, utd=4)                        # doctest: +SKIP
    """

    def __init__(
        self, online: Samplable, demonstrations: Samplable | None, demo_ratio: float = 0.5, *, following: int = 0
    ) -> None:
        if not 0.0 <= demo_ratio <= 1.0:
            raise UserError(f"demo_ratio: {demo_ratio}; give a share from 0 to 1")
        self.online = online
        self.demonstrations = demonstrations
        self.demo_ratio = demo_ratio
        self.following = following

    def sample(self, batch_size: int, parts: int = 1) -> Batch:
        """Draw ``parts * batch_size`` transitions; each block of ``batch_size`` rows that follow each other is mixed.

        So ``batch.split(parts)`` gives ``parts`` mini-batches of the wanted ratio, for one gather a source.

        Raises:
            ValueError: if both sources are empty.
        """
        demo_rows = round(batch_size * self.demo_ratio)
        if self.demonstrations is None or len(self.demonstrations) == 0 or (demo_rows == 0 and len(self.online)):
            return self._draw(self.online, parts * batch_size)
        if len(self.online) == 0 or demo_rows == batch_size:
            return self._draw(self.demonstrations, parts * batch_size)
        own = self._draw(self.online, parts * (batch_size - demo_rows))
        demo = self._draw(self.demonstrations, parts * demo_rows)

        def blocks(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return torch.cat([a.unflatten(0, (parts, -1)), b.unflatten(0, (parts, -1))], dim=1).flatten(0, 1)

        def blocks_of(a: Obs, b: Obs) -> Obs:
            return {key: blocks(a[key], b[key]) for key in a}

        following = None
        if own.following is not None and demo.following is not None:
            a, b = own.following, demo.following
            action, ahead = blocks(a.action, b.action), blocks_of(a.obs, b.obs)
            following = Following(action, ahead, blocks(a.reward, b.reward), blocks(a.valid, b.valid))

        return Batch(
            blocks_of(own.obs, demo.obs),
            blocks(own.action, demo.action),
            blocks(own.reward, demo.reward),
            blocks_of(own.next_obs, demo.next_obs),
            blocks(own.discount, demo.discount),
            following,
        )

    def _draw(self, source: Samplable, n: int) -> Batch:
        return source.sample(n, following=self.following) if self.following else source.sample(n)
