"""What the calibrations share: poses as (4, 4), checked; least squares over poses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from robo_rl import geometry
from robo_rl.errors import UserError

State = TypeVar("State")


class CalibrationError(UserError):
    """What was measured does not determine what is looked for; the text says what to measure instead."""


def pose(pos: np.ndarray, rot: np.ndarray) -> np.ndarray:
    """Put a position (..., 3) and a rotation (..., 3, 3) together as (..., 4, 4)."""
    T = np.zeros((*np.shape(rot)[:-2], 4, 4))
    T[..., :3, :3], T[..., :3, 3], T[..., 3, 3] = rot, pos, 1.0
    return T


def inverse(T: np.ndarray) -> np.ndarray:
    """Invert poses (..., 4, 4)."""
    rot = geometry.transpose(T[..., :3, :3])
    return pose(-geometry.rotate(rot, T[..., :3, 3]), rot)


def moved(T: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Move a pose (4, 4) in its own frame by ``step`` (6,): translation, rotation vector."""
    return T @ pose(step[:3], geometry.exp(step[3:]))


def mean_pose(T: np.ndarray) -> np.ndarray:
    """Mean (4, 4) of poses (n, 4, 4) that are close together; of rotations the chordal one."""
    return pose(T[:, :3, 3].mean(axis=0), nearest_rotation(T[:, :3, :3].sum(axis=0)))


def nearest_rotation(M: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) that has the largest trace with ``M`` (3, 3): argmax tr(Rᵀ M) (Kabsch, 1976)."""
    U, _, Vt = np.linalg.svd(M)
    return U @ np.diag([1.0, 1.0, np.sign(np.linalg.det(U @ Vt))]) @ Vt


def checked_poses(name: str, T: np.ndarray, least: int, remedy: str) -> np.ndarray:
    """Return poses (n, 4, 4) as float64.

    Raises:
        CalibrationError: if they have another shape, are no poses, or fewer than ``least``; names the one at fault.
    """
    T = checked(name, T, (4, 4), least, remedy)
    rot = T[:, :3, :3]
    off = np.abs(rot @ geometry.transpose(rot) - np.eye(3)).max(axis=(1, 2))
    bad = np.nonzero((off > 1e-4) | (np.linalg.det(rot) < 0) | (np.abs(T[:, 3] - [0, 0, 0, 1]).max(axis=1) > 1e-9))[0]
    if bad.size:
        raise CalibrationError(
            f"{name}[{bad[0]}] is not a pose: its upper left 3x3 block is no rotation or its last row not 0 0 0 1; "
            "check the order of the quaternion"
        )
    return T


def checked(name: str, values: Any, shape: tuple[int, ...], least: int, remedy: str) -> np.ndarray:
    """Return measurements (n, *shape) as float64.

    Raises:
        CalibrationError: if they have another shape, are not finite, or fewer than ``least``.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 + len(shape) or values.shape[1:] != shape:
        wanted = " x ".join(("n", *map(str, shape)))
        raise CalibrationError(f"{name} has the shape {values.shape}; give {wanted}")
    if len(values) < least:
        raise CalibrationError(f"{name}: {len(values)} measurements are too few, take {least} or more; {remedy}")
    bad = np.nonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))[0]
    if bad.size:
        raise CalibrationError(f"{name}[{bad[0]}] is not finite; leave this measurement out")
    return values


def same_length(**measured: np.ndarray) -> None:
    """Check that as many were measured of each.

    Raises:
        CalibrationError: otherwise.
    """
    if len({len(values) for values in measured.values()}) > 1:
        counts = ", ".join(f"{len(values)} {name}" for name, values in measured.items())
        raise CalibrationError(f"{counts}: every measurement needs one of each")


def refine(
    residuals: Callable[[State], np.ndarray],
    state: State,
    retract: Callable[[State, np.ndarray], State],
    dof: int,
    iterations: int = 50,
) -> State:
    """Minimise the sum of squares of ``residuals`` by Levenberg-Marquardt with central differences.

    Args:
        residuals: of a state, (m,), in comparable units.
        state: where to begin.
        retract: moves a state by a step (dof,).
        dof: size of a step.
        iterations: at most.
    """
    damping, h = 1e-6, 1e-6
    r = residuals(state)
    for _ in range(iterations):
        steps = h * np.eye(dof)
        J = np.stack([residuals(retract(state, s)) - residuals(retract(state, -s)) for s in steps], axis=-1) / (2 * h)
        A, g = J.T @ J, J.T @ r
        for _ in range(12):
            step = -np.linalg.lstsq(A + damping * np.diag(np.diag(A) + 1e-12), g, rcond=None)[0]
            tried = retract(state, step)
            after = residuals(tried)
            if after @ after <= r @ r:
                break
            damping *= 10.0
        else:
            return state
        state, r, damping = tried, after, max(damping / 10.0, 1e-12)
        if np.abs(step).max() < 1e-11:
            break
    return state


def rms(values: np.ndarray) -> float:
    """Root of the mean square of lengths (n,)."""
    return float(np.sqrt(np.mean(np.square(values))))


def plain(residual: Mapping[str, float]) -> str:
    """Write a residual for people: ``0.41 mm, 0.12 deg``."""
    units = {key: key.rsplit("_", 1)[-1] for key in residual}
    return ", ".join(f"{value:.2f} {units[key]}" for key, value in residual.items())
