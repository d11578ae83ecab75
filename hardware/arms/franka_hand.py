"""Franka Hand, in a process of its own.

The hand's commands last up to seconds. pylibfranka keeps Python's lock while it waits for them, which would stop the
thread that owes the arm a torque every millisecond; so the hand lives apart, behind two pipes that carry lines of
numbers, and dies with the process that started it.

Opening and closing are both ``move``. Where an object ends the way before the target is reached, ``grasp`` follows and
holds it with a force, until another target comes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from hardware.arms.franka import FrankaSettings, one_line
from robo_rl.errors import MissingExtra, UserError

_DEADBAND = 1e-3  # m; smaller changes of the target are not worth interrupting the hand
_BLOCKED = 3e-3  # m from the target at which a finished move has met an object
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
        self._stamp = -float("inf")
        self._error = ""
        self._target: float | None = None

    def open(self, timeout: float = 30.0) -> None:
        """Start the process, and wait for the first width.

        Raises:
            UserError: if the hand cannot be reached, or does not know its ends and may not look for them.
        """
        s = self._settings
        words = [s.address, s.hand_speed, s.hand_force, self._max_width, int(s.home_hand)]
        self._error = ""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hardware.arms.franka_hand", *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path))),
        )
        threading.Thread(target=self._listen, args=(self._process,), name="franka hand", daemon=True).start()
        deadline = time.monotonic() + timeout
        while self._stamp < 0.0:
            if self._error or time.monotonic() > deadline or self._process.poll() is not None:
                error = self._error or "no answer"
                self.close()
                raise UserError(f"franka hand at {s.address}: {error}")
            time.sleep(0.01)

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
        """What is wrong with the hand, or empty."""
        if self._process is not None and self._process.poll() is not None:
            return self._error or "its process has ended"
        if time.monotonic() - self._stamp > 1.0:
            return self._error or "silent"
        return self._error

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


def serve(address: str, speed: float, force: float, max_width: float, home: bool) -> None:
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
    threading.Thread(target=_Motion(hand, speed, force, max_width).run, args=(sys.stdin,), daemon=True).start()
    while True:
        print("width", f"{hand.width:.5f}", flush=True)
        time.sleep(_PERIOD)


class _Motion:
    """Pursues the newest target: at most one command at a time, stopped when a newer target comes."""

    def __init__(self, hand: Any, speed: float, force: float, max_width: float) -> None:
        self._hand = hand
        self._speed, self._force, self._max_width = speed, force, max_width
        self._newest: float | None = None
        self._changed = threading.Event()

    def run(self, lines: Iterator[str]) -> None:
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
            if target is None:
                continue
            try:
                if self._finish(self._hand.move_async(target, self._speed)):
                    width = self._hand.width
                    if width > target + _BLOCKED:
                        self._finish(
                            self._hand.grasp_async(max(width - 0.005, 0.0), self._speed, self._force, 0.01, 0.01)
                        )
            except Exception as error:  # whatever franky raises; the arm goes on without its hand
                print("error", one_line(error), flush=True)

    def _finish(self, future: Any) -> bool:
        """Wait for a command's end; stop it if a newer target comes, and return False."""
        while not future.wait(_PERIOD):
            if self._changed.is_set():
                self._hand.stop()
                with suppress(Exception):  # a command that was stopped ends with an error
                    future.wait(1.0)
                return False
        try:
            future.get()
        except Exception:  # a move that an object ends is an error of the hand, and what grasp is for
            return True
        return True


def main() -> None:
    """``python -m hardware.arms.franka_hand ADDRESS SPEED FORCE MAX_WIDTH HOME``: started by :class:`FrankaHand`."""
    address, *numbers = sys.argv[1:]
    speed, force, max_width, home = map(float, numbers)
    try:
        serve(address, speed, force, max_width, bool(home))
    except Exception as error:  # the other end of the pipe says it
        print("error", one_line(error), flush=True)
        os._exit(1)


if __name__ == "__main__":
    main()
