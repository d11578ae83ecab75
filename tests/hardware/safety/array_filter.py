"""The safety filter over NumPy arrays: what :mod:`hardware.safety.filter` has to agree with."""

from __future__ import annotations

import math

import numpy as np

from controllers.single import rotation, rotation_vector
from hardware.safety.limits import SafetyLimits
from robo_rl.contracts import RobotSpec

_BRAKING = 1.0 / math.sqrt(3.0)  # share of the acceleration kept for braking on one axis: all three at once fit
_APPROACH = 0.9  # share of the acceleration for coming to rest at the target
_TURN_BRAKING = 0.5  # share for staying in the cone; the rest is left for following its curvature
_NEAR = 1e-4, 1e-3  # m and rad: that near, the reference is at its target
_DAMPER = 0.1  # s in which a joint may use up the way to its limit (Faverjon and Tournassoud, ICRA 1987)


class ArrayFilter:
    """The same methods and arguments."""

    def __init__(self, spec: RobotSpec, limits: SafetyLimits, home_rot: np.ndarray) -> None:
        self._low = np.array(limits.workspace_low, dtype=float)
        self._high = np.array(limits.workspace_high, dtype=float)
        self._home_rot = np.array(home_rot)
        self._max_tilt = limits.max_tilt
        self._speed, self._turn = limits.max_speed, limits.max_rotation_speed
        self._acceleration, self._turn_acceleration = limits.max_acceleration, limits.max_rotation_acceleration
        self._clip, self._turn_clip = spec.impedance.clip, spec.impedance.rotational_clip
        self._joint_low = np.array([link.joint_range[0] for link in spec.links]) + limits.joint_margin
        self._joint_high = np.array([link.joint_range[1] for link in spec.links]) - limits.joint_margin
        self._joint_speed = np.array([link.max_velocity for link in spec.links]) * limits.joint_speed
        self.reset(0.5 * (self._low + self._high), self._home_rot)

    def reset(self, pos: np.ndarray, rot: np.ndarray, twist: np.ndarray | None = None) -> None:
        self.pos, self.rot = np.array(pos), np.array(rot)
        self.linvel, self.angvel = np.zeros(3), np.zeros(3)
        if twist is not None:
            speed, turn = math.sqrt(twist[:3] @ twist[:3]), math.sqrt(twist[3:] @ twist[3:])
            self.linvel = twist[:3] * min(1.0, self._speed / max(speed, 1e-9))
            self.angvel = twist[3:] * min(1.0, self._turn / max(turn, 1e-9))

    def clamp(self, pos: np.ndarray, rot: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Bring a pose into the work space and the cone; returns it and the limits that changed it."""
        reasons = []
        inside = np.minimum(np.maximum(pos, self._low), self._high)
        if not (inside == pos).all():
            reasons.append("workspace")
        tilt = rotation_vector(rot @ self._home_rot.T)
        angle = math.sqrt(tilt @ tilt)
        if angle > self._max_tilt:
            rot = rotation(tilt * (self._max_tilt / angle)) @ self._home_rot
            if angle > self._max_tilt + _NEAR[1]:
                reasons.append("rotation")
        return inside, rot, reasons

    def advance(
        self,
        target_pos: np.ndarray,
        target_rot: np.ndarray,
        pos: np.ndarray,
        rot: np.ndarray,
        joint_pos: np.ndarray,
        jacobian: np.ndarray,
        inverse: np.ndarray,
        dt: float,
    ) -> list[str]:
        target_pos, target_rot, reasons = self.clamp(target_pos, target_rot)
        far = target_pos - self.pos
        error = np.minimum(np.maximum(target_pos - pos, -self._clip), self._clip)
        leashed = pos + error - self.pos
        turn = rotation_vector(target_rot @ self.rot.T)
        lead = rotation_vector(target_rot @ rot.T)
        leashed_turn = turn
        if np.abs(lead).max() > self._turn_clip:
            held = rotation(np.minimum(np.maximum(lead, -self._turn_clip), self._turn_clip)) @ rot
            leashed_turn = rotation_vector(held @ self.rot.T)
        wanted, fast = _approach(leashed, self._speed, _APPROACH * self._acceleration, dt)
        wanted_turn, turning = _approach(leashed_turn, self._turn, _APPROACH * self._turn_acceleration, dt)

        share, joints = self._joint_share(np.concatenate((wanted, wanted_turn)), joint_pos, jacobian, inverse)
        if share < 1.0:
            wanted, wanted_turn = share * wanted, share * wanted_turn
        self._move(wanted, dt)
        self._rotate(wanted_turn, dt)

        here, there = math.sqrt(far @ far) > _NEAR[0], math.sqrt(turn @ turn) > _NEAR[1]
        if here or there:
            if (here and np.abs(leashed - far).max() > _NEAR[0]) or (
                there and np.abs(leashed_turn - turn).max() > _NEAR[1]
            ):
                reasons.append("leash")
            if joints:
                reasons.append(joints)
            if (here and fast) or (there and turning):
                reasons.append("speed")
            elif not joints and "leash" not in reasons:
                reasons.append("acceleration")
        return reasons

    def _joint_share(
        self, twist: np.ndarray, joint_pos: np.ndarray, jacobian: np.ndarray, inverse: np.ndarray
    ) -> tuple[float, str]:
        """Share of a velocity (6,) at which no joint is too fast or comes too near to its limits, and why."""
        if not twist.any():
            return 1.0, ""
        rates = jacobian.T @ (inverse @ twist)
        fastest = float((np.abs(rates) / self._joint_speed).max())
        room = np.where(rates > 0.0, self._joint_high - joint_pos, joint_pos - self._joint_low)
        near = float((np.abs(rates) / np.maximum(room, 1e-7)).max()) * _DAMPER
        worst = max(fastest, near)
        if worst <= 1.0:
            return 1.0, ""
        return 1.0 / worst, "joint_limit" if near >= fastest else "joint_speed"

    def _move(self, wanted: np.ndarray, dt: float) -> None:
        """Step the position; see the module for why it stays inside."""
        a = self._acceleration * _BRAKING
        v = self.linvel
        # Outside of the box, the wall is where the reference is.
        up = np.maximum(self._high - self.pos, 0.0)
        down = np.maximum(self.pos - self._low, 0.0)
        half = 0.5 * a * dt
        # Largest v' with v'² <= 2 a (d - (v + v') dt / 2): after this cycle it can still stop within d.
        most = np.sqrt(np.maximum(half * half + 2.0 * a * up - a * dt * v, 0.0)) - half
        least = half - np.sqrt(np.maximum(half * half + 2.0 * a * down + a * dt * v, 0.0))
        braked = np.minimum(np.maximum(v, least), most)
        new = _towards(v, braked, np.minimum(np.maximum(wanted, least), most), self._acceleration * dt, self._speed)
        self.pos = self.pos + (0.5 * dt) * (v + new)
        self.linvel = new

    def _rotate(self, wanted: np.ndarray, dt: float) -> None:
        """Step the orientation; the cone is a ball about the home orientation, its wall a plane for one cycle."""
        a = self._turn_acceleration * _TURN_BRAKING
        v = self.angvel
        tilt = rotation_vector(self.rot @ self._home_rot.T)
        angle = math.sqrt(tilt @ tilt)
        half = 0.5 * a * dt
        braked, goal = v, wanted
        if angle > 1e-6:
            outwards = tilt / angle
            speed = float(v @ outwards)
            room = max(self._max_tilt - angle, 0.0)
            most = math.sqrt(max(half * half + 2.0 * a * room - a * dt * speed, 0.0)) - half
            braked = v - max(speed - most, 0.0) * outwards
            goal = wanted - max(float(wanted @ outwards) - most, 0.0) * outwards
        new = _towards(v, braked, goal, self._turn_acceleration * dt, self._turn)
        rot = rotation((0.5 * dt) * (v + new)) @ self.rot
        if angle > self._max_tilt - 0.01:  # what the plane leaves out of the curvature
            tilt = rotation_vector(rot @ self._home_rot.T)
            most = max(self._max_tilt, angle)
            if (now := math.sqrt(tilt @ tilt)) > most:
                rot = rotation(tilt * (most / now)) @ self._home_rot
        # One step of Newton's iteration for the orthonormal factor: keeps rounding from adding up.
        self.rot = rot @ (1.5 * _EYE - 0.5 * rot.T @ rot)
        self.angvel = new


_EYE = np.eye(3)


def _approach(way: np.ndarray, speed: float, acceleration: float, dt: float) -> tuple[np.ndarray, bool]:
    """Velocity (3,) that comes to rest at the end of ``way`` (3,), and whether the largest speed bounds it."""
    distance = math.sqrt(way @ way)
    if distance < 1e-12:
        return np.zeros(3), False
    tau = max(3.0 * dt, 0.004)
    near = acceleration * tau * tau
    if distance < near:
        wanted = distance / tau
    else:
        wanted = math.sqrt(2.0 * acceleration * (distance - 0.5 * near))
    return way * (min(wanted, speed) / distance), wanted >= speed


def _towards(v: np.ndarray, braked: np.ndarray, goal: np.ndarray, most: float, speed: float) -> np.ndarray:
    """Furthest point from ``braked`` towards ``goal`` at most ``most`` from ``v`` and at most ``speed`` from rest."""
    way = goal - braked
    share = min(1.0, _leaving(braked - v, way, most), _leaving(braked, way, speed))
    return braked + share * way


def _leaving(start: np.ndarray, way: np.ndarray, radius: float) -> float:
    """Share of ``way`` (3,) after which a point that sets out at ``start`` (3,) leaves the ball; 0 if it is outside."""
    a, b, c = float(way @ way), float(start @ way), float(start @ start) - radius * radius
    if a < 1e-24:
        return 1.0
    root = b * b - a * c
    # Put where it could not stop in time: brake all the same.
    return max((math.sqrt(root) - b) / a, 0.0) if root > 0.0 else 0.0
