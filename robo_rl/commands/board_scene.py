"""A simulated cell cleared for calibrating its cameras: nothing but a ChArUco board, on the table or in the hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from controllers.kinematics import Chain
from hardware.calibration.board import Board
from robo_rl import geometry
from robo_rl.contracts import RobotSpec, SceneObject, SceneSpec, Shape
from robo_rl.errors import UserError, unknown_name
from robo_rl.settings import from_json

NAME = "board"
"""Of the object; its frame is that of :class:`hardware.calibration.board.Board`."""

_THICK = 0.002  # m
_INK = 0.0002  # m that what is black stands out, so that it is not drawn inside of what is white
_PIXELS = 70  # per square; the picture is cut into boxes
_MARGIN = 0.01  # m of white around the squares
_BELOW = 0.02  # m from the tool centre point to the board's edge


@dataclasses.dataclass(frozen=True)
class Mounted:
    """Where the board is.

    Attributes:
        on: ``table``: it lies where the tool points to while the arm is at home. ``tool``: the gripper holds it.
        facing: camera that a board in the gripper looks at while the arm is at home.
    """

    on: str
    facing: str = ""


def clear_for(scene: SceneSpec, robot: RobotSpec, board: Mapping[str, Any]) -> SceneSpec:
    """Return a scene with its cameras, and nothing in it but a board.

    Args:
        scene: of a task.
        robot: the arm.
        board: fields of :class:`Mounted` and of :class:`hardware.calibration.board.Board`.

    Raises:
        UserError: if a field is wrong, or there is no such camera.
    """
    mounting = {each.name for each in dataclasses.fields(Mounted)}
    where = from_json(Mounted, {key: board[key] for key in board if key in mounting}, where="simulation.board")
    made = from_json(Board, {key: board[key] for key in board if key not in mounting}, where="simulation.board")
    if where.on not in ("table", "tool"):
        raise UserError(f"simulation.board.on is {where.on!r}; it is table or tool")
    middle = np.array([made.columns, made.rows, 0.0]) * made.square / 2
    shapes = _shapes(made)
    pos, rot = (np.asarray(part) for part in Chain(robot).forward(np.array(robot.home)))
    if where.on == "table":
        # Rows along y of the base, its face up: z, which points away from whoever looks at it, is down.
        lying = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
        corner = np.array([pos[0], pos[1], robot.work_center[2] + _THICK + _INK]) - lying @ middle
        return dataclasses.replace(scene, objects=(_object(shapes, corner, lying, "fixture"),))
    by_name = {camera.name: camera for camera in scene.cameras}
    if where.facing not in by_name:
        raise unknown_name("camera in simulation.board.facing:", where.facing, by_name)
    away = pos - np.array(by_name[where.facing].pos)
    z = away / np.linalg.norm(away)
    y = np.array([0.0, 0.0, -1.0]) + z[2] * z  # downwards in its picture
    y /= np.linalg.norm(y)
    facing = rot.T @ np.stack([np.cross(y, z), y, z], axis=1)  # in the tool's frame
    half = middle[1] + _MARGIN + _BELOW
    corner = np.array([0.0, 0.0, half]) - facing @ middle
    return dataclasses.replace(scene, objects=(_object(shapes, corner, facing, "tool"),))


def _object(shapes: list[Shape], pos: np.ndarray, rot: np.ndarray, mount: Any) -> SceneObject:
    """The board with its shapes at a pose, in an object whose own frame is where its mount has it."""
    placed = []
    for shape in shapes:
        x, y, z = (pos + rot @ np.array(shape.pos)).tolist()
        w, i, j, k = geometry.to_quat_wxyz(rot).tolist()
        placed.append(dataclasses.replace(shape, pos=(x, y, z), quat=(w, i, j, k)))
    return SceneObject(NAME, tuple(placed), mount, mass=0.02, solid=False)


def _shapes(board: Board) -> list[Shape]:
    """Boxes that look like the board: a white plate, and what is black on it, in the board's frame."""
    width, height = board.columns * board.square, board.rows * board.square
    plate = Shape(
        "box", (width / 2 + _MARGIN, height / 2 + _MARGIN, _THICK / 2), (width / 2, height / 2, _INK + _THICK / 2),
        rgba=(1.0, 1.0, 1.0, 1.0),
    )  # fmt: skip
    size = board.square / _PIXELS
    boxes = [
        Shape(
            "box", ((right - left) * size / 2, (bottom - top) * size / 2, _INK / 2),
            ((left + right) * size / 2, (top + bottom) * size / 2, _INK / 2), rgba=(0.02, 0.02, 0.02, 1.0),
        )
        for left, top, right, bottom in _black(board.picture(_PIXELS) < 128)
    ]  # fmt: skip
    return [plate, *boxes]


def _black(picture: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Rectangles (left, top, right, bottom) that cover what is true in a picture: runs, as far down as they repeat."""
    done: list[tuple[int, int, int, int]] = []
    open_runs: dict[tuple[int, int], int] = {}
    for y, row in enumerate([*picture, np.zeros(picture.shape[1], bool)]):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]]).astype(np.int8)))
        runs = set(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
        ended = [run for run in open_runs if run not in runs]
        done += [(left, open_runs.pop((left, right)), right, y) for left, right in ended]
        for run in runs:
            open_runs.setdefault(run, y)
    return done
