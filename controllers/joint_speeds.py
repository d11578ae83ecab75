"""How fast the joints of an arm may be where they are."""

from __future__ import annotations

import math
from collections.abc import Sequence

from robo_rl.contracts.robot import RobotSpec

_LEAST = 0.01  # rad/s that is left of a joint's speed at the very end of its range, so that it can come back and divide


class JointSpeeds:
    """The largest speed of each joint, lower towards the ends of its range where the arm lowers it there.

    In plain floats: it is asked a thousand times a second. See :class:`robo_rl.contracts.robot.SlowEnds`.

    Example:
        >>> from robo_rl.robots.fr3 import FR3
        >>> speeds = JointSpeeds(FR3)
        >>> speeds.towards(FR3.home, [0.0] * 7)[4]
        5.26
        >>> at = [*FR3.home[:4], 2.74, *FR3.home[5:]]
        >>> round(speeds.towards(at, [1.0] * 7)[4], 2), speeds.towards(at, [-1.0] * 7)[4]
        (1.19, 5.26)

    Args:
        spec: the arm, of n joints.
        share: of what the arm allows.
    """

    def __init__(self, spec: RobotSpec, share: float = 1.0) -> None:
        self._share = share
        self._most = [share * link.max_velocity for link in spec.links]
        self._slow = [(i, link.slow_ends) for i, link in enumerate(spec.links) if link.slow_ends is not None]

    def towards(self, joint_pos: Sequence[float], joint_vel: Sequence[float]) -> list[float]:
        """Return the largest speeds (n,), rad/s, in the direction in which each joint moves.

        Args:
            joint_pos: (n,) rad.
            joint_vel: (n,) of which the signs count.
        """
        if not self._slow:
            return self._most
        speeds = list(self._most)
        for i, ends in self._slow:
            room = ends.high - joint_pos[i] if joint_vel[i] >= 0.0 else joint_pos[i] - ends.low
            slow = self._share * (math.sqrt(2.0 * ends.deceleration * max(room, 0.0)) - ends.offset)
            if slow < speeds[i]:
                speeds[i] = max(slow, _LEAST)
        return speeds
