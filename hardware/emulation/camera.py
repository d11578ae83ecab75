"""A camera without a device, with faults on demand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np

from hardware.cameras.source import Format, Lost, Shot
from hardware.cameras.view import Intrinsics
from robo_rl.errors import UserError

Picture = tuple[np.ndarray, np.ndarray | None]
"""Colours (height, width, 3) uint8, and depth (height, width) float32 in m, or None."""


def moving_square(width: int, height: int, depth: bool = True) -> Callable[[int], Picture]:
    """Make a scene: a red square at 0.5 m wanders before a background at 1 m; each picture differs from the last."""

    def draw(number: int) -> Picture:
        side = max(1, min(width, height) // 4)
        left = 5 * number % max(1, width - side)
        rows, columns = slice(height // 2 - side // 2, height // 2 - side // 2 + side), slice(left, left + side)
        rgb = np.full((height, width, 3), number % 64, np.uint8)
        rgb[rows, columns] = (255, 0, 0)
        if not depth:
            return rgb, None
        distance = np.ones((height, width), np.float32)
        distance[rows, columns] = 0.5
        return rgb, distance

    return draw


class EmulatedSource:
    """What a camera's driver gives, from a function; behaves as badly as it is told to.

    Every fault may be set from any thread, at any time.

    Example:
        >>> source = EmulatedSource(64, 48)
        >>> camera = ThreadedCamera("front", source)     # doctest: +SKIP
        >>> source.unplugged = True                      # doctest: +SKIP
        >>> camera.read()                                # doctest: +SKIP
        robo_rl.errors.Stale: camera 'front' (emulated camera): the newest frame is 0.219 s old, ...

    Args:
        width: of the pictures.
        height: of the pictures.
        rate: pictures per second.
        draw: makes picture ``number``; by default :func:`moving_square`.

    Attributes:
        drop: pictures still to be lost.
        delay: seconds by which every picture comes late, besides its own period.
        frozen: whether the newest picture is handed out again and again.
        garbage: pictures still to come in a wrong shape, a wrong type, or with depths that are none.
        unplugged: whether the device is gone.
        silent: whether it hangs: it is there and gives nothing.
        opened: how often it was opened.
    """

    def __init__(
        self, width: int = 64, height: int = 48, rate: float = 60.0, draw: Callable[[int], Picture] | None = None
    ) -> None:
        self.what = "emulated camera"
        self.drop = 0
        self.delay = 0.0
        self.frozen = False
        self.garbage = 0
        self.unplugged = False
        self.silent = False
        self.opened = 0
        self._width, self._height, self._rate = width, height, rate
        self._draw = draw or moving_square(width, height)
        self._last: Shot | None = None
        self._end = threading.Event()
        self._number = 0
        self._next = 0.0

    def open(self) -> Format:
        """Connect; refused while it is unplugged."""
        if self.unplugged:
            raise UserError("the emulated camera is not connected; connected: nothing")
        self.opened += 1
        self._next = time.monotonic()
        focal = float(self._width)
        center = ((self._width - 1) / 2.0, (self._height - 1) / 2.0)
        return Format(self._width, self._height, Intrinsics(self._width, self._height, focal, focal, *center))

    def grab(self, timeout: float) -> Shot | None:
        """Wait for the next picture, and apply the faults."""
        taken = self._next
        until = min(taken + self.delay, time.monotonic() + timeout)
        while (left := until - time.monotonic()) > 0.0:
            self._end.wait(min(left, 0.02))
            if self.unplugged:
                break
        if self.unplugged:
            raise Lost("the emulated camera was unplugged")
        if until < taken + self.delay or self.silent:
            self._end.wait(min(timeout, 0.02))
            return None
        self._next = max(taken + 1.0 / self._rate, time.monotonic() - self.delay)
        self._number += 1
        if self.drop > 0:
            self.drop -= 1
            return None
        if self.frozen and self._last is not None:
            return self._last
        rgb, depth = self._draw(self._number)
        if self.garbage > 0:
            self.garbage -= 1
            rgb, depth = self._spoil(rgb, depth)
        self._last = Shot(rgb, depth, taken, self._number)
        return self._last

    def close(self) -> None:
        """Disconnect."""

    def _spoil(self, rgb: np.ndarray, depth: np.ndarray | None) -> Picture:
        kind = self.garbage % 4
        if kind == 0:
            return rgb[: self._height // 2], depth
        if kind == 1:
            return rgb.astype(np.float32) * np.nan, depth
        if kind == 2:
            return np.zeros((0, 0, 3), np.uint8), depth
        return rgb, np.full((self._height, self._width), np.nan, np.float32)
