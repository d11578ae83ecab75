"""Where the tip of a tool is: pivot calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardware.calibration.poses import CalibrationError, checked_poses, rms

REMEDY = "keep the tip in one place and tilt the tool by 30 degrees or more about different axes, 6 to 12 times"


@dataclass(frozen=True)
class ToolCenter:
    """What :func:`tool_center` found.

    Attributes:
        pos: (3,) the tip in the flange's frame, m.
        pivot: (3,) the place that it was kept at, base frame, m.
        residual: ``position_mm``: root mean square by which the tip seems to move.
        worst: the measurement that fits worst.
    """

    pos: np.ndarray
    pivot: np.ndarray
    residual: dict[str, float]
    worst: int


def tool_center(T_base_flange: np.ndarray) -> ToolCenter:
    """Find the tip of a tool from poses of the flange while the tip stayed in one place.

    Linear least squares over R_i t + p_i = c.

    Args:
        T_base_flange: (n, 4, 4), n of 4 or more.

    Raises:
        CalibrationError: if the poses are too few or too much alike.
    """
    T = checked_poses("T_base_flange", T_base_flange, 4, REMEDY)
    n, rot, pos = len(T), T[:, :3, :3], T[:, :3, 3]
    # What tilting says about the tip: it is unknown along directions that every flange pose sees alike.
    spread = rot - rot.mean(axis=0)
    values, directions = np.linalg.eigh(np.einsum("nij,nik->jk", spread, spread) / n)
    if values[0] < np.sin(np.radians(5.0)) ** 2:
        if values[1] < np.sin(np.radians(5.0)) ** 2:
            raise CalibrationError(f"the flange hardly turned: the tip could be anywhere; {REMEDY}")
        raise CalibrationError(
            "the flange turned about one axis only, ({:.2f}, {:.2f}, {:.2f}) in its own frame; along it the tip stays "
            "unknown; ".format(*directions[:, 0])
            + REMEDY
        )
    left = np.concatenate([rot.reshape(-1, 3), -np.tile(np.eye(3), (n, 1))], axis=1)
    solved = np.linalg.lstsq(left, -pos.reshape(-1), rcond=None)[0]
    off = np.linalg.norm((left @ solved + pos.reshape(-1)).reshape(n, 3), axis=1)
    return ToolCenter(solved[:3], solved[3:], {"position_mm": 1e3 * rms(off)}, int(np.argmax(off)))
