"""``robo-rl cell calibrate``: measure where things are and what an arm carries, and write it into the cell file."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from robo_rl.commands.arguments import parse
from robo_rl.commands.calibrate_arguments import CalibrateArguments
from robo_rl.commands.calibrate_camera import calibrate_camera
from robo_rl.commands.postures import STILL, ask, must_go, watch
from robo_rl.errors import UserError

if TYPE_CHECKING:
    from hardware.calibration.written import Payload
    from hardware.cell import Cell
    from hardware.ros.robot_client import RosRobot

_TILTS = ((0.0, 0.0), (0.4, 0.0), (-0.4, 0.0), (0.0, 0.4), (0.0, -0.4), (0.3, 0.3), (-0.3, 0.3), (0.3, -0.3))
"""By how much the tool is tilted about x and y of the base, where it is at home, to weigh what it carries, rad."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    from hardware.calibration.record import write_calibration
    from hardware.cell_file import load_cell
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
    if arguments.what == "camera":
        section, value, residual = calibrate_camera(cell, arm, arguments)
    else:
        with (
            running(cell, cameras=False) as up,
            Session("cell_calibrate", domain=cell.ros.domain, interfaces=cell.ros.interfaces) as session,
        ):
            robot = RosRobot(arm, up.cell.spec_of(arm), session)
            robot.wait_until_ready(60.0)
            if arguments.what == "payload" and up.simulation is None:
                ask(f"arm {arm!r} will move by itself, through {len(_TILTS)} postures about its home; clear its way")
            measure = {"fixture": _fixture, "tool": _tool, "payload": _payload}[arguments.what]
            section, value, residual = measure(robot, up.cell, arm, arguments)
    write_calibration(file, section, value, residual)
    told = {"cell": cell.name, "section": section, **_plain(value), "residual": _plain(residual)}
    print(json.dumps(told), flush=True)
    return 0


Result = tuple[str, dict[str, Any], dict[str, float]]
"""Section of the cell file, what goes there, and its residual."""


def _fixture(robot: RosRobot, cell: Cell, arm: str, arguments: CalibrateArguments) -> Result:
    from hardware.calibration.fixture import fixture_from_points
    from hardware.calibration.record import pose_entry
    from hardware.calibration.written import check_fixture

    touched = []
    for x, y, z in arguments.points:
        ask(f"touch the point ({1e3 * x:g}, {1e3 * y:g}, {1e3 * z:g}) mm of the fixture with the tool centre point")
        touched.append(np.mean([state.tcp_pos for state in watch(robot)], axis=0))
    found = fixture_from_points(np.array(arguments.points), np.array(touched))
    limits = cell.limits_of(arm)
    check_fixture(
        f"fixture {arguments.name!r}",
        found.T_base_fixture[:3, 3],
        np.array(limits.workspace_low),
        np.array(limits.workspace_high),
    )
    return f"fixtures.{arguments.name}", {**pose_entry(found.T_base_fixture), "arm": arm}, found.residual


def _tool(robot: RosRobot, cell: Cell, arm: str, arguments: CalibrateArguments) -> Result:
    from hardware.calibration.poses import pose
    from hardware.calibration.tool_center import tool_center
    from hardware.calibration.written import tool_tip
    from robo_rl.robots import robot as find_robot

    spec = robot.spec
    poses = []
    for i in range(arguments.poses):
        ask(f"pose {i + 1} of {arguments.poses}: tilt the tool, its tip where it was")
        state = watch(robot)[-1]
        # The hand's frame, which the tip is measured in, whatever tip the arm reckons with now.
        poses.append(pose(state.tcp_pos - state.tcp_rot @ np.array(spec.gripper.tcp_pos), state.tcp_rot))
    found = tool_center(np.stack(poses))
    nominal = find_robot(cell.arms[arm].robot)
    tool_tip({"arms": {arm: {"tool": {"tcp_pos": found.pos.tolist()}}}}, arm, nominal)  # raises if it cannot be one
    moved = np.round(1e3 * (found.pos - np.array(spec.gripper.tcp_pos)), 1).tolist()
    stale = [f"camera {name}" for name in cell.cameras if _on_tool(cell, name, arm)]
    stale += [f"fixture {name}" for name, each in cell.calibration.get("fixtures", {}).items() if _of(each, cell, arm)]
    print(
        f"the tip is {moved} mm from where arm {arm!r} had it; commands and states mean the new one from its next start"
        + (f"; calibrate again what was measured with the old one: {', '.join(stale)}" if stale else ""),
        file=sys.stderr,
    )
    return f"arms.{arm}.tool", {"tcp_pos": found.pos}, found.residual


def _on_tool(cell: Cell, camera: str, arm: str) -> bool:
    pose = cell.camera_pose_of(camera)
    return pose is not None and pose.of == "T_tcp_camera" and pose.arm in (None, arm)


def _of(fixture: Any, cell: Cell, arm: str) -> bool:
    return bool(fixture.get("arm", next(iter(cell.arms))) == arm)


def _payload(robot: RosRobot, cell: Cell, arm: str, arguments: CalibrateArguments) -> Result:
    from controllers.kinematics import Chain
    from hardware.arms.gravity import flange_to_tool, tool_to_flange
    from hardware.calibration.payload import payload_from_joint_torques, payload_torque
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
        must_go(robot, tilted[0])
        time.sleep(STILL)
        seen = watch(robot)
        postures.append(np.mean([state.joint_pos for state in seen], axis=0))
        torques.append(np.mean([state.joint_torque for state in seen], axis=0))
    must_go(robot, home)
    if not np.isfinite(torques).all():
        raise UserError(f"arm {arm!r} does not measure external joint torques; weigh what it carries instead")
    q = np.array(postures)
    _, seen_rot = chain.forward(q)
    jacobian, turned = chain.jacobian(q), np.asarray(seen_rot)
    known = known_payload(cell, arm)  # the drive has taken its weight out of what was measured
    reckoned = payload_torque(jacobian, turned, known.mass, flange_to_tool(spec, known.com))
    found = payload_from_joint_torques(jacobian, turned, np.array(torques) + reckoned)
    print(
        f"{found.mass:.3f} kg are carried, {known.mass:.3f} kg were reckoned with; they are from the arm's next start",
        file=sys.stderr,
    )
    com = tool_to_flange(spec, found.com)
    return f"arms.{arm}.payload", {"mass": found.mass, "com_in_flange": com}, found.residual


def known_payload(cell: Cell, arm: str) -> Payload:
    """What the drive of an arm reckons with: as weighed before, else as the settings of the arm say."""
    from hardware.arms.gravity import tool_to_flange
    from hardware.calibration.written import Payload

    weighed = cell.payload_of(arm)
    if weighed is not None:
        return weighed
    entry = cell.arms[arm]
    com = np.array(entry.settings.get("payload_com", (0.0, 0.0, 0.0)), dtype=float)
    if entry.driver == "widowx250s":  # its settings have it in the tool's frame
        com = tool_to_flange(cell.spec_of(arm), com)
    return Payload(float(entry.settings.get("payload_mass", 0.0)), com)


def _plain(value: Any) -> Any:
    """What can be written as JSON, rounded for people."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, str | int | None):
        return value
    return np.round(value, 6).tolist()
