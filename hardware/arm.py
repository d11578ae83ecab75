"""The guarded arm: a drive behind the safety filter, run by a thread of its own. There is no public way around it."""

from __future__ import annotations

import logging
import math
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from controllers.single import SingleChain, damped_inverse
from hardware.actuation import Estimate, actuator, external_wrench
from hardware.arms.drive import Drive
from hardware.loop_figures import LoopFigures
from hardware.realtime import prioritise
from hardware.safety.commands import checked
from hardware.safety.fault_log import FaultLog
from hardware.safety.filter import SafetyFilter
from hardware.safety.joint_motion import JointMotion, JointPlanner
from hardware.safety.limits import SafetyLimits
from hardware.safety.plausibility import Plausibility
from hardware.safety.supervisor import Supervisor
from robo_rl.contracts import Applied, Mode, RobotState, RobotStatus, ToolCommand
from robo_rl.errors import Faulted, InvalidAction, Stale, UserError

_LONGEST_CYCLE = 0.02  # s that a reference moves at most in one cycle, however long the cycle was
_FIRST_STATE = 5.0  # s that opening waits for a measurement
_PATIENCE = 2.0  # s that a joint move may make no way
_BRAKE = 0.5  # s that closing waits for the reference to come to rest
_RETRY = 0.01  # s between attempts of a driver that raises

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Pursuit:
    """What the control thread pursues; replaced whole, by assignment."""

    mode: Mode
    command: ToolCommand | None = None
    expires: float = math.inf
    motion: JointMotion | None = None
    gripper: float | None = None


class Arm:
    """One arm with its gripper, held within limits; a :class:`robo_rl.contracts.Robot`.

    Each cycle reads the drive, looks for faults, moves the reference of :class:`SafetyFilter` towards what is commanded
    and writes the drive. Between commands, after a fault and on the way out it holds, compliant, at the pose measured
    when that began; the reference goes there within its limits.

    Example:
        >>> with Arm(drive, limits, fault_folder=Path("faults")) as arm:          # doctest: +SKIP
        ...     state = arm.state()
        ...     arm.command(ToolCommand(1, state.tcp_pos, state.tcp_rot, 0.04, valid_for=0.25))

    Attributes:
        spec: the arm.
        limits: that hold.
    """

    def __init__(self, drive: Drive, limits: SafetyLimits | None = None, *, fault_folder: Path | None = None) -> None:
        """Prepare; :meth:`open`, or entering the context, connects.

        Args:
            drive: used by nobody else from now on.
            limits: those of :meth:`SafetyLimits.of` if None.
            fault_folder: where the last seconds before each fault are written; None writes nothing.
        """
        self.spec = drive.spec
        self.limits = limits or SafetyLimits.of(drive.spec)
        self._drive = drive
        self._chain = SingleChain(self.spec)
        self._planner = JointPlanner(self.spec, self.limits)
        self._filter = SafetyFilter(self.spec, self.limits, self._chain.forward(np.array(self.spec.home))[1])
        self._actuator = actuator(drive, self.limits)
        self._plausibility = Plausibility(drive.spec)
        self._supervisor = Supervisor(self.spec, self.limits)
        n = self.spec.dof
        self._fault_log = FaultLog(fault_folder, {
            "stamp": (), "mode": (), "command_id": (), "joint_pos": (n,), "joint_vel": (n,), "joint_torque": (n,),
            "tcp_pos": (3,), "tcp_rot": (3, 3), "wrench": (6,), "gripper_width": (),
            "goal_pos": (3,), "goal_rot": (3, 3), "reference_pos": (3,), "reference_rot": (3, 3), "written": (n,),
        }, drive.rate)  # fmt: skip

        self._lock = threading.Lock()
        self._wanted: _Pursuit | None = None  # handed to the control thread
        self._pursuit = _Pursuit("holding")
        self._last_id = 0
        self._rejected = 0
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._first = threading.Event()

        # Of the control thread; what others may read is only ever replaced whole.
        self._estimate: Estimate | None = None
        self._applied: tuple[int, np.ndarray, np.ndarray, float, tuple[str, ...]] = (
            0, self._filter.pos, self._filter.rot, 0.0, (),
        )  # fmt: skip
        self._goal = self._filter.pos, self._filter.rot
        self._source_id = 0
        self._ended = ""  # why the last command is no longer pursued
        self._gripper = math.nan
        self._told = math.nan
        self._stamp = -math.inf
        self._anew = True
        self._progress, self._stuck = 0.0, 0.0
        self._written_fault = ""
        self._raised = ""  # by the drive, last
        self._invalid = 0
        self._figures = LoopFigures(drive.rate)

    # -- life ----------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Arm:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def open(self) -> None:
        """Connect and hold; returns once there is a state.

        Raises:
            UserError: if the arm cannot be reached, or says nothing.
        """
        if self._thread is not None:
            raise UserError(f"{self.spec.name} is open already, or was closed; make another Arm")
        self._drive.open()
        with self._lock:
            self._wanted = None  # whatever was asked for before there was an arm
        self._supervisor.started(time.monotonic())
        self._thread = threading.Thread(target=self._run, name=f"{self.spec.name}-control", daemon=True)
        self._thread.start()
        if not self._first.wait(_FIRST_STATE):
            reason = self.status().reason or "the driver gives no state"
            self.close()
            raise Stale(f"{self.spec.name}: no state within {_FIRST_STATE:g} s of opening: {reason}")

    def close(self) -> None:
        """Hold, and let go of the device. Once more is no error."""
        self._closing.set()
        if self._thread is not None and self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(5.0)
        self._drive.close()
        self._fault_log.close()

    # -- Robot ---------------------------------------------------------------------------------------------------------

    def state(self, max_age: float = 0.1) -> RobotState:
        """As in :class:`robo_rl.contracts.Robot`."""
        now = self._newest()
        age = time.monotonic() - now.stamp
        if age > max_age:
            raise Stale(f"the state of {self.spec.name} is {age * 1e3:.0f} ms old, {max_age * 1e3:.0f} are allowed")
        return RobotState(
            now.stamp, now.joint_pos, now.joint_vel, now.joint_torque, now.pos, now.rot, now.twist[:3], now.twist[3:],
            now.wrench[:3], now.wrench[3:], now.gripper_width,
        )  # fmt: skip

    def command(self, command: ToolCommand) -> None:
        """As in :class:`robo_rl.contracts.Robot`."""
        received = time.monotonic()
        try:
            command = checked(command)
        except InvalidAction:
            with self._lock:
                self._rejected += 1
            raise
        with self._lock:
            if command.id <= self._last_id:
                self._rejected += 1
                raise InvalidAction(f"command.id is {command.id}; it must be above the last one, {self._last_id}")
            self._refuse_if_faulted()
            self._last_id = command.id
            self._wanted = _Pursuit("running", command, received + command.valid_for, gripper=command.gripper)

    def applied(self) -> Applied:
        """As in :class:`robo_rl.contracts.Robot`: the reference of this instant."""
        return Applied(*self._applied)

    def status(self) -> RobotStatus:
        """As in :class:`robo_rl.contracts.Robot`."""
        fault, reason, person = self._supervisor.describe(time.monotonic())
        wanted = self._wanted or self._pursuit
        counters = {
            **self._figures.summary(),
            "invalid_states": float(self._invalid),
            "fault_log_errors": float(self._fault_log.errors),
        }
        return RobotStatus(
            mode="fault" if fault else wanted.mode,
            reason=reason,
            fault=fault,
            needs_acknowledgement=person,
            recoveries=self._supervisor.recoveries,
            rejected=self._rejected,
            counters=counters,
        )

    def move_joints(self, joint_pos: np.ndarray, gripper: float) -> None:
        """As in :class:`robo_rl.contracts.Robot`; also refused if the way would lead the tool out of its limits."""
        self._refuse_if_faulted()
        start = self._newest().joint_pos
        try:
            if not math.isfinite(gripper):
                raise InvalidAction(f"gripper is {gripper}; give metres")
            motion = self._planner.plan(start, np.asarray(joint_pos, dtype=float))
        except (InvalidAction, ValueError, TypeError) as error:
            with self._lock:
                self._rejected += 1
            raise error if isinstance(error, InvalidAction) else InvalidAction(f"joint_pos: {error}") from error
        with self._lock:
            self._refuse_if_faulted()
            self._wanted = _Pursuit("moving", motion=motion, gripper=float(gripper))

    def stop(self, reason: str) -> None:
        """As in :class:`robo_rl.contracts.Robot`."""
        self._supervisor.stop(str(reason))

    def recover(self) -> None:
        """As in :class:`robo_rl.contracts.Robot`. A device that complains is asked to recover by the control thread."""
        with self._lock:
            if self._supervisor.acknowledge():
                # Said, because the control thread may not have seen a fault that was so short.
                self._wanted = _Pursuit("holding")

    def _newest(self) -> Estimate:
        if self._estimate is None:
            raise Stale(f"{self.spec.name} has no state; open it first")
        return self._estimate

    def _refuse_if_faulted(self) -> None:
        fault, reason, person = self._supervisor.describe(time.monotonic())
        if fault:
            remedy = "look at the arm, then recover" if person else "it recovers by itself; try again in a second"
            raise Faulted(f"{self.spec.name} is in the fault {fault}: {reason}; {remedy}")
        if self._closing.is_set():
            raise Faulted(f"{self.spec.name} is closed")

    # -- the control thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        prioritise()
        deadline = math.inf
        while True:
            if self._closing.is_set():  # brake before letting go
                deadline = min(deadline, time.monotonic() + _BRAKE)
                braked = self._pursuit.mode in ("holding", "fault") and self._filter.slow
                if braked or time.monotonic() > deadline:
                    return
            try:
                self._cycle()
            except Stale as error:
                self._supervisor.watch_age(time.monotonic(), str(error))
            except Exception as error:
                said = f"{type(error).__name__}: {error}"
                if said != self._raised:  # the same one may come in every cycle
                    _log.exception("%s: the control loop raised an error", self.spec.name)
                self._raised = said
                self._supervisor.latch("control", said)
                time.sleep(_RETRY)
            self._log_fault()

    def _cycle(self) -> None:
        measured = self._drive.read()
        began = time.perf_counter()
        q, dq, torque, bias = measured.joint_pos, measured.joint_vel, measured.joint_torque, measured.bias
        if wrong := self._plausibility.wrong(q, dq, bias, measured.stamp, time.monotonic()):
            self._invalid += 1
            self._supervisor.watch_age(time.monotonic(), f"the driver gives {wrong}")
            return
        pos, rot, jacobian = self._chain.forward(q)
        inverse = damped_inverse(jacobian)
        twist, wrench = jacobian.dot(dq), external_wrench(jacobian, inverse, torque)
        now = Estimate(
            measured.stamp, q, dq, torque, bias, pos, rot, jacobian, inverse, twist, wrench,
            measured.gripper_width, measured.error,
        )  # fmt: skip
        elapsed = now.stamp - self._stamp
        self._stamp, self._estimate = now.stamp, now
        supervisor = self._supervisor
        supervisor.observe(now.stamp, q, dq, wrench, now.error, self._actuator.pulled)
        supervisor.watch_age(time.monotonic())
        if now.error:
            self._hold_device_error(now)
        else:
            if self._anew or elapsed > self.limits.max_state_age:
                self._take_over(now)
                elapsed = 1.0 / self._drive.rate
            self._choose(now)
            self._act(now, min(max(elapsed, 0.0), _LONGEST_CYCLE))
        self._record(now, elapsed, began)
        if not self._first.is_set():
            self._first.set()

    def _hold_device_error(self, now: Estimate) -> None:
        """While a device complains it holds by itself; ask it to recover if it is time to."""
        self._anew = True
        self._enter(_Pursuit("holding"), now, self._supervisor.fault)
        if self._supervisor.due(time.monotonic()):
            try:
                self._drive.recover()
            except UserError as error:
                self._supervisor.failed(str(error))

    def _take_over(self, now: Estimate) -> None:
        """Begin where the arm is, softly: at the start, after a gap, and when a device has recovered.

        What is pursued goes on after a gap: a joint move that stopped half way would look like one that arrived.
        """
        self._actuator.begin(now)
        self._filter.reset(now.pos, now.rot)
        self._anew = False
        self._told = math.nan
        if self._pursuit.mode not in ("running", "moving"):
            self._goal = now.pos, now.rot

    def _choose(self, now: Estimate) -> None:
        """Decide what to pursue in this cycle."""
        with self._lock:
            wanted, self._wanted = self._wanted, None
        fault, mode = self._supervisor.fault, self._pursuit.mode
        if fault:
            if mode != "fault":
                self._enter(_Pursuit("fault"), now, fault)
        elif self._closing.is_set():
            if mode != "holding":
                self._enter(_Pursuit("holding"), now, "closed")
        elif wanted is not None:
            self._enter(wanted, now, "")
        elif mode == "fault":
            self._enter(_Pursuit("holding"), now, self._ended)
        if self._pursuit.mode == "running" and time.monotonic() > self._pursuit.expires:
            self._enter(_Pursuit("holding"), now, "expired")

    def _enter(self, pursuit: _Pursuit, now: Estimate, ended: str) -> None:
        """Pursue something else from this cycle on."""
        if self._pursuit.mode == "moving" and pursuit.mode != "moving":
            self._filter.reset(*self._actuator.seed(now), now.twist)
        if pursuit.command is not None:
            self._goal = pursuit.command.pos, pursuit.command.rot
            self._source_id = pursuit.command.id
        elif pursuit.mode == "moving":
            self._progress, self._stuck = 0.0, 0.0
            self._source_id = 0
        else:
            self._goal = now.pos, now.rot
        self._ended = ended
        if pursuit.gripper is not None:
            gripper = self.spec.gripper
            self._gripper = min(max(pursuit.gripper, gripper.min_width), gripper.max_width)
        self._pursuit = pursuit

    def _act(self, now: Estimate, dt: float) -> None:
        pursuit = self._pursuit
        reasons: list[str] = [self._ended] if self._ended else []
        if dt > 0.0:
            if pursuit.motion is not None:
                self._move(pursuit.motion, now, dt)
            else:
                reasons += self._filter.advance(
                    *self._goal, now.pos, now.rot, now.joint_pos, now.jacobian, now.inverse, dt
                )
                self._actuator.track(now, self._filter.pos, self._filter.rot, dt)
            if self._told != self._gripper and math.isfinite(self._gripper) and pursuit.mode in ("running", "moving"):
                self._drive.write_gripper(self._gripper)
                self._told = self._gripper
        if pursuit.gripper is not None and pursuit.gripper != self._gripper:
            reasons.append("gripper")
        gripper = self._gripper if math.isfinite(self._gripper) else now.gripper_width
        self._applied = self._source_id, self._filter.pos, self._filter.rot, gripper, tuple(reasons)

    def _move(self, motion: JointMotion, now: Estimate, dt: float) -> None:
        """One cycle of a joint move; its clock stands still while the arm does not keep up."""
        joint_pos, joint_vel = motion.at(self._progress)
        kept_up = self._actuator.follow(now, joint_pos, joint_vel if self._stuck == 0.0 else 0.0 * joint_vel, dt)
        self._filter.reset(now.pos, now.rot)
        self._stuck = 0.0 if kept_up else self._stuck + dt
        if kept_up:
            self._progress += dt
        late = self._progress - motion.duration
        if late >= 0.0 and self._actuator.arrived(now, motion.goal):
            self._enter(_Pursuit("holding"), now, "")
        elif self._stuck > _PATIENCE or late > _PATIENCE:
            off = float(np.abs(now.joint_pos - motion.goal).max())
            self._supervisor.latch("blocked", f"the joint move makes no way, {off:.2f} rad before its goal; clear it")

    def _record(self, now: Estimate, elapsed: float, began: float) -> None:
        mode = ("holding", "running", "moving", "fault").index(self._pursuit.mode)
        self._fault_log.add(
            (now.stamp, mode, self._source_id), now.joint_pos, now.joint_vel, now.joint_torque, now.pos,
            now.rot.ravel(), now.wrench, (now.gripper_width,), self._goal[0], self._goal[1].ravel(), self._filter.pos,
            self._filter.rot.ravel(), self._actuator.written,
        )  # fmt: skip
        self._figures.add(elapsed, time.perf_counter() - began)

    def _log_fault(self) -> None:
        """Write the log once for each time that a fault is latched."""
        fault = self._supervisor.fault
        if fault != self._written_fault:
            self._written_fault = fault
            if fault:
                reason = self._supervisor.describe(time.monotonic())[1]
                self._fault_log.write(fault, {"reason": reason, "robot": self.spec.name})
