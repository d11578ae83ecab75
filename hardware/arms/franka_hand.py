"""Franka Hand, in a process of its own.

The hand's commands last up to seconds. pylibfranka keeps Python's lock while it waits for them, which would stop the
thread that owes the arm a torque every millisecond; so the hand lives apart, behind two pipes that carry lines of
numbers, and dies with the process that started it.

Opening and closing are both ``move``. Where an object ends the way before the target is reached, ``grasp`` follows and
holds it with a force, until another target comes. A command under way is not interrupted, since not every server
answers one that was stopped: a new target waits for it, and only the newest one waits.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from hardware.arms.franka import FrankaSettings, one_line
from robo_rl.errors import MissingExtra, UserError

_DEADBAND = 1e-3  # m; smaller changes of the target are not worth interrupting the hand
_BLOCKED = 3e-3  # m from the target at which a finished move has met an object
_SILENCE, _START = 2.0, 30.0  # s without a width that are too long, and while the process starts
_PERIOD = 0.02  # s between two looks at the hand


class FrankaHand:
    """The client's end: never waits for the hand.

    Example:
        >>> hand = FrankaHand(FrankaSettings("172.16.0.2"), max_width=0.08)     # doctest: +SKIP
        >>> hand.open()                                                         # doctest: +SKIP
        >>> hand.write(0.02)                                                    # doctest: +SKIP
        >>> hand.width                                                          # doctest: +SKIP
    """

    def __init__(self, settings: FrankaSettings, max_width: float) -> None:
        self._settings = settings
        self._max_width = max_width
        self._process: subprocess.Popen[str] | None = None
        self._width = 0.0
        self._stamp = self._started = -float("inf")  # of the newest width, and of the process
        self._error = ""
        self._listener = threading.Thread()
        self._target: float | None = None

    def open(self, timeout: float = 30.0) -> None:
        """Start the process, and wait for the first width.

        Raises:
            UserError: if the hand cannot be reached, or does not know its ends and may not look for them.
        """
        self.start()
        deadline = time.monotonic() + timeout
        while self._stamp < self._started:
            error = self.error or ("no answer" if time.monotonic() > deadline else "")
            if error:
                self.close()
                raise UserError(f"franka hand at {self._settings.address}: {error}")
            time.sleep(0.01)

    def start(self) -> None:
        """Start the process, anew if there was one; nobody waits for it."""
        self.close()
        s = self._settings
        words = [s.address, s.hand_speed, s.hand_force, int(s.home_hand)]
        self._error, self._started = "", time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hardware.arms.franka_hand", *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path))),
        )
        self._listener = threading.Thread(target=self._listen, args=(self._process,), name="franka hand", daemon=True)
        self._listener.start()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            word, _, rest = line.strip().partition(" ")
            if word == "width":
                self._width, self._stamp, self._error = float(rest), time.monotonic(), ""
            elif word == "error":
                self._error = rest

    @property
    def width(self) -> float:
        """Opening when last heard of, m."""
        return self._width

    @property
    def error(self) -> str:
        """Why the hand is not to be had, or empty. An object in its way is no error."""
        ended = self._process.poll() if self._process is not None else None
        if ended is not None:
            self._listener.join(1.0)  # it may still have the reason in its pipe
            return self._error or f"its process ended with {ended}"
        starting = self._stamp < self._started
        if time.monotonic() - max(self._stamp, self._started) > (_START if starting else _SILENCE):
            return self._error or "silent"
        return ""

    def write(self, width: float) -> None:
        """Go to ``width`` m, instead of wherever it was going."""
        width = min(max(width, 0.0), self._max_width)
        if self._target is not None and abs(width - self._target) < _DEADBAND:
            return
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.write(f"{width:.5f}\n")
                self._process.stdin.flush()
                self._target = width

    def close(self) -> None:
        """Leave the hand as it is and end its process."""
        if self._process is None:
            return
        with suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process, self._target, self._stamp = None, None, -float("inf")


def serve(address: str, speed: float, force: float, home: bool) -> None:
    """Move the hand to widths that are read from the standard input, and print its state, until the input ends."""
    try:
        import franky
    except ImportError as error:
        raise MissingExtra("the Franka hand", "franka") from error
    hand = franky.Gripper(address)
    if hand.max_width < 1e-3:
        if not home:
            raise UserError("it does not know its ends; home it in Desk, or set home_hand: true and keep clear")
        hand.homing()
    threading.Thread(target=_Motion(hand, speed, force).run, args=(sys.stdin,), daemon=True).start()
    while True:
        print("width", f"{hand.width:.5f}", flush=True)
        time.sleep(_PERIOD)


class _Motion:
    """Pursues the newest target, one command after the other."""

    def __init__(self, hand: Any, speed: float, force: float) -> None:
        self._hand = hand
        self._speed, self._force = speed, force
        self._newest = 0.0
        self._changed = threading.Event()

    def run(self, lines: Iterable[str]) -> None:
        threading.Thread(target=self._pursue, daemon=True).start()
        for line in lines:
            self._newest = float(line)
            self._changed.set()
        os._exit(0)  # whoever started us is gone; a command under way must not keep us

    def _pursue(self) -> None:
        while True:
            self._changed.wait()
            self._changed.clear()
            target = self._newest
            with suppress(Exception):  # an object in the way is an error of franky's; grasping is what it is for
                self._hand.move(target, self._speed)
            with suppress(Exception):
                width = self._hand.width
                if width > target + _BLOCKED and not self._changed.is_set():
                    self._hand.grasp(max(width - 0.005, 0.0), self._speed, self._force, 0.01, 0.01)


def main() -> None:
    """``python -m hardware.arms.franka_hand ADDRESS SPEED FORCE HOME``: started by :class:`FrankaHand`."""
    address, *numbers = sys.argv[1:]
    speed, force, home = map(float, numbers)
    try:
        serve(address, speed, force, bool(home))
    except BrokenPipeError:
        os._exit(0)
    except Exception as error:  # the other end of the pipe says it
        print("error", one_line(error), flush=True)
        os._exit(1)


if __name__ == "__main__":
    main()
