"""What buttons and axes of hand-held devices mean."""

from __future__ import annotations

from collections import deque
from typing import cast, get_args

from robo_rl.contracts.human import Deflection, Label, Request
from robo_rl.errors import UserError

MEANINGS = ("close", "open", *get_args(Label), *get_args(Request))
"""What a button can mean: the gripper's two ends, verdicts and requests. ``pause`` pressed once more is ``resume``."""


def dead_band(value: float, width: float) -> float:
    """Return a deflection in [-1, 1] of which the middle, ``width`` to either side, is rest.

    Beyond it the value grows from 0, so that crossing it is no jump: ``sign(v) (|v| - width) / (1 - width)``.

    Example:
        >>> [round(dead_band(v, 0.2), 6) for v in (0.1, -0.2, 0.6, 1.5)]
        [0.0, 0.0, 0.5, 1.0]
    """
    beyond = (min(abs(value), 1.0) - width) / (1.0 - width)
    return 0.0 if beyond <= 0.0 else beyond if value > 0.0 else -beyond


def check_dead_band(width: float) -> None:
    """Refuse a dead-band that leaves nothing.

    Raises:
        UserError: if it is out of range.
    """
    if not 0.0 <= width < 1.0:
        raise UserError(f"dead_band: must lie in [0, 1), got {width}")


class Presses:
    """Buttons that were pressed and have not been told yet, each told once, in order."""

    def __init__(self) -> None:
        self._waiting: deque[str] = deque()
        self._paused = False

    def press(self, meaning: str) -> None:
        """Take up a press.

        Raises:
            UserError: if it means nothing.
        """
        if meaning not in MEANINGS:
            raise UserError(f"a button cannot mean {meaning!r}; choose one of {', '.join(MEANINGS)}")
        if meaning == "pause":
            self._paused = not self._paused
            meaning = "pause" if self._paused else "resume"
        elif meaning in get_args(Request):
            self._paused = False
        self._waiting.append(meaning)

    def forget(self) -> None:
        """Drop what waits: the device was lost, and who pressed may not want it any more."""
        self._waiting.clear()

    def tell(
        self,
        stamp: float,
        translation: tuple[float, float, float] = (0.0, 0.0, 0.0),
        rotation: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> Deflection:
        """Return what the device says, with the oldest press of each kind that waits."""
        gripper: float | None = None
        label: Label | None = None
        request: Request | None = None
        kept: deque[str] = deque()
        while self._waiting:
            meaning = self._waiting.popleft()
            if meaning in ("close", "open") and gripper is None:
                gripper = 1.0 if meaning == "open" else -1.0
            elif meaning in get_args(Label) and label is None:
                label = cast("Label", meaning)
            elif meaning in get_args(Request) and request is None:
                request = cast("Request", meaning)
            else:
                kept.append(meaning)
        self._waiting = kept
        return Deflection(stamp, translation, rotation, gripper, label, request)
