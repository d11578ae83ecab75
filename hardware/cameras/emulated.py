"""A camera of the simulated cell; its pictures are drawn by :mod:`hardware.emulation.pictures`."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import numpy as np

from hardware.emulation.mailbox import Inbox
from hardware.emulation.pictures import mailbox_of
from robo_rl.contracts import Frame
from robo_rl.errors import Stale, UserError


class EmulatedCamera:
    """A :class:`robo_rl.contracts.Camera`: reads the newest picture out of memory that it shares with the process.

    Args:
        name: of the camera in the scene.
        folder: of the simulated cell.
        timeout: time to wait for its first picture, s.

    Raises:
        UserError: if there is none by then.
    """

    def __init__(self, name: str, folder: Path | str, *, timeout: float = 10.0) -> None:
        self.name = name
        self._path = mailbox_of(Path(folder), name)
        self._inbox: Inbox | None = None
        self._frame: Frame | None = None
        self._count = 0  # of the values in the inbox when it was read
        self._closed = False
        deadline = time.monotonic() + timeout
        while not self._open() or self._box().newest() is None:
            if time.monotonic() > deadline:
                self.close()
                raise UserError(f"camera {name!r}: no picture at {self._path}; does the cell run, and know this name?")
            time.sleep(0.02)
        _, width, height = self._box().label.split()
        self.width, self.height = int(width), int(height)

    def read(self, max_age: float = 0.2) -> Frame:
        """Return the newest frame, without waiting.

        Raises:
            Stale: if it is older than ``max_age`` s or damaged, or the camera is closed; with the reason if known.
        """
        if self._closed:
            raise Stale(f"camera {self.name!r} is closed")
        if self._inbox is not None and self._inbox.replaced():  # its process has begun anew
            self._inbox.close()
            self._inbox, self._frame, self._count = None, None, 0
        if not self._open():
            raise Stale(f"camera {self.name!r}: its process is gone")
        frame = self._newest()
        if frame is None:
            raise Stale(f"camera {self.name!r}: there is no whole frame{self._because()}")
        age = time.monotonic() - frame.stamp
        if age > max_age:
            raise Stale(f"camera {self.name!r}: the newest frame is {age:.3f} s old{self._because()}")
        return frame

    def close(self) -> None:
        """Let go of the memory. Once more is no error."""
        self._closed = True
        if self._inbox is not None:
            self._inbox.close()
            self._inbox = None

    def _newest(self) -> Frame | None:
        box = self._box()
        count = box.count
        if count != self._count and (letter := box.newest()) is not None:
            rgb = np.frombuffer(bytearray(letter.body), dtype=np.uint8).reshape(self.height, self.width, 3)
            self._frame, self._count = Frame(letter.stamp, letter.index, rgb), count
        return self._frame

    def _because(self) -> str:
        trouble = self._box().trouble()
        return f": {trouble}" if trouble else ""

    def _open(self) -> bool:
        if self._inbox is None:
            with contextlib.suppress(FileNotFoundError):
                self._inbox = Inbox(self._path)
        return self._inbox is not None

    def _box(self) -> Inbox:
        assert self._inbox is not None
        return self._inbox
