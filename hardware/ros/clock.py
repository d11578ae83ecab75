"""Stamps on the wire, and their age where they arrive.

Inside a process time is ``time.monotonic()``. A publisher stamps its messages with the wall clock, read once when it
starts and carried on by the monotonic clock: a clock that somebody sets, or that leaps, changes no stamp. A receiver
need not share that clock. It takes the quickest recent message to have taken no time, and measures the others by it.
"""

from __future__ import annotations

import time

WINDOW = 10.0
"""Seconds for which the quickest message is remembered."""


class StampClock:
    """Wall time in ns that advances with the monotonic clock."""

    def __init__(self) -> None:
        self._offset = time.time_ns() - time.monotonic_ns()
        self._last = 0

    def stamp(self, monotonic: float) -> int:
        """Return the stamp, ns, of an instant of ``time.monotonic()``, s."""
        return self._offset + round(monotonic * 1e9)

    def next(self) -> int:
        """Return a stamp of now, ns, above every earlier one that this method gave."""
        self._last = max(self._offset + time.monotonic_ns(), self._last + 1)
        return self._last


class ArrivalClock:
    """Where the stamps of one publisher lie on the monotonic clock of this process.

    The least (receipt - stamp) of the last 5 to 10 s is taken for the distance of the two clocks. It is too large by
    what the quickest message took, a fraction of a millisecond on one machine.

    Example:
        >>> clock = ArrivalClock()
        >>> clock.arrival(stamp=1_000_000_000, received=50.0)      # the first one: no time has passed
        50.0
        >>> clock.arrival(stamp=1_010_000_000, received=50.035)    # 10 ms later, and 25 ms late
        50.01
    """

    def __init__(self) -> None:
        self._bucket_start = 0.0
        self._least: int | None = None
        self._least_before: int | None = None

    def arrival(self, stamp: int, received: float) -> float:
        """Return when a message was stamped, in seconds of this process's ``time.monotonic()``.

        Args:
            stamp: of the message, ns.
            received: ``time.monotonic()`` when it came, s.
        """
        passed = received - self._bucket_start
        if passed > WINDOW / 2:
            self._least_before = self._least if passed <= WINDOW else None
            self._least = None
            self._bucket_start = received
        offset = round(received * 1e9) - stamp
        self._least = offset if self._least is None else min(self._least, offset)
        least = self._least if self._least_before is None else min(self._least, self._least_before)
        return min((stamp + least) * 1e-9, received)  # rounding puts nothing into the future
