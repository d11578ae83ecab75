"""From where to look at a board, so that lens and camera pose are well determined."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from controllers.kinematics import Chain
from hardware.safety.limits import SafetyLimits
from robo_rl import geometry
from robo_rl.contracts import RobotSpec

_TILT = 0.3, 0.55  # rad that the tool is tilted by, about axes all around: 20 to 30 degrees tell focal length and place
_ROLL = 0.6  # rad that it is turned by about its own axis, to either side
_SHIFT = 0.06  # m that the point it turns about is moved by along each axis, times the arm's reach
_GOLDEN = np.pi * (3.0 - np.sqrt(5.0))


def view_postures(spec: RobotSpec, limits: SafetyLimits, distance: float) -> Iterator[np.ndarray]:
    """Yield postures (n,), rad, that show a board from many sides, those first that tell most; within the limits.

    The tool turns about a point ahead of it, where the middle of the board is: a camera on the tool keeps a board that
    lies there in view, and a camera beside the arm one that the tool holds there. Axes of tilt follow the golden
    angle, so that any number of views is spread evenly.

    Args:
        spec: the arm.
        limits: that hold; views outside of them are left out. Ways there are the arm's to plan.
        distance: from the tool centre point at home, along the tool, to that point, m.
    """
    chain = Chain(spec)
    home = np.array(spec.home, dtype=float)
    pos, rot = (np.asarray(part) for part in chain.forward(home))
    low, high = np.array(limits.workspace_low), np.array(limits.workspace_high)
    pivot = pos + distance * rot[:, 2]
    start = home
    for k in range(120):
        tilt = _TILT[0] + (_TILT[1] - _TILT[0]) * ((0.5 + 0.618034 * k) % 1.0)
        angle, roll = _GOLDEN * k, _ROLL * (2.0 * ((0.754878 * k) % 1.0) - 1.0)
        shift = _SHIFT * spec.reach_scale * (2.0 * ((np.array([0.8192, 0.6711, 0.5497]) * k) % 1.0) - 1.0)
        turn = geometry.exp(tilt * np.array([np.cos(angle), np.sin(angle), 0.0]))
        goal = turn @ rot @ geometry.exp(np.array([0.0, 0.0, roll]))
        place = pivot + shift - distance * goal[:, 2]
        if (place < low).any() or (place > high).any() or geometry.distance(goal, rot) > limits.max_tilt:
            continue
        q, reached = chain.inverse(place[None], goal[None], start[None])
        margin = np.array([link.joint_range for link in spec.links]) + limits.joint_margin * np.array([1.0, -1.0])
        if bool(reached[0]) and (q[0] > margin[:, 0]).all() and (q[0] < margin[:, 1]).all():
            yield q[0]
