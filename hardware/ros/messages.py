"""Between the contracts of :mod:`robo_rl.contracts.devices` and standard ROS 2 messages, both ways.

Whatever comes from outside is checked here: what is not exactly what docs/ros2.md describes raises InvalidAction and
goes no further. Stamps are integers in ns of the publisher's clock (:mod:`hardware.ros.clock`).
"""

from __future__ import annotations

import array
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

import numpy as np

from robo_rl import geometry
from robo_rl.contracts import MAX_VALIDITY, Applied, Mode, RobotSpec, RobotState, RobotStatus, ToolCommand
from robo_rl.errors import InvalidAction

Message = Any

TCP, GRIPPER = "tcp", "gripper"
FARTHEST = 100.0
"""Lengths and joint values beyond this are refused as nonsense before anything computes with them, m or rad."""
NORM_TOLERANCE = 1e-3
"""How far the length of a quaternion may be from 1."""
TEXT = 300
"""Characters of a text that are kept."""


class StateMessages(NamedTuple):
    """One state as four messages with the same stamp."""

    joints: Message
    pose: Message
    twist: Message
    wrench: Message


def joint_names(spec: RobotSpec) -> tuple[str, ...]:
    """Names of the arm's joints, in order, and of its gripper: as its maker calls them where that is a number."""
    return (*(f"{spec.name}_joint{i + 1}" for i in range(spec.dof)), f"{spec.name}_gripper")


def base_frame(name: str) -> str:
    """The frame that an arm's poses are given in."""
    return f"{name}_base"


def text(value: str) -> str:
    """One line of at most :data:`TEXT` characters."""
    return " ".join(value[: 4 * TEXT].split())[:TEXT]


def stamp_of(header: Message) -> int:
    """Stamp of a header, ns."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


def state_messages(state: RobotState, names: Sequence[str], frame: str, stamp: int) -> StateMessages:
    """Return a state as it is published."""
    from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped
    from sensor_msgs.msg import JointState

    joints, pose, twist, wrench = JointState(), PoseStamped(), TwistStamped(), WrenchStamped()
    for message in (joints, pose, twist, wrench):
        _set_header(message.header, stamp, frame)
    joints.name = list(names)
    joints.position = _doubles([*state.joint_pos, state.gripper_width])
    joints.velocity = _doubles([*state.joint_vel, math.nan])
    joints.effort = _doubles([*state.joint_torque, math.nan])
    _set_xyz(pose.pose.position, state.tcp_pos)
    _set_rotation(pose.pose.orientation, state.tcp_rot)
    _set_xyz(twist.twist.linear, state.tcp_linvel)
    _set_xyz(twist.twist.angular, state.tcp_angvel)
    _set_xyz(wrench.wrench.force, state.tcp_force)
    _set_xyz(wrench.wrench.torque, state.tcp_torque)
    return StateMessages(joints, pose, twist, wrench)


def state_of(messages: StateMessages, names: Sequence[str], arrival: float) -> RobotState:
    """Return a state as it was published; ``arrival`` is its stamp on this process's monotonic clock, s.

    Torques and wrenches may be NaN: the arm cannot tell.

    Raises:
        InvalidAction: if the messages are not a state of an arm with these joints.
    """
    joints = messages.joints
    if list(joints.name) != list(names):
        raise InvalidAction(f"joint names {text(str(list(joints.name)[:12]))} are not {list(names)}")
    position = _array(joints.position, len(names), "position")
    velocity = _array(joints.velocity, len(names), "velocity", unknown=True)[:-1]
    effort = _array(joints.effort, len(names), "effort", unknown=True)[:-1]
    if not np.isfinite(velocity).all():
        raise InvalidAction("a joint velocity is not finite")
    pose, twist, wrench = messages.pose.pose, messages.twist.twist, messages.wrench.wrench
    return RobotState(
        stamp=arrival,
        joint_pos=position[:-1],
        joint_vel=velocity,
        joint_torque=effort,
        tcp_pos=_xyz(pose.position, "position"),
        tcp_rot=_rotation(pose.orientation),
        tcp_linvel=_xyz(twist.linear, "velocity"),
        tcp_angvel=_xyz(twist.angular, "angular velocity"),
        tcp_force=_xyz(wrench.force, "force", unknown=True),
        tcp_torque=_xyz(wrench.torque, "torque", unknown=True),
        gripper_width=float(position[-1]),
    )


def command_message(command: ToolCommand, frame: str, stamp: int) -> Message:
    """Return a command as it is sent; on the wire its stamp is its id."""
    message = _target_message(command.pos, command.rot, command.gripper, frame, stamp)
    nanoseconds = round(command.valid_for * 1e9)
    message.points[0].time_from_start.sec, message.points[0].time_from_start.nanosec = divmod(nanoseconds, 10**9)
    return message


def command_of(message: Message, frame: str) -> ToolCommand:
    """Return a command as it was sent, its stamp as its id.

    Raises:
        InvalidAction: if it is not a command in ``frame``.
    """
    pos, rot, gripper = _target(message, frame, [TCP, GRIPPER])
    point = message.points[0]
    valid_for = point.time_from_start.sec * 1_000_000_000 + point.time_from_start.nanosec
    if not 0 < valid_for <= round(MAX_VALIDITY * 1e9):
        raise InvalidAction(
            f"a command is valid for {valid_for * 1e-9:.9g} s; it must be above 0 and at most {MAX_VALIDITY}"
        )
    stamp = stamp_of(message.header)
    if stamp <= 0:
        raise InvalidAction("a command has no stamp; it says when the command was sent")
    return ToolCommand(stamp, pos, rot, gripper, min(valid_for * 1e-9, MAX_VALIDITY))


def applied_message(applied: Applied, frame: str, stamp: int) -> Message:
    """Return the target in force as it is published; ``stamp`` is that of its command, 0 if it comes from none."""
    message = _target_message(applied.pos, applied.rot, applied.gripper, frame, stamp)
    message.joint_names = [TCP, GRIPPER, *applied.reasons]
    return message


def applied_of(message: Message, frame: str) -> Applied:
    """Return the target in force as it was published, its stamp as its id.

    Raises:
        InvalidAction: if it is none.
    """
    reasons = tuple(text(name) for name in list(message.joint_names)[2:34])
    pos, rot, gripper = _target(message, frame, [TCP, GRIPPER, *reasons])
    return Applied(stamp_of(message.header), pos, rot, gripper, reasons)


def move_message(joint_pos: np.ndarray, gripper: float, names: Sequence[str], stamp: int) -> Message:
    """Return a posture to move to, (n,) rad and an opening in m, as it is sent."""
    from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

    message = JointTrajectory(joint_names=list(names))
    _set_header(message.header, stamp, "")
    message.points = [JointTrajectoryPoint(positions=_doubles([*joint_pos, gripper]))]
    return message


def move_of(message: Message, names: Sequence[str]) -> tuple[np.ndarray, float]:
    """Return the posture (n,) rad and the opening, m, of a message.

    Raises:
        InvalidAction: if it is not one point with a position of each of the joints, in order.
    """
    if list(message.joint_names) != list(names):
        raise InvalidAction(f"joint names {text(str(list(message.joint_names)[:12]))} are not {list(names)}")
    if len(message.points) != 1:
        raise InvalidAction(f"a posture is one point, not {len(message.points)}")
    point = message.points[0]
    if len(point.velocities) or len(point.accelerations) or len(point.effort):
        raise InvalidAction("a posture has positions only; the arm chooses its speed")
    position = _array(point.positions, len(names), "positions")
    return position[:-1], float(position[-1])


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What an arm node says: the arm's status, and its own.

    Attributes:
        robot: of the arm; its ``rejected`` includes what the node refused.
        moved: stamp of the last posture that it has dealt with, ns; 0 if none.
        move_refusal: why it refused that one; empty if it did not.
        last_refusal: why it refused the last message that it refused, of any kind; for people.
    """

    robot: RobotStatus
    moved: int = 0
    move_refusal: str = ""
    last_refusal: str = ""


def status_message(status: NodeStatus, name: str, hardware: str, stamp: int, stale: str = "") -> Message:
    """Return how an arm is, as it is published; ``stale`` says why it gives no state, if it does not."""
    robot = status.robot
    values: dict[str, str] = {
        "mode": robot.mode,
        "fault": text(robot.fault),
        "needs_acknowledgement": str(robot.needs_acknowledgement).lower(),
        "recoveries": str(robot.recoveries),
        "rejected": str(robot.rejected),
        "moved": str(status.moved),
        "move_refusal": text(status.move_refusal),
        "last_refusal": text(status.last_refusal),
        **{f"counter.{key}": repr(float(value)) for key, value in robot.counters.items()},
    }
    level = 2 if robot.mode == "fault" or robot.needs_acknowledgement else 3 if stale else 0
    return diagnostics(level, name, hardware, robot.reason or stale, values, stamp)


def status_of(message: Message, name: str) -> NodeStatus:
    """Return what an arm node said.

    Raises:
        InvalidAction: if it is not the status of the arm ``name``.
    """
    reason, values = diagnosis(message, name)
    mode = values.get("mode")
    if mode not in get_args(Mode):
        raise InvalidAction(f"a status has the mode {text(str(mode))!r}")
    try:
        robot = RobotStatus(
            mode=mode,  # type: ignore[arg-type]
            reason=reason,
            fault=values["fault"],
            needs_acknowledgement=values["needs_acknowledgement"] == "true",
            recoveries=int(values["recoveries"]),
            rejected=int(values["rejected"]),
            counters={
                key.removeprefix("counter."): float(value)
                for key, value in values.items()
                if key.startswith("counter.")
            },
        )
        return NodeStatus(robot, int(values["moved"]), values["move_refusal"], values["last_refusal"])
    except (KeyError, ValueError) as error:
        raise InvalidAction(f"a status lacks or garbles {error}") from error


def diagnostics(level: int, name: str, hardware: str, said: str, values: Mapping[str, str], stamp: int) -> Message:
    """Return one diagnosis as an array: level 0 well, 1 warning, 2 error, 3 stale."""
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

    message = DiagnosticArray()
    _set_header(message.header, stamp, "")
    pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
    message.status = [
        DiagnosticStatus(level=bytes([level]), name=name, message=text(said), hardware_id=hardware, values=pairs)
    ]
    return message


def diagnosis(message: Message, name: str) -> tuple[str, dict[str, str]]:
    """Return what is said and the values of the one diagnosis of ``name``; raises InvalidAction if it is another."""
    if len(message.status) != 1 or message.status[0].name != name:
        raise InvalidAction(f"a status is not that of {name}")
    status = message.status[0]
    return text(status.message), {pair.key: text(pair.value) for pair in list(status.values)[:100]}


def checked_target(pos: np.ndarray, rot: np.ndarray, gripper: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Return a pose and opening as float64 arrays; raises InvalidAction if they are not finite or no pose."""
    pos, rot = np.array(pos, np.float64), np.array(rot, np.float64)
    if pos.shape != (3,) or rot.shape != (3, 3):
        raise InvalidAction(f"a pose has the shapes {pos.shape} and {rot.shape}, not (3,) and (3, 3)")
    if not (np.abs(pos) <= FARTHEST).all() or not abs(gripper) <= FARTHEST:
        raise InvalidAction(f"position {pos.tolist()} m or opening {gripper} m is not finite or absurd")
    if not (np.abs(rot) <= 2.0).all() or np.abs(rot @ rot.T - np.eye(3)).max() > NORM_TOLERANCE:
        raise InvalidAction("an orientation is not a rotation matrix")
    if np.linalg.det(rot) < 0.0:
        raise InvalidAction("an orientation is a reflection, not a rotation")
    return pos, rot, float(gripper)


def _target_message(pos: np.ndarray, rot: np.ndarray, gripper: float, frame: str, stamp: int) -> Message:
    from geometry_msgs.msg import Transform
    from trajectory_msgs.msg import MultiDOFJointTrajectory, MultiDOFJointTrajectoryPoint

    tool, fingers = Transform(), Transform()
    _set_xyz(tool.translation, pos)
    _set_rotation(tool.rotation, rot)
    fingers.translation.x = float(gripper)
    message = MultiDOFJointTrajectory(joint_names=[TCP, GRIPPER])
    _set_header(message.header, stamp, frame)
    message.points = [MultiDOFJointTrajectoryPoint(transforms=[tool, fingers])]
    return message


def _target(message: Message, frame: str, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray, float]:
    if message.header.frame_id not in ("", frame):
        raise InvalidAction(f"a target is given in the frame {text(message.header.frame_id)!r}, not in {frame!r}")
    if list(message.joint_names) != list(names):
        raise InvalidAction(f"joint names {text(str(list(message.joint_names)[:4]))} are not {list(names)}")
    if len(message.points) != 1:
        raise InvalidAction(f"a target is one point, not {len(message.points)}")
    point = message.points[0]
    if len(point.transforms) != 2 or len(point.velocities) or len(point.accelerations):
        raise InvalidAction("a target is two transforms, of tcp and gripper, without velocities and accelerations")
    pos = _xyz(point.transforms[0].translation, "target")
    gripper = _xyz(point.transforms[1].translation, "opening")
    return pos, _rotation(point.transforms[0].rotation), float(gripper[0])


def _set_header(header: Message, stamp: int, frame: str) -> None:
    header.stamp.sec, header.stamp.nanosec = divmod(stamp, 1_000_000_000)
    header.frame_id = frame


def _set_xyz(message: Message, vector: np.ndarray) -> None:
    message.x, message.y, message.z = vector.tolist()


def _set_rotation(message: Message, rot: np.ndarray) -> None:
    message.x, message.y, message.z, message.w = geometry.to_quat_xyzw(rot).tolist()


def _doubles(values: Sequence[float]) -> array.array:
    return array.array("d", values)


def _array(values: Any, length: int, what: str, unknown: bool = False) -> np.ndarray:
    if len(values) != length:
        raise InvalidAction(f"{len(values)} values of {what}, not {length}")
    return _sound(np.array(values, np.float64), what, unknown)


def _xyz(message: Message, what: str, unknown: bool = False) -> np.ndarray:
    return _sound(np.array([message.x, message.y, message.z]), what, unknown)


def _sound(values: np.ndarray, what: str, unknown: bool) -> np.ndarray:
    """Return ``values`` if they are finite and of this world; unknown ones may be NaN, and forces large."""
    if unknown:
        wrong = np.isinf(values).any()
    else:
        wrong = not (np.abs(values) <= FARTHEST).all()
    if wrong:
        raise InvalidAction(f"{what} {values.tolist()} is not finite, or beyond {FARTHEST}")
    return values


def _rotation(message: Message) -> np.ndarray:
    quat = np.array([message.x, message.y, message.z, message.w])
    if not (np.abs(quat) <= 2.0).all() or abs(float(np.linalg.norm(quat)) - 1.0) > NORM_TOLERANCE:
        raise InvalidAction(f"quaternion {quat.tolist()} is not of length 1")
    return geometry.from_quat_xyzw(quat)
