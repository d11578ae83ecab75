"""Progress on standard error: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress

_PLAIN_PERIOD = 10.0  # seconds between plain lines
_WINDOW = 20.0  # seconds that rates are taken over


class Rates:
    """Environment steps and updates per second over the last seconds."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int, int]] = deque()

    def mark(self, now: float, env_steps: int, updates: int) -> tuple[float, float]:
        """Note the counters at time ``now`` (s) and return both rates, 0 while there is nothing to compare with."""
        self._marks.append((now, env_steps, updates))
        while len(self._marks) > 2 and now - self._marks[1][0] > _WINDOW:
            self._marks.popleft()
        then, steps, done = self._marks[0]
        if now <= then:
            return 0.0, 0.0
        return (env_steps - steps) / (now - then), (updates - done) / (now - then)


def remaining_seconds(env_steps: int, total: int, rate: float, seconds_left: float | None) -> float | None:
    """Seconds until the steps or the time are used up, whichever comes first; None if not known."""
    by_steps = (total - env_steps) / rate if rate > 0 else None
    known = [seconds for seconds in (by_steps, seconds_left) if seconds is not None]
    return min(known) if known else None


class TrainingProgress:
    """Shows how training goes. A context manager.

    Args:
        total: environment steps that training may take.
        stream: where to, standard error by default.

    Example:
        >>> with TrainingProgress(10_000) as progress:                                       # doctest: +SKIP
        ...     progress.update(100, 20, success=0.1, episode_return=0.1, seconds_left=None)
    """

    def __init__(self, total: int, *, stream: TextIO | None = None) -> None:
        self._total = total
        self._stream = sys.stderr if stream is None else stream
        self._rates = Rates()
        self._bar: Progress | None = None
        self._last_plain = time.monotonic()

    def __enter__(self) -> TrainingProgress:
        if self._stream.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                TextColumn("{task.completed}/{task.total} steps  {task.fields[figures]}"),
                console=Console(file=self._stream),
                refresh_per_second=4,
            )
            self._bar.add_task("training", total=self._total, figures="")
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def update(
        self,
        env_steps: int,
        updates: int,
        *,
        success: float | None,
        episode_return: float | None,
        seconds_left: float | None,
        doing: str = "training",
    ) -> None:
        """Show the newest figures; on a terminal at once, elsewhere as a line every 10 s.

        Args:
            env_steps: taken so far.
            updates: of the critic so far.
            success: share of the latest training episodes, None before the first.
            episode_return: mean of the same.
            seconds_left: of the time budget, None without one.
            doing: what is going on.
        """
        now = time.monotonic()
        step_rate, update_rate = self._rates.mark(now, env_steps, updates)
        if self._bar is None and now - self._last_plain < _PLAIN_PERIOD:
            return
        eta = remaining_seconds(env_steps, self._total, step_rate, seconds_left)
        figures = (
            f"success {_figure(success, '.0%')}  return {_figure(episode_return, '.3g')}  "
            f"{step_rate:.0f} env steps/s  {update_rate:.0f} updates/s  ETA {clock(eta)}"
        )
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=env_steps, figures=figures, description=doing)
        else:
            self._last_plain = now
            self._print(f"{doing}: {env_steps}/{self._total} steps  {figures}")

    def say(self, line: str) -> None:
        """Print a line of its own, above the bar."""
        if self._bar is not None:
            self._bar.console.print(line, highlight=False, markup=False, soft_wrap=True)
        else:
            self._print(line)

    def _print(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


class Voice:
    """One of several trainings that share a :class:`TrainingProgress`: counters add up, lines begin with its name.

    Args:
        progress: that is shared.
        name: of this one.
        counters: environment steps and updates of each, by name; the same mapping for all that share.
    """

    def __init__(self, progress: TrainingProgress, name: str, counters: dict[str, tuple[int, int]]) -> None:
        self._progress, self._name, self._counters = progress, name, counters

    def update(self, env_steps: int, updates: int, *, doing: str = "training", **figures: float | None) -> None:
        """Show the newest figures of this one; see :meth:`TrainingProgress.update`."""
        self._counters[self._name] = env_steps, updates
        steps, done = (sum(column) for column in zip(*self._counters.values(), strict=True))
        self._progress.update(steps, done, doing=f"{self._name}: {doing}", **figures)

    def say(self, line: str) -> None:
        """Print a line of its own."""
        self._progress.say(f"{self._name}: {line}")


def clock(seconds: float | None) -> str:
    """Return seconds as ``h:mm:ss``, or dashes if not known."""
    if seconds is None:
        return "-:--:--"
    whole = max(0, round(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
