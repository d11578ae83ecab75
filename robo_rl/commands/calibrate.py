"""``robo-rl cell calibrate``: measure where things are and what an arm carries, and write it into the cell file."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import tyro

from robo_rl.commands.arguments import parse
from robo_rl.errors import Faulted, InvalidAction, UserError

if TYPE_CHECKING:
    from hardware.ros.robot_client import RosRobot
    from robo_rl.contracts import RobotState

_STILL = 0.8  # s that an arm is left to come to rest before it is measured
_MEASURED = 0.5  # s over which a measurement is averaged
_MOVE = 30.0  # s that a move to a posture may take
_TILTS = ((0.0, 0.0), (0.4, 0.0), (-0.4, 0.0), (0.0, 0.4), (0.0, -0.4), (0.3, 0.3), (-0.3, 0.3), (0.3, -0.3))
"""By how much the tool is tilted about x and y of the base, where it is at home, to weigh what it carries, rad."""


@dataclasses.dataclass(frozen=True)
class CalibrateArguments:
    """What to calibrate."""

    cell: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CELL")]
    """Cell file; it gets the result."""

    what: Annotated[Literal["fixture", "tool", "payload"], tyro.conf.Positional]
    """fixture: where one stands, by touching known points of it. tool: where its tip is, by keeping that in one place.
    payload: what the arm carries; it moves through eight postures about its home by itself."""

    name: str | None = None
    """Of the fixture."""

    arm: str | None = None
    """Which arm of the cell; None: the only one."""

    points: tuple[tuple[float, float, float], ...] = ()
    """Points of the fixture that are touched, in its frame, m; three or more, not on a line."""

    poses: int = 8
    """Number of poses of the tool."""

    def __post_init__(self) -> None:
        if self.what == "fixture" and not self.name:
            raise UserError("name is missing: say which fixture, such as --name hole")
        if self.what == "fixture" and len(self.points) < 3:
            raise UserError(
                f"points: {len(self.points)} given, three or more expected, such as --points 0 0 0 .04 0 0 0 .04 0"
            )
        if self.poses < 4:
            raise UserError(f"poses is {self.poses}; four or more are needed")


def main(args: Sequence[str]) -> int:
    """Run the command."""
    from hardware.calibration.record import write_calibration
    from hardware.cell import load_cell
    from hardware.ros.robot_client import RosRobot
    from hardware.ros.session import Session
    from robo_rl.commands.cells import running

    arguments = parse(
        CalibrateArguments, args, prog="robo-rl cell calibrate",
        description="Calibrate a part of a cell. The result goes into its file; one JSON line says how well it fits.",
    )  # fmt: skip
    file = Path(arguments.cell)
    if not file.is_file():
        raise UserError(
            f"cell {arguments.cell!r}: the result is written into its file, so give one; copy a shipped one first"
        )
    cell = load_cell(file)
    arm = cell.arm(arguments.arm)
    with (
        running(cell, cameras=False) as up,
        Session("cell_calibrate", domain=cell.ros.domain, interfaces=cell.ros.interfaces) as session,
    ):
        robot = RosRobot(arm, up.cell.spec_of(arm), session)
        robot.wait_until_ready(60.0)
        if arguments.what == "payload" and up.simulation is None:
            _ask(f"arm {arm!r} will move by itself, through {len(_TILTS)} postures about its home; clear its way")
        measure = {"fixture": _fixture, "tool": _tool, "payload": _payload}[arguments.what]
        section, value, residual = measure(robot, arm, arguments)
    write_calibration(file, section, value, residual)
    plain = {key: np.round(number, 6).tolist() for key, number in value.items()}
    print(json.dumps({"cell": cell.name, "section": section, **plain, "residual": residual}), flush=True)
    return 0


Result = tuple[str, dict[str, Any], dict[str, float]]
"""Section of the cell file, what goes there, and its residual."""


def _fixture(robot: RosRobot, arm: str, arguments: CalibrateArguments) -> Result:
    from hardware.calibration.fixture import fixture_from_points
    from hardware.calibration.record import pose_entry

    touched = []
    for x, y, z in arguments.points:
        _ask(f"touch the point ({1e3 * x:g}, {1e3 * y:g}, {1e3 * z:g}) mm of the fixture with the tool centre point")
        touched.append(np.mean([state.tcp_pos for state in _watch(robot)], axis=0))
    found = fixture_from_points(np.array(arguments.points), np.array(touched))
    return f"fixtures.{arguments.name}", pose_entry(found.T_base_fixture), found.residual


def _tool(robot: RosRobot, arm: str, arguments: CalibrateArguments) -> Result:
    from hardware.calibration.poses import pose
    from hardware.calibration.tool_center import tool_center

    spec = robot.spec
    poses = []
    for i in range(arguments.poses):
        _ask(f"pose {i + 1} of {arguments.poses}: tilt the tool, its tip where it was")
        state = _watch(robot)[-1]
        poses.append(pose(state.tcp_pos - state.tcp_rot @ np.array(spec.gripper.tcp_pos), state.tcp_rot))
    found = tool_center(np.stack(poses))
    moved = 1e3 * (np.asarray(found.pos) - np.array(spec.gripper.tcp_pos))
    print(
        f"{spec.name} has its tip at {list(spec.gripper.tcp_pos)} m, this one is {np.round(moved, 1).tolist()} mm "
        "from there; commands mean the former: if that matters, describe the arm with this tcp_pos",
        file=sys.stderr,
    )
    return f"arms.{arm}.tool", {"tcp_pos": found.pos}, found.residual


def _payload(robot: RosRobot, arm: str, arguments: CalibrateArguments) -> Result:
    from controllers.kinematics import Chain
    from hardware.calibration.payload import payload_from_joint_torques
    from robo_rl import geometry

    spec = robot.spec
    chain = Chain(spec)
    home = np.array(spec.home)
    pos, rot = (np.asarray(part) for part in chain.forward(home))
    postures: list[np.ndarray] = []
    torques: list[np.ndarray] = []
    for x, y in _TILTS:
        tilted, reached = chain.inverse(pos[None], (geometry.exp(np.array([x, y, 0.0])) @ rot)[None], home[None])
        if not bool(reached[0]):
            raise UserError(f"{spec.name} cannot tilt its tool by {x} and {y} rad where it is at home")
        print(f"posture {len(postures) + 1} of {len(_TILTS)}", file=sys.stderr)
        _go(robot, tilted[0])
        time.sleep(_STILL)
        seen = _watch(robot)
        postures.append(np.mean([state.joint_pos for state in seen], axis=0))
        torques.append(np.mean([state.joint_torque for state in seen], axis=0))
    _go(robot, home)
    if not np.isfinite(torques).all():
        raise UserError(f"arm {arm!r} does not measure external joint torques; weigh what it carries instead")
    q = np.array(postures)
    _, seen_rot = chain.forward(q)
    found = payload_from_joint_torques(chain.jacobian(q), np.asarray(seen_rot), np.array(torques))
    hand = spec.gripper
    com = geometry.from_quat_wxyz(np.array(hand.hand_quat)) @ (np.array(hand.tcp_pos) + found.com)
    print(
        f"this is carried besides what the driver knows of: add it to arms.{arm}.settings.payload_mass and payload_com",
        file=sys.stderr,
    )
    return f"arms.{arm}.payload", {"mass": found.mass, "com_in_flange": com}, found.residual


def _go(robot: RosRobot, posture: np.ndarray) -> None:
    width = robot.state(1.0).gripper_width
    try:
        robot.move_joints(posture, width)
    except InvalidAction as error:
        raise UserError(f"the arm finds no way to the posture {np.round(posture, 2).tolist()}: {error}") from None
    deadline = time.monotonic() + _MOVE
    while (status := robot.status()).mode != "holding":
        if status.mode == "fault":
            raise Faulted(f"{status.fault}: {status.reason}")
        if time.monotonic() > deadline:
            raise UserError(f"the arm did not reach the posture {np.round(posture, 2).tolist()} in {_MOVE:g} s")
        time.sleep(0.02)


def _watch(robot: RosRobot) -> list[RobotState]:
    """States of half a second."""
    seen = [robot.state(1.0)]
    deadline = time.monotonic() + _MEASURED
    while time.monotonic() < deadline:
        state = robot.state(1.0)
        if state.stamp != seen[-1].stamp:
            seen.append(state)
        time.sleep(0.005)
    return seen


def _ask(what: str) -> None:
    print(f"{what}, then press return (s and return: stop)", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line or line.strip().lower().startswith("s"):
        raise UserError("stopped: nothing was written")
