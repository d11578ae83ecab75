"""The node that owns an arm: publishes its state, and takes commands for it. The topics are listed in docs/ros2.md."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from hardware.ros import messages, qos
from hardware.ros.clock import WINDOW, ArrivalClock
from hardware.ros.emergency_stop_node import StopWatch
from hardware.ros.messages import NodeStatus
from hardware.ros.session import Session, check_name
from robo_rl.contracts import Robot
from robo_rl.errors import Faulted, InvalidAction, Stale, UserError

STATUS_PERIOD = 0.1
MOVE_AGE = 1.0
"""Seconds that a posture may have been on its way."""
SENDERS = 32
"""Senders whose clocks are remembered."""
REMEMBERED = 256
"""Commands whose stamps are remembered, for what became of them."""


@dataclass
class Sender:
    """One process that sends commands and postures, in the order of their stamps."""

    clock: ArrivalClock = field(default_factory=ArrivalClock)
    last: int = 0
    received: float = -WINDOW

    def age(self, stamp: int, received: float) -> float:
        """Return the age of a message in s.

        Raises:
            InvalidAction: if one with the same stamp or a later one came before, in the last 10 s: a sender whose clock
                was set back is believed again after that time.
        """
        age = received - self.clock.arrival(stamp, received)
        if stamp <= self.last and received - self.received < WINDOW:
            raise InvalidAction(
                f"a message is out of order: stamped {(self.last - stamp) * 1e-9:.6f} s before the last"
            )
        self.last, self.received = stamp, received
        return age


class ArmNode:
    """Serves any :class:`robo_rl.contracts.Robot` on topics under its name.

    Nothing that comes in waits for the arm or moves it around its safety filter, which is in ``robot``. What is
    malformed is refused, counted in the published status, and forgotten.

    Example:
        >>> with Session("arm_node") as session:                               # doctest: +SKIP
        ...     node = ArmNode(robot, "arm", session)
        ...     session.wait()                                                 # until SIGINT or SIGTERM
        ...     node.close()

    Args:
        robot: to serve; it stays its owner's to close.
        name: namespace of the topics.
        session: whose node it lives on.
        state_rate: states published per second, Hz.
        names: of the joints and the gripper, where the maker's are not those of :func:`messages.joint_names`.
    """

    def __init__(
        self, robot: Robot, name: str, session: Session, *, state_rate: float = 100.0, names: Sequence[str] = ()
    ) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped
        from sensor_msgs.msg import JointState
        from std_msgs.msg import String
        from std_srvs.srv import Trigger
        from trajectory_msgs.msg import JointTrajectory, MultiDOFJointTrajectory

        if not 1.0 <= state_rate <= 1000.0:
            raise UserError(f"state_rate is {state_rate} Hz; it must be between 1 and 1000")
        self._robot = robot
        self._name = check_name(name, "arm")
        self._session = session
        self._names = tuple(names) or messages.joint_names(robot.spec)
        if len(self._names) != robot.spec.dof + 1:
            raise UserError(f"{name}: {len(self._names)} joint names for {robot.spec.dof} joints and a gripper")
        self._frame = messages.base_frame(name)
        self._lock = threading.Lock()
        self._senders: OrderedDict[bytes, Sender] = OrderedDict()
        self._id = robot.applied().id
        self._stamps: OrderedDict[int, int] = OrderedDict()
        self._rejected = 0
        self._moved = 0
        self._move_refusal = self._last_refusal = ""
        self._published_state = -1.0
        self._published_status: object = None
        self._status_due = 0.0

        node = session.node
        state = qos.state_out()
        self._joints_out = node.create_publisher(JointState, f"{name}/joint_states", state)
        self._pose_out = node.create_publisher(PoseStamped, f"{name}/tcp_pose", state)
        self._twist_out = node.create_publisher(TwistStamped, f"{name}/tcp_velocity", state)
        self._wrench_out = node.create_publisher(WrenchStamped, f"{name}/tcp_wrench", state)
        self._applied_out = node.create_publisher(MultiDOFJointTrajectory, f"{name}/applied", state)
        self._status_out = node.create_publisher(DiagnosticArray, f"{name}/status", qos.status())
        self._inputs = [
            node.create_subscription(MultiDOFJointTrajectory, f"{name}/command", self._on_command, qos.command()),
            node.create_subscription(JointTrajectory, f"{name}/move_joints", self._on_move, qos.command()),
            node.create_subscription(String, f"{name}/emergency_stop", self._on_emergency, qos.command()),
        ]
        self._services = [
            node.create_service(Trigger, f"{name}/stop", self._on_stop),
            node.create_service(Trigger, f"{name}/recover", self._on_recover),
        ]
        self._end = session.loop(f"{name} state", 1.0 / state_rate, self._publish)

    def close(self) -> None:
        """Stop publishing and listening; the arm holds when its last command expires. Once more is no error."""
        self._end()
        node = self._session.node
        for subscription in self._inputs:
            node.destroy_subscription(subscription)
        for service in self._services:
            node.destroy_service(service)
        self._inputs, self._services = [], []

    # What comes in, in the executor's thread.

    def _on_command(self, message: Any, info: Any) -> None:
        received = time.monotonic()

        def act() -> None:
            command = messages.command_of(message, self._frame)
            age = self._sender(info).age(command.id, received)
            if age >= command.valid_for:
                raise InvalidAction(f"a command was {age * 1e3:.0f} ms old when it came, and no longer valid")
            with self._lock:
                self._id += 1
                self._stamps[self._id] = command.id
                if len(self._stamps) > REMEMBERED:
                    self._stamps.popitem(last=False)
            self._hand_over(
                lambda: self._robot.command(replace(command, id=self._id, valid_for=command.valid_for - age))
            )

        self._heed(act)

    def _on_move(self, message: Any, info: Any) -> None:
        received = time.monotonic()

        def act() -> None:
            joint_pos, gripper = messages.move_of(message, self._names)
            stamp = messages.stamp_of(message.header)
            if stamp:  # without one, as people send it by hand, it is taken as it comes
                age = self._sender(info).age(stamp, received)
                if age >= MOVE_AGE:
                    raise InvalidAction(f"a posture was {age:.1f} s old when it came")
            self._hand_over(lambda: self._robot.move_joints(joint_pos, gripper))

        self._last_refusal, before = "", self._last_refusal
        self._heed(act)
        self._move_refusal = self._last_refusal
        self._last_refusal = self._last_refusal or before
        self._moved = messages.stamp_of(message.header)
        self._status_due = 0.0

    def _on_emergency(self, message: Any) -> None:
        self._robot.stop(messages.text(message.data) or "stopped over ROS 2")
        self._status_due = 0.0

    def _on_stop(self, _: Any, response: Any) -> Any:
        self._robot.stop("stopped over ROS 2")
        self._status_due = 0.0
        response.success, response.message = True, "holding until recover"
        return response

    def _on_recover(self, _: Any, response: Any) -> Any:
        try:
            self._robot.recover()
        except UserError as error:
            response.success, response.message = False, messages.text(str(error))
        else:
            response.success, response.message = True, "acknowledged"
        self._status_due = 0.0
        return response

    def _hand_over(self, act: Callable[[], None]) -> None:
        """Do what the arm itself may refuse, and counts if it does."""
        try:
            act()
        except (InvalidAction, Faulted) as error:
            self._last_refusal = messages.text(str(error))

    def _heed(self, act: Callable[[], None]) -> None:
        """Do what a message asks for, unless there is something wrong with it."""
        try:
            act()
        except UserError as error:
            self._rejected += 1
            self._last_refusal = messages.text(str(error))

    def _sender(self, info: Any) -> Sender:
        # The first 12 bytes are those of the process: its commands and its postures come on two topics, and one that
        # is overtaken by a later one of the other kind must not undo it.
        process = bytes(info["publisher_gid"]["data"])[:12]
        sender = self._senders.pop(process, None) or Sender()
        self._senders[process] = sender
        if len(self._senders) > SENDERS:
            self._senders.popitem(last=False)
        return sender

    # What goes out, in a thread of its own.

    def _publish(self) -> None:
        now = time.monotonic()
        stale = ""
        try:
            state = self._robot.state()
        except Stale as error:
            stale = messages.text(str(error))
        else:
            if state.stamp != self._published_state:
                self._published_state = state.stamp
                stamp = self._session.clock.stamp(state.stamp)
                out = messages.state_messages(state, self._names, self._frame, stamp)
                self._joints_out.publish(out.joints)
                self._pose_out.publish(out.pose)
                self._twist_out.publish(out.twist)
                self._wrench_out.publish(out.wrench)
        applied = self._robot.applied()
        with self._lock:
            origin = self._stamps.get(applied.id, 0)
        self._applied_out.publish(messages.applied_message(applied, self._frame, origin))
        self._publish_status(now, stale)

    def _publish_status(self, now: float, stale: str) -> None:
        # What the node has dealt with is read first: the arm's status is never older than what it goes with.
        moved, rejected = self._moved, self._rejected
        move_refusal, last_refusal = self._move_refusal, self._last_refusal
        robot = self._robot.status()
        robot = replace(robot, rejected=robot.rejected + rejected)
        status = NodeStatus(robot, moved, move_refusal, last_refusal)
        telling = replace(status, robot=replace(robot, counters={}))
        if (telling, bool(stale)) != self._published_status or now >= self._status_due:
            self._published_status = (telling, bool(stale))
            self._status_due = now + STATUS_PERIOD
            stamp = self._session.clock.stamp(now)
            hardware = self._robot.spec.name
            self._status_out.publish(messages.status_message(status, self._name, hardware, stamp, stale))


def serve_arm(
    robot: Robot,
    name: str,
    *,
    domain: int = 0,
    interfaces: Sequence[str] = (),
    state_rate: float = 100.0,
    names: Sequence[str] = (),
    emergency_stops: Sequence[str] = (),
    within: AbstractContextManager[object] | None = None,
    until: threading.Event | None = None,
) -> None:
    """Serve ``robot`` under ``name`` until SIGINT, SIGTERM or ``until``; it stays the caller's to close.

    Making the node takes long, and holds up a control thread of this process that runs already: leave it to ``within``
    to start one.

    Args:
        robot: to serve.
        name: namespace of its topics.
        domain: ROS_DOMAIN_ID.
        interfaces: addresses of this machine to use besides loopback.
        state_rate: states published per second, Hz.
        names: of the joints and the gripper.
        emergency_stops: of the cell; the arm stops while one of them is silent.
        within: is entered once the node is made, and left before it is closed.
        until: ends it as well.

    Raises:
        UserError: if a name, the domain or an interface cannot be.
    """
    node_name = f"{check_name(name, 'arm')}_node"
    with Session(node_name, domain=domain, interfaces=interfaces, shared_memory=False) as session:
        node = ArmNode(robot, name, session, state_rate=state_rate, names=names)
        watch = StopWatch(robot, emergency_stops, session)
        try:
            with within or nullcontext():
                session.wait(until)
        finally:
            watch.close()
            node.close()
