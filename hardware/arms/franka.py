"""What both drives of a Franka share: its settings, and the checks and frames of :meth:`Drive.open`.

Frames, in Franka's names: O base, F flange, NE nominal end effector (set in Desk), EE end effector (set by us), so that
``F_T_EE = F_T_NE NE_T_EE``. The drives make EE the tool centre point of the spec, whatever hand Desk knows of.
"""

from __future__ import annotations

import math
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from controllers.kinematics import Chain
from robo_rl import geometry
from robo_rl.contracts import RobotSpec
from robo_rl.errors import UserError

Seven = tuple[float, float, float, float, float, float, float]
Six = tuple[float, float, float, float, float, float]

PORT = 1337
"""TCP port of the arm's control unit."""

PRIORITY = 80
"""Real-time priority of the loop that answers the arm every millisecond, where the machine allows it."""

_LOOSE_POSITION = 2e-3  # m; Franka's own calibration moves O_T_EE by up to about a millimetre
_LOOSE_ANGLE = 0.01  # rad
_LOOSE_RANGE = 0.01  # rad


@dataclass(frozen=True)
class FrankaSettings:
    """How an FR3 or a Panda is reached and set up; data, from the cell file.

    Attributes:
        address: of the arm's control unit, an IP address or a host name.
        realtime: whether to insist on real-time scheduling, as an arm needs; False for simulators.
        external_torque: whether the arm's estimate of external torques is used; False where it is none, as with the
            simulators, which leaves ``joint_torque`` NaN.
        payload_mass: kg, of what is mounted beyond the hand that Desk knows of.
        payload_com: of it, in the frame of the flange, m.
        payload_inertia: of it about its centre of mass, row by row, kg·m².
        contact_torque: of each joint, beyond which the arm reports contact, N·m.
        collision_torque: of each joint, beyond which the arm stops with a reflex, N·m.
        contact_force: on the tool, force over torque, beyond which the arm reports contact, N and N·m.
        collision_force: on the tool, beyond which the arm stops with a reflex, N and N·m.
        hand: whether there is a Franka Hand.
        home_hand: whether :meth:`Drive.open` may let the hand find its ends, should it not know them. It moves.
        hand_speed: of the opening, m/s.
        hand_force: to hold an object with, N.
    """

    address: str
    realtime: bool = True
    external_torque: bool = True
    payload_mass: float = 0.0
    payload_com: tuple[float, float, float] = (0.0, 0.0, 0.0)
    payload_inertia: tuple[float, ...] = (0.0,) * 9
    contact_torque: Seven = (20.0, 20.0, 18.0, 18.0, 16.0, 14.0, 12.0)
    collision_torque: Seven = (40.0, 40.0, 36.0, 36.0, 32.0, 28.0, 24.0)
    contact_force: Six = (20.0, 20.0, 20.0, 10.0, 10.0, 10.0)
    collision_force: Six = (60.0, 60.0, 60.0, 25.0, 25.0, 25.0)
    hand: bool = True
    home_hand: bool = False
    hand_speed: float = 0.1
    hand_force: float = 30.0

    def __post_init__(self) -> None:
        if not self.address:
            raise UserError("franka.address is empty; give the address of the arm, such as 172.16.0.2")
        sizes = {
            "payload_com": 3,
            "payload_inertia": 9,
            "contact_torque": 7,
            "collision_torque": 7,
            "contact_force": 6,
            "collision_force": 6,
        }
        for name, size in sizes.items():
            value = getattr(self, name)
            if len(value) != size or not all(math.isfinite(number) for number in value):
                raise UserError(f"franka.{name} is {value}; give {size} finite numbers")
        for name in ("payload_mass", "hand_speed", "hand_force"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0.0):
                raise UserError(f"franka.{name} is {value}; give a finite number of at least 0")


def flange_to_tool(spec: RobotSpec) -> np.ndarray:
    """Return F_T_tcp (4, 4): what a Franka's flange has to carry to be the arm of ``spec``.

    The flange lies in the frame of the last link, turned by nothing, where the spec mounts its hand.
    """
    F_T_tcp = np.eye(4)
    F_T_tcp[:3, :3] = geometry.from_quat_wxyz(np.array(spec.gripper.hand_quat, dtype=float))
    F_T_tcp[:3, 3] = F_T_tcp[:3, :3] @ np.array(spec.gripper.tcp_pos)
    return F_T_tcp


def column_major(matrix: np.ndarray) -> list[float]:
    """Return a matrix as libfranka wants it: column by column."""
    return [float(number) for number in matrix.flatten(order="F")]


def tool_setting(spec: RobotSpec, F_T_NE: np.ndarray) -> list[float]:
    """Return NE_T_EE, column by column, that puts EE at the spec's tool centre point; see :func:`flange_to_tool`."""
    NE_T_EE = np.linalg.inv(F_T_NE) @ flange_to_tool(spec)
    # libfranka wants a rotation in double precision, and the arm sends F_T_NE in single.
    u, _, vt = np.linalg.svd(NE_T_EE[:3, :3])
    NE_T_EE[:3, :3] = u @ vt
    return column_major(NE_T_EE)


def check_ranges(spec: RobotSpec, ranges: list[tuple[float, float]], arm: str) -> None:
    """Refuse a spec whose joints may go where those of the arm that answered may not: FR3 and Panda mixed up.

    Raises:
        UserError: names the joint and both ranges.
    """
    if len(ranges) != spec.dof:
        raise UserError(f"{arm} has {len(ranges)} joints and {spec.name} has {spec.dof}; is the robot's name right?")
    for link, (low, high) in zip(spec.links, ranges, strict=True):
        if link.joint_range[0] < low - _LOOSE_RANGE or link.joint_range[1] > high + _LOOSE_RANGE:
            raise UserError(
                f"{arm} is not a {spec.name}: {link.name} would turn over {link.joint_range} rad and the arm allows "
                f"({low:g}, {high:g}); set the robot of this arm to the one that it is (fr3 or panda)"
            )


def urdf_ranges(urdf: str) -> list[tuple[float, float]]:
    """Return the ranges of the revolute joints in the model that an arm sends of itself, rad."""
    ranges = []
    for joint in re.findall(r"<joint\b[^>]*type=\"revolute\".*?</joint>", urdf, re.DOTALL):
        limit = re.search(r"<limit\b[^>]*>", joint)
        if limit:
            low, high = (re.search(rf'\b{side}="([^"]+)"', limit.group()) for side in ("lower", "upper"))
            if low and high:
                ranges.append((float(low.group(1)), float(high.group(1))))
    return ranges


def check_tool(spec: RobotSpec, joint_pos: np.ndarray, O_T_EE: np.ndarray, address: str) -> None:
    """Compare where the arm believes its tool with where the spec puts it.

    Raises:
        UserError: if they differ by more than a calibration does: another arm, or swapped frames.
    """
    pos, rot = Chain(spec).forward(joint_pos)
    distance = float(np.linalg.norm(O_T_EE[:3, 3] - pos))
    angle = float(np.linalg.norm(geometry.log(O_T_EE[:3, :3] @ rot.T)))
    if distance > _LOOSE_POSITION or angle > _LOOSE_ANGLE:
        raise UserError(
            f"the arm at {address} puts its tool {1e3 * distance:.1f} mm and {math.degrees(angle):.1f} degrees away "
            f"from where {spec.name} has it; check the robot's name, and the end effector in Desk"
        )


def one_line(exception: BaseException) -> str:
    """Return what libfranka says, as one line: the names of the arm's errors, if it tells any."""
    text = " ".join(str(exception).split())
    named = re.search(r"\[\".*\"\]", text)
    if named:
        return error_names(named.group())
    return text.removeprefix("libfranka: ") or type(exception).__name__


@contextmanager
def ordinary_scheduling() -> Iterator[None]:
    """Give the calling thread back the priority that it came with.

    libfranka raises whoever connects to the highest real-time priority, where it may; all that is started later
    inherits that, and then competes with the one loop that needs it.
    """
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, priority)


def require_reachable(address: str, timeout: float = 1.0) -> None:
    """Return if something answers at the arm's port.

    libfranka would wait for a minute, and pylibfranka would keep Python's lock meanwhile.

    Raises:
        UserError: if nothing does.
    """
    try:
        socket.create_connection((address, PORT), timeout).close()
    except OSError as error:
        raise UserError(
            f"franka at {address}: nothing answers at port {PORT} ({error}); check the cable and the address"
        ) from error


def unreachable(address: str, exception: BaseException) -> UserError:
    """Return the error for an arm that does not answer, or refuses."""
    text = one_line(exception)
    if "realtime" in text.lower() or "real-time" in text.lower():
        return UserError(
            f"franka at {address}: {text}; give this user real-time priority (docs/franka.md), or set realtime: false "
            "for a simulator"
        )
    return UserError(
        f"franka at {address}: {text}; is it switched on, unlocked and FCI active in Desk, and nobody else connected?"
    )


_AILING = {
    "Guiding": "hand guiding is on; release the buttons",
    "UserStopped": "user stop; release it",
    "AutomaticErrorRecovery": "recovering from an error",
}


def complaint(state: Any) -> str:
    """Return what the arm itself complains of in a RobotState of either SDK; empty while all is well."""
    mode = state.robot_mode.name
    if mode == "Reflex":
        return "reflex: " + (error_names(state.current_errors) or error_names(state.last_motion_errors) or "unnamed")
    return _AILING.get(mode, "")


def error_names(errors: Any) -> str:
    """Return the names of the errors that are set, with commas."""
    return ", ".join(re.findall(r"\w{4,}", str(errors)))
