"""Where a fixture stands, from touching it with the tool: at known points, or anywhere on known planes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardware.calibration.poses import (
    CalibrationError,
    checked,
    checked_poses,
    moved,
    nearest_rotation,
    pose,
    refine,
    rms,
    same_length,
)
from robo_rl import geometry


@dataclass(frozen=True)
class Fixture:
    """What was found.

    Attributes:
        T_base_fixture: (4, 4).
        residual: ``position_mm``: root mean square distance between touches and what they touched.
        worst: the touch that fits worst.
    """

    T_base_fixture: np.ndarray
    residual: dict[str, float]
    worst: int


def fixture_from_points(points: np.ndarray, touched: np.ndarray) -> Fixture:
    """Find a fixture from touches at points of it that are known, such as the bottoms of holes.

    Least squares over R a_i + t = b_i in closed form (Kabsch, 1976).

    Args:
        points: (n, 3) in the fixture's frame, m; n of 3 or more, not on one line.
        touched: (n, 3) tool centre point at each of them, base frame, m.

    Raises:
        CalibrationError: if they do not determine it, or do not fit: swapped points, wrong units.
    """
    remedy = "touch points that are far apart and not on one line; a fourth one gives a residual that means something"
    points = checked("points", points, (3,), 3, remedy)
    touched = checked("touched", touched, (3,), 3, remedy)
    same_length(points=points, touched=touched)
    a, b = points - points.mean(axis=0), touched - touched.mean(axis=0)
    for name, each in (("points", a), ("touched", b)):
        sizes = np.linalg.svd(each, compute_uv=False)
        if sizes[1] < max(0.05 * sizes[0], 1e-6):
            raise CalibrationError(
                f"{name} lie on one line (to {1e3 * sizes[1]:.1f} mm): the fixture could turn about it; {remedy}"
            )
    rot = nearest_rotation(b.T @ a)
    T = pose(touched.mean(axis=0) - rot @ points.mean(axis=0), rot)
    off = np.linalg.norm(points @ rot.T + T[:3, 3] - touched, axis=1)
    if rms(off) > 0.25 * rms(np.linalg.norm(a, axis=1)):
        raise CalibrationError(
            f"the touches do not have the shape of the points: residual {1e3 * rms(off):.1f} mm, worst at touch "
            f"{int(np.argmax(off))}; touch them in the order of the points, and give both in metres"
        )
    return Fixture(T, {"position_mm": 1e3 * rms(off)}, int(np.argmax(off)))


def fixture_from_planes(
    normals: np.ndarray,
    offsets: np.ndarray,
    touched: np.ndarray,
    guess: np.ndarray,
    tip_radius: float = 0.0,
) -> Fixture:
    """Find a fixture from touches anywhere on faces of it: three on one, two on another, one on a third, or more.

    With n_i the outward normal and d_i the offset of the face that touch i lies on, and r the radius of the tip::

        min over T  sum_i (n_i · x_i - d_i - r)²,     x_i = T⁻¹ b_i

    Args:
        normals: (n, 3) outward normal of the face of each touch, fixture's frame, unit length.
        offsets: (n,) of the face along its normal: n · x = d for x on it, m.
        touched: (n, 3) centre of the tip at each touch, base frame, m.
        guess: (4, 4) T_base_fixture to within some 30 degrees, such as from the drawing of the cell; touches alone do
            not tell a box from its mirror image.
        tip_radius: of a tip that is a ball, m; 0 for a point.

    Raises:
        CalibrationError: if they leave the fixture free to move; says how.
    """
    remedy = "touch three faces that are not parallel: three touches on the first, two on the second, one on the third"
    normals = checked("normals", normals, (3,), 6, remedy)
    touched = checked("touched", touched, (3,), 6, remedy)
    offsets = checked("offsets", offsets, (), 6, remedy)
    same_length(normals=normals, offsets=offsets, touched=touched)
    T = checked_poses("guess", np.asarray(guess, dtype=float)[None], 1, "")[0]
    lengths = np.linalg.norm(normals, axis=1)
    if np.abs(lengths - 1.0).max() > 1e-3:
        raise CalibrationError(f"normals[{int(np.argmax(np.abs(lengths - 1.0)))}] is not of unit length")

    def distances(T: np.ndarray) -> np.ndarray:
        local = (touched - T[:3, 3]) @ T[:3, :3]
        return np.einsum("ni,ni->n", normals, local) - offsets - tip_radius

    T = refine(distances, T, moved, 6)
    local = (touched - T[:3, 3]) @ T[:3, :3]
    center = local.mean(axis=0)
    size = max(rms(np.linalg.norm(local - center, axis=1)), 1e-6)
    # d distance / d motion of the fixture about its touched middle, rotations scaled to lengths.
    J = np.concatenate([normals, np.cross(local - center, normals) / size], axis=1)
    _, values, motions = np.linalg.svd(J)
    if values[-1] < 0.03 * values[0]:
        raise CalibrationError(f"these touches leave the fixture free to {_motion(motions[-1])}; {remedy}")
    turned = float(np.degrees(geometry.distance(np.asarray(guess, dtype=float)[:3, :3], T[:3, :3])))
    if turned > 45.0:
        raise CalibrationError(
            f"the fixture comes out turned by {turned:.0f} degrees against the guess; give a better one, or check "
            "which touch belongs to which face"
        )
    off = np.abs(distances(T))
    return Fixture(T, {"position_mm": 1e3 * rms(off)}, int(np.argmax(off)))


def _motion(motion: np.ndarray) -> str:
    """Say in words what a motion (6,) is: translation, rotation."""
    slide, turn = motion[:3], motion[3:]
    if np.linalg.norm(turn) > 0.5:
        return "turn about ({:.2f}, {:.2f}, {:.2f}) of its frame".format(*(turn / np.linalg.norm(turn)))
    return "slide along ({:.2f}, {:.2f}, {:.2f}) of its frame".format(*(slide / np.linalg.norm(slide)))
