"""What commands that measure on a cell, or bring it home, do with its arms: move, look, and ask the person there."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import numpy as np

from hardware.joint_moves import move_to
from robo_rl.errors import InvalidAction, Stale, UserError

if TYPE_CHECKING:
    from hardware.ros.robot_client import RosRobot
    from robo_rl.contracts import RobotState

STILL = 0.8
"""Seconds that an arm is left to come to rest before it is measured."""

_MEASURED = 0.5  # s over which a measurement is averaged
_PATIENCE = 30.0  # s that a silent node is waited for


def go(robot: RosRobot, posture: np.ndarray, width: float | None = None) -> None:
    """Move to a posture (n,), rad, and wait until the arm is there; ``width``, m, of the gripper, None to leave it.

    Raises:
        InvalidAction: if the arm finds no way; it has not moved then.
        Faulted: if it goes into a fault.
        UserError: if it does not arrive.
    """
    move_to(
        robot,
        posture,
        state_of(robot).gripper_width if width is None else width,
        waited_out=("no_link",),  # a computer that stood still may come back
    )


def must_go(robot: RosRobot, posture: np.ndarray, width: float | None = None) -> None:
    """Move as :func:`go` does; a posture to which there is no way ends the command in one line."""
    try:
        go(robot, posture, width)
    except InvalidAction as error:
        raise UserError(f"the arm finds no way to the posture {np.round(posture, 2).tolist()}: {error}") from None


def watch(robot: RosRobot) -> list[RobotState]:
    """States of half a second."""
    seen = [state_of(robot)]
    deadline = time.monotonic() + _MEASURED
    while time.monotonic() < deadline:
        state = state_of(robot)
        if state.stamp != seen[-1].stamp:
            seen.append(state)
        time.sleep(0.005)
    return seen


def state_of(robot: RosRobot) -> RobotState:
    """A state of the last second; a computer that stands still for longer is waited for."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return robot.state(1.0)
        except Stale:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def ask(what: str) -> None:
    """Have the person at the terminal do something.

    Raises:
        UserError: if they stop, or nobody is there.
    """
    print(f"{what}, then press return (s and return: stop)", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line or line.strip().lower().startswith("s"):
        raise UserError("stopped by the person at the terminal, or nobody is there; nothing was written")
