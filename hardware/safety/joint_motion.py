"""A move from posture to posture, planned whole before it begins."""

from __future__ import annotations

from typing import Any

import numpy as np

from controllers.kinematics import Chain
from hardware.safety.limits import SafetyLimits
from robo_rl import geometry
from robo_rl.contracts import RobotSpec
from robo_rl.errors import InvalidAction

_SAMPLES = 101
_SLACK = 0.003, 0.01  # m and rad that a path may be further outside of the limits than where it begins
_JOINT_ACCELERATION = 4.0  # of its speed limit that a joint gains in a second
_LEAST = 0.2  # s that the shortest move takes


class JointMotion:
    """The straight line between two postures, or two of them by way of a third, run through smoothly.

    ``q(t) = start + (goal - start) s(t / T)`` with ``s(x) = x³ (10 - 15 x + 6 x²)``: speed and acceleration are zero at
    both ends (Flash and Hogan, 1985). T is the least for which joints and tool keep to their limits.

    Attributes:
        duration: s.
        goal: (n,) rad.
    """

    def __init__(self, legs: list[tuple[np.ndarray, np.ndarray, float]]) -> None:
        self._legs = legs
        self.duration = sum(duration for *_, duration in legs)
        self.goal = legs[-1][1]

    def at(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Return joint positions (n,) rad and velocities (n,) rad/s ``time`` s after the beginning."""
        for start, goal, duration in self._legs:
            if time < duration:
                x = max(time / duration, 0.0)
                way = goal - start
                return start + _smooth(x) * way, (30.0 * x * x * (1.0 - x) ** 2 / duration) * way
            time -= duration
        return self.goal, np.zeros_like(self.goal)


class JointPlanner:
    """Plans the moves of one arm."""

    def __init__(self, spec: RobotSpec, limits: SafetyLimits) -> None:
        self._chain, self._limits = Chain(spec), limits
        self._home = np.array(spec.home, dtype=float)
        self._home_rot = self._chain.forward(self._home)[1]
        self._low = np.array([link.joint_range[0] for link in spec.links]) + limits.joint_margin
        self._high = np.array([link.joint_range[1] for link in spec.links]) - limits.joint_margin
        self._joint_speed = np.array([link.max_velocity for link in spec.links]) * limits.joint_speed
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
        why = self._outside(*self._line(start, goal))
        if not why:
            return JointMotion([self._leg(start, goal)])
        home = self._home
        if any(self._outside(*self._line(a, b)) for a, b in ((start, home), (home, goal))):
            raise InvalidAction(f"the way through joint space leads the tool {why}; go by way of another posture")
        return JointMotion([self._leg(start, home), self._leg(home, goal)])

    def _line(self, start: np.ndarray, goal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return start + np.linspace(0.0, 1.0, _SAMPLES)[:, None] * (goal - start), start[None]

    def _outside(self, path: np.ndarray, start: np.ndarray | None) -> str:
        """Where a path (m, n) leads the tool out of its limits, further than at the start (1, n); empty if nowhere."""
        pos, rot = self._chain.forward(path)
        begin, begun = self._chain.forward(path[:1] if start is None else start)
        for axis, name in enumerate("xyz"):
            for sign, wall in ((-1.0, self._box[0][axis]), (1.0, self._box[1][axis])):
                out = sign * (pos[:, axis] - wall)
                already = 0.0 if start is None else max(sign * float(begin[0, axis] - wall), 0.0)
                worst = int(out.argmax())
                if out[worst] > already + _SLACK[0]:
                    return f"out of the work space, to {name} = {pos[worst, axis]:.3f} m"
        tilt = float(np.max(geometry.distance(self._home_rot, rot)))
        already = 0.0 if start is None else float(geometry.distance(self._home_rot, begun)[0])
        if tilt > max(already, self._limits.max_tilt) + _SLACK[1]:
            return f"{tilt:.2f} rad away from its home orientation, beyond limits.max_tilt"
        return ""

    def _leg(self, start: np.ndarray, goal: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """The straight line with the time that it needs."""
        limits = self._limits
        x = np.linspace(0.0, 1.0, _SAMPLES)
        step = x[1]
        pos, rot = self._chain.forward(start + _smooth(x)[:, None] * (goal - start))
        linvel = np.diff(pos, axis=0) / step
        angvel = geometry.log(rot[1:] @ rot[:-1].swapaxes(-1, -2)) / step
        speeds = (  # each is inversely proportional to the duration
            float((np.abs(goal - start) / self._joint_speed).max()) * 1.875,
            float(np.linalg.norm(linvel, axis=-1).max()) / limits.max_speed,
            float(np.linalg.norm(angvel, axis=-1).max()) / limits.max_rotation_speed,
        )
        accelerations = (  # and each of these to its square
            float((np.abs(goal - start) / (_JOINT_ACCELERATION * self._joint_speed)).max()) * 5.774,
            float(np.linalg.norm(np.diff(linvel, axis=0), axis=-1).max()) / step / limits.max_acceleration,
            float(np.linalg.norm(np.diff(angvel, axis=0), axis=-1).max()) / step / limits.max_rotation_acceleration,
        )
        return start, goal, max(_LEAST, 1.02 * max(speeds), 1.02 * max(accelerations) ** 0.5)


def _smooth(x: Any) -> Any:
    return x * x * x * (10.0 - 15.0 * x + 6.0 * x * x)
