"""A camera read from a thread of its own: the newest stamped frame, found again when it is unplugged."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from dataclasses import dataclass

import numpy as np

from hardware.cameras.source import Ended, Lost, Shot, Source
from hardware.cameras.view import Intrinsics, choose_crop, fit, fit_intrinsics
from hardware.ros.clock import ArrivalClock
from robo_rl.contracts import Frame
from robo_rl.errors import Stale, UserError


@dataclass(frozen=True)
class CaptureSettings:
    """How a camera is read."""

    silence: float = 1.0
    """Seconds without a picture after which the device is opened anew."""
    first_picture: float = 5.0
    """Seconds that a device may take for its first picture after it was opened."""
    backoff: float = 0.1
    """Seconds before the first try to open a lost device again; doubles with each try that fails."""
    max_backoff: float = 2.0
    """Largest such pause, s."""
    frozen_after: float | None = None
    """Seconds of pictures that equal each other to the last bit after which the device counts as frozen: its sensor's
    noise is missing. None for devices without noise."""
    latency: float = 0.0
    """Least time from exposure to arrival, s; stamps are set back by it."""
    start_timeout: float = 15.0
    """Seconds within which the device has to be open and its first picture here."""


class _DeviceClock:
    """Puts the times of a device's clock, which may drift and start anew, on ours."""

    def __init__(self) -> None:
        self._clock, self._last = ArrivalClock(), -math.inf

    def stamp(self, device_time: float, arrival: float) -> float:
        if device_time < self._last:  # it was set back, or the recording begins again
            self._clock = ArrivalClock()
        self._last = device_time
        return self._clock.arrival(round(device_time * 1e9), arrival)


class ThreadedCamera:
    """A camera over any :class:`Source`.

    Pictures are taken, checked, cropped and resized in its thread; :meth:`read` hands out the newest one and never
    waits. A device that is lost, silent or frozen is closed and opened again, ever less often, until it is back;
    meanwhile :meth:`read` raises Stale and says what is wrong.

    Example:
        >>> camera = ThreadedCamera("wrist", source, 128, 128)     # doctest: +SKIP
        >>> camera.read().rgb.shape                                # doctest: +SKIP
        (128, 128, 3)

    Args:
        name: as tasks call it.
        source: the device; belongs to the camera from now on.
        width: of the pictures wanted; None for the device's own.
        height: likewise.
        fovy: vertical field of view wanted, degrees, kept if the device knows its intrinsics; None for all there is.
        settings: how it is read.

    Attributes:
        intrinsics: of the pictures that it gives; None if the device does not know its own.

    Raises:
        UserError: if the device cannot be opened, or gives no picture in time.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        width: int | None = None,
        height: int | None = None,
        *,
        fovy: float | None = None,
        settings: CaptureSettings = CaptureSettings(),
    ) -> None:
        self.name = name
        self.width: int
        self.height: int
        self.intrinsics: Intrinsics | None = None
        self._source, self._settings, self._wanted, self._fovy = source, settings, (width, height), fovy
        self._frame: Frame | None = None
        self._shot: Shot | None = None
        self._alike_since = 0.0
        self._reason = "no picture came yet"
        self._index = 0
        self._number: int | None = None
        self._clock = _DeviceClock()
        self._arrivals: deque[float] = deque(maxlen=60)
        self._counters = {"frames": 0, "lost": 0, "garbage": 0, "repeated": 0, "reconnects": 0}
        self._over = False
        self._news = threading.Condition()
        self._closing = threading.Event()
        self._opened = threading.Event()
        self._refused: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"camera-{name}", daemon=True)
        self._thread.start()
        until = time.monotonic() + settings.start_timeout
        opened = self._opened.wait(settings.start_timeout)
        if self._refused is not None:
            self._thread.join()
            raise self._refused
        try:
            if not opened:
                raise Stale(f"it did not open within {settings.start_timeout:g} s")
            self.wait(timeout=until - time.monotonic())
        except Stale as error:
            self.close()
            raise UserError(
                f"camera {name!r} ({source.what}) does not start: {error}; is it in use elsewhere?"
            ) from error

    def read(self, max_age: float = 0.2) -> Frame:
        """Return the newest frame, without waiting; see :meth:`robo_rl.contracts.Camera.read`."""
        frame = self._frame
        if self._closing.is_set():
            raise Stale(f"camera {self.name!r} is closed")
        if frame is None:
            raise Stale(f"camera {self.name!r} ({self._source.what}) has no frame: {self._reason}")
        age = time.monotonic() - frame.stamp
        if age > max_age:
            why = f": {self._reason}" if self._reason else ""
            raise Stale(
                f"camera {self.name!r} ({self._source.what}): the newest frame is {age:.3f} s old, "
                f"{max_age:g} s are allowed{why}"
            )
        return frame

    def wait(self, after: int = 0, timeout: float = 1.0) -> Frame:
        """Wait for a frame whose index is above ``after``.

        Raises:
            Stale: if none comes within ``timeout`` s.
        """
        with self._news:
            came = self._news.wait_for(
                lambda: self._over or self._closing.is_set() or self._is_newer(after),
                max(timeout, 0.0),
            )
        if not came or (self._over and not self._is_newer(after)):
            raise Stale(f"camera {self.name!r} ({self._source.what}) gave no new frame: {self._reason or 'silent'}")
        return self.read(math.inf)

    def _is_newer(self, index: int) -> bool:
        return self._frame is not None and self._frame.index > index

    def counters(self) -> dict[str, float]:
        """Return how it fares.

        ``frames`` good ones; ``lost`` ones by the device's own count; ``garbage``: of a wrong shape or type, refused;
        ``repeated``: the same picture once more, refused; ``reconnects``; ``rate_hz`` of the last frames; ``age_ms`` of
        the newest, by its stamp.
        """
        frame, arrivals = self._frame, list(self._arrivals)
        spent = arrivals[-1] - arrivals[0] if len(arrivals) > 1 else 0.0
        return {
            **self._counters,
            "rate_hz": (len(arrivals) - 1) / spent if spent > 0 else 0.0,
            "age_ms": math.nan if frame is None else 1e3 * (time.monotonic() - frame.stamp),
        }

    def close(self) -> None:
        """Let go of the device. Once more is no error."""
        self._closing.set()
        with self._news:
            self._news.notify_all()
        # A thread that hangs in its device's driver cannot be ended; it is a daemon and does not keep the process.
        self._thread.join(self._settings.silence + 2.0)

    def __enter__(self) -> ThreadedCamera:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        pause = self._settings.backoff
        while not self._closing.is_set():
            try:
                self._begin()
                self._opened.set()
                while not self._closing.is_set():
                    self._take()
                    pause = self._settings.backoff
            except Ended as error:
                self._reason = str(error)
                self._opened.set()
                break
            except Exception as error:  # whatever a driver throws: the camera has to come back from it
                if not self._opened.is_set():
                    self._refused = (
                        error if isinstance(error, UserError) else UserError(f"{self._source.what}: {error}")
                    )
                    break
                self._reason = f"{error}; trying again"
                self._counters["reconnects"] += 1
            finally:
                self._let_go()
            self._closing.wait(pause)
            pause = min(2.0 * pause, self._settings.max_backoff)
        with self._news:
            self._over = True
            self._news.notify_all()
        self._opened.set()

    def _let_go(self) -> None:
        try:
            self._source.close()
        except Exception as error:  # a driver whose device is gone may throw here as well
            self._reason = f"{self._reason}; closing it: {error}"

    def _begin(self) -> None:
        made = self._source.open()
        size = (made.width, made.height)
        width, height = self._wanted
        if width is None or height is None:
            width, height = size if width is None and height is None else self._other_side(size)
        if self._opened.is_set() and (width, height) != (self.width, self.height):
            raise Lost(f"it came back with pictures of {width}x{height}, not {self.width}x{self.height}")
        self._size, self.width, self.height = size, width, height
        self._crop = choose_crop(size, (width, height), self._fovy, made.intrinsics)
        self.intrinsics = made.intrinsics and fit_intrinsics(made.intrinsics, self._crop, width, height)
        self._number, self._clock, self._shot = None, _DeviceClock(), None
        self._new_until = time.monotonic() + self._settings.first_picture

    def _other_side(self, size: tuple[int, int]) -> tuple[int, int]:
        width, height = self._wanted
        if width is not None:
            return width, max(1, round(size[1] * width / size[0]))
        assert height is not None
        return max(1, round(size[0] * height / size[1])), height

    def _take(self) -> None:
        left = self._new_until - time.monotonic()
        if left <= 0.0:
            raise Lost("no new picture for too long")
        shot = self._source.grab(min(left, 0.25))
        arrival = time.monotonic()
        if shot is None or self._is_garbage(shot) or self._is_old(shot, arrival):
            return
        lost = 0 if None in (shot.number, self._number) else max(shot.number - self._number - 1, 0)  # type: ignore[operator]
        stamp = arrival if shot.time is None else self._clock.stamp(shot.time, arrival)
        stamp -= self._settings.latency
        if self._frame is not None:  # a better estimate of the offset may set a stamp back; time does not
            stamp = max(stamp, math.nextafter(self._frame.stamp, math.inf))
        self._number = shot.number
        self._counters["lost"] += lost
        self._counters["frames"] += 1
        self._index += 1 + lost
        self._arrivals.append(arrival)
        self._new_until = arrival + self._settings.silence
        rgb, depth = fit(shot.rgb, shot.depth, self._crop, self.width, self.height)
        with self._news:
            self._reason = ""
            self._frame = Frame(stamp, self._index, rgb, depth)
            self._news.notify_all()

    def _is_garbage(self, shot: Shot) -> bool:
        width, height = self._size
        good = isinstance(shot.rgb, np.ndarray) and shot.rgb.shape == (height, width, 3) and shot.rgb.dtype == np.uint8
        if good and shot.depth is not None:
            depth = shot.depth
            good = depth.shape == (height, width) and depth.dtype == np.float32
            good = good and bool(np.isfinite(depth).all() and (depth >= 0.0).all())
        if good and shot.time is not None:
            good = math.isfinite(shot.time)
        if not good:
            self._counters["garbage"] += 1
            self._index += 1
            self._number = shot.number
            self._reason = "the device gives pictures of a wrong shape or type"
        return not good

    def _is_old(self, shot: Shot, now: float) -> bool:
        """Whether a device hands out what it handed out before."""
        before, self._shot = self._shot, shot
        frozen_after = self._settings.frozen_after
        again = before is not None and shot.number is not None and shot.number == before.number
        if not again and before is not None and frozen_after is not None and np.array_equal(shot.rgb, before.rgb):
            again = now - self._alike_since > frozen_after
        else:
            self._alike_since = now
        if again:
            self._counters["repeated"] += 1
            self._reason = "the device gives the same picture again and again"
        return again
