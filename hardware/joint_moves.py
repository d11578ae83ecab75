"""Moves of a robot to a posture that are waited for, whoever drives it: resets, homing, calibration."""

from __future__ import annotations

import time
from collections.abc import Container

import numpy as np

from robo_rl.contracts import Robot
from robo_rl.errors import Faulted, UserError

_LONGEST = 30.0  # s that a move may take
_THERE = 0.1  # rad within which a joint has arrived


def move_to(
    robot: Robot, posture: np.ndarray, width: float, *, max_age: float = 1.0, waited_out: Container[str] = ()
) -> None:
    """Move to a posture (n,), rad, with the gripper opened to ``width``, m; return once the arm is there.

    Args:
        robot: to move.
        posture: (n,) rad.
        width: m.
        max_age: of the state that tells whether it has arrived, s.
        waited_out: faults that are waited for to go by themselves.

    Raises:
        InvalidAction: if the arm finds no way; it has not moved then.
        Faulted: if it goes into a fault.
        Stale: if it says nothing any more.
        UserError: if it does not arrive.
    """
    robot.move_joints(posture, width)
    deadline = time.monotonic() + _LONGEST
    where = np.round(posture, 2).tolist()
    while (status := robot.status()).mode != "holding":
        if status.mode == "fault" and status.fault not in waited_out:
            raise Faulted(f"{robot.spec.name}: {status.fault}: {status.reason}")
        if time.monotonic() > deadline:
            why = f": {status.reason}" if status.reason else ""
            raise UserError(f"{robot.spec.name} did not reach the posture {where} within {_LONGEST:g} s{why}")
        time.sleep(0.005)
    off = float(np.abs(robot.state(max_age).joint_pos - posture).max())
    if off > _THERE:
        why = robot.status().reason or "blocked"
        raise UserError(f"{robot.spec.name} stopped {off:.2f} rad short of the posture {where}: {why}")
