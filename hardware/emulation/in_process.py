"""An arm in the same process, without device or simulator: small dynamics and walls, for tests and for trials."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from controllers.single import SingleChain, rotation_vector
from hardware.arms.drive import Delegated, DriveState
from robo_rl.contracts import RobotSpec
from robo_rl.errors import Stale, UserError

_STEP = 0.001  # longest step of the dynamics, s
_MOST_STEPS = {True: 4, False: 50}  # of the dynamics in one cycle, of torque-driven arms and of servos
_GUARD = 0.02  # without a torque for so long, the arm brakes, s
_SERVO = 25.0  # of position servos, 1/s
_SERVO_SPEED = 0.9  # share of a joint's limit that its own servo keeps to
_SENSOR_NOISE = 1e-7  # rad and rad/s; an encoder never says the same twice
_GRIPPER_SPEED = 0.1  # m/s


@dataclass(frozen=True)
class Wall:
    """A flat, elastic, frictionless surface.

    Attributes:
        normal: (3,) unit vector out of it.
        offset: ``normal · x`` on it, m.
        stiffness: N/m.
        damping: N·s/m, against going in.
    """

    normal: tuple[float, float, float]
    offset: float
    stiffness: float = 10_000.0
    damping: float = 100.0


@dataclass
class InjectedFaults:
    """What goes wrong; set any of it at any time, from any thread.

    Attributes:
        silent: no state comes: ``read`` raises Stale.
        frozen: the last state comes again and again, stamp and all.
        stuck: its numbers do, under new stamps.
        not_finite: joint positions are NaN.
        delay: states are so old when they come, s.
        error: the device complains of it, and ignores what is written.
        recoverable: whether ``recover`` clears ``error``.
        exception: ``read`` raises it.
        push: (6,) wrench on the tool, N over N·m.
        deaf: joints do not follow what is written.
    """

    silent: bool = False
    frozen: bool = False
    stuck: bool = False
    not_finite: bool = False
    delay: float = 0.0
    error: str = ""
    recoverable: bool = True
    exception: Exception | None = None
    push: np.ndarray = field(default_factory=lambda: np.zeros(6))
    deaf: bool = False


class InProcessDrive(ABC):
    """A :class:`hardware.arms.drive.Drive` with no device behind it; walls push at it.

    Attributes:
        faults: to inject.
        recovered: how often the device was asked to recover.
    """

    _guarded = False  # whether it brakes when nothing is written

    def __init__(
        self,
        spec: RobotSpec,
        *,
        rate: float = 1000.0,
        walls: tuple[Wall, ...] = (),
        joint_pos: np.ndarray | None = None,
    ) -> None:
        self.spec = spec
        self.rate = rate
        self.delegated = Delegated()
        self.faults = InjectedFaults()
        self.recovered = 0
        self._walls = walls
        self._chain = SingleChain(spec)
        self._random = np.random.default_rng(0)
        self._q = np.array(spec.home if joint_pos is None else joint_pos, dtype=float)
        self._dq = np.zeros(spec.dof)
        self._low, self._high = (np.array([link.joint_range[i] for link in spec.links]) for i in (0, 1))
        self._speed = np.array([link.max_velocity for link in spec.links])
        self._friction = np.array(spec.joint_damping or (0.5,) * spec.dof)
        self._mobility = np.linalg.inv(_mass_matrix(spec))
        self._width = self._told_width = spec.gripper.max_width
        self._external = np.zeros(spec.dof)
        self._written = self._moved = self._due = 0.0
        self._open = False
        self._owner: int | None = None
        self._last: DriveState | None = None
        self._past: deque[DriveState] = deque(maxlen=1000)

    def open(self) -> None:
        """As in :class:`hardware.arms.drive.Drive`."""
        self._open = True
        self._due = self._moved = self._written = time.monotonic()

    def read(self) -> DriveState:
        """As in :class:`hardware.arms.drive.Drive`."""
        if not self._open:
            raise Stale("the drive is not open")
        self._owner = self._owner or threading.get_ident()
        self._pace()
        self._advance(time.monotonic())
        faults = self.faults
        if faults.exception is not None:
            raise faults.exception
        if faults.silent:
            raise Stale("the in-process arm is told to be silent")
        noise = self._random.normal(0.0, _SENSOR_NOISE, (2, self.spec.dof))
        state = DriveState(
            self._moved,
            self._q + noise[0],
            self._dq + noise[1],
            self._external.copy(),
            np.zeros(self.spec.dof),
            self._width,
            faults.error,
        )
        last = self._last or state
        if faults.frozen:
            return last
        if faults.stuck:
            return DriveState(
                state.stamp,
                last.joint_pos,
                last.joint_vel,
                last.joint_torque,
                last.bias,
                last.gripper_width,
                last.error,
            )
        if faults.not_finite:
            return DriveState(
                state.stamp, state.joint_pos * np.nan, state.joint_vel, state.joint_torque, state.bias, self._width
            )
        self._past.append(state)
        if faults.delay > 0.0:
            return next((s for s in reversed(self._past) if self._moved - s.stamp >= faults.delay), self._past[0])
        self._last = state
        return state

    def write_gripper(self, width: float) -> None:
        """As in :class:`hardware.arms.drive.Drive`."""
        self._told_width = min(max(width, self.spec.gripper.min_width), self.spec.gripper.max_width)

    def recover(self) -> None:
        """As in :class:`hardware.arms.drive.Drive`."""
        self.recovered += 1
        if self.faults.error and not self.faults.recoverable:
            raise UserError(f"the in-process arm does not recover from {self.faults.error}")
        self.faults.error = ""
        self._forget()

    def close(self) -> None:
        """As in :class:`hardware.arms.drive.Drive`."""
        self._open = False

    @abstractmethod
    def _forget(self) -> None:
        """Do what was written last no longer."""

    @abstractmethod
    def _driven(self, dt: float, pos: np.ndarray, rot: np.ndarray, jacobian: np.ndarray) -> np.ndarray:
        """Velocity (n,) of the joints after ``dt`` s, rad/s."""

    def _check(self, what: str, *arrays: np.ndarray) -> None:
        if threading.get_ident() != self._owner:
            raise RuntimeError("a drive is driven from the thread that reads it")
        if not all(np.isfinite(array).all() for array in arrays):
            raise ValueError(f"{what} is not finite")
        self._written = time.monotonic()

    def _pace(self) -> None:
        now = time.monotonic()
        self._due += 1.0 / self.rate
        if self._due > now:
            time.sleep(self._due - now)
        else:
            self._due = now  # a missed cycle is not made up for

    def _advance(self, now: float) -> None:
        braked = self._guarded and now - self._written > _GUARD
        # On a machine that stalls, the arm stalls with it: nobody could control one that ran on.
        steps = min(max(int(np.ceil((now - self._moved) / _STEP)), 1), _MOST_STEPS[self._guarded])
        dt = min((now - self._moved) / steps, _STEP)
        for _ in range(steps):
            self._step(dt, braked or bool(self.faults.error))
        self._moved = now
        travel = _GRIPPER_SPEED * steps * dt
        self._width += min(max(self._told_width - self._width, -travel), travel)

    def _step(self, dt: float, braked: bool) -> None:
        pos, rot, jacobian = self._chain.forward(self._q)
        wrench = np.array(self.faults.push, dtype=float)
        linvel = jacobian[:3] @ self._dq
        for wall in self._walls:
            normal = np.array(wall.normal)
            depth = wall.offset - normal @ pos
            if depth > 0.0:
                wrench[:3] += max(wall.stiffness * depth - wall.damping * float(normal @ linvel), 0.0) * normal
        self._external = jacobian.T @ wrench
        if braked or self.faults.deaf:
            self._dq = np.zeros(self.spec.dof)
        else:
            self._dq = self._driven(dt, pos, rot, jacobian)
        self._q = self._q + dt * self._dq
        beyond = (self._q < self._low) | (self._q > self._high)
        if beyond.any():
            self._q = np.clip(self._q, self._low, self._high)
            self._dq = np.where(beyond, 0.0, self._dq)


class InProcessTorqueDrive(InProcessDrive):
    """A set of point masses on the links, its mass matrix that of the home posture, gravity compensated.

    Without news for 50 ms it brakes.

    Example:
        >>> from robo_rl.robots.panda import PANDA
        >>> drive = InProcessTorqueDrive(PANDA, walls=(Wall((0.0, 0.0, 1.0), 0.1),))

    Attributes:
        torques: (n,) of the last write, N·m.
    """

    _guarded = True

    def __init__(self, spec: RobotSpec, **options: Any) -> None:
        super().__init__(spec, **options)
        self.torques = np.zeros(spec.dof)

    def write_torque(self, torque: np.ndarray) -> None:
        """As in :class:`hardware.arms.drive.TorqueDrive`."""
        self._check("torque", torque)
        self.torques = np.array(torque)

    def _forget(self) -> None:
        self.torques = np.zeros(self.spec.dof)

    def _driven(self, dt: float, pos: np.ndarray, rot: np.ndarray, jacobian: np.ndarray) -> np.ndarray:
        # Friction implicitly, so that light joints stay stable.
        dq = self._dq + dt * (self._mobility @ (self.torques + self._external - self._friction * self._dq))
        return np.clip(dq, -2.0 * self._speed, 2.0 * self._speed)


class _InProcessServo(InProcessDrive):
    """Goes where it is told as fast as its joints may."""

    def __init__(self, spec: RobotSpec, **options: Any) -> None:
        super().__init__(spec, **options)
        self._target: Any = None

    def _forget(self) -> None:
        self._target = None

    @abstractmethod
    def _way(self, pos: np.ndarray, rot: np.ndarray, jacobian: np.ndarray) -> np.ndarray:
        """The way (n,) to the target, rad."""

    def _driven(self, dt: float, pos: np.ndarray, rot: np.ndarray, jacobian: np.ndarray) -> np.ndarray:
        if self._target is None:
            return self._dq
        most = _SERVO_SPEED * self._speed
        return np.clip(_SERVO * self._way(pos, rot, jacobian), -most, most)


class InProcessPoseDrive(_InProcessServo):
    """A servo of the tool's pose; see :class:`InProcessDrive`."""

    def write_pose(self, pos: np.ndarray, rot: np.ndarray) -> None:
        """As in :class:`hardware.arms.drive.PoseDrive`."""
        self._check("pose", pos, rot)
        self._target = np.array(pos), np.array(rot)

    def _way(self, pos: np.ndarray, rot: np.ndarray, jacobian: np.ndarray) -> np.ndarray:
        error = np.concatenate((self._target[0] - pos, rotation_vector(self._target[1] @ rot.T)))
        posture = 0.05 * (np.array(self.spec.home) - self._q)  # as an SDK's tracker pulls a redundant arm
        inverse = np.linalg.inv(jacobian @ jacobian.T + 1e-4 * np.eye(6))
        return posture + jacobian.T @ (inverse @ (error - jacobian @ posture))


class InProcessJointDrive(_InProcessServo):
    """A servo of each joint; see :class:`InProcessDrive`."""

    def write_joints(self, joint_pos: np.ndarray) -> None:
        """As in :class:`hardware.arms.drive.JointDrive`."""
        self._check("joints", joint_pos)
        self._target = np.array(joint_pos)

    def _way(self, pos: np.ndarray, rot: np.ndarray, jacobian: np.ndarray) -> np.ndarray:
        return self._target - self._q


def _mass_matrix(spec: RobotSpec) -> np.ndarray:
    """Mass matrix (n, n) of an arm at home, its links as point masses, rotors included, kg·m²."""
    mass = np.diag(np.array(spec.armature or (0.05,) * spec.dof) + 0.02)
    poses = []
    pos, rot = np.zeros(3), np.eye(3)
    for link, q in zip(spec.links, spec.home, strict=True):
        w, *v = link.quat
        pos = pos + rot @ np.array(link.pos)
        mount = _turn(2.0 * np.arctan2(np.linalg.norm(v), w), np.array(v))
        rot = rot @ mount @ _turn(q, np.array(link.axis))
        poses.append((pos, rot @ np.array(link.axis) / np.linalg.norm(link.axis), pos + rot @ np.array(link.com)))
    for i, link in enumerate(spec.links):
        jacobian = np.zeros((3, spec.dof))
        for j, (origin, axis, _) in enumerate(poses[: i + 1]):
            jacobian[:, j] = np.cross(axis, poses[i][2] - origin)
        mass += link.mass * jacobian.T @ jacobian
    return mass


def _turn(angle: float, axis: np.ndarray) -> np.ndarray:
    length = float(np.linalg.norm(axis))
    if length < 1e-12:
        return np.eye(3)
    x, y, z = axis / length
    hat = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * hat + (1.0 - np.cos(angle)) * hat @ hat
