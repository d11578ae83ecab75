"""The arm at the far end of a node's topics, as any other Robot."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hardware.ros import messages, qos
from hardware.ros.clock import ArrivalClock
from hardware.ros.messages import NodeStatus, StateMessages
from hardware.ros.session import Session, check_name
from robo_rl.contracts import MAX_VALIDITY, Applied, RobotSpec, RobotState, RobotStatus, ToolCommand
from robo_rl.errors import Faulted, InvalidAction, Stale

SILENCE = 0.5
"""Seconds without a status after which a node is taken for gone."""
ACKNOWLEDGED = 1.0
"""Seconds within which a node has to say that it has heard of a posture or a stop."""
STOP_AGAIN = 0.05
"""Seconds after which a stop is said again, if the node has not confirmed it."""
SERVICE = 3.0
"""Seconds within which a service has to answer."""
REMEMBERED = 256


class RosRobot:
    """An arm behind the topics of :class:`hardware.ros.arm_node.ArmNode`.

    Only :meth:`move_joints` and :meth:`recover` wait, for the node's answer. A node that falls silent is the fault
    ``no_link`` here, whatever it is there: the arm holds when its last command expires.

    Example:
        >>> with Session("policy", domain=7) as session:                       # doctest: +SKIP
        ...     arm = RosRobot("arm", FR3, session)
        ...     arm.wait_until_ready()
        ...     arm.command(ToolCommand(1, pos, rot, 0.04, valid_for=0.25))

    Args:
        name: of the arm in its cell.
        spec: the arm.
        session: whose node it lives on.
        names: of the joints and the gripper, as for the node.

    Attributes:
        arrived: states that have come whole so far.
        published: states that the node has published since the first one came, those that were lost on their way too.
    """

    def __init__(self, name: str, spec: RobotSpec, session: Session, *, names: Sequence[str] = ()) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped
        from sensor_msgs.msg import JointState
        from std_msgs.msg import String
        from std_srvs.srv import Trigger
        from trajectory_msgs.msg import JointTrajectory, MultiDOFJointTrajectory

        self.spec = spec
        self._name = check_name(name, "arm")
        self._session = session
        self._names = tuple(names) or messages.joint_names(spec)
        self._frame = messages.base_frame(name)
        self._changed = threading.Condition()
        self._parts: OrderedDict[int, dict[str, Any]] = OrderedDict()
        self._arrivals = ArrivalClock()
        self._publisher: bytes | None = None
        self._state: RobotState | None = None
        self.arrived = self.published = self._number = 0
        self._status: NodeStatus | None = None
        self._status_received = 0.0
        self._applied: Applied | None = None
        self._malformed = ""
        self._sent: OrderedDict[int, int] = OrderedDict()
        self._last_id: int | None = None
        self._refused = 0
        self._stopping: tuple[str, float] | None = None  # reason and time of a stop that was not confirmed yet
        self._closed = False

        node = session.node

        def listen(kind: type, topic: str, heard: Any, profile: Any) -> Any:
            return node.create_subscription(kind, f"{name}/{topic}", heard, profile)

        def part(key: str) -> Any:
            return lambda message, info: self._on_part(key, message, info)

        self._listening = [
            listen(JointState, "joint_states", part("joints"), qos.state_in()),
            listen(PoseStamped, "tcp_pose", part("pose"), qos.state_in()),
            listen(TwistStamped, "tcp_velocity", part("twist"), qos.state_in()),
            listen(WrenchStamped, "tcp_wrench", part("wrench"), qos.state_in()),
            listen(MultiDOFJointTrajectory, "applied", self._on_applied, qos.state_in()),
            listen(DiagnosticArray, "status", self._on_status, qos.status()),
        ]
        self._command_out = node.create_publisher(MultiDOFJointTrajectory, f"{name}/command", qos.command())
        self._move_out = node.create_publisher(JointTrajectory, f"{name}/move_joints", qos.command())
        self._emergency_out = node.create_publisher(String, f"{name}/emergency_stop", qos.command())
        self._recovery: Any = node.create_client(Trigger, f"{name}/recover")

    def wait_until_ready(self, timeout: float = 10.0) -> None:
        """Return once state, status and the way for commands are there.

        Raises:
            Stale: if they are not within ``timeout`` s; says what is missing.
        """
        deadline = time.monotonic() + timeout
        while True:
            missing = self._missing()
            if not missing:
                return
            if time.monotonic() > deadline:
                raise Stale(f"{self._name}: no {missing} for {timeout:.1f} s; {self._advice()}")
            time.sleep(0.005)

    def state(self, max_age: float = 0.1) -> RobotState:
        """Return the newest state; see :class:`robo_rl.contracts.Robot`."""
        state = self._state
        if state is None:
            raise Stale(f"{self._name}: no state has come; {self._malformed or self._advice()}")
        age = time.monotonic() - state.stamp
        if age > max_age:
            raise Stale(
                f"{self._name}: the newest state is {age * 1e3:.0f} ms old, over {max_age * 1e3:.0f} ms; "
                f"{self._malformed or self._advice()}"
            )
        return state

    def command(self, command: ToolCommand) -> None:
        """Send ``command``; see :class:`robo_rl.contracts.Robot`.

        Raises:
            InvalidAction: if it is malformed.
            Faulted: if the arm is in a fault, or its node gone.
        """
        with self._changed:
            try:
                pos, rot, gripper = self._checked(command)
            except InvalidAction:
                self._refused += 1
                raise
            self._require_sound()
            self._last_id = command.id
            stamp = self._session.clock.next()
            self._sent[stamp] = command.id
            if len(self._sent) > REMEMBERED:
                self._sent.popitem(last=False)
            checked = ToolCommand(stamp, pos, rot, gripper, command.valid_for)
            self._command_out.publish(messages.command_message(checked, self._frame, stamp))

    def _checked(self, command: ToolCommand) -> tuple[np.ndarray, np.ndarray, float]:
        target = messages.checked_target(command.pos, command.rot, command.gripper)
        if not 0.0 < command.valid_for <= MAX_VALIDITY:
            raise InvalidAction(
                f"{self._name}: a command is valid for {command.valid_for} s; "
                f"it must be above 0 and at most {MAX_VALIDITY}"
            )
        if self._last_id is not None and command.id <= self._last_id:
            raise InvalidAction(f"{self._name}: command {command.id} comes after command {self._last_id}")
        return target

    def applied(self) -> Applied:
        """Return the target in force; its id is the stamp, ns, of a command that somebody else has sent."""
        applied = self._applied
        if applied is None:
            raise Stale(f"{self._name}: no target has come; {self._advice()}")
        return applied

    def status(self) -> RobotStatus:
        """Return how the arm is; the fault ``no_link`` if its node is silent. What was refused here is counted too."""
        with self._changed:
            status = self._current()
            return replace(status, rejected=status.rejected + self._refused)

    def move_joints(self, joint_pos: np.ndarray, gripper: float) -> None:
        """Begin to move to a posture; waits for the node's word that the arm does, a few ms.

        Raises:
            InvalidAction: if the posture cannot be, or the arm finds no way there.
            Faulted: if the arm is in a fault, or its node gone.
            Stale: if the node does not answer.
        """
        joint_pos = np.array(joint_pos, np.float64)
        if joint_pos.shape != (self.spec.dof,) or not np.isfinite(joint_pos).all() or not np.isfinite(gripper):
            raise InvalidAction(f"{self._name}: a posture has to be {self.spec.dof} finite angles and an opening")
        for i, (angle, link) in enumerate(zip(joint_pos, self.spec.links, strict=True)):
            low, high = link.joint_range
            if not low <= angle <= high:
                raise InvalidAction(f"{self._name}: joint {i + 1} at {angle:.4f} rad is outside of [{low}, {high}]")
        with self._changed:
            self._require_sound()
            stamp = self._session.clock.next()
            self._move_out.publish(messages.move_message(joint_pos, float(gripper), self._names, stamp))
            heard = self._changed.wait_for(
                lambda: self._status is not None and self._status.moved == stamp, ACKNOWLEDGED
            )
            if not heard or self._status is None:
                raise Stale(f"{self._name}: a posture was not answered within {ACKNOWLEDGED} s; {self._advice()}")
            if self._status.move_refusal:
                self._require_sound()
                raise InvalidAction(f"{self._name}: {self._status.move_refusal}")

    def stop(self, reason: str) -> None:
        """Latch the fault ``stopped`` here at once, and say so to the node until it confirms it."""
        with self._changed:
            self._stopping = (messages.text(reason) or "stopped", time.monotonic())
        self._send_stop()

    def recover(self) -> None:
        """Acknowledge the latched fault; waits for the answer.

        Raises:
            Faulted: if the cause is still there.
            Stale: if the node does not answer.
        """
        from std_srvs.srv import Trigger

        with self._changed:
            # A stop under way would come after this acknowledgement, and undo it.
            self._changed.wait_for(lambda: self._stopping is None, ACKNOWLEDGED)
        if not self._recovery.service_is_ready():
            raise Stale(f"{self._name}: cannot recover; {self._advice()}")
        answered = threading.Event()
        future = self._recovery.call_async(Trigger.Request())
        future.add_done_callback(lambda _: answered.set())
        if not answered.wait(SERVICE):
            self._recovery.remove_pending_request(future)
            raise Stale(f"{self._name}: recover was not answered within {SERVICE} s; {self._advice()}")
        response = future.result()
        asked = time.monotonic()
        if not response.success:
            raise Faulted(f"{self._name}: {messages.text(response.message)}")
        with self._changed:
            self._changed.wait_for(lambda: self._status_received > asked and not self._current().fault, ACKNOWLEDGED)

    def close(self) -> None:
        """Stop listening; the arm holds when its last command expires. Once more is no error."""
        if self._closed:
            return
        self._closed = True
        node = self._session.node
        for subscription in self._listening:
            node.destroy_subscription(subscription)
        for publisher in (self._command_out, self._move_out, self._emergency_out):
            node.destroy_publisher(publisher)
        node.destroy_client(self._recovery)

    # What comes in, in the executor's thread.

    def _on_part(self, key: str, message: Any, info: Any) -> None:
        received = time.monotonic()
        if key == "joints":
            publisher = bytes(info["publisher_gid"]["data"])
            if publisher != self._publisher:  # a node that was started anew has a clock of its own
                self._publisher, self._arrivals = publisher, ArrivalClock()
                self._number = int(info["publication_sequence_number"]) - 1
            self.published += int(info["publication_sequence_number"]) - self._number
            self._number = int(info["publication_sequence_number"])
        stamp = messages.stamp_of(message.header)
        parts = self._parts.setdefault(stamp, {})
        parts[key] = message
        if key == "joints":
            parts["arrival"] = self._arrivals.arrival(stamp, received)
        if len(parts) == len(StateMessages._fields) + 1:
            del self._parts[stamp]
            arrival = parts.pop("arrival")
            try:
                self._state = messages.state_of(StateMessages(**parts), self._names, arrival)
                self._malformed = ""
                self.arrived += 1
            except InvalidAction as error:
                self._malformed = f"a malformed one came: {error}"
        while len(self._parts) > 8:
            self._parts.popitem(last=False)

    def _on_applied(self, message: Any) -> None:
        try:
            applied = messages.applied_of(message, self._frame)
        except InvalidAction as error:
            self._malformed = str(error)
            return
        self._applied = replace(applied, id=self._sent.get(applied.id, applied.id))

    def _on_status(self, message: Any) -> None:
        try:
            status = messages.status_of(message, self._name)
        except InvalidAction as error:
            self._malformed = str(error)
            return
        again = False
        with self._changed:
            self._status, self._status_received = status, time.monotonic()
            if self._stopping is not None:
                if status.robot.fault:
                    self._stopping = None
                else:
                    again = self._status_received - self._stopping[1] > STOP_AGAIN
            self._changed.notify_all()
        if again:
            self._send_stop()

    # What is known.

    def _current(self) -> RobotStatus:
        now = time.monotonic()
        if self._status is None or now - self._status_received > SILENCE:
            since = "" if self._status is None else f" for {now - self._status_received:.1f} s"
            last = self._status.robot if self._status is not None else RobotStatus("fault")
            return replace(last, mode="fault", fault="no_link", reason=f"no status{since}; {self._advice()}")
        robot = self._status.robot
        if self._stopping is not None:
            return replace(robot, mode="fault", fault="stopped", reason=self._stopping[0], needs_acknowledgement=True)
        return robot

    def _require_sound(self) -> None:
        status = self._current()
        if status.fault:
            remedy = "" if status.fault == "no_link" else "; see to the cause, then recover"
            raise Faulted(f"{self._name}: {status.fault}: {status.reason}{remedy}")

    def _send_stop(self) -> None:
        from std_msgs.msg import String

        stopping = self._stopping
        if stopping is not None and not self._closed:
            self._stopping = (stopping[0], time.monotonic())
            self._emergency_out.publish(String(data=stopping[0]))

    def _missing(self) -> str:
        if self._state is None or time.monotonic() - self._state.stamp > SILENCE:
            return "state"
        if self._current().fault == "no_link":
            return "status"
        if self._applied is None:
            return "target in force"
        for publisher in (self._command_out, self._move_out, self._emergency_out):
            if not publisher.get_subscription_count():
                return "subscriber of commands"
        return "" if self._recovery.service_is_ready() else "service to recover"

    def _advice(self) -> str:
        return self._session.advice(f"{self._name}/joint_states")
