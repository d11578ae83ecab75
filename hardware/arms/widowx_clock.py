"""How old an answer of the servos is, by their own clocks.

An adapter that was held up delivers answers late; taken for those to the newest question, they would be measurements
of another time under a fresh stamp. Every servo counts milliseconds, and the count comes with what it measured.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

_WRAP = 32.768  # s after which the count begins anew
_WINDOW = 10.0  # s over which the least delay is taken
_SAME = 2.0  # s by which a count may run ahead of ours; by more, the servo has restarted


class ServoClock:
    """Relates the counts of some servos to our clock; those that restart are outvoted by the others."""

    def __init__(self, count: int) -> None:
        """Begin anew with ``count`` servos: their next answer counts as fresh."""
        self._count = count
        self._last: list[int] = []
        self._times = [0.0] * count  # unwrapped
        self._least: list[tuple[float, list[float]]] = []  # (since, least of ours - theirs) of this window and the last
        self._received = 0.0

    def age(self, ticks: Sequence[int], received: float) -> float:
        """Return by how much longer than the quickest ones an answer took, s; see :meth:`accept`.

        Args:
            ticks: milliseconds that each servo counted.
            received: when, s of our clock.
        """
        if not self._last:
            return 0.0
        theirs, restarted = self._unwrapped(ticks, received)
        least = [min(of) for of in zip(*(values for _, values in self._least), strict=True)]
        ages = [received - t - least[i] for i, t in enumerate(theirs) if i not in restarted]
        # If most of them restarted, their power was off: there is nothing to compare with.
        return max(0.0, statistics.median(ages)) if 2 * len(restarted) < self._count else 0.0

    def accept(self, ticks: Sequence[int], received: float) -> None:
        """Learn from an answer that was taken for fresh."""
        theirs, restarted = self._unwrapped(ticks, received) if self._last else ([0.0] * self._count, set())
        delays = [received - t for t in theirs]
        if not self._last or 2 * len(restarted) >= self._count:
            self._least = [(received, delays)]
        elif received - self._least[-1][0] > _WINDOW:
            self._least = [self._least[-1], (received, delays)]
        for _, values in self._least:
            for i, delay in enumerate(delays):
                values[i] = delay if i in restarted else min(values[i], delay)
        self._last, self._times, self._received = list(ticks), theirs, received

    def _unwrapped(self, ticks: Sequence[int], received: float) -> tuple[list[float], set[int]]:
        """Their times, s, going on from the last accepted ones; and who cannot be going on."""
        elapsed, theirs, restarted = received - self._received, [], set()
        for i, tick in enumerate(ticks):
            since = (tick - self._last[i]) / 1000.0 % _WRAP
            turns = max(0.0, round((elapsed - since) / _WRAP)) if elapsed > _WRAP / 2 else 0.0
            theirs.append(self._times[i] + since + turns * _WRAP)
            if since + turns * _WRAP > elapsed + _SAME:
                restarted.add(i)
        return theirs, restarted
