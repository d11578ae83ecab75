"""WidowX 250s: nine Dynamixel servos on one bus, through the maker's SDK.

=========  =============  ==========  =======================================================
servo      joint          model       commanded
=========  =============  ==========  =======================================================
1          waist          XM430-W350  position, or position with bounded current
2 and 3    shoulder       XM430-W350  the same, two servos face to face on one joint
4 and 5    elbow          XM430-W350  the same
6          forearm roll   XM430-W350  the same
7          wrist angle    XM430-W350  the same
8          wrist rotate   XL430-W250  position only: it does not measure its current
9          gripper        XL430-W250  position with bounded voltage
=========  =============  ==========  =======================================================

What that means for force stands in docs/widowx.md.
"""

from __future__ import annotations

import math
import struct
import time
from typing import Literal

import numpy as np

from hardware.arms import dynamixel as dxl
from hardware.arms.drive import Delegated, DriveState
from hardware.arms.dynamixel import Bus, BusError, Item
from hardware.arms.gravity import Gravity, flange_to_tool
from hardware.arms.widowx_clock import ServoClock
from hardware.arms.widowx_servos import (
    ARM,
    CURRENT_UNIT,
    FULL_PWM,
    GAIN,
    GRIPPER,
    MASTERS,
    PROFILE_VELOCITY,
    SERVOS,
    STIFFNESS,
    TORQUE_PER_AMPERE,
    VELOCITY_UNIT,
    XL430_FREE,
    XL430_STALL,
    angle,
    gripper_angle,
    gripper_width,
    ticks,
)
from hardware.arms.widowx_setup import apply, configure, identify, restart
from robo_rl.contracts import RobotSpec
from robo_rl.contracts.scene import Vec3
from robo_rl.errors import Stale, UserError
from robo_rl.robots.widowx250s import WIDOWX250S

_SMOOTHING = 0.03  # s, of the torques
_OLDEST = 0.03  # s that an answer may be late, or ``patience`` if that is longer
_SILENCE = 0.05  # s for which the last measurement may be given again
_SLOW = 0.1  # s that an answer is waited for while setting up
_NUMBERS = tuple(servo.id for servo in SERVOS)
_STATE = Item(dxl.REALTIME_TICK.address, 16)  # clock, ..., current or load, velocity, position
_HEALTH = Item(dxl.TORQUE_ENABLE.address, 35)  # up to and with the watchdog

CurrentMode = Literal["position", "current_based_position"]


class WidowX:
    """Drives a WidowX 250s; see :class:`hardware.arms.drive.Drive`.

    Joints are held stiffly by the servos' own position controllers. These sag under load, so that what the arm's
    weight takes is added to the goals. The torque of the surroundings is what the motors give less what the weight
    takes, from the measured currents; wrist rotate's from its load, which is coarse.

    Example:
        >>> drive = WidowX("/dev/serial/by-id/usb-FTDI_...")            # doctest: +SKIP
        >>> arm = Arm(drive, SafetyLimits.of(drive.spec))               # doctest: +SKIP

    Args:
        address: path of the serial device.
        rate: cycles per second.
        mode: ``position``, or ``current_based_position`` to bound the current of the joints that can.
        max_current: that bound, A; each of the two servos of a joint has it for itself.
        gripper_effort: share of the supply voltage that the gripper may use; bounds its force.
        watchdog: seconds without an instruction after which the servos stop by themselves.
        patience: seconds that an answer may take; twice that and more is silence.
        baudrate: of the bus.
        payload_mass: of what is fixed to the tool, kg.
        payload_com: its centre of mass in the tool's frame, m.

    Attributes:
        lost: reads that were not answered so far.
    """

    spec: RobotSpec = WIDOWX250S
    delegated = Delegated()

    def __init__(
        self,
        address: str,
        *,
        rate: float = 100.0,
        mode: CurrentMode = "position",
        max_current: float = 1.2,
        gripper_effort: float = 0.4,
        watchdog: float = 0.2,
        patience: float = 0.02,
        baudrate: int = 1_000_000,
        payload_mass: float = 0.0,
        payload_com: Vec3 = (0.0, 0.0, 0.0),
    ) -> None:
        for name, value, low, high in (
            ("rate", rate, 20.0, 250.0), ("max_current", max_current, 0.05, 3.2), ("watchdog", watchdog, 0.04, 2.54),
            ("gripper_effort", gripper_effort, 0.05, 1.0), ("patience", patience, 0.005, 1.0),
        ):  # fmt: skip
            if not low <= value <= high:
                raise UserError(f"{name} is {value}; it must be from {low:g} to {high:g}")
        if mode not in ("position", "current_based_position"):
            raise UserError(f"mode is {mode!r}; it must be position or current_based_position")
        self.rate = rate
        self.lost = 0
        self._mode = mode
        self._current, self._pwm = round(max_current / CURRENT_UNIT), round(FULL_PWM * gripper_effort)
        self._watchdog, self._patience = round(watchdog / 0.02), patience
        self._bus = Bus(address, {servo.id: servo.name for servo in SERVOS}, baudrate)
        self._gravity = Gravity(self.spec, payload_mass, payload_com)
        self._damping = np.array(self.spec.joint_damping)
        stiffness = np.zeros(self.spec.dof)
        for servo in ARM:
            stiffness[servo.joint] += STIFFNESS[servo.model]
        # The scale of the current loop's gain is not published, so that its sag cannot be told beforehand.
        bounded = np.array([mode != "position" and servo.model == dxl.XM430_W350 for servo in MASTERS])
        self._sag = np.where(bounded, 0.0, 1.0 / stiffness)  # rad per N·m
        self._clock = ServoClock(len(SERVOS))
        self._complaints: dict[int, str] = {}
        self._torque = np.zeros(self.spec.dof)
        self._gripper_goal = -1
        self._next, self._turn = 0.0, 0
        self._last: DriveState | None = None

    def carry(self, mass: float, com: np.ndarray) -> None:
        """As in :class:`hardware.arms.drive.LoadedDrive`: its weight is lifted, and is no force of the surroundings."""
        x, y, z = flange_to_tool(self.spec, com).tolist()
        self._gravity = Gravity(self.spec, mass, (x, y, z))

    def open(self) -> None:
        """As in :class:`hardware.arms.drive.Drive`; writes settings that differ, which moves nothing."""
        self._bus.open()
        self._bus.patience = max(_SLOW, self._patience)
        try:
            identify(self._bus)
            configure(self._bus, self._mode != "position")
            self._energise()
        except BusError as error:
            self._bus.close()
            raise UserError(f"address {self._bus.address}: {error}; check its cables and the arm's power") from error
        except UserError:
            self._bus.close()
            raise
        self._complaints.clear()
        self._last = None
        self._next = time.monotonic()

    def read(self) -> DriveState:
        """As in :class:`hardware.arms.drive.Drive`; a lost answer is asked for once more."""
        self._next = max(self._next + 1.0 / self.rate, time.monotonic())
        time.sleep(max(0.0, self._next - time.monotonic()))
        try:
            return self._measure()
        except (BusError, UserError) as error:
            last = self._last
            if last is None or time.monotonic() - last.stamp > max(_SILENCE, 2 * self._patience):
                raise Stale(f"{self._bus.address}: {error}") from error
            return last

    def write_joints(self, joint_pos: np.ndarray) -> None:
        """As in :class:`hardware.arms.drive.Drive`; within the servos' own limits."""
        goals = self._goals(joint_pos)
        if self._bus.is_open:  # else the next read says so
            try:
                self._bus.sync_write(dxl.GOAL_POSITION, goals)
            except BusError:
                self.lost += 1

    def write_gripper(self, width: float) -> None:
        """As in :class:`hardware.arms.drive.Drive`."""
        gripper = self.spec.gripper
        goal = ticks(gripper_angle(min(max(width, gripper.min_width), gripper.max_width)))
        if goal != self._gripper_goal and self._bus.is_open:
            try:
                self._bus.sync_write(dxl.GOAL_POSITION, {GRIPPER.id: goal})
                self._gripper_goal = goal
            except BusError:
                self.lost += 1

    def recover(self) -> None:
        """As in :class:`hardware.arms.drive.Drive`; servos that shut down are restarted, and limp meanwhile."""
        try:
            if not self._bus.is_open:
                self._bus.open()
            self._energise()
        except BusError as error:
            raise UserError(f"address {self._bus.address}: {error}") from error
        finally:
            self._bus.patience = self._patience
        self._complaints.clear()
        self._next = time.monotonic()

    def close(self) -> None:
        """As in :class:`hardware.arms.drive.Drive`; the servos go on holding until their power is cut."""
        if self._bus.is_open:
            try:
                apply(self._bus, {dxl.WATCHDOG: {servo.id: 0 for servo in SERVOS}})
            except BusError:
                self.lost += 1  # then their watchdogs stop them
            self._bus.close()

    def _energise(self) -> None:
        """Bring every servo to holding where it is, whatever state it was in, and arm the watchdogs."""
        bus = self._bus
        bus.patience = max(_SLOW, self._patience)
        restart(bus)
        answers = bus.sync_read(_NUMBERS, dxl.PRESENT_POSITION, dxl.TRIES)
        present = {number: dxl.signed(data[: dxl.PRESENT_POSITION.size]) for number, data in answers.items()}
        goals = self._goals(np.array([angle(present[servo.id]) for servo in MASTERS]))
        goals[GRIPPER.id] = min(max(present[GRIPPER.id], GRIPPER.limits[0]), GRIPPER.limits[1])
        settings = {
            dxl.POSITION_P_GAIN: {servo.id: GAIN[servo.model] for servo in SERVOS},
            dxl.PROFILE_ACCELERATION: dict.fromkeys(_NUMBERS, 0),
            dxl.PROFILE_VELOCITY: dict.fromkeys(_NUMBERS, PROFILE_VELOCITY),
            dxl.GOAL_PWM: dict.fromkeys(_NUMBERS, FULL_PWM) | {GRIPPER.id: self._pwm},
            dxl.GOAL_POSITION: goals,
        }
        if self._mode != "position":
            settings[dxl.GOAL_CURRENT] = {servo.id: self._current for servo in SERVOS if servo.model == dxl.XM430_W350}
        apply(bus, settings)
        apply(bus, {dxl.TORQUE_ENABLE: dict.fromkeys(_NUMBERS, 1)})
        apply(bus, {dxl.WATCHDOG: dict.fromkeys(_NUMBERS, self._watchdog)})
        bus.patience = self._patience
        self._gripper_goal = -1
        self._clock = ServoClock(len(SERVOS))

    # -- every cycle ---------------------------------------------------------------------------------------------------

    def _goals(self, joint_pos: np.ndarray) -> dict[int, int]:
        lifted = joint_pos + self._sag * self._gravity.torque(joint_pos)
        goals = {}
        for servo in ARM:
            low, high = servo.limits
            goals[servo.id] = min(max(ticks(float(lifted[servo.joint])), low), high)
        return goals

    def _measure(self) -> DriveState:
        bus = self._bus
        if not bus.is_open:
            bus.open()
        try:
            answers, stamp = self._fresh()
        except dxl.NoAnswer:
            self.lost += 1
            answers, stamp = self._fresh()
        self._examine()
        values = {servo: struct.unpack("<6xhii", answers[servo.id]) for servo in SERVOS}  # effort, velocity, position
        position = np.array([angle(values[servo][2]) for servo in MASTERS])
        velocity = np.array([values[servo][1] * VELOCITY_UNIT for servo in MASTERS])
        motors = np.zeros(self.spec.dof)
        for servo in ARM:
            effort = values[servo][0]
            if servo.model == dxl.XM430_W350:
                motors[servo.joint] += effort * CURRENT_UNIT * TORQUE_PER_AMPERE
            else:  # the load is the voltage: what turning alone takes is no torque
                motors[servo.joint] += XL430_STALL * (effort / 1000 - velocity[servo.joint] / XL430_FREE)
        outside = self._gravity.torque(position) + self._damping * velocity - motors
        elapsed = stamp - self._last.stamp if self._last else math.inf
        self._torque = self._torque + min(elapsed / _SMOOTHING, 1.0) * (outside - self._torque)
        self._last = DriveState(
            stamp,
            position,
            velocity,
            self._torque,
            np.zeros(self.spec.dof),
            gripper_width(angle(values[GRIPPER][2])),
            self._error(),
        )
        return self._last

    def _fresh(self) -> tuple[dict[int, bytes], float]:
        """What the servos say to the newest question, and when they measured it."""
        answers = self._bus.sync_read(_NUMBERS, _STATE)
        received = time.monotonic()
        ticks = [dxl.REALTIME_TICK.within(_STATE, answers[number]) for number in _NUMBERS]
        age = self._clock.age(ticks, received)
        if age > max(_OLDEST, self._patience):
            raise dxl.NoAnswer(f"answers come {age * 1e3:.0f} ms late")
        self._clock.accept(ticks, received)
        return answers, received - age

    def _examine(self) -> None:
        """Look at who complains, or else at one servo per cycle in turn."""
        self._turn = (self._turn + 1) % len(SERVOS)
        numbers = sorted(self._bus.alerts) or [SERVOS[self._turn].id]
        for number in numbers:
            try:
                health = self._bus.read(number, _HEALTH, tries=1)
            except dxl.NoAnswer:
                self.lost += 1
                continue
            torque, errors = health[0], health[dxl.HARDWARE_ERROR.address - _HEALTH.address]
            if errors:
                self._complaints[number] = dxl.hardware_errors(errors) + ("" if torque else ", torque off")
            elif not torque:
                self._complaints[number] = "torque off, perhaps restarted; check its power"
            elif health[-1] == 255:
                self._complaints[number] = "stopped by its watchdog, as nobody spoke to it for too long"
            elif health[-1] != self._watchdog:
                self._complaints[number] = "its watchdog is not armed"
            else:
                self._complaints.pop(number, None)

    def _error(self) -> str:
        """What the servos complain of, each complaint once."""
        by_text: dict[str, list[int]] = {}
        for number, text in sorted(self._complaints.items()):
            by_text.setdefault(text, []).append(number)
        return "; ".join(f"{', '.join(map(self._bus.name, who))}: {text}" for text, who in by_text.items())
