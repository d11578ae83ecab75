"""What no sensor of an arm can have measured; an arm that took it for true would hold itself there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import le

import numpy as np

from robo_rl.contracts import RobotSpec

_BEYOND = 0.5  # rad beyond a joint's range
_FASTER = 10.0  # times a joint's largest speed
_AHEAD = 0.01  # s that a stamp may be ahead of the clock
_JUMP = 0.1  # rad from one measurement to the next, besides what that speed explains


class Plausibility:
    """Tells measurements of one arm from garbage, in plain floats: a thousand of them come in a second.

    Args:
        spec: the arm, of n joints.
    """

    def __init__(self, spec: RobotSpec) -> None:
        self._low = [link.joint_range[0] - _BEYOND for link in spec.links]
        self._high = [link.joint_range[1] + _BEYOND for link in spec.links]
        self._fast = [_FASTER * link.max_velocity for link in spec.links]
        self._before: list[float] = []
        self._stamp = -math.inf

    def wrong(self, joint_pos: np.ndarray, joint_vel: np.ndarray, bias: np.ndarray, stamp: float, now: float) -> str:
        """Say what of a measurement cannot be; empty if it may be, and then the next one is compared with it.

        Args:
            joint_pos: (n,) rad.
            joint_vel: (n,) rad/s.
            bias: (n,) N·m.
            stamp: of the measurement, s.
            now: s, of the same clock.
        """
        q, dq = joint_pos.tolist(), joint_vel.tolist()
        if not math.isfinite(sum(q) + sum(dq) + sum(bias.tolist()) + stamp):
            return "numbers that are not finite"
        if stamp > now + _AHEAD:  # it would not grow old
            return f"a measurement of {stamp - now:.3g} s from now"
        if not (all(map(le, self._low, q)) and all(map(le, q, self._high))):
            return _worst(
                [max(low - x, x - high) for low, x, high in zip(self._low, q, self._high, strict=True)], q, "rad"
            )
        if not all(map(le, map(abs, dq), self._fast)):
            return _worst([abs(v) - most for v, most in zip(dq, self._fast, strict=True)], dq, "rad/s")
        since = stamp - self._stamp
        if self._before and since >= 0.0:
            jumps = [abs(x - y) - most * since for x, y, most in zip(q, self._before, self._fast, strict=True)]
            if max(jumps) > _JUMP:
                joint = jumps.index(max(jumps))
                return f"a jump of joint {joint + 1} from {self._before[joint]:.3g} to {q[joint]:.3g} rad"
        self._before, self._stamp = q, stamp
        return ""


def _worst(excess: Sequence[float], values: Sequence[float], unit: str) -> str:
    joint = max(range(len(excess)), key=excess.__getitem__)
    return f"joint {joint + 1} at {values[joint]:.3g} {unit}"
