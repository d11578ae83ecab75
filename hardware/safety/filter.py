"""The reference of an arm: a pose that pursues what is commanded and can never leave its limits.

The reference is a point with a velocity, moved by no more than an acceleration, so that neither its path nor its speed
ever jumps. In each cycle

1. the commanded pose is brought into the work space and the cone of orientations, and to the measured pose by the leash
   (the error clip of the impedance: past it the spring pulls no harder);
2. a velocity is wanted that comes to rest there: ``v = d / tau`` near by, ``sqrt(2 a (d - a tau² / 2))`` further off,
   at most the largest speed, less if a joint would be too fast or come too near to its limits;
3. the velocity goes towards it as far as the acceleration allows, among those velocities from which the reference can
   still stop before it leaves the work space.

Why 3 always has an answer: let A be the velocities that can still stop in time, per axis with a share of the
acceleration that leaves room for the two others. If the velocity v is in A then one cycle later the nearest one of A is
within reach (that is braking), and no faster. A and the ball of allowed speeds are convex and hold the wanted velocity,
so all that lies between the two is allowed as well; the largest step along that line within the acceleration is taken.

All of it in plain floats (:mod:`controllers.vectors`): it is a hundred operations on three numbers each, a thousand
times a second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from controllers.joint_speeds import JointSpeeds
from controllers.vectors import (
    ZERO,
    Rotation,
    Vector,
    bounded,
    clipped,
    dot,
    entries,
    exp,
    largest,
    length,
    log,
    matrix,
    minus,
    orthonormal,
    plus,
    product,
    relative,
    times,
    vector,
)
from hardware.safety.limits import SafetyLimits
from robo_rl.contracts import RobotSpec

_BRAKING = 1.0 / math.sqrt(3.0)  # share of the acceleration kept for braking on one axis: all three at once fit
_APPROACH = 0.9  # share of the acceleration for coming to rest at the target
_TURN_BRAKING = 0.5  # share for staying in the cone; the rest is left for following its curvature
_NEAR = 1e-4, 1e-3  # m and rad: that near, the reference is at its target
_DAMPER = 0.1  # s in which a joint may use up the way to its limit (Faverjon and Tournassoud, ICRA 1987)


class SafetyFilter:
    """Moves the reference of one arm.

    Example:
        >>> filter.reset(pos, rot)                                              # doctest: +SKIP
        >>> while True:                                                         # doctest: +SKIP
        ...     reasons = filter.advance(target_pos, target_rot, pos, rot, q, jacobian, inverse, dt)
        ...     law.track(filter.pos, filter.rot)

    Attributes:
        pos: (3,) of the reference, m; replaced, never written to.
        rot: (3, 3) of it; the same.
    """

    def __init__(self, spec: RobotSpec, limits: SafetyLimits, home_rot: np.ndarray) -> None:
        """Begin at the middle of the work space; :meth:`reset` puts the reference where the arm is.

        Args:
            spec: of the arm.
            limits: that hold.
            home_rot: (3, 3) orientation of the tool at the home posture, in the middle of the cone.
        """
        low, high = np.array(limits.workspace_low, dtype=float), np.array(limits.workspace_high, dtype=float)
        self._box = tuple(zip(low.tolist(), high.tolist(), strict=True))
        self._home = entries(home_rot)
        self._max_tilt = limits.max_tilt
        self._speed, self._turn = limits.max_speed, limits.max_rotation_speed
        self._acceleration, self._turn_acceleration = limits.max_acceleration, limits.max_rotation_acceleration
        self._clip, self._turn_clip = spec.impedance.clip, spec.impedance.rotational_clip
        margin = limits.joint_margin
        self._ranges = [(link.joint_range[0] + margin, link.joint_range[1] - margin) for link in spec.links]
        self._speeds = JointSpeeds(spec, limits.joint_speed)
        self._asked: tuple[Vector, Rotation] | None = None
        self.reset(0.5 * (low + high), home_rot)

    def reset(self, pos: np.ndarray, rot: np.ndarray, twist: np.ndarray | None = None) -> None:
        """Put the reference at a pose, wherever that is; from outside of the limits it can only come back.

        Args:
            pos: (3,) m.
            rot: (3, 3).
            twist: (6,) that it has there, m/s over rad/s, shortened to the largest speeds; at rest if None.
        """
        self.pos, self.rot = np.array(pos), np.array(rot)
        self._at, self._turned = vector(self.pos), entries(self.rot)
        self._moving, self._turning = ZERO, ZERO
        if twist is not None:
            moving, turning = vector(twist[:3]), vector(twist[3:])
            self._moving = times(min(1.0, self._speed / max(length(moving), 1e-9)), moving)
            self._turning = times(min(1.0, self._turn / max(length(turning), 1e-9)), turning)

    @property
    def linvel(self) -> np.ndarray:
        """(3,) of the reference, m/s."""
        return np.array(self._moving)

    @property
    def angvel(self) -> np.ndarray:
        """(3,) of the reference, rad/s, base axes."""
        return np.array(self._turning)

    @property
    def slow(self) -> bool:
        """Whether the reference is at rest, or as good as."""
        return largest(self._moving) < 0.01 and largest(self._turning) < 0.05

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
        """Move the reference towards a target for ``dt`` seconds.

        Args:
            target_pos: (3,) m, finite.
            target_rot: (3, 3).
            pos: (3,) measured, m.
            rot: (3, 3) measured.
            joint_pos: (n,) measured, rad.
            jacobian: (6, n) there.
            inverse: (6, 6) of :func:`controllers.single.damped_inverse`.
            dt: s.

        Returns:
            The names of the limits for which the reference is not where it was told to be; empty if it is there.
        """
        asked = vector(target_pos), entries(target_rot)
        if asked != self._asked:  # for most cycles it is the same as in the one before
            self._asked, self._allowed = asked, self._clamp(*asked)
        goal, goal_rot, reasons = *self._allowed[:2], list(self._allowed[2])
        tool, turned = vector(pos), entries(rot)
        far = minus(goal, self._at)
        leashed = minus(plus(tool, clipped(minus(goal, tool), self._clip)), self._at)
        turn = leashed_turn = log(relative(goal_rot, self._turned))
        lead = log(relative(goal_rot, turned))
        if largest(lead) > self._turn_clip:
            held = product(exp(clipped(lead, self._turn_clip)), turned)
            leashed_turn = log(relative(held, self._turned))
        wanted, fast = _approach(leashed, self._speed, _APPROACH * self._acceleration, dt)
        wanted_turn, turning = _approach(leashed_turn, self._turn, _APPROACH * self._turn_acceleration, dt)

        share, joints = self._joint_share((*wanted, *wanted_turn), joint_pos, jacobian, inverse)
        if share < 1.0:
            wanted, wanted_turn = times(share, wanted), times(share, wanted_turn)
        self._move(wanted, dt)
        self._rotate(wanted_turn, dt)

        here, there = length(far) > _NEAR[0], length(turn) > _NEAR[1]
        if here or there:
            if (here and largest(minus(leashed, far)) > _NEAR[0]) or (
                there and largest(minus(leashed_turn, turn)) > _NEAR[1]
            ):
                reasons.append("leash")
            if joints:
                reasons.append(joints)
            if (here and fast) or (there and turning):
                reasons.append("speed")
            elif not joints and "leash" not in reasons:
                reasons.append("acceleration")
        return reasons

    def _clamp(self, pos: Vector, rot: Rotation) -> tuple[Vector, Rotation, list[str]]:
        """Bring a pose into the work space and the cone; returns it and the limits that changed it."""
        reasons = []
        inside = _within(self._box, pos)
        if inside != pos:
            reasons.append("workspace")
        tilt = log(relative(rot, self._home))
        angle = length(tilt)
        if angle > self._max_tilt:
            rot = product(exp(times(self._max_tilt / angle, tilt)), self._home)
            if angle > self._max_tilt + _NEAR[1]:
                reasons.append("rotation")
        return inside, rot, reasons

    def _joint_share(
        self, twist: tuple[float, ...], joint_pos: np.ndarray, jacobian: np.ndarray, inverse: np.ndarray
    ) -> tuple[float, str]:
        """Share of a velocity (6,) at which no joint is too fast or comes too near to its limits, and why."""
        if not any(twist):
            return 1.0, ""
        rates, at = jacobian.T.dot(inverse.dot(twist)).tolist(), joint_pos.tolist()
        allowed = self._speeds.towards(at, rates)
        fastest = near = 0.0
        for rate, q, (low, high), most in zip(rates, at, self._ranges, allowed, strict=True):
            speed, room = (rate, high - q) if rate > 0.0 else (-rate, q - low)
            if room < 1e-7:
                room = 1e-7
            if speed > fastest * most:
                fastest = speed / most
            if _DAMPER * speed > near * room:
                near = _DAMPER * speed / room
        worst = max(fastest, near)
        if worst <= 1.0:
            return 1.0, ""
        return 1.0 / worst, "joint_limit" if near >= fastest else "joint_speed"

    def _move(self, wanted: Vector, dt: float) -> None:
        """Step the position; see the module for why it stays inside."""
        a = self._acceleration * _BRAKING
        bounds = [
            _stoppable(low, at, high, v, a, dt)
            for (low, high), at, v in zip(self._box, self._at, self._moving, strict=True)
        ]
        braked, goal = _within(bounds, self._moving), _within(bounds, wanted)
        new = _towards(self._moving, braked, goal, self._acceleration * dt, self._speed)
        self._at = plus(self._at, times(0.5 * dt, plus(self._moving, new)))
        self._moving = new
        self.pos = np.array(self._at)

    def _rotate(self, wanted: Vector, dt: float) -> None:
        """Step the orientation; the cone is a ball about the home orientation, its wall a plane for one cycle."""
        a = self._turn_acceleration * _TURN_BRAKING
        v = self._turning
        tilt = log(relative(self._turned, self._home))
        angle = length(tilt)
        half = 0.5 * a * dt
        braked, goal = v, wanted
        if angle > 1e-6:
            outwards = times(1.0 / angle, tilt)
            speed = dot(v, outwards)
            room = max(self._max_tilt - angle, 0.0)
            most = math.sqrt(max(half * half + 2.0 * a * room - a * dt * speed, 0.0)) - half
            braked = minus(v, times(max(speed - most, 0.0), outwards))
            goal = minus(wanted, times(max(dot(wanted, outwards) - most, 0.0), outwards))
        new = _towards(v, braked, goal, self._turn_acceleration * dt, self._turn)
        rot = product(exp(times(0.5 * dt, plus(v, new))), self._turned)
        if angle > self._max_tilt - 0.01:  # what the plane leaves out of the curvature
            tilt = log(relative(rot, self._home))
            most = max(self._max_tilt, angle)
            if (now := length(tilt)) > most:
                rot = product(exp(times(most / now, tilt)), self._home)
        self._turned, self._turning = orthonormal(rot), new
        self.rot = matrix(self._turned)


def _stoppable(low: float, at: float, high: float, v: float, a: float, dt: float) -> tuple[float, float]:
    """Least and largest velocity on an axis from which a point can still stop within its ends; see the module."""
    # Outside of them, the wall is where the point is.
    up, down = high - at, at - low
    half = 0.5 * a * dt
    square, gained = half * half, a * dt * v
    # Largest v' with v'² <= 2 a (d - (v + v') dt / 2): after this cycle it can still stop within d.
    above = square + (2.0 * a * up if up > 0.0 else 0.0) - gained
    below = square + (2.0 * a * down if down > 0.0 else 0.0) + gained
    return half - (math.sqrt(below) if below > 0.0 else 0.0), (math.sqrt(above) if above > 0.0 else 0.0) - half


def _within(bounds: Sequence[tuple[float, float]], v: Vector) -> Vector:
    """The point of a box, least and largest on each axis, that is nearest to ``v``."""
    x, y, z = bounds
    return bounded(v[0], *x), bounded(v[1], *y), bounded(v[2], *z)


def _approach(way: Vector, speed: float, acceleration: float, dt: float) -> tuple[Vector, bool]:
    """Velocity that comes to rest at the end of ``way``, and whether the largest speed bounds it."""
    distance = length(way)
    if distance < 1e-12:
        return ZERO, False
    tau = max(3.0 * dt, 0.004)
    near = acceleration * tau * tau
    if distance < near:
        wanted = distance / tau
    else:
        wanted = math.sqrt(2.0 * acceleration * (distance - 0.5 * near))
    return times(min(wanted, speed) / distance, way), wanted >= speed


def _towards(v: Vector, braked: Vector, goal: Vector, most: float, speed: float) -> Vector:
    """Furthest point from ``braked`` towards ``goal`` at most ``most`` from ``v`` and at most ``speed`` from rest."""
    way = minus(goal, braked)
    share = min(1.0, _leaving(minus(braked, v), way, most), _leaving(braked, way, speed))
    return plus(braked, times(share, way))


def _leaving(start: Vector, way: Vector, radius: float) -> float:
    """Share of ``way`` after which a point that sets out at ``start`` leaves the ball; 0 if it is outside."""
    a, b, c = dot(way, way), dot(start, way), dot(start, start) - radius * radius
    if a < 1e-24:
        return 1.0
    root = b * b - a * c
    # Put where it could not stop in time: brake all the same.
    return max((math.sqrt(root) - b) / a, 0.0) if root > 0.0 else 0.0
