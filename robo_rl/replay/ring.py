"""Which row of a replay buffer follows which: a ring of numbers, no data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(slots=True)
class Draw:
    """Transitions that were drawn, N of them: all that a gather needs to know beside the rows.

    Attributes:
        slots: where the rows lie that they start in.
        ends: slots of the observations that they lead to, n steps on.
        discount: float32.
        tail: number of the oldest row when they were drawn.
        later: (n - 1, N) slots of the steps folded into a return after the first, and
        weights: what the rewards there count, float32; None for single steps.
    """

    slots: np.ndarray
    ends: np.ndarray
    discount: np.ndarray
    tail: int
    later: np.ndarray | None = None
    weights: np.ndarray | None = None


@dataclass(frozen=True)
class Places:
    """Where B new transitions go.

    Attributes:
        streams: that they belong to.
        starts: numbers of the rows that they start in.
        ends: numbers of the rows of their next observations, all of them new.
        follows: whether ``starts`` is a row that is there already, the end of the transition before.
    """

    streams: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    follows: np.ndarray


class Ring:
    """Rows by number, the order in which they came; number c lies in slot c % capacity, and [tail, head) are alive.

    One small number a row, its hop, says all about the transition that starts there: how many rows on its next
    observation lies, negative if the step terminated, 0 if nothing starts there. A byte is enough for up to 31 streams
    that advance together, two for 8191.

    Args:
        capacity: rows, at least two a stream.
        num_envs: streams.

    Attributes:
        open: number of each stream's newest observation, -1 if nothing can follow it.
    """

    def __init__(self, capacity: int, num_envs: int) -> None:
        self.capacity = capacity
        self.tail = 0
        self.head = 0
        self.hop = np.zeros(capacity, self.hop_type(num_envs))
        self.open = np.full(num_envs, -1)
        self._count = 0

    def __len__(self) -> int:
        """Transitions that are alive."""
        return self._count

    @staticmethod
    def hop_type(num_envs: int) -> np.dtype:
        """Return the type of number of the hops."""
        return next(np.dtype(kind) for kind in (np.int8, np.int16, np.int32) if np.iinfo(kind).max >= 4 * num_envs)

    @property
    def reach(self) -> int:
        """The longest hop."""
        return int(np.iinfo(self.hop.dtype).max)

    @property
    def live(self) -> np.ndarray:
        """Slots of the rows that are alive, oldest first."""
        return np.arange(self.tail, self.head) % self.capacity

    def admit(self, streams: np.ndarray, same: np.ndarray) -> Places:
        """Make room for one transition in each of ``streams``, which follow their open rows where ``same`` is true."""
        count = len(streams)
        opened = self.open[streams]
        follows = same & (opened >= 0) & (self.head + 2 * count - opened <= self.reach)
        while True:  # what makes room for the new rows may be what they would have followed
            fresh = count - int(np.count_nonzero(follows))
            tail = max(self.head + count + fresh - self.capacity, self.tail)
            stays = follows & (opened >= tail)
            if (stays == follows).all():
                break
            follows = stays
        self.evict(tail)
        starts = opened.copy()
        starts[~follows] = self.head + np.arange(fresh)
        return Places(streams, starts, self.head + fresh + np.arange(count), follows)

    def commit(self, places: Places, over: np.ndarray, terminated: np.ndarray) -> None:
        """Let the transitions be drawn from now on; their rows are written."""
        hops = places.ends - places.starts
        self.hop[places.starts % self.capacity] = np.where(terminated, -hops, hops)
        self.open[places.streams] = np.where(over, -1, places.ends)
        self.head = int(places.ends[-1]) + 1
        self._count += len(hops)

    def evict(self, tail: int) -> None:
        """Forget the rows numbered below ``tail``."""
        if tail > self.tail:
            slots = np.arange(self.tail, tail) % self.capacity
            self._count -= int(np.count_nonzero(self.hop[slots]))
            self.hop[slots] = 0
            self.tail = tail

    def restore(self, tail: int, head: int, hop: np.ndarray, newest: np.ndarray) -> None:
        """Go on from these rows, ``hop`` of [tail, head) and ``newest`` of each stream."""
        self.tail, self.head = tail, head
        self.hop[:] = 0
        self.hop[self.live] = hop
        self.open[:] = newest
        self._count = int(np.count_nonzero(hop))

    def draw(self, n: int, generator: torch.Generator, *, n_step: int, discount: float) -> Draw:
        """Draw n transitions uniformly.

        Raises:
            ValueError: if there are none.
        """
        if not self._count:
            raise ValueError("the replay buffer is empty: add a transition before sampling")
        # Some rows start nothing: a few more are drawn than are needed, and the first n that start something kept.
        slots = self._some(n + n // 16 + 8, generator)
        good = self.hop[slots].nonzero()[0][:n]
        while len(good) < n:
            slots = np.concatenate([slots[good], self._some(n, generator)])
            good = self.hop[slots].nonzero()[0][:n]
        return self.fold(slots[good], n_step=n_step, discount=discount)

    def fold(self, slots: np.ndarray, *, n_step: int, discount: float) -> Draw:
        """Follow the transitions in ``slots`` for n steps, or fewer where their episodes end."""
        hop = self.hop[slots]
        ends = self.slots(slots + np.abs(hop))
        left = (hop > 0) * np.float32(discount)
        if n_step == 1:
            return Draw(slots, ends, left, self.tail)
        later = np.empty((n_step - 1, len(slots)), np.int64)
        weights = np.empty((n_step - 1, len(slots)), np.float32)
        for i in range(n_step - 1):
            hop = self.hop[ends]
            goes_on = hop != 0
            later[i], weights[i] = np.where(goes_on, ends, slots), np.where(goes_on, left, 0.0)
            left = np.where(goes_on, left * np.float32(discount) * (hop > 0), left)
            ends = self.slots(ends + np.abs(hop))
        return Draw(slots, ends, left, self.tail, later, weights)

    def overwritten(self, draw: Draw) -> np.ndarray:
        """Return which of the transitions of a draw made room for others since."""
        age = (draw.slots - draw.tail) % self.capacity  # rows after the tail there was
        return np.flatnonzero(age < self.tail - draw.tail)

    def _some(self, count: int, generator: torch.Generator) -> np.ndarray:
        return self.slots(torch.randint(self.tail, self.head, (count,), generator=generator).numpy())

    def chain(self, slots: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return slots (N, K) of the K steps that begin in ``slots``, slots that they lead to, and which there are.

        Where there is none, the last one stands.
        """
        taken, ends, valid = [slots], [self._end(slots)], [np.ones(len(slots), bool)]
        for _ in range(steps - 1):
            goes_on = self.hop[ends[-1]] != 0
            taken.append(np.where(goes_on, ends[-1], taken[-1]))
            ends.append(self._end(taken[-1]))
            valid.append(valid[-1] & goes_on)
        return np.stack(taken, axis=1), np.stack(ends, axis=1), np.stack(valid, axis=1)

    def slots(self, numbers: np.ndarray) -> np.ndarray:
        """Return where the rows of these numbers lie."""
        return numbers % self.capacity if self.head > self.capacity else numbers

    def _end(self, slots: np.ndarray) -> np.ndarray:
        return self.slots(slots + np.abs(self.hop[slots]))
