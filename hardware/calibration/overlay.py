"""Frames drawn into the picture of a calibrated camera, for people to see whether the calibration holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hardware.cameras.view import Intrinsics, opencv
from robo_rl.errors import UserError

_COLOURS = ((220, 40, 40), (40, 180, 40), (60, 90, 255))  # x, y, z


def draw_frames(
    picture: np.ndarray, lens: Intrinsics, T_camera: Mapping[str, np.ndarray], length: float = 0.05
) -> np.ndarray:
    """Return a copy of a picture with the axes of frames: x red, y green, z blue; those behind the camera are left out.

    Args:
        picture: (height, width, 3) uint8 RGB.
        lens: of it.
        T_camera: (4, 4) pose of each frame in the camera's, by the name that is written beside it.
        length: of the axes, m.
    """
    cv2 = opencv()
    drawn = np.ascontiguousarray(picture).copy()
    distortion = np.array(lens.distortion or (0.0,) * 5)
    for name, T in T_camera.items():
        points = np.concatenate([np.zeros((1, 3)), length * np.eye(3)]) @ T[:3, :3].T + T[:3, 3]
        if (points[:, 2] <= 0.01).any():
            continue
        seen = cv2.projectPoints(points, np.zeros(3), np.zeros(3), lens.matrix, distortion)[0].reshape(-1, 2)
        if np.abs(seen).max() > 1e5:
            continue
        origin, *ends = [(round(float(x)), round(float(y))) for x, y in seen]
        for colour, end in zip(_COLOURS, ends, strict=True):
            cv2.line(drawn, origin, end, colour, 2, cv2.LINE_AA)
        cv2.putText(
            drawn, name, (origin[0] + 4, origin[1] - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 0), 1, cv2.LINE_AA
        )
    return drawn


def save_picture(path: Path, picture: np.ndarray) -> None:
    """Write a picture (height, width, 3) uint8 RGB.

    Raises:
        UserError: if it cannot be written there.
    """
    cv2 = opencv()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        written = cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    except (OSError, cv2.error) as error:
        raise UserError(f"{path} cannot be written: {' '.join(str(error).split())}") from error
    if not written:
        raise UserError(f"{path} cannot be written; give the name of a picture in a folder of yours")
