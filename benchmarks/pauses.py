"""Pauses of a whole machine: while the host of a virtual one runs somebody else, nothing here runs, however urgent.

A process on each core, before which nothing else goes, sleeps a millisecond at a time and notes when that took longer.
What all cores missed at once was the machine's, for no process here can keep all of them from running.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

from hardware.realtime import prioritise

_PRIORITY = 98
_PAUSE = 0.004  # s that a sleep of 1 ms has to take to be noted


class Pauses:
    """Watches for pauses while it is entered.

    Attributes:
        known: whether they could be watched for, which takes real-time priority; told at the end.
        found: begin and end of each, s of ``time.monotonic()``, oldest first; told at the end.

    Example:
        >>> with Pauses() as pauses:                                             # doctest: +SKIP
        ...     work()
        >>> pauses.longest_before(stamp, 0.3)                                    # doctest: +SKIP
    """

    def __enter__(self) -> Pauses:
        """Start watching."""
        self.known, self.found = False, list[tuple[float, float]]()
        self._folder = tempfile.TemporaryDirectory()
        self._files = [Path(self._folder.name) / str(core) for core in sorted(os.sched_getaffinity(0))]
        self._watchers = [
            subprocess.Popen([sys.executable, "-m", "benchmarks.pauses", file.name, str(file)]) for file in self._files
        ]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop watching, and find what the cores have in common."""
        self.known = all(watcher.poll() is None for watcher in self._watchers)
        for watcher in self._watchers:
            watcher.terminate()
            watcher.wait()
        of_cores = [_read(file) for file in self._files if file.exists()]
        self._folder.cleanup()
        if self.known and of_cores:
            self.found = common(of_cores)

    def longest_before(self, stamp: float, seconds: float) -> float:
        """Length, s, of the longest pause that ended in the ``seconds`` before ``stamp``; 0 if none did."""
        return max((end - begin for begin, end in self.found if stamp - seconds <= end <= stamp), default=0.0)


def common(of_cores: list[list[tuple[float, float]]]) -> list[tuple[float, float]]:
    """Return the times in which no core ran, of those in which each did not: begin and end, s, in order."""
    found = of_cores[0]
    for gaps in of_cores[1:]:
        overlaps = ((max(a, c), min(b, d)) for a, b in found for c, d in gaps if a < d and c < b)
        found = [(begin, end) for begin, end in overlaps if end - begin >= _PAUSE]
    return sorted(found)


def _read(file: Path) -> list[tuple[float, float]]:
    lines = [line.split() for line in file.read_text().splitlines()]
    return [(float(line[0]), float(line[1])) for line in lines if len(line) == 2]


def watch(core: int, file: Path) -> int:
    """Note in ``file`` when ``core`` did not run; for ever."""
    os.sched_setaffinity(0, {core})
    if not prioritise(_PRIORITY):
        return 1
    with file.open("w", buffering=1) as notes:
        last = time.monotonic()
        while True:
            time.sleep(0.001)
            now = time.monotonic()
            if now - last > _PAUSE:
                notes.write(f"{last} {now}\n")
            last = now


if __name__ == "__main__":
    sys.exit(watch(int(sys.argv[1]), Path(sys.argv[2])))
