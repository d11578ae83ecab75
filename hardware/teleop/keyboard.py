"""The keyboard of a terminal. It needs no extra, and says nothing of keys that are let go."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from typing import Any

from hardware.teleop.buttons import Presses
from robo_rl.contracts.human import Deflection
from robo_rl.errors import UserError

DIRECTIONS: dict[str, tuple[int, float]] = {
    "w": (0, 1.0), "s": (0, -1.0), "a": (1, 1.0), "d": (1, -1.0), "r": (2, 1.0), "f": (2, -1.0),
    "l": (3, 1.0), "j": (3, -1.0), "k": (4, 1.0), "i": (4, -1.0), "u": (5, 1.0), "o": (5, -1.0),
}  # fmt: skip
"""Axis, of translation (0 to 2) or rotation (3 to 5), and sense of each key."""

MEANINGS = {
    "c": "close", "v": "open", "\n": "success", "\r": "success", "\x7f": "failure", "x": "discard", "p": "pause",
    "n": "reset", "q": "stop",
}  # fmt: skip
"""What other keys mean; see :data:`hardware.teleop.buttons.MEANINGS`."""

HELP = (
    "keys: w s away, back; a d left, right; r f up, down; j l, i k, u o turn; c v close, open the gripper; "
    "Enter success; Backspace failure; x discard; p pause; n begin anew; q stop"
)
"""One line for the person at the keyboard."""


class Keyboard:
    """A :class:`robo_rl.contracts.InputDevice`: a key pushes for ``pulse`` seconds, and the terminal repeats it.

    A terminal tells which keys are pressed, never which are let go, and repeats the newest one only. So a tap is a
    short push, a key that is held goes on once the terminal repeats it, and two directions are pushed in turns.

    Args:
        step: deflection of a push.
        pulse: s.
        stream: the terminal's file descriptor; standard input by default.

    Raises:
        UserError: if it is no terminal.
    """

    name = "keyboard"

    def __init__(self, *, step: float = 1.0, pulse: float = 0.25, stream: int | None = None) -> None:
        import termios
        import tty

        if not 0.0 < step <= 1.0:
            raise UserError(f"step: must lie in (0, 1], got {step}")
        if not pulse > 0.0:
            raise UserError(f"pulse: must be above 0 s, got {pulse}")
        self._step, self._pulse = step, pulse
        self._stream = sys.stdin.fileno() if stream is None else stream
        if not os.isatty(self._stream):
            raise UserError("the keyboard needs a terminal, and standard input is none; choose another device")
        self._before: list[Any] | None = termios.tcgetattr(self._stream)
        tty.setcbreak(self._stream, termios.TCSANOW)
        self._presses = Presses()
        self._pushed: dict[int, tuple[float, float]] = {}  # by axis: deflection, when
        self._lost = False

    def read(self) -> Deflection | None:
        """Return what is pushed now; None once the terminal has hung up."""
        self._take_up()
        now = time.monotonic()
        if self._lost:
            return None
        axes, stamp = [0.0] * 6, now
        for axis, (value, since) in self._pushed.items():
            if now - since < self._pulse:
                axes[axis], stamp = value, min(stamp, since)
        x, y, z, a, b, c = axes
        return self._presses.tell(stamp, (x, y, z), (a, b, c))

    def close(self) -> None:
        """Leave the terminal as it was."""
        import termios

        before, self._before = self._before, None
        if before is not None:
            with contextlib.suppress(termios.error, OSError):  # a terminal that is gone needs no restoring
                termios.tcsetattr(self._stream, termios.TCSANOW, before)

    def _take_up(self) -> None:
        """Read the keys that wait."""
        while not self._lost and self._before is not None and select.select([self._stream], [], [], 0.0)[0]:
            try:
                keys = os.read(self._stream, 1024)
            except OSError:
                keys = b""
            if not keys:
                self._lost = True
                self._presses.forget()
                return
            now = time.monotonic()
            for key in keys.decode(errors="ignore"):
                if key in DIRECTIONS:
                    axis, sense = DIRECTIONS[key]
                    self._pushed[axis] = (sense * self._step, now)
                elif key in MEANINGS:
                    self._presses.press(MEANINGS[key])
