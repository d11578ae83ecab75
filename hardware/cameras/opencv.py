"""Webcams, network streams and video files, by OpenCV."""

from __future__ import annotations

import difflib
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hardware.cameras.capture import CaptureSettings, ThreadedCamera
from hardware.cameras.source import Ended, Format, Lost, Shot
from hardware.cameras.view import Intrinsics, opencv
from robo_rl.errors import UserError

DEVICES = Path("/dev")
"""Where Linux keeps its video devices."""
NAMES = Path("/sys/class/video4linux")
"""Where Linux keeps their names."""


def connected() -> dict[str, str]:
    """Return the names of this computer's video devices by path (Linux; empty elsewhere)."""
    found = {}
    for device in sorted(DEVICES.glob("video[0-9]*")):
        name = NAMES / device.name / "name"
        found[str(device)] = name.read_text().strip() if name.is_file() else "unknown"
    return found


@dataclass(frozen=True)
class WebcamSettings:
    """How a webcam, or a stream from the network, takes its pictures."""

    address: int | str
    """Index (0), path (``/dev/video0``, better ``/dev/v4l/by-id/...``, which survives a restart) or URL (``rtsp://...``,
    ``http://...`` of an MJPEG stream)."""
    width: int | None = None
    """Of its pictures, pixels; None for its own."""
    height: int | None = None
    """Of its pictures, pixels; None for its own."""
    fps: float | None = None
    """Pictures per second; None for its own."""
    exposure: float | None = None
    """Exposure in the device's own unit (of V4L2: 100 us); None for automatic."""
    timeout: float = 5.0
    """Seconds that a stream from the network may take to open, or to give its next picture."""
    lens: Intrinsics | None = None
    """Of the pictures that it takes, as calibrated; None if it is not known."""
    fovy: float | None = None
    """Vertical field of view that is wanted, degrees; needs the lens. None for all that there is."""

    def __post_init__(self) -> None:
        _check(self, ("width", "height", "fps", "timeout", "exposure"))


@dataclass(frozen=True)
class VideoFileSettings:
    """Which video file is played, or numbered pictures (``folder/%04d.png``)."""

    path: str
    """Of the file."""
    loop: bool = False
    """Whether it begins again at its end."""
    fps: float | None = None
    """Pictures per second; None for the file's own."""
    lens: Intrinsics | None = None
    """Of its pictures; None if it is not known."""
    fovy: float | None = None
    """Vertical field of view that is wanted, degrees; needs the lens. None for all that there is."""

    def __post_init__(self) -> None:
        _check(self, ("fps",))


def _check(settings: WebcamSettings | VideoFileSettings, positive: tuple[str, ...]) -> None:
    for name in positive:
        value = getattr(settings, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise UserError(f"{name} is {value}; it must be above 0, or left out")
    if settings.fovy is not None and not 1.0 <= settings.fovy <= 175.0:
        raise UserError(f"fovy is {settings.fovy}; give 1 to 175 degrees")
    if settings.fovy is not None and settings.lens is None:
        raise UserError(f"fovy is {settings.fovy}, which needs the lens; calibrate it, or leave fovy out")


class WebcamSource:
    """A webcam, or a stream from the network.

    Args:
        address: index (0), path (``/dev/video0``, better ``/dev/v4l/by-id/...``, which survives a restart) or URL
            (``rtsp://...``, ``http://...`` of an MJPEG stream).
        width: of its pictures, pixels; None for its own.
        height: likewise.
        fps: pictures per second; None for its own.
        exposure: in the device's own unit; None for automatic.
        timeout: seconds that a stream from the network may take to open, or to give its next picture.
        lens: of its pictures, if it is calibrated.
    """

    def __init__(
        self,
        address: int | str,
        width: int | None = None,
        height: int | None = None,
        fps: float | None = None,
        exposure: float | None = None,
        timeout: float = 5.0,
        lens: Intrinsics | None = None,
    ) -> None:
        self._address = int(address) if isinstance(address, str) and address.isdigit() else address
        self.what = f"webcam {self._address}" if isinstance(self._address, int) else self._address
        self._size, self._fps, self._exposure, self._timeout = (width, height), fps, exposure, timeout
        self._lens = lens
        self._is_url = isinstance(self._address, str) and "://" in self._address
        self._reader: Any = None

    def open(self) -> Format:
        """Open it and take a first picture, for its real size."""
        cv2 = opencv()
        if isinstance(self._address, str) and not self._is_url and not Path(self._address).exists():
            raise UserError(f"there is no device {self._address}; connected: {_listed()}")
        with _quiet(cv2):
            if self._is_url:
                limit = round(1e3 * self._timeout)
                options = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit]
                self._reader = cv2.VideoCapture(self._address, cv2.CAP_FFMPEG, options)
            else:
                self._reader = cv2.VideoCapture(self._address)
        if not self._reader.isOpened():
            if self._is_url:
                raise UserError(f"{self.what} does not open within {self._timeout:g} s; check address and network")
            raise UserError(f"{self.what} does not open; connected: {_listed()}; is another program using it?")
        if not self._is_url:
            # Webcams give more than 640x480 at full rate only as JPEG, and OpenCV keeps old pictures in a queue.
            self._reader.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
            self._reader.set(cv2.CAP_PROP_BUFFERSIZE, 1)
            for option, value in (
                (cv2.CAP_PROP_FRAME_WIDTH, self._size[0]),
                (cv2.CAP_PROP_FRAME_HEIGHT, self._size[1]),
                (cv2.CAP_PROP_FPS, self._fps),
            ):
                if value is not None:
                    self._reader.set(option, value)
            if self._exposure is not None:
                self._reader.set(cv2.CAP_PROP_AUTO_EXPOSURE, 1)  # V4L2_EXPOSURE_MANUAL
                if not self._reader.set(cv2.CAP_PROP_EXPOSURE, self._exposure):
                    raise UserError(f"{self.what} does not take exposure {self._exposure:g}; leave it out")
        first = self.grab(self._timeout)
        height, width = first.rgb.shape[:2]
        for wanted, got, side in zip(self._size, (width, height), ("width", "height"), strict=True):
            if not self._is_url and wanted is not None and wanted != got:
                raise UserError(f"{self.what} gives {width}x{height}, not {side} {wanted}; ask for what it has")
        return Format(width, height, _fitting(self._lens, width, height, self.what))

    def grab(self, timeout: float) -> Shot:
        """Wait for the next picture, for as long as the driver waits: 10 s for a webcam."""
        came, bgr = self._reader.read()
        if not came:
            raise Lost(f"{self.what} gives no pictures any more; connected: {_listed()}")
        return Shot(_to_rgb(bgr))

    def close(self) -> None:
        """Let go of it."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.release()


class VideoFileSource:
    """A video file, or numbered pictures (``folder/%04d.png``), played at its own rate.

    Args:
        path: of the file.
        loop: whether it begins again at its end.
        fps: pictures per second; None for the file's own.
        lens: of its pictures, if it is known.
    """

    def __init__(
        self, path: Path | str, loop: bool = False, fps: float | None = None, lens: Intrinsics | None = None
    ) -> None:
        self._path, self._loop, self._fps, self._lens = Path(path), loop, fps, lens
        self.what = f"video {self._path}"
        self._reader: Any = None

    def open(self) -> Format:
        """Open the file."""
        cv2 = opencv()
        if "%" not in self._path.name and not self._path.is_file():
            there = sorted(each.name for each in self._path.parent.glob("*") if each.is_file())
            near = difflib.get_close_matches(self._path.name, there, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"beside it: {', '.join(there[:8]) or 'nothing'}"
            raise UserError(f"there is no video {self._path}; {hint}")
        with _quiet(cv2):
            self._reader = cv2.VideoCapture(str(self._path))
        if not self._reader.isOpened():
            raise UserError(f"{self._path} is no video that OpenCV can read; convert it to MP4 (H.264 or MPEG-4)")
        rate = self._fps or self._reader.get(cv2.CAP_PROP_FPS) or 30.0
        self._period, self._next, self._number = 1.0 / rate, time.monotonic(), 0
        width, height = (int(self._reader.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        return Format(width, height, _fitting(self._lens, width, height, self.what))

    def grab(self, timeout: float) -> Shot | None:
        """Wait until the next picture is due."""
        left = self._next - time.monotonic()
        if left > timeout:
            time.sleep(timeout)
            return None
        time.sleep(max(left, 0.0))
        came, bgr = self._reader.read()
        if not came:
            if not self._loop or self._number == 0:
                raise Ended(f"{self._path} is at its end, after {self._number} pictures")
            self._rewind()
            came, bgr = self._reader.read()
            if not came:
                raise Lost(f"{self._path} cannot be read again")
        self._next = max(self._next + self._period, time.monotonic() - self._period)
        self._number += 1
        return Shot(_to_rgb(bgr), number=self._number)

    def close(self) -> None:
        """Let go of the file."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.release()

    def _rewind(self) -> None:
        cv2 = opencv()
        self._reader.release()  # seeking to the first picture is not exact in every format
        self._reader = cv2.VideoCapture(str(self._path))


def webcam(
    name: str, settings: WebcamSettings | int | str, width: int | None = None, height: int | None = None
) -> ThreadedCamera:
    """Open a webcam or a network stream, by settings or address alone; pictures fitted to ``width`` and ``height``."""
    s = settings if isinstance(settings, WebcamSettings) else WebcamSettings(settings)
    source = WebcamSource(s.address, s.width, s.height, s.fps, s.exposure, s.timeout, s.lens)
    capture = CaptureSettings(silence=2.0, frozen_after=3.0)
    return ThreadedCamera(name, source, width, height, fovy=s.fovy, settings=capture)


def video_file(
    name: str,
    path: VideoFileSettings | Path | str,
    width: int | None = None,
    height: int | None = None,
    *,
    loop: bool = False,
) -> ThreadedCamera:
    """Open a video file, by its settings or its path; pictures fitted to ``width`` and ``height``."""
    s = path if isinstance(path, VideoFileSettings) else VideoFileSettings(str(path), loop)
    return ThreadedCamera(name, VideoFileSource(s.path, s.loop, s.fps, s.lens), width, height, fovy=s.fovy)


def _fitting(lens: Intrinsics | None, width: int, height: int, what: str) -> Intrinsics | None:
    """Return ``lens`` if it is of pictures of this size."""
    if lens is not None and (lens.width, lens.height) != (width, height):
        raise UserError(
            f"lens is of {lens.width}x{lens.height} pictures and {what} gives {width}x{height}; calibrate it at that "
            "size, or set width and height"
        )
    return lens


def _to_rgb(bgr: np.ndarray) -> np.ndarray:
    return opencv().cvtColor(bgr, opencv().COLOR_BGR2RGB)


def _listed() -> str:
    return ", ".join(f"{path} ({name})" for path, name in connected().items()) or "no video device"


class _quiet:  # noqa: N801  (a context manager, used like a function)
    """Keeps OpenCV's own warnings off the terminal: the error says the same in one line."""

    def __init__(self, cv2: Any) -> None:
        self._log = cv2.utils.logging

    def __enter__(self) -> None:
        self._level = self._log.getLogLevel()
        self._log.setLogLevel(self._log.LOG_LEVEL_SILENT)

    def __exit__(self, *_: object) -> None:
        self._log.setLogLevel(self._level)
