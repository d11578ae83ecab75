"""An arm that somebody else's ROS 2 driver runs, with ros2_control's joint trajectory controller on it, as a drive."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardware.arms.drive import Delegated, DriveState
from hardware.ros.clock import ArrivalClock
from hardware.ros.messages import stamp_of
from hardware.ros.session import Session
from robo_rl.contracts import RobotSpec
from robo_rl.errors import Stale, UserError

SILENCE = 0.2
"""Seconds without a joint state after which :meth:`TrajectoryDrive.read` calls it stale."""
PATIENCE = 10.0
"""Seconds that :meth:`TrajectoryDrive.open` waits for the driver."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layout:
    """Topics and names of an ecosystem.

    Attributes:
        title: for people.
        joints: names of the arm's joints, in the order of its spec.
        joint_states: topic of their ``sensor_msgs/JointState``.
        command: topic of the controller's ``trajectory_msgs/JointTrajectory``.
        fingers: joints whose positions, in m, add up to the opening plus ``finger_offset``.
        finger_states: topic of their ``sensor_msgs/JointState``.
        finger_command: topic of their ``trajectory_msgs/JointTrajectory``; empty if standard messages cannot move them.
        finger_command_joints: joints that it takes.
        finger_offset: m.
        external_torques: topic of the ``sensor_msgs/JointState`` whose efforts are external torques; empty if none.
    """

    title: str
    joints: tuple[str, ...]
    joint_states: str
    command: str
    fingers: tuple[str, ...]
    finger_states: str
    finger_command: str = ""
    finger_command_joints: tuple[str, ...] = ()
    finger_offset: float = 0.0
    external_torques: str = ""


@dataclass(frozen=True)
class DriverSettings:
    """How the driver of such an arm is reached; of every layout."""

    rate: float = 50.0
    """Set-points per second; at most as many as it publishes states, Hz."""
    domain: int | None = None
    """ROS_DOMAIN_ID that it runs on; None for the cell's own."""

    def __post_init__(self) -> None:
        if not 10.0 <= self.rate <= 1000.0:
            raise UserError(f"rate is {self.rate} Hz; it must be from 10 to 1000")
        if self.domain is not None and not 0 <= self.domain <= 232:
            raise UserError(f"domain is {self.domain}; it must be from 0 to 232")


@dataclass(frozen=True)
class _Layout:
    layout: Layout
    """Its topics and names."""


@dataclass(frozen=True)
class TrajectorySettings(DriverSettings, _Layout):
    """An arm under any driver that has ros2_control's joint trajectory controller, by its topics and names."""

    def layout_of(self, spec: RobotSpec) -> Layout:
        """The layout that was written down."""
        return self.layout


class TrajectoryDrive:
    """A :class:`hardware.arms.drive.Drive` over a :class:`Layout`: joint positions, one point a cycle.

    The arm is as stiff as that controller makes it; forces are what the layout's external torques tell, NaN otherwise.

    Args:
        spec: the arm.
        layout: of the driver that runs it.
        rate: cycles per second, at most what the driver publishes, Hz.
        domain: ROS_DOMAIN_ID of the driver.
        interfaces: addresses of this machine to use besides loopback.
    """

    def __init__(
        self, spec: RobotSpec, layout: Layout, *, rate: float = 50.0, domain: int = 0, interfaces: Sequence[str] = ()
    ) -> None:
        if len(layout.joints) != spec.dof:
            raise UserError(f"{layout.title} names {len(layout.joints)} joints, but {spec.name} has {spec.dof}")
        self.spec = spec
        self.rate = rate
        self.delegated = Delegated()
        self._layout = layout
        self._domain = domain
        self._interfaces = tuple(interfaces)
        self._session: Session | None = None
        self._news = threading.Condition()
        self._arrivals = ArrivalClock()
        self._state: tuple[float, np.ndarray, np.ndarray] | None = None
        self._torques: tuple[float, np.ndarray] | None = None
        self._width = float("nan")
        self._told_width = float("nan")
        self._read = -1.0
        self._due = 0.0
        self._command: Any = None
        self._finger_command: Any = None

    def open(self) -> None:
        """As in :class:`hardware.arms.drive.Drive`."""
        from rclpy.qos import qos_profile_sensor_data
        from sensor_msgs.msg import JointState
        from trajectory_msgs.msg import JointTrajectory

        layout = self._layout
        name = f"{self.spec.name}_drive"
        self._session = Session(name, domain=self._domain, interfaces=self._interfaces, shared_memory=False)
        node = self._session.node
        node.create_subscription(JointState, layout.joint_states, self._on_joints, qos_profile_sensor_data)
        node.create_subscription(JointState, layout.finger_states, self._on_fingers, qos_profile_sensor_data)
        if layout.external_torques:
            node.create_subscription(JointState, layout.external_torques, self._on_torques, qos_profile_sensor_data)
        self._command = node.create_publisher(JointTrajectory, layout.command, 1)
        if layout.finger_command:
            self._finger_command = node.create_publisher(JointTrajectory, layout.finger_command, 1)
        else:
            _log.warning("%s takes no standard message for the gripper: it stays as it is", layout.title)
        deadline = time.monotonic() + PATIENCE
        while missing := self._missing():
            if time.monotonic() > deadline:
                self.close()
                raise UserError(
                    f"{layout.title}: {missing} on ROS domain {self._domain} for {PATIENCE:.0f} s; "
                    "start its driver and controllers, or mend ros.domain"
                )
            time.sleep(0.01)
        self._due = time.monotonic()

    def read(self) -> DriveState:
        """As in :class:`hardware.arms.drive.Drive`."""
        time.sleep(max(0.0, self._due - time.monotonic()))
        self._due = max(self._due + 1.0 / self.rate, time.monotonic())
        with self._news:
            came = self._news.wait_for(lambda: self._state is not None and self._state[0] > self._read, SILENCE)
            state, torques, width = self._state, self._torques, self._width
        if not came or state is None:
            raise Stale(f"{self._layout.title}: {self._layout.joint_states} is silent for {SILENCE} s")
        self._read, position, velocity = state
        told = torques is not None and self._read - torques[0] < SILENCE
        return DriveState(
            stamp=self._read,
            joint_pos=position,
            joint_vel=velocity,
            joint_torque=torques[1] if told and torques is not None else np.full(self.spec.dof, np.nan),
            bias=np.zeros(self.spec.dof),
            gripper_width=width,
        )

    def write_joints(self, joint_pos: np.ndarray) -> None:
        """As in :class:`hardware.arms.drive.Drive`: to be there two cycles from now, and to stay."""
        self._command.publish(self._trajectory(self._layout.joints, joint_pos.tolist()))

    def write_gripper(self, width: float) -> None:
        """As in :class:`hardware.arms.drive.Drive`, where the layout has a topic for it."""
        if self._finger_command is None or abs(width - self._told_width) < 5e-4:
            return
        self._told_width = width
        each = (width + self._layout.finger_offset) / len(self._layout.fingers)
        joints = self._layout.finger_command_joints
        self._finger_command.publish(self._trajectory(joints, [each] * len(joints)))

    def recover(self) -> None:
        """As in :class:`hardware.arms.drive.Drive`: there is no standard message for it; the driver has to be well."""
        if self._state is None or time.monotonic() - self._state[0] > SILENCE:
            raise UserError(f"{self._layout.title} is silent; recover it by its own means")

    def close(self) -> None:
        """Send nothing more: the controller holds its last point. Once more is no error."""
        if self._session is not None:
            self._session.close()

    def _trajectory(self, joints: Sequence[str], positions: list[float]) -> Any:
        from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

        point = JointTrajectoryPoint(positions=positions)
        point.time_from_start.sec, point.time_from_start.nanosec = divmod(round(2e9 / self.rate), 1_000_000_000)
        return JointTrajectory(joint_names=list(joints), points=[point])

    def _on_joints(self, message: Any) -> None:
        received = time.monotonic()
        position = _picked(message, message.position, self._layout.joints)
        if position is None:
            return
        stamp = stamp_of(message.header)
        at = self._arrivals.arrival(stamp, received) if stamp > 0 else received
        velocity = _picked(message, message.velocity, self._layout.joints)
        with self._news:
            if velocity is None:
                velocity = np.zeros_like(position)
                if self._state is not None and at > self._state[0]:
                    velocity = (position - self._state[1]) / (at - self._state[0])
            self._state = (at, position, velocity)
            self._news.notify_all()

    def _on_fingers(self, message: Any) -> None:
        fingers = _picked(message, message.position, self._layout.fingers)
        if fingers is not None:
            self._width = float(fingers.sum()) - self._layout.finger_offset

    def _on_torques(self, message: Any) -> None:
        torques = _picked(message, message.effort, self._layout.joints)
        if torques is not None:
            self._torques = (time.monotonic(), torques)

    def _missing(self) -> str:
        if self._state is None:
            return f"no joint states {list(self._layout.joints)} came on {self._layout.joint_states}"
        if not np.isfinite(self._width):
            return f"no finger positions {list(self._layout.fingers)} came on {self._layout.finger_states}"
        return "" if self._command.get_subscription_count() else f"nobody listens to {self._layout.command}"


def _picked(message: Any, values: Any, names: Sequence[str]) -> np.ndarray | None:
    """The values of the joints ``names``, in that order; None if one of them is missing or not finite."""
    places = {name: place for place, name in enumerate(message.name)}
    if len(values) != len(message.name) or not all(name in places for name in names):
        return None
    picked = np.array([values[places[name]] for name in names], np.float64)
    return picked if np.isfinite(picked).all() else None
