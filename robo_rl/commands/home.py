"""``robo-rl cell home``: bring arms to their home posture, grippers open, within limits and through the filter."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from robo_rl.commands.arguments import parse
from robo_rl.commands.postures import ask, must_go, state_of
from robo_rl.errors import Faulted

if TYPE_CHECKING:
    from hardware.cell import Cell
    from hardware.ros.robot_client import RosRobot


@dataclasses.dataclass(frozen=True)
class HomeArguments:
    """What to bring home."""

    cell: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CELL")]
    """Cell file, or name of one that is shipped."""

    arm: str | None = None
    """Which arm of the cell; None: all of them, one after another."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    from hardware.cell_file import load_cell
    from hardware.ros.robot_client import RosRobot
    from hardware.ros.session import Session
    from robo_rl.commands.cells import running

    arguments = parse(
        HomeArguments, args, prog="robo-rl cell home",
        description="Move the arms of a cell to their home posture, grippers open; one JSON line says where they are.",
    )  # fmt: skip
    cell = load_cell(arguments.cell)
    arms = list(cell.arms) if arguments.arm is None else [cell.arm(arguments.arm)]
    told: dict[str, Any] = {}
    with (
        running(cell, cameras=False) as up,
        Session("cell_home", domain=cell.ros.domain, interfaces=cell.ros.interfaces) as session,
    ):
        for arm in arms:
            robot = RosRobot(arm, up.cell.spec_of(arm), session)
            robot.wait_until_ready(60.0)
            if up.simulation is None:
                ask(f"arm {arm!r} will move home by itself and open its gripper; clear its way, take out what it holds")
            told[arm] = home(robot, up.cell, arm)
            robot.close()
    print(json.dumps({"cell": cell.name, "arms": told}), flush=True)
    return 0


def home(robot: RosRobot, cell: Cell, arm: str) -> dict[str, Any]:
    """Bring an arm home; return by how far its joints are off and how far its gripper is open.

    Raises:
        UserError: if there is no way from where it is, with what to do by hand.
        Faulted: if it is in a fault, or goes into one.
    """
    from hardware.safety.homing import way_home

    status = robot.status()
    if status.mode == "fault":
        raise Faulted(f"arm {arm!r}: {status.fault}: {status.reason}; look at it, then `robo-rl cell recover`")
    spec = robot.spec
    way = way_home(spec, cell.limits_of(arm), state_of(robot).joint_pos)
    for posture in way:
        if len(way) > 1 and posture is way[0]:
            print(f"{arm}: by way of {np.round(posture, 2).tolist()} rad", file=sys.stderr)
        must_go(robot, posture, spec.gripper.max_width)
    reached = state_of(robot)
    off = float(np.abs(reached.joint_pos - np.array(spec.home)).max())
    print(f"{arm}: at home, joints within {off:.3f} rad", file=sys.stderr)
    return {"off_rad": round(off, 4), "gripper_width": round(float(reached.gripper_width), 4), "moves": len(way)}
