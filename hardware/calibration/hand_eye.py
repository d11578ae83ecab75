"""Where a camera is: on the tool (eye-in-hand), or beside the arm (eye-to-hand)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from hardware.calibration.poses import (
    CalibrationError,
    checked_poses,
    inverse,
    mean_pose,
    moved,
    nearest_rotation,
    plain,
    pose,
    refine,
    rms,
    same_length,
)
from robo_rl import geometry

Mount = Literal["eye_in_hand", "eye_to_hand"]
"""Where the camera is: on the tool, looking at a board that stands still; or standing still, looking at a board that
the tool carries."""

REMEDY = "move the tool to 10 to 20 poses and tilt it by 20 to 40 degrees about different axes"


@dataclass(frozen=True)
class HandEye:
    """What :func:`hand_eye` found.

    Attributes:
        mount: where the camera is.
        T_mount_camera: (4, 4); T_tool_camera of an eye in the hand, T_base_camera of an eye beside it. The camera's
            frame is OpenCV's: x right, y down, z forward.
        T_other_board: (4, 4); where the board is: T_base_board of an eye in the hand, T_tool_board otherwise.
        residual: ``position_mm`` and ``rotation_deg``: root mean square by which the board seems to move.
        worst: the measurement that fits worst.
        errors: (n, 2) of each measurement: m, rad.
    """

    mount: Mount
    T_mount_camera: np.ndarray
    T_other_board: np.ndarray
    residual: dict[str, float]
    worst: int
    errors: np.ndarray


def hand_eye(T_base_tool: np.ndarray, T_camera_board: np.ndarray, mount: Mount) -> HandEye:
    """Find where a camera is from the poses of the tool and of the board that it saw there.

    With A_i = T_base_tool (eye in hand) or its inverse (eye to hand), and B_i = T_camera_board, the board stands still
    in one frame: A_i X B_i = Y for all i. X and Y are found by :func:`park_martin`, then refined by least squares over
    the errors of position and, weighted by the distance to the board, of orientation::

        min  sum_i |p_i|² + d² |log R_i|²,     (p_i, R_i) = Y⁻¹ A_i X B_i

    Args:
        T_base_tool: (n, 4, 4) from the arm.
        T_camera_board: (n, 4, 4) from the pictures, in the same order (:func:`hardware.calibration.board.find_board`).
        mount: where the camera is.

    Raises:
        CalibrationError: if there are too few, if their motions do not determine it, or if frames are swapped.
    """
    T_base_tool = checked_poses("T_base_tool", T_base_tool, 3, REMEDY)
    T_camera_board = checked_poses("T_camera_board", T_camera_board, 3, REMEDY)
    same_length(T_base_tool=T_base_tool, T_camera_board=T_camera_board)
    if mount not in ("eye_in_hand", "eye_to_hand"):
        raise CalibrationError(f"mount is {mount!r}; it is eye_in_hand or eye_to_hand")
    behind = np.nonzero(T_camera_board[:, 2, 3] <= 0.0)[0]
    if behind.size:
        raise CalibrationError(
            f"T_camera_board[{behind[0]}] puts the board behind the camera; frames are swapped: it holds T_board_camera"
        )
    _check_motions(T_base_tool)
    found = _solve(T_base_tool, T_camera_board, mount)
    if _is_bad(found):
        _blame(T_base_tool, T_camera_board, found)
    return found


def park_martin(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Solve A_i X B_i = Y for X (4, 4), in closed form.

    Park & Martin, "Robot sensor calibration: solving AX = XB on the Euclidean group", T-RO 1994: the motions between
    any two measurements turn by the same rotation vector in both frames, α = R_X β; then translation follows by linear
    least squares from (R_α - 1) t_X = R_X t_β - t_α.

    Args:
        A: (n, 4, 4).
        B: (n, 4, 4).
    """
    i, j = np.array(list(combinations(range(len(A)), 2))).T
    motion_a, motion_b = inverse(A[j]) @ A[i], B[j] @ inverse(B[i])  # motion_a X = X motion_b
    alpha, beta = geometry.log(motion_a[:, :3, :3]), geometry.log(motion_b[:, :3, :3])
    # Near half a turn the sign of a rotation vector is up to rounding: such pairs say nothing about its direction.
    sure = np.linalg.norm(alpha, axis=1) < np.pi - 0.1
    rot = nearest_rotation(alpha[sure].T @ beta[sure])
    left = (motion_a[:, :3, :3] - np.eye(3)).reshape(-1, 3)
    right = (motion_b[:, :3, 3] @ rot.T - motion_a[:, :3, 3]).reshape(-1)
    return pose(np.linalg.lstsq(left, right, rcond=None)[0], rot)


def _solve(T_base_tool: np.ndarray, T_camera_board: np.ndarray, mount: Mount) -> HandEye:
    A, B = T_base_tool if mount == "eye_in_hand" else inverse(T_base_tool), T_camera_board
    X = park_martin(A, B)
    Y = mean_pose(A @ X @ B)
    distance = float(np.linalg.norm(B[:, :3, 3], axis=1).mean())

    def errors(state: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        off = inverse(state[1]) @ A @ state[0] @ B
        return np.concatenate([off[:, :3, 3], distance * geometry.log(off[:, :3, :3])], axis=1)

    X, Y = refine(
        lambda state: errors(state).ravel(),
        (X, Y),
        lambda state, step: (moved(state[0], step[:6]), moved(state[1], step[6:])),
        12,
    )
    off = errors((X, Y))
    each = np.stack([np.linalg.norm(off[:, :3], axis=1), np.linalg.norm(off[:, 3:], axis=1) / distance], axis=1)
    residual = {"position_mm": 1e3 * rms(each[:, 0]), "rotation_deg": float(np.degrees(rms(each[:, 1])))}
    worst = int(np.argmax(each[:, 0] + distance * each[:, 1]))
    return HandEye(mount, X, Y, residual, worst, each)


def _check_motions(T_base_tool: np.ndarray) -> None:
    i, j = np.array(list(combinations(range(len(T_base_tool)), 2))).T
    turns = geometry.log(geometry.transpose(T_base_tool[j, :3, :3]) @ T_base_tool[i, :3, :3])
    angles = np.linalg.norm(turns, axis=1)
    if angles.max() < np.radians(10.0):
        raise CalibrationError(
            f"the tool turned by {np.degrees(angles.max()):.1f} degrees at most, which does not tell where the camera "
            f"is; {REMEDY}"
        )
    # Axes of turns too small to have one do not count.
    large = angles > np.radians(5.0)
    axes = turns[large] / angles[large, None]
    around = np.linalg.eigh(axes.T @ axes / len(axes))[1][:, -1]
    aside = np.sin(np.arccos(np.clip(np.abs(axes @ around), 0.0, 1.0))) * angles[large]
    if aside.max() < np.radians(8.0):
        raise CalibrationError(
            "the tool turned about one axis only, ({:.2f}, {:.2f}, {:.2f}) in its own frame; along it the camera's "
            "place stays unknown; ".format(*around)
            + REMEDY
        )


def _is_bad(found: HandEye) -> bool:
    return found.residual["position_mm"] > 10.0 or found.residual["rotation_deg"] > 2.0


def _blame(T_base_tool: np.ndarray, T_camera_board: np.ndarray, found: HandEye) -> None:
    """Say what is likely to be wrong, if there is something that would explain it."""
    other: Mount = "eye_to_hand" if found.mount == "eye_in_hand" else "eye_in_hand"
    tried = _solve(T_base_tool, T_camera_board, other)
    if not _is_bad(tried):
        raise CalibrationError(
            f"frames are swapped: as {found.mount} the residual is {plain(found.residual)}; it is "
            f"{plain(tried.residual)} if the camera is mounted as {other}, or T_base_tool holds T_tool_base"
        )
    rest = np.arange(len(T_base_tool)) != found.worst
    if rest.sum() >= 3:
        without = _solve(T_base_tool[rest], T_camera_board[rest], found.mount)
        if not _is_bad(without):
            raise CalibrationError(
                f"measurement {found.worst} does not fit the others: residual {plain(found.residual)} with it, "
                f"{plain(without.residual)} without; leave it out"
            )
