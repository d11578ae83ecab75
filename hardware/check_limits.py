"""Walks an arm against its limits: work space, orientation, joints, speed and acceleration. It moves by centimetres."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import numpy as np

from controllers.kinematics import Chain
from controllers.single import rotation
from hardware.findings import CommandIds, Finding, rounded, wait
from hardware.safety.limits import SafetyLimits
from robo_rl import geometry
from robo_rl.contracts import Robot, RobotState, ToolCommand
from robo_rl.errors import InvalidAction

_BEYOND = 0.5  # m and rad that a target is put beyond a limit
_VALID = 0.06  # s that such a target is pursued: less than 2 cm
_TRIES = 5  # as many times: what became of a command is told at the rate of states, and may be missed
_SMALL, _LARGE = 0.003, 0.05  # m of the steps that acceleration and speed bound
_WINDOW = 0.05  # s over which a speed is measured


def check_limits(name: str, robot: Robot, limits: SafetyLimits, ids: CommandIds) -> Iterator[Finding]:
    """Send an arm beyond each of its limits; nothing may come of it but the reason why not.

    Args:
        name: of the arm.
        robot: an arm that holds, in no fault; it is brought back to where it was.
        limits: that hold for it.
        ids: of commands.
    """
    before = robot.state(1.0)
    yield _corners(name, robot, limits, ids, before)
    _return(robot, ids, before)
    yield _tilts(name, robot, limits, ids, before)
    _return(robot, ids, before)
    yield _joints(name, robot, limits, ids)
    yield _speed(name, robot, limits, ids, before)
    _return(robot, ids, before)


def _corners(name: str, robot: Robot, limits: SafetyLimits, ids: CommandIds, before: RobotState) -> Finding:
    low, high = np.array(limits.workspace_low), np.array(limits.workspace_high)
    allowed = max(float(np.maximum(low - before.tcp_pos, before.tcp_pos - high).max()), 0.0) + 1e-3
    held, out = 0, 0.0
    for corner in itertools.product((0, 1), repeat=3):
        beyond = np.where(corner, high + _BEYOND, low - _BEYOND)
        reasons = _reasons(robot, ids, beyond, before.tcp_rot, "workspace")
        held += "workspace" in reasons
        pos = robot.applied().pos
        out = max(out, float(np.maximum(low - pos, pos - high).max()))
    found = f"{held} of 8 targets {_BEYOND} m beyond the corners of the work space were limited to it"
    return Finding(name, "limit of work space", found, held == 8 and out <= allowed, rounded({"corners": held}))


def _tilts(name: str, robot: Robot, limits: SafetyLimits, ids: CommandIds, before: RobotState) -> Finding:
    what = "limit of tilt"
    angle = limits.max_tilt + _BEYOND
    if angle >= np.pi:
        return Finding(name, what, f"max_tilt is {limits.max_tilt:.2f} rad, which leaves nothing to try", None, {})
    home = np.asarray(Chain(robot.spec).forward(np.array(robot.spec.home))[1])
    allowed = max(float(geometry.distance(home, before.tcp_rot)), limits.max_tilt) + 1e-2
    held, most = 0, 0.0
    for axis in np.concatenate((np.eye(3), -np.eye(3))):
        reasons = _reasons(robot, ids, before.tcp_pos, rotation(axis * angle) @ home, "rotation")
        held += "rotation" in reasons
        most = max(most, float(geometry.distance(home, robot.applied().rot)))
    found = f"{held} of 6 targets tilted by {angle:.2f} rad were limited to {limits.max_tilt:.2f} rad"
    return Finding(name, what, found, held == 6 and most <= allowed, rounded({"tilts": held}))


def _joints(name: str, robot: Robot, limits: SafetyLimits, ids: CommandIds) -> Finding:
    """Postures within the range of a joint, but nearer to its end than the margin: only the arm's own filter knows."""
    width = robot.state(1.0).gripper_width
    taken = []
    for i, link in enumerate(robot.spec.links):
        for end, inwards in ((link.joint_range[0], 1.0), (link.joint_range[1], -1.0)):
            posture = np.array(robot.spec.home)
            posture[i] = end + inwards * 0.5 * limits.joint_margin
            try:
                robot.move_joints(posture, width)
            except InvalidAction:
                continue
            applied = robot.applied()  # it has barely begun; a command ends it
            robot.command(ToolCommand(ids.next(), applied.pos, applied.rot, width, 0.1))
            taken.append(f"joint {i + 1} at {posture[i]:.3f} rad")
    count = 2 * robot.spec.dof
    found = (
        f"taken: {', '.join(taken)}" if taken else f"{count} postures within the margin of a joint's end were refused"
    )
    return Finding(name, "limit of joints", found, not taken, rounded({"refused": count - len(taken)}))


def _speed(name: str, robot: Robot, limits: SafetyLimits, ids: CommandIds, before: RobotState) -> Finding:
    up = 1.0 if before.tcp_pos[2] + 2 * _LARGE < limits.workspace_high[2] else -1.0
    small, large = (before.tcp_pos + np.array([0.0, 0.0, up * step]) for step in (_SMALL, _LARGE))
    gentle = _reasons(robot, ids, small, before.tcp_rot, "acceleration", "speed", "leash", back=before)
    pulled = _reasons(robot, ids, large, before.tcp_rot, "speed", "acceleration", "leash", back=before)
    fastest = 0.0
    for _ in range(_TRIES):
        fastest = max(
            fastest, _fastest(robot, ToolCommand(ids.next(), large, before.tcp_rot, before.gripper_width, 0.15))
        )
        if fastest > 0.01:
            break
    limited = sorted({*gentle, *pulled} & {"speed", "acceleration", "leash"})
    found = (
        f"steps limited by {', '.join(limited) or 'nothing'}; at most {fastest:.2f} of {limits.max_speed:g} m/s seen"
    )
    ok = bool(gentle) and bool(pulled) and fastest <= 1.25 * limits.max_speed
    return Finding(name, "limit of speed", found, ok, rounded({"fastest_m_per_s": fastest}))


def _fastest(robot: Robot, command: ToolCommand) -> float:
    """Largest mean speed of the tool over :data:`_WINDOW` or more while it pursues a command, m/s, as measured."""
    robot.command(command)
    stamps: list[float] = []
    places: list[np.ndarray] = []
    until = time.monotonic() + 0.4
    while time.monotonic() < until:
        state = robot.state(1.0)
        if not stamps or state.stamp > stamps[-1]:
            stamps.append(state.stamp)
            places.append(state.tcp_pos)
        time.sleep(0.002)
    return max(
        (
            float(np.linalg.norm(places[j] - places[i])) / (stamps[j] - stamps[i])
            for i, j in itertools.combinations(range(len(stamps)), 2)
            if stamps[j] - stamps[i] >= _WINDOW
        ),
        default=0.0,
    )


def _reasons(
    robot: Robot, ids: CommandIds, pos: np.ndarray, rot: np.ndarray, *wanted: str, back: RobotState | None = None
) -> set[str]:
    """Which of ``wanted`` the arm names when it is sent somewhere for a moment; from ``back``, if that is given."""
    seen: set[str] = set()
    for _ in range(_TRIES):
        if back is not None:
            _return(robot, ids, back)
        command = ToolCommand(ids.next(), pos, rot, robot.state(1.0).gripper_width, _VALID)
        robot.command(command)

        def told(number: int = command.id) -> bool:
            applied = robot.applied()
            if applied.id == number:
                seen.update(reason for reason in applied.reasons if reason in wanted)
            return bool(seen)

        if wait(told, 3.0 * _VALID):
            break
    time.sleep(_VALID)  # until it has expired
    return seen


def _return(robot: Robot, ids: CommandIds, before: RobotState, seconds: float = 1.0) -> None:
    """Bring the tool back, as far as it comes within ``seconds``."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        robot.command(ToolCommand(ids.next(), before.tcp_pos, before.tcp_rot, before.gripper_width, 0.2))
        state = robot.state(1.0)
        near = np.linalg.norm(state.tcp_pos - before.tcp_pos) < 2e-3
        if near and float(geometry.distance(before.tcp_rot, state.tcp_rot)) < 0.02:
            return
        time.sleep(0.05)
