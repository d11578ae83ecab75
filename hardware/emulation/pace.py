"""Keeps the beat of a loop on the monotonic clock, and says how well it was kept."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

_WINDOW = 20_000  # periods that the figures are about


class Pace:
    """Ticks that are due every ``period`` s.

    Example:
        >>> pace.start()                             # doctest: +SKIP
        >>> while True:                              # doctest: +SKIP
        ...     for _ in range(pace.wait()):
        ...         step()

    Args:
        period: s.
        catch_up: time that is made up for at once after a stall, s.
        clock: monotonic, s.
        sleep: waits for that many seconds.
    """

    def __init__(
        self,
        period: float,
        catch_up: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._period, self._most = period, max(1, round(catch_up / period))
        self._clock, self._sleep = clock, sleep
        self._periods = np.zeros(_WINDOW)
        self._wakes = self._steps = self._missed = 0
        self._lost = self._due = self._woken = 0.0

    def start(self) -> None:
        """Begin now; the first tick is due a period later."""
        self._woken = self._clock()
        self._due = self._woken + self._period

    def wait(self) -> int:
        """Sleep until the next tick is due and return how many steps there are to do, at least 1.

        More than one if ticks were missed; if too many were, what is beyond the bound is lost, and counted.
        """
        now = self._clock()
        while now < self._due:
            self._sleep(self._due - now)
            now = self._clock()
        ticks = 1 + int((now - self._due) / self._period)
        self._due += ticks * self._period
        steps = min(ticks, 1 + self._most)
        self._missed += ticks - 1
        self._lost += (ticks - steps) * self._period
        self._steps += steps
        self._periods[self._wakes % _WINDOW] = now - self._woken
        self._wakes += 1
        self._woken = now
        return steps

    def figures(self) -> dict[str, float]:
        """Return counts since the start, and rate and periods (ms) of the last 20 000 wakes."""
        recent = self._periods[: min(self._wakes, _WINDOW)]
        if not len(recent):
            return {}
        p50, p99, most = 1e3 * np.percentile(recent, (50, 99, 100))
        return {
            "cycles": float(self._steps),
            "rate_hz": len(recent) / float(recent.sum()),
            "period_p50_ms": float(p50),
            "period_p99_ms": float(p99),
            "period_max_ms": float(most),
            "missed": float(self._missed),
            "lost_s": self._lost,
        }
