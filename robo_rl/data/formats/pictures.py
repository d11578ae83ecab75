"""Camera images as PNG (lossless) and as mp4 (small, at a quality that is measured)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from robo_rl.data.formats.extras import library
from robo_rl.errors import UserError

CODEC, PIXELS = "h264", "yuv420p"
"""What is written: H.264 with halved colour resolution, which browsers and every decoder know."""


def is_picture(shape: Sequence[int], dtype: Any) -> bool:
    """Whether an observation of this shape and kind of number is an image: (H, W, 1 or 3) uint8."""
    return str(dtype).removeprefix("torch.") == "uint8" and len(shape) == 3 and shape[-1] in (1, 3)


def encode_png(picture: np.ndarray) -> bytes:
    """Return (H, W, 1 or 3) uint8, RGB, as PNG."""
    import cv2

    image = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.shape[-1] == 3 else picture
    done, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise UserError(
            f"images: OpenCV cannot write one of shape {picture.shape} as PNG; its sides must be at least 1"
        )
    return data.tobytes()


def decode_png(data: bytes) -> np.ndarray:
    """Return an image file (PNG, or any that OpenCV reads) as (H, W, 1 or 3) uint8, RGB.

    Raises:
        ValueError: if it is none.
    """
    import cv2

    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None or image.dtype != np.uint8:
        raise ValueError("an image that cannot be decoded")
    if image.ndim == 2:
        return image[:, :, None]
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGB if image.shape[-1] == 4 else cv2.COLOR_BGR2RGB)


class VideoWriter:
    """Writes an mp4, image by image; image i is shown at i / rate seconds.

    Args:
        path: of the file.
        rate: images a second.
        quality: constant rate factor of H.264, 0 (best) to 51.

    Attributes:
        frames: images so far.
        size: bytes that they took so far.
    """

    def __init__(self, path: Path, rate: float, quality: int) -> None:
        self.path, self.frames, self.size = path, 0, 0
        self._rate, self._quality = Fraction(rate).limit_denominator(10_000), quality
        self._container: Any = None
        self._stream: Any = None

    def add(self, pictures: np.ndarray) -> None:
        """Append (T, H, W, 3) uint8.

        Raises:
            UserError: if their sides are odd.
        """
        av = library("av")
        _, height, width, channels = pictures.shape
        if channels != 3 or height % 2 or width % 2:
            raise UserError(
                f"images: {width}x{height}x{channels} is no video, which has even sides and 3 colours; use png"
            )
        if self._container is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._container = av.open(str(self.path), "w")
            # A key frame at every other image: any one is found without decoding what came long before. No image is
            # predicted from a later one, so that the first is shown at 0.
            options = {"crf": str(self._quality), "preset": "veryfast", "g": "2", "bf": "0"}
            self._stream = self._container.add_stream("libx264", rate=self._rate, options=options)
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, PIXELS
            self._stream.thread_count = 1
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = self.frames, 1 / self._rate
            self._mux(self._stream.encode(frame))
            self.frames += 1

    def close(self) -> None:
        """Finish the file."""
        if self._container is not None:
            self._mux(self._stream.encode(None))
            self._container.close()
            self._container = None

    def _mux(self, packets: Any) -> None:
        self._container.mux(packets)
        self.size += sum(packet.size for packet in packets)


class VideoReader:
    """Reads stretches of a video, fastest in the order in which they lie there.

    Args:
        path: of the file.
        rate: images a second.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self.path, self._rate = path, rate
        self._container: Any = None
        self._images: Any = iter(())
        self._at = 0  # number of the next image

    def read(self, first: int, count: int) -> np.ndarray:
        """Return the images ``first`` to ``first + count - 1``, (count, H, W, 3) uint8.

        Raises:
            ValueError: if they are not there.
        """
        av = library("av")
        try:
            if self._container is None or first < self._at:
                self.close()
                self._container = av.open(str(self.path))
                self._images, self._at = self._container.decode(video=0), 0
            found: list[np.ndarray] = []
            while len(found) < count:
                frame = next(self._images)
                if frame.time is not None:
                    self._at = round(frame.time * self._rate)
                if self._at >= first:
                    found.append(frame.to_ndarray(format="rgb24"))
                self._at += 1
        except (OSError, ValueError, StopIteration) as error:  # av.FFmpegError is one of the first two
            self.close()
            raise ValueError(f"{self.path}: images {first} to {first + count - 1} cannot be read: {error}") from error
        return np.stack(found)

    def close(self) -> None:
        """Let go of the file."""
        if self._container is not None:
            self._container.close()
            self._container = None


def psnr(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """Return the peak signal-to-noise ratio over all pairs of uint8 arrays, dB; inf where they are equal.

    ``10 log10(255**2 / mean squared error)``.
    """
    total, count = 0.0, 0
    for one, other in pairs:
        total += float(((one.astype(np.int32) - other.astype(np.int32)) ** 2).sum())
        count += one.size
    return 10 * math.log10(255**2 * count / total) if total else math.inf
