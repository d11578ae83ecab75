"""What the checks of a cell are made with: a line of their table, ids of commands, waiting."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One line of the table.

    Attributes:
        device: arm or camera.
        what: was looked at.
        found: for people.
        ok: whether it is as it has to be; None if it is only told.
        figures: for programs.
    """

    device: str
    what: str
    found: str
    ok: bool | None
    figures: Mapping[str, float]


class CommandIds:
    """Command ids, ascending across the checks of an arm."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        """The next one."""
        self._last += 1
        return self._last


def wait(condition: Callable[[], bool], timeout: float) -> bool:
    """Whether ``condition`` comes true within ``timeout`` s."""
    until = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.0005)
    return True


def rounded(figures: Mapping[str, float]) -> dict[str, float]:
    """Figures as they are printed."""
    return {key: round(float(value), 4) for key, value in figures.items()}
