"""Pictures as JPEG."""

from __future__ import annotations

import numpy as np

_QUALITY = 80


def encode(rgb: np.ndarray) -> bytes:
    """Return a picture (H, W, 3) uint8 as JPEG."""
    import cv2

    done, jpeg = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert done
    return jpeg.tobytes()


def decode_raw(raw: bytes) -> np.ndarray:
    """Return a picture (H, W, 3) from its bytes in a mailbox: width and height, four bytes each, then the pixels."""
    width, height = (int.from_bytes(raw[at : at + 4], "little") for at in (0, 4))
    return np.frombuffer(raw, np.uint8, offset=8).reshape(height, width, 3)
