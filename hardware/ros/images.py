"""Between :class:`robo_rl.contracts.Frame` and ``sensor_msgs``: pictures, depth and what a lens is like."""

from __future__ import annotations

import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robo_rl.errors import InvalidAction, UserError

Message = Any


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera, in pixels of its pictures.

    Attributes:
        fx: focal length along the rows.
        fy: focal length along the columns.
        cx: column of the optical axis.
        cy: row of the optical axis.
        distortion: (k1, k2, p1, p2, k3) of the model ``plumb_bob``.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    distortion: Sequence[float] = (0.0, 0.0, 0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if not (self.fx > 0.0 and self.fy > 0.0) or len(self.distortion) != 5:
            raise UserError(f"intrinsics {self} need focal lengths above 0 and five coefficients of distortion")


def camera_frame(name: str) -> str:
    """The frame of a camera: z forward, x to the right, y down."""
    return f"{name}_optical_frame"


def colour_message(rgb: np.ndarray, frame: str, sec: int, nanosec: int) -> Message:
    """Return a picture (height, width, 3) uint8 as ``rgb8``."""
    return _image(np.ascontiguousarray(rgb, np.uint8), "rgb8", frame, sec, nanosec)


def depth_message(depth: np.ndarray, frame: str, sec: int, nanosec: int) -> Message:
    """Return depth (height, width) m as ``32FC1``; unknown is NaN there (REP 118), 0 here."""
    known = np.where(depth > 0.0, depth, np.nan).astype("<f4")
    return _image(known, "32FC1", frame, sec, nanosec)


def info_message(lens: Intrinsics, width: int, height: int, frame: str, sec: int, nanosec: int) -> Message:
    """Return what a lens is like."""
    from sensor_msgs.msg import CameraInfo

    message = CameraInfo(width=width, height=height, distortion_model="plumb_bob", d=list(lens.distortion))
    _set_header(message, frame, sec, nanosec)
    message.k = [lens.fx, 0.0, lens.cx, 0.0, lens.fy, lens.cy, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [lens.fx, 0.0, lens.cx, 0.0, 0.0, lens.fy, lens.cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


def colour_of(message: Message, width: int, height: int) -> np.ndarray:
    """Return a picture (height, width, 3) uint8, RGB, of an ``rgb8`` or ``bgr8`` message, without copying ``rgb8``.

    Raises:
        InvalidAction: if it is not such a picture.
    """
    if message.encoding not in ("rgb8", "bgr8"):
        raise InvalidAction(f"a picture is encoded as {message.encoding[:40]!r}; rgb8 or bgr8 is understood")
    pixels = _pixels(message, width, height, 3, np.dtype(np.uint8)).reshape(height, width, 3)
    return pixels if message.encoding == "rgb8" else np.ascontiguousarray(pixels[..., ::-1])


def depth_of(message: Message, width: int, height: int) -> np.ndarray:
    """Return depth (height, width) m float32, 0 where unknown, of a ``32FC1`` (m) or ``16UC1`` (mm) message.

    Raises:
        InvalidAction: if it is not such a picture.
    """
    order = ">" if message.is_bigendian else "<"
    if message.encoding == "32FC1":
        depth = _pixels(message, width, height, 1, np.dtype(f"{order}f4")).astype(np.float32)
        return np.where(np.isfinite(depth) & (depth > 0.0), depth, np.float32(0.0))
    if message.encoding == "16UC1":
        return _pixels(message, width, height, 1, np.dtype(f"{order}u2")).astype(np.float32) * np.float32(1e-3)
    raise InvalidAction(f"depth is encoded as {message.encoding[:40]!r}; 32FC1 or 16UC1 is understood")


def _image(pixels: np.ndarray, encoding: str, frame: str, sec: int, nanosec: int) -> Message:
    from sensor_msgs.msg import Image

    height, width = pixels.shape[:2]
    message = Image(height=height, width=width, encoding=encoding, step=pixels.nbytes // height)
    _set_header(message, frame, sec, nanosec)
    data = array.array("B")
    data.frombytes(pixels.data.cast("B"))  # an array of bytes is taken as it is; anything else byte by byte
    message.data = data
    return message


def _set_header(message: Message, frame: str, sec: int, nanosec: int) -> None:
    message.header.stamp.sec, message.header.stamp.nanosec = sec, nanosec
    message.header.frame_id = frame


def _pixels(message: Message, width: int, height: int, channels: int, kind: np.dtype) -> np.ndarray:
    """Rows (height, width * channels) of a message, without the padding at the end of each."""
    if (message.width, message.height) != (width, height):
        raise InvalidAction(f"a picture of {message.width}x{message.height} pixels came, not of {width}x{height}")
    row = width * channels * kind.itemsize
    if message.step < row or len(message.data) != message.step * height:
        raise InvalidAction(f"a picture of {len(message.data)} bytes does not have {height} rows of {message.step}")
    data = np.frombuffer(message.data, np.uint8).reshape(height, message.step)
    return np.ascontiguousarray(data[:, :row]).view(kind)
