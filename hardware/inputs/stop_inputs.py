"""What a person stops arms with: keys of the terminal, buttons on USB, lines of a board."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import queue
import select
import struct
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from robo_rl.errors import UserError


class InputLost(UserError):
    """The input device is gone: nobody could stop the arms with it any more."""


class StopInput(Protocol):
    """Something that a person stops the arms with. Called from one thread at a time.

    Attributes:
        what: the device, for people.
    """

    what: str

    def open(self) -> None:
        """Connect.

        Raises:
            UserError: if it cannot be done; names what is connected instead.
        """
        ...

    def wait(self, timeout: float) -> bool:
        """Wait for at most ``timeout`` s; return whether it was pressed meanwhile, or is held.

        Raises:
            InputLost: if the device is gone.
        """
        ...

    def close(self) -> None:
        """Let go of it. Once more is no error."""
        ...


class MissingInput:
    """What stands in for an input that could not be opened: one that is lost from the start, so that no arm moves.

    Args:
        what: the device, for people.
        why: it could not be opened.
    """

    def __init__(self, what: str, why: str) -> None:
        self.what, self._why = what, why

    def open(self) -> None:
        """Nothing is there to be opened."""

    def wait(self, timeout: float) -> bool:
        """Say that it is lost."""
        raise InputLost(self._why)

    def close(self) -> None:
        """Nothing is there to let go of."""


class KeyInput:
    """Keys of the terminal: any of ``keys`` stops. A terminal that hangs up is a lost device.

    Args:
        keys: that stop, one character each; by default the space bar and Escape.
        stream: the terminal's file descriptor; standard input by default.

    Attributes:
        typed: the other keys, in their order, for who else reads this terminal.
    """

    def __init__(self, keys: str = " \x1b", stream: int | None = None) -> None:
        self.what = "the stop key"
        self._keys = frozenset(keys.encode())
        self._stream = stream
        self._before: list[Any] | None = None
        self.typed: queue.SimpleQueue[str] = queue.SimpleQueue()

    def open(self) -> None:
        """Let the terminal hand over single keys instead of lines."""
        import termios
        import tty

        if self._stream is None:
            self._stream = sys.stdin.fileno()
        if not os.isatty(self._stream):
            raise UserError("the stop key needs a terminal, and standard input is none; use a button instead")
        self._before = termios.tcgetattr(self._stream)
        tty.setcbreak(self._stream, termios.TCSANOW)

    def wait(self, timeout: float) -> bool:
        """Wait for a key."""
        assert self._stream is not None
        if not select.select([self._stream], [], [], timeout)[0]:
            return False
        try:
            read = os.read(self._stream, 1024)
        except OSError as error:
            raise InputLost(f"the terminal is gone ({error.strerror})") from error
        if not read:
            raise InputLost("the terminal hung up")
        for key in read:
            if key not in self._keys:
                self.typed.put(chr(key))
        return bool(self._keys & set(read))

    def close(self) -> None:
        """Leave the terminal as it was."""
        import termios

        before, self._before = self._before, None
        if before is not None and self._stream is not None:
            with contextlib.suppress(termios.error, OSError):  # a terminal that is gone needs no restoring
                termios.tcsetattr(self._stream, termios.TCSANOW, before)


INPUTS = Path("/dev/input")
"""Where Linux keeps its input devices."""

_EVENT = struct.Struct("@llHHi")
"""``struct input_event`` of linux/input.h: time (s, us), type, code, value."""
_EV_SYN, _EV_KEY, _SYN_DROPPED = 0, 1, 3
_KEY_BYTES = 0x300 // 8  # KEY_CNT of linux/input-event-codes.h
_EVIOCGKEY = 2 << 30 | _KEY_BYTES << 16 | ord("E") << 8 | 0x18
_EVIOCGRAB = 1 << 30 | 4 << 16 | ord("E") << 8 | 0x90


class EvdevInput:
    """A USB button, foot switch or keypad that Linux shows as an input device; read raw, without another package.

    Args:
        path: of the device, best ``/dev/input/by-id/...``, which survives a restart.
        codes: of the keys that stop (linux/input-event-codes.h); None for every one that it has.
        released: whether it stops on release instead, as a button that is closed at rest does.
    """

    def __init__(self, path: Path | str, codes: Sequence[int] | None = None, released: bool = False) -> None:
        self._path = Path(path)
        self.what = self._path.name
        self._codes = None if codes is None else frozenset(codes)
        if released and codes is None:
            raise UserError(f"{self._path}: name the keys (codes) of a button that stops on release")
        down: tuple[tuple[int, ...], tuple[int, ...]] = ((1, 2), (0,))  # pressed and repeated; released
        self._stops, self._ends = down[::-1] if released else down
        self._file: int | None = None
        self._rest = b""
        self._down: set[int] = set()

    def open(self) -> None:
        """Open it, and keep its keys from the terminal."""
        try:
            self._file = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
        except PermissionError as error:
            raise UserError(f"{self._path} may not be read; add your user to the group input") from error
        except OSError as error:
            raise UserError(f"{self._path} does not open ({error.strerror}); connected: {_inputs()}") from error
        self._rest, self._down = b"", set()
        try:
            fcntl.ioctl(self._file, _EVIOCGRAB, 1)
            keys = fcntl.ioctl(self._file, _EVIOCGKEY, bytes(_KEY_BYTES))
        except OSError as error:
            if error.errno not in (errno.ENOTTY, errno.EINVAL):  # not a device of the kernel, such as a pipe
                self.close()
                raise UserError(f"{self._path}: {error.strerror}; is another program holding it?") from error
            return
        held = {code for code in range(8 * _KEY_BYTES) if keys[code // 8] >> code % 8 & 1}
        if self._ends == (0,):
            self._down = held if self._codes is None else held & self._codes
        elif self._codes is not None:  # keys that are held at rest, and are not
            self._down = set(self._codes - held)

    def wait(self, timeout: float) -> bool:
        """Wait for its next events."""
        if self._file is None:
            raise InputLost("it is closed")
        if self._down:  # held since before it was opened, or still
            timeout = min(timeout, 0.01)
        if not select.select([self._file], [], [], timeout)[0]:
            return bool(self._down)
        try:
            read = os.read(self._file, 64 * _EVENT.size)
        except BlockingIOError:
            return bool(self._down)
        except OSError as error:  # ENODEV: unplugged
            raise InputLost(f"it was unplugged ({error.strerror}); connected: {_inputs()}") from error
        if not read:
            raise InputLost("it gives no more events")
        data = self._rest + read
        whole = len(data) // _EVENT.size * _EVENT.size
        self._rest = data[whole:]
        pressed = False
        for _, _, kind, code, value in _EVENT.iter_unpack(data[:whole]):
            if kind == _EV_SYN and code == _SYN_DROPPED:
                raise InputLost("it lost events: whether it was pressed is unknown")
            if kind != _EV_KEY or (self._codes is not None and code not in self._codes):
                continue
            if value in self._stops:
                pressed = True
                self._down.add(code)
            elif value in self._ends:
                self._down.discard(code)
        return pressed or bool(self._down)

    def close(self) -> None:
        """Let go of it."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


class GpioInput:
    """A line of a board's GPIO: the ``value`` file of the kernel's sysfs interface, looked at a hundred times a second.

    Wire a button that is closed at rest, and a broken wire stops as well.

    Args:
        path: of the file, such as ``/sys/class/gpio/gpio17/value`` (export the line and set its direction first).
        stops: value of the line that stops: 1 for a button that is closed at rest between the line and ground, with a
            pull-up.
    """

    def __init__(self, path: Path | str, stops: int = 1) -> None:
        if stops not in (0, 1):
            raise UserError(f"a line stops at 0 or 1, not {stops}")
        self._path, self._stops = Path(path), stops
        self.what = f"the button at {self._path}"
        self._file: int | None = None

    def open(self) -> None:
        """Open the line."""
        try:
            self._file = os.open(self._path, os.O_RDONLY)
        except OSError as error:
            lines = ", ".join(str(each) for each in sorted(self._path.parent.parent.glob("gpio*/value")))
            raise UserError(
                f"{self._path} does not open ({error.strerror}); exported lines: {lines or 'none'}"
            ) from error

    def wait(self, timeout: float) -> bool:
        """Look at the line until it stops or the time is over."""
        until = time.monotonic() + timeout
        while True:
            if self._value() == self._stops:
                return True
            left = until - time.monotonic()
            if left <= 0.0:
                return False
            time.sleep(min(left, 0.01))

    def close(self) -> None:
        """Let go of it."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _value(self) -> int:
        if self._file is None:
            raise InputLost("it is closed")
        try:
            read = os.pread(self._file, 8, 0).strip()
        except OSError as error:
            raise InputLost(f"the line cannot be read ({error.strerror})") from error
        if read not in (b"0", b"1") or not self._path.exists():
            raise InputLost(f"the line reads {read!r}; was it unexported?")
        return int(read)


def _inputs() -> str:
    by_id = sorted((INPUTS / "by-id").glob("*")) or sorted(INPUTS.glob("event*"))
    return ", ".join(str(each) for each in by_id) or "no input device"
