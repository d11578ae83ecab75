"""A device that pictures are taken with, as :class:`hardware.cameras.capture.ThreadedCamera` reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hardware.cameras.view import Intrinsics
from robo_rl.errors import UserError


class Lost(UserError):
    """The device is gone or refuses to go on; opening it again may help."""


class Ended(UserError):
    """There will be no more pictures, such as at the end of a video file."""


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture as a device gave it.

    Attributes:
        rgb: (height, width, 3) uint8.
        depth: (height, width) m float32, 0 where unknown, in the pixels of ``rgb``; or None.
        time: when it was taken by the device's own clock, s; None if the device does not say.
        number: of the picture by the device's own count; None if it does not count.
    """

    rgb: np.ndarray
    depth: np.ndarray | None = None
    time: float | None = None
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Format:
    """What an opened source gives: the size of its pictures in pixels, and its intrinsics if they are known."""

    width: int
    height: int
    intrinsics: Intrinsics | None = None


class Source(Protocol):
    """A device that pictures are taken with. Every method is called from one and the same thread.

    Attributes:
        what: the device, for people, such as ``RealSense 123``.
    """

    what: str

    def open(self) -> Format:
        """Connect and start taking pictures.

        Raises:
            UserError: if it cannot be done; names what is connected instead.
        """
        ...

    def grab(self, timeout: float) -> Shot | None:
        """Wait for the next picture; None if there was none for ``timeout`` s.

        Raises:
            Lost: if the device is gone.
            Ended: if there will be no more.
        """
        ...

    def close(self) -> None:
        """Let go of the device. Once more is no error."""
        ...
