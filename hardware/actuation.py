"""How a reference becomes what a drive is told: one class for each way a drive can be driven.

They agree on four verbs. ``begin`` takes the arm over where it is; ``seed`` says where a tool reference has to start so
that nothing jumps; ``track`` pursues a tool reference and ``follow`` a joint trajectory, each for one cycle.
"""

from __future__ import annotations

import dataclasses
import math
from operator import le
from typing import NamedTuple, Protocol

import numpy as np

from controllers.joint_speeds import JointSpeeds
from controllers.joint_tracking import JointTracking
from controllers.single import (
    SingleChain,
    damped_inverse,
    fit_torque,
    impedance_effort,
    limit_rate,
    rotation_vector,
    tool_wrench,
)
from hardware.arms.drive import Drive, JointDrive, PoseDrive, TorqueDrive
from hardware.safety.limits import SafetyLimits
from robo_rl.contracts import Impedance

SOFT_START = 0.5
"""Seconds in which the springs stiffen after the arm was taken over."""

_SOFTEST = 0.05  # share of the stiffness that they begin with
_JOINT_STIFFNESS = 7.0  # of a joint's spring in a joint move per N·m that the joint can exert, 1/rad
_JOINT_DAMPING = 1.0 / 12.0  # of it, s: critical for what Franka's arms weigh
_JOINT_CLIP = 0.03  # rad that a joint's spring is stretched at most: a fifth of the joint's torque
_FAST = 0.7, 0.9  # shares of a joint's speed limit from which it is braked, and at which nothing drives it on
_LIMIT_STIFFNESS = 5.0  # of the wall at a joint's limit per N·m that the joint can exert, 1/rad
_LAG = 0.25  # rad that a position-controlled arm may be behind in a joint move
_SETTLED = 0.01, 0.02  # rad and rad/s within which a joint move has arrived
_ARRIVED = 0.002, 0.01  # m and rad, the same for an arm that is driven by poses
_PULLED = 0.1  # share of the largest force of the tool's spring that counts as pulled


class Estimate(NamedTuple):
    """An arm at one instant, and what follows from the measurement.

    Attributes:
        stamp: of the measurement, s.
        joint_pos: (n,) rad.
        joint_vel: (n,) rad/s.
        joint_torque: (n,) from the surroundings, N·m; NaN where unknown.
        bias: (n,) torque that a torque command has to contain, N·m.
        pos: (3,) of the tool, m.
        rot: (3, 3) of it.
        jacobian: (6, n) of it.
        inverse: (6, 6) of :func:`controllers.single.damped_inverse`.
        twist: (6,) of it, m/s over rad/s.
        wrench: (6,) on the tool, N over N·m; NaN if unknown.
        gripper_width: m.
        error: of the device.
    """

    stamp: float
    joint_pos: np.ndarray
    joint_vel: np.ndarray
    joint_torque: np.ndarray
    bias: np.ndarray
    pos: np.ndarray
    rot: np.ndarray
    jacobian: np.ndarray
    inverse: np.ndarray
    twist: np.ndarray
    wrench: np.ndarray
    gripper_width: float
    error: str


class Actuator(Protocol):
    """One way of driving an arm.

    Attributes:
        pulled: whether a torque of ours pulls at the arm noticeably.
    """

    pulled: bool

    @property
    def written(self) -> np.ndarray:
        """What was written last (n,), N·m or rad, or zeros (n,) for poses; for the log."""
        ...

    def begin(self, now: Estimate) -> None:
        """Take over an arm at rest where it is, softly."""
        ...

    def seed(self, now: Estimate) -> tuple[np.ndarray, np.ndarray]:
        """Pose (3,), (3, 3) at which a reference of the tool starts without a jump."""
        ...

    def track(self, now: Estimate, pos: np.ndarray, rot: np.ndarray, dt: float) -> None:
        """Pursue a pose of the tool for one cycle of ``dt`` s."""
        ...

    def follow(self, now: Estimate, joint_pos: np.ndarray, joint_vel: np.ndarray, dt: float) -> bool:
        """Pursue a point of a joint trajectory for one cycle; whether the arm keeps up with it."""
        ...

    def arrived(self, now: Estimate, joint_pos: np.ndarray) -> bool:
        """Whether a joint trajectory that ends at ``joint_pos`` (n,) is over for the arm, too."""
        ...


class TorqueActuator:
    """Impedance law at the tool, joint springs in joint moves; both gravity compensated and soft at the start."""

    def __init__(self, drive: TorqueDrive, limits: SafetyLimits) -> None:
        spec = drive.spec
        self._drive = drive
        self._gains = spec.impedance
        self._steps = [_softened(spec.impedance, _SOFTEST + (1.0 - _SOFTEST) * i / 20) for i in range(20)]
        self._max_torque = np.array([link.max_torque for link in spec.links])
        self._max_rate = spec.impedance.max_torque_rate * 1e3
        self._stiffness = _JOINT_STIFFNESS * self._max_torque
        self._wall = 0.5 * limits.joint_margin
        self._low = np.array([link.joint_range[0] for link in spec.links]) + self._wall
        self._high = np.array([link.joint_range[1] for link in spec.links]) - self._wall
        self._lowest, self._highest = self._low.tolist(), self._high.tolist()
        self._speeds = JointSpeeds(spec, _FAST[0])
        self._posture = np.array(spec.home)
        self._redundant = spec.dof > 6
        self._threshold = _PULLED * min(spec.impedance.max_force, spec.impedance.stiffness * spec.impedance.clip)
        self._begun = -math.inf
        self.written = np.zeros(spec.dof)
        self.pulled = False

    def begin(self, now: Estimate) -> None:
        """As in :class:`Actuator`."""
        self._begun = now.stamp
        self._posture = now.joint_pos
        self.written = fit_torque(np.zeros_like(now.bias), now.bias, self._max_torque)

    def seed(self, now: Estimate) -> tuple[np.ndarray, np.ndarray]:
        """As in :class:`Actuator`."""
        return now.pos, now.rot

    def track(self, now: Estimate, pos: np.ndarray, rot: np.ndarray, dt: float) -> None:
        """As in :class:`Actuator`; see :mod:`controllers.impedance`."""
        phase = (now.stamp - self._begun) / SOFT_START
        gains = self._gains if phase >= 1.0 else self._steps[max(int(phase * len(self._steps)), 0)]
        wrench = tool_wrench(gains, now.twist, now.pos, now.rot, pos, rot)
        self.pulled = max(map(abs, wrench.tolist()[:3])) > self._threshold
        if self._redundant:
            posture = (
                gains.nullspace_stiffness * (self._posture - now.joint_pos) - gains.nullspace_damping * now.joint_vel
            )
            effort = impedance_effort(wrench, posture, now.jacobian, now.inverse)
        else:
            effort = now.jacobian.T.dot(wrench)
        self._write(now, effort, dt)

    def follow(self, now: Estimate, joint_pos: np.ndarray, joint_vel: np.ndarray, dt: float) -> bool:
        """As in :class:`Actuator`: ``K clip(q_d - q) + D (dq_d - dq)``, bounded by what the clip allows at rest."""
        phase = min((now.stamp - self._begun) / SOFT_START, 1.0)
        stiffness = (_SOFTEST + (1.0 - _SOFTEST) * phase) * self._stiffness
        most = stiffness * _JOINT_CLIP
        error = joint_pos - now.joint_pos
        effort = stiffness * error + _JOINT_DAMPING * stiffness * (joint_vel - now.joint_vel)
        effort = np.minimum(np.maximum(effort, -most), most)
        self.pulled = float((np.abs(effort) / most).max()) > _PULLED
        self._posture = now.joint_pos
        self._write(now, effort, dt)
        return bool((np.abs(error) < 2.0 * _JOINT_CLIP).all())

    def arrived(self, now: Estimate, joint_pos: np.ndarray) -> bool:
        """As in :class:`Actuator`."""
        return _at_rest(now, joint_pos)

    def _write(self, now: Estimate, effort: np.ndarray, dt: float) -> None:
        q = now.joint_pos
        at, rates = q.tolist(), now.joint_vel.tolist()
        allowed = self._speeds.towards(at, rates)
        if not all(map(le, map(abs, rates), allowed)):
            effort = self._braked(now.joint_vel, np.array(allowed), effort)
        if not (all(map(le, self._lowest, at)) and all(map(le, at, self._highest))):
            effort = self._held_off(q, now.joint_vel, effort)
        wanted = fit_torque(effort, now.bias, self._max_torque)
        self.written = limit_rate(wanted, self.written, self._max_rate * dt)
        self._drive.write_torque(self.written)

    def _braked(self, joint_vel: np.ndarray, allowed: np.ndarray, effort: np.ndarray) -> np.ndarray:
        """Effort (n,) of joints of which some are faster than ``allowed`` (n,): what drives them on fades, they brake.

        The filter bounds how fast the reference asks joints to be; an arm that swings is faster, and stops by a reflex
        of its own at the limit.
        """
        excess = np.maximum(np.abs(joint_vel) - allowed, 0.0)
        share = np.minimum(excess / ((_FAST[1] / _FAST[0] - 1.0) * allowed), 1.0)
        onwards = np.sign(joint_vel)
        effort = np.where(effort * onwards > 0.0, (1.0 - share) * effort, effort)
        return np.asarray(effort - _JOINT_DAMPING * self._stiffness * excess * onwards)

    def _held_off(self, joint_pos: np.ndarray, joint_vel: np.ndarray, effort: np.ndarray) -> np.ndarray:
        """Effort (n,) of joints of which some are in their margin: what drives them on fades, a wall pushes back.

        Whatever is asked for, at the end of its range no joint is driven on; the tool's spring would be the stronger.
        """
        depth = joint_pos - np.minimum(np.maximum(joint_pos, self._low), self._high)
        share = np.minimum(np.abs(depth) / self._wall, 1.0)
        onwards = np.sign(depth)
        effort = np.where(effort * onwards > 0.0, (1.0 - share) * effort, effort)
        braking = _JOINT_DAMPING * share * np.maximum(joint_vel * onwards, 0.0) * onwards
        return np.asarray(effort - _LIMIT_STIFFNESS * self._max_torque * (depth + braking))


class JointActuator:
    """Set-points of :class:`controllers.joint_tracking.JointTracking`, for drives that hold joint positions."""

    def __init__(self, drive: JointDrive, limits: SafetyLimits) -> None:
        links = drive.spec.links
        self._drive = drive
        self._tracking = JointTracking(
            drive.spec,
            low=np.array([link.joint_range[0] for link in links]) + limits.joint_margin,
            high=np.array([link.joint_range[1] for link in links]) - limits.joint_margin,
            speed=np.array([link.max_velocity for link in links]) * limits.joint_speed,
            box=(np.array(limits.workspace_low, dtype=float), np.array(limits.workspace_high, dtype=float)),
        )
        self.pulled = False  # a servo at rest repeats its counts exactly: that says nothing about it

    @property
    def written(self) -> np.ndarray:
        """As in :class:`Actuator`: the set-point."""
        return self._tracking.at

    def begin(self, now: Estimate) -> None:
        """As in :class:`Actuator`."""
        self._tracking.begin(now.joint_pos)

    def seed(self, now: Estimate) -> tuple[np.ndarray, np.ndarray]:
        """As in :class:`Actuator`: at the set-point, which the arm sags away from."""
        return self._tracking.pose()

    def track(self, now: Estimate, pos: np.ndarray, rot: np.ndarray, dt: float) -> None:
        """As in :class:`Actuator`."""
        self._drive.write_joints(self._tracking.towards(pos, rot, dt))

    def follow(self, now: Estimate, joint_pos: np.ndarray, joint_vel: np.ndarray, dt: float) -> bool:
        """As in :class:`Actuator`; the whole of the trajectory is within the work space, as planned."""
        at = self._tracking.straight_to(joint_pos, dt)
        self._drive.write_joints(at)
        return bool((np.abs(at - now.joint_pos) < _LAG).all())

    def arrived(self, now: Estimate, joint_pos: np.ndarray) -> bool:
        """As in :class:`Actuator`."""
        return _at_rest(now, joint_pos)


class PoseActuator:
    """The reference itself, for drives whose SDK holds the tool; joint moves become the poses along them."""

    def __init__(self, drive: PoseDrive, limits: SafetyLimits) -> None:
        self._drive = drive
        self._chain = SingleChain(drive.spec)
        self._clip = drive.spec.impedance.clip, drive.spec.impedance.rotational_clip
        self._joints = JointActuator(drive, limits) if isinstance(drive, JointDrive) else None
        self._last: tuple[np.ndarray, np.ndarray] | None = None
        self.written = np.zeros(drive.spec.dof)
        self.pulled = False

    def begin(self, now: Estimate) -> None:
        """As in :class:`Actuator`."""
        self._last = None
        if self._joints:
            self._joints.begin(now)

    def seed(self, now: Estimate) -> tuple[np.ndarray, np.ndarray]:
        """As in :class:`Actuator`."""
        return self._last or (now.pos, now.rot)

    def track(self, now: Estimate, pos: np.ndarray, rot: np.ndarray, dt: float) -> None:
        """As in :class:`Actuator`."""
        self._last = pos, rot
        if self._joints:
            self._joints.begin(now)  # where a joint move would start
        self._drive.write_pose(pos, rot)

    def follow(self, now: Estimate, joint_pos: np.ndarray, joint_vel: np.ndarray, dt: float) -> bool:
        """As in :class:`Actuator`."""
        if self._joints:
            self._last = None
            return self._joints.follow(now, joint_pos, joint_vel, dt)
        pos, rot, _ = self._chain.forward(joint_pos)
        self.track(now, pos, rot, dt)
        lag, turn = pos - now.pos, rotation_vector(rot @ now.rot.T)
        return bool(np.abs(lag).max() < 4.0 * self._clip[0] and np.abs(turn).max() < 4.0 * self._clip[1])

    def arrived(self, now: Estimate, joint_pos: np.ndarray) -> bool:
        """As in :class:`Actuator`; without joint control the tool is there, and a seventh joint may be elsewhere."""
        if self._joints:
            return _at_rest(now, joint_pos)
        pos, rot, _ = self._chain.forward(joint_pos)
        off, turn = np.abs(pos - now.pos).max(), np.abs(rotation_vector(rot @ now.rot.T)).max()
        return bool(off < _ARRIVED[0] and turn < _ARRIVED[1] and np.abs(now.joint_vel).max() < _SETTLED[1])


def actuator(drive: Drive, limits: SafetyLimits) -> Actuator:
    """The best way to drive ``drive``: by torques, else by poses, else by joints."""
    if isinstance(drive, TorqueDrive):
        return TorqueActuator(drive, limits)
    if isinstance(drive, PoseDrive):
        return PoseActuator(drive, limits)
    if isinstance(drive, JointDrive):
        return JointActuator(drive, limits)
    raise TypeError(f"{type(drive).__name__} can be driven neither by torques nor by poses nor by joint positions")


def external_wrench(jacobian: np.ndarray, inverse: np.ndarray, joint_torque: np.ndarray) -> np.ndarray:
    """Wrench (6,) on the tool whose joint torques ``Jᵀ w`` are nearest to the measured ones, N over N·m.

    Joints that measure nothing (NaN) are left out; with fewer than three left, the wrench is not known: NaN.
    """
    if math.isfinite(sum(joint_torque.tolist())):
        return np.asarray(inverse.dot(jacobian.dot(joint_torque)))
    known = np.isfinite(joint_torque)
    if known.sum() < 3:
        return np.full(6, np.nan)
    columns = jacobian[:, known]
    return np.asarray(damped_inverse(columns) @ (columns @ joint_torque[known]))


def _at_rest(now: Estimate, joint_pos: np.ndarray) -> bool:
    return bool(np.abs(now.joint_pos - joint_pos).max() < _SETTLED[0] and np.abs(now.joint_vel).max() < _SETTLED[1])


def _softened(gains: Impedance, share: float) -> Impedance:
    return dataclasses.replace(
        gains,
        stiffness=share * gains.stiffness,
        rotational_stiffness=share * gains.rotational_stiffness,
        nullspace_stiffness=share * gains.nullspace_stiffness,
    )
