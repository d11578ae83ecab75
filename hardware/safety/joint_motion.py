"""A move from posture to posture, planned whole before it begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from controllers.joint_speeds import JointSpeeds
from controllers.kinematics import Chain
from controllers.single import SingleChain, damped_inverse, rotation, rotation_vector
from hardware.safety.limits import SafetyLimits
from robo_rl import geometry
from robo_rl.contracts import RobotSpec
from robo_rl.errors import InvalidAction

_SAMPLES = 101
_SLACK = 1e-4, 0.01  # m and rad that a path may be further outside of the limits than where it begins
_JOINT_ACCELERATION = 4.0  # of its speed limit that a joint gains in a second
_PULL = 0.02  # share of the way to the goal's posture that each step of a led tool takes
_LEAST = 0.2  # s that the shortest move takes


class JointMotion:
    """A path of joint positions in one or more legs, each run through smoothly from rest to rest.

    ``q(t) = path(s(t / T))`` with ``s(x) = x³ (10 - 15 x + 6 x²)``: speed and acceleration are zero at both ends of a
    leg (Flash and Hogan, 1985). T is the least for which joints and tool keep to their limits.

    Attributes:
        duration: s.
        goal: (n,) rad.
    """

    def __init__(self, legs: Sequence[tuple[np.ndarray, float]]) -> None:
        """Take the legs: each a path (m, n), evenly spaced, and its duration in seconds."""
        self._legs = [(path, np.gradient(path, 1.0 / (len(path) - 1), axis=0), duration) for path, duration in legs]
        self.duration = sum(duration for _, duration in legs)
        self.goal = legs[-1][0][-1]

    def at(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Return joint positions (n,) rad and velocities (n,) rad/s ``time`` s after the beginning."""
        for path, slope, duration in self._legs:
            if time < duration:
                x = max(time / duration, 0.0)
                speed = 30.0 * x * x * (1.0 - x) ** 2 / duration
                return _between(path, _smooth(x)), speed * _between(slope, _smooth(x))
            time -= duration
        return self.goal, np.zeros_like(self.goal)


class JointPlanner:
    """Plans the moves of one arm.

    The straight line between two postures can lead the tool out of its limits though both ends are within them. Then
    these are tried: the tool on a straight line, which stays in a box, and the joints to their goal from there; by way
    of the home posture; and both.
    """

    def __init__(self, spec: RobotSpec, limits: SafetyLimits) -> None:
        self._chain, self._single, self._limits = Chain(spec), SingleChain(spec), limits
        self._home = np.array(spec.home, dtype=float)
        self._home_rot = self._chain.forward(self._home)[1]
        self._low = np.array([link.joint_range[0] for link in spec.links]) + limits.joint_margin
        self._high = np.array([link.joint_range[1] for link in spec.links]) - limits.joint_margin
        self._joint_speed = np.array([link.max_velocity for link in spec.links]) * limits.joint_speed
        self._speeds = JointSpeeds(spec, limits.joint_speed)
        self._box = np.array(limits.workspace_low), np.array(limits.workspace_high)

    def plan(self, start: np.ndarray, goal: np.ndarray) -> JointMotion:
        """Plan a move; by way of the home posture if the straight one would leave the limits of the tool.

        Args:
            start: (n,) where the arm is, rad; it may be outside of the limits, the way back in is planned.
            goal: (n,) rad.

        Raises:
            InvalidAction: if the goal is malformed or outside of the limits, or no such way stays within them.
        """
        goal = np.array(goal, dtype=float)
        if goal.shape != start.shape or not np.isfinite(goal).all():
            raise InvalidAction(f"joint_pos must be {len(start)} finite numbers, not {goal.tolist()}")
        beyond = np.maximum(self._low - goal, goal - self._high)
        worst = int(beyond.argmax())
        if beyond[worst] > 1e-9:
            raise InvalidAction(
                f"joint_pos[{worst}] is {goal[worst]:.3f} rad; it must be in [{self._low[worst]:.3f}, "
                f"{self._high[worst]:.3f}], the range of the joint less limits.joint_margin"
            )
        if why := self._outside(goal[None], None):
            raise InvalidAction(f"joint_pos puts the tool {why}; choose another posture or widen the limits")
        straight, home = _line(start, goal), self._home
        why = self._outside(straight, start)
        if not why:
            return JointMotion([self._timed(straight)])
        ways: tuple[Callable[[], list[np.ndarray]], ...] = (
            lambda: self._led(start, goal),
            lambda: [_line(start, home), _line(home, goal)],
            lambda: [*self._led(start, home), _line(home, goal)],
        )
        for way in ways:
            paths = way()
            if not any(self._outside(path, start) for path in paths):
                return JointMotion([self._timed(path) for path in paths])
        raise InvalidAction(f"the way through joint space leads the tool {why}; go by way of another posture")

    def _led(self, start: np.ndarray, goal: np.ndarray) -> list[np.ndarray]:
        """Lead the tool straight to where it is at ``goal``, then the joints there; two paths."""
        pos, rot, _ = self._single.forward(start)
        last, turned, _ = self._single.forward(goal)
        turn = rotation_vector(turned @ rot.T)
        low, high = np.minimum(self._low, start), np.maximum(self._high, start)
        q, path = start, [start]
        for x in np.linspace(0.0, 1.0, _SAMPLES)[1:]:
            for _ in range(2):
                here, now, jacobian = self._single.forward(q)
                error = np.concatenate(
                    (pos + x * (last - pos) - here, rotation_vector(rotation(x * turn) @ rot @ now.T))
                )
                posture = _PULL * (goal - q)  # what the tool leaves free goes to the goal, away from joint limits
                step = posture + jacobian.T @ (damped_inverse(jacobian) @ (error - jacobian @ posture))
                q = np.minimum(np.maximum(q + step, low), high)
            path.append(q)
        return [np.array(path), _line(q, goal)]

    def _outside(self, path: np.ndarray, start: np.ndarray | None) -> str:
        """Where a path (m, n) leads the tool out of its limits, further than at the start (n,); empty if nowhere."""
        pos, rot = self._chain.forward(path)
        begin, begun = self._chain.forward(path[0] if start is None else start)
        for axis, name in enumerate("xyz"):
            for sign, wall in ((-1.0, self._box[0][axis]), (1.0, self._box[1][axis])):
                out = sign * (pos[:, axis] - wall)
                already = 0.0 if start is None else max(sign * float(begin[axis] - wall), 0.0)
                worst = int(out.argmax())
                if out[worst] > already + _SLACK[0]:
                    return f"out of the work space, to {name} = {pos[worst, axis]:.3f} m"
        tilt = float(np.max(geometry.distance(self._home_rot, rot)))
        already = 0.0 if start is None else float(geometry.distance(self._home_rot, begun))
        if tilt > max(already, self._limits.max_tilt) + _SLACK[1]:
            return f"{tilt:.2f} rad away from its home orientation, beyond limits.max_tilt"
        return ""

    def _timed(self, path: np.ndarray) -> tuple[np.ndarray, float]:
        """A path (m, n) with the time that it needs."""
        limits = self._limits
        x = np.linspace(0.0, 1.0, _SAMPLES)
        step = x[1]
        q = np.stack([_between(path, _smooth(each)) for each in x])
        pos, rot = self._chain.forward(q)
        rates = np.diff(q, axis=0) / step
        allowed = np.array(
            [self._speeds.towards(at, rate) for at, rate in zip(q[1:].tolist(), rates.tolist(), strict=True)]
        )  # no faster than where each step ends
        linvel = np.diff(pos, axis=0) / step
        angvel = geometry.log(rot[1:] @ rot[:-1].swapaxes(-1, -2)) / step
        speeds = (  # each is inversely proportional to the duration
            float((np.abs(rates) / allowed).max()),
            float(np.linalg.norm(linvel, axis=-1).max()) / limits.max_speed,
            float(np.linalg.norm(angvel, axis=-1).max()) / limits.max_rotation_speed,
        )
        accelerations = (  # and each of these to its square
            float((np.abs(np.diff(rates, axis=0)) / (_JOINT_ACCELERATION * self._joint_speed)).max()) / step,
            float(np.linalg.norm(np.diff(linvel, axis=0), axis=-1).max()) / step / limits.max_acceleration,
            float(np.linalg.norm(np.diff(angvel, axis=0), axis=-1).max()) / step / limits.max_rotation_acceleration,
        )
        return path, max(_LEAST, 1.02 * max(speeds), 1.02 * max(accelerations) ** 0.5)


def _line(start: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return start + np.linspace(0.0, 1.0, _SAMPLES)[:, None] * (goal - start)


def _smooth(x: float) -> float:
    return x * x * x * (10.0 - 15.0 * x + 6.0 * x * x)


def _between(values: np.ndarray, x: float) -> np.ndarray:
    """Values (m, n) at ``x`` in [0, 1], linear between neighbours."""
    place = min(max(x, 0.0), 1.0) * (len(values) - 1)
    i = min(int(place), len(values) - 2)
    return np.asarray(values[i] + (place - i) * (values[i + 1] - values[i]))
