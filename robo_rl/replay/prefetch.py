"""Draws the next batches in a thread while the learner is busy with the one before."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import torch

    from robo_rl.contracts import Batch
    from robo_rl.replay.mixing import MixedReplay


@dataclass(frozen=True)
class _Drawn:
    """A batch that waits for the learner, or what went wrong instead, and the state of the sampling before it."""

    outcome: Batch | BaseException
    before: list[torch.Tensor]


class Prefetch:
    """A :class:`MixedReplay` whose next ``depth`` batches are drawn ahead, in a thread.

    The draws are the same as without, one batch after the other. What they are drawn from is not: a batch is drawn as
    soon as there is room for it, so of the transitions that are added while it waits it knows nothing. Where nothing is
    added in between, all batches are equal. A run that must be reproduced leaves this out.

    Whatever is raised while drawing is raised by :meth:`sample` in its turn; the next :meth:`sample` tries again.
    :meth:`drain` gives up the batches that wait and takes the sampling back to where it would be without them, so that
    a checkpoint stored after it, and what comes of it, is as if nothing had been drawn ahead.

    Args:
        source: to draw from, with ``depth + 1`` blocks or more; nobody else samples from it meanwhile.
        depth: batches drawn ahead.

    Raises:
        ValueError: if the source has too few blocks.

    Example:
        >>> with Prefetch(MixedReplay(online, demos, blocks=2)) as replay:        # doctest: +SKIP
        ...     agent.update(replay.sample(256, parts=4), utd=4)
    """

    def __init__(self, source: MixedReplay, depth: int = 1) -> None:
        if source.blocks < depth + 1:
            raise ValueError(f"{depth} batches ahead and the one in use need {depth + 1} blocks, not {source.blocks}")
        self.source = source
        self.depth = depth
        self._wanted = (0, 0)
        self._ready: deque[_Drawn] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = self._closed = False

    def sample(self, batch_size: int, parts: int = 1) -> Batch:
        """Return the next batch, see :meth:`MixedReplay.sample`; it holds until the next call.

        Raises:
            RuntimeError: after :meth:`close`.
        """
        if self._wanted != (batch_size, parts):
            self.drain()
            self._wanted = (batch_size, parts)
        with self._changed:
            if self._closed:
                raise RuntimeError("no batch can be drawn after close()")
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="replay prefetch", daemon=True)
                self._thread.start()
            self._changed.wait_for(lambda: self._ready or self._closed)
            if not self._ready:
                raise RuntimeError("no batch can be drawn after close()")
            drawn = self._ready.popleft()
            self._changed.notify_all()
        if isinstance(drawn.outcome, BaseException):
            self.drain()
            raise drawn.outcome
        return drawn.outcome

    def drain(self) -> None:
        """Stop drawing, give up the batches that wait, and go back to the state of the sampling before the first."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()
        with self._changed:
            if self._ready:
                self.source.set_random_state(self._ready[0].before)
            self._ready.clear()
            self._thread = None
            self._stopping = False

    def close(self) -> None:
        """Stop for good; a :meth:`sample` that waits in another thread raises."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self.drain()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or len(self._ready) < self.depth)
                if self._stopping:
                    return
                wanted = self._wanted
            before = self.source.random_state()
            outcome: Batch | BaseException
            try:
                outcome = self.source.sample(*wanted)
            except BaseException as error:  # the learner's thread is told, whatever it is
                outcome = error
            with self._changed:
                self._ready.append(_Drawn(outcome, before))
                self._changed.notify_all()
                if isinstance(outcome, BaseException):
                    return
