"""Franka Research 3 with the Franka Hand: the Panda's kinematics with limits and inertias of its own.

Sources: ``robots/fr3/joint_limits.yaml`` and ``robots/fr3/inertials.yaml`` of Franka's franka_description (ROS 2);
speeds near the ends of the ranges from "Limits for Franka Research 3" of Franka's FCI documentation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from robo_rl.contracts.robot import SlowEnds
from robo_rl.contracts.scene import Vec3
from robo_rl.robots.panda import PANDA


@dataclass(frozen=True)
class _Own:
    """What the FR3 does not share with the Panda; fields like those of ``Link``."""

    joint_range: tuple[float, float]
    max_velocity: float
    max_torque: float
    mass: float
    com: Vec3
    inertia: tuple[float, float, float, float, float, float]
    slow_ends: SlowEnds


_OWN = (
    _Own(
        (-2.7437, 2.7437), 2.62, 87.0, 2.9274653454, (4.128e-07, -0.0181251324, -0.038603597),
        (0.0239273165, 0.0224821614, 0.0063500983, 1.33179e-05, -0.0001140477, -0.0019950321),
        SlowEnds(-2.7501, 2.7501, deceleration=6.0, offset=0.3),
    ),
    _Own(
        (-1.7837, 1.7837), 2.62, 87.0, 2.9355370338, (0.0031828864, -0.0743221644, 0.0088146084),
        (0.0419389463, 0.0251451489, 0.0617021447, 0.0002025733, 0.0040777842, -0.0042252158),
        SlowEnds(-1.7918, 1.7918, deceleration=2.585, offset=0.2),
    ),
    _Own(
        (-2.9007, 2.9007), 2.62, 87.0, 2.2449013699, (0.0407015686, -0.0048200565, -0.0289730823),
        (0.0241014255, 0.0197405327, 0.0190444945, 0.0024046946, -0.0028562693, -0.0021042127),
        SlowEnds(-2.9065, 2.9065, deceleration=3.5, offset=0.2),
    ),
    _Own(
        (-3.0421, -0.1518), 2.62, 87.0, 2.6155955791, (-0.0459100965, 0.063049296, -0.0085187868),
        (0.0345299832, 0.0288816219, 0.0412547117, 0.0132255227, 0.01015143, -0.0009762834),
        SlowEnds(-3.0481, -0.1458, deceleration=4.0, offset=0.3),
    ),
    _Own(
        (-2.8065, 2.8065), 5.26, 12.0, 2.3271207594, (-0.0016039605, 0.0292536262, -0.097296599),
        (0.0516102785, 0.0478772971, 0.0164236256, -0.0057151734, -0.0035673168, 0.0106739851),
        SlowEnds(-2.8101, 2.8101, deceleration=17.0, offset=0.35),
    ),
    _Own(
        (0.5445, 4.5169), 4.18, 12.0, 1.8170376524, (0.0597131221, -0.0410294666, -0.0101692726),
        (0.0054123336, 0.0140583295, 0.0160808179, 0.0061934564, 0.0014219289, -0.0013140754),
        SlowEnds(0.54092, 4.5205, deceleration=5.5, offset=0.35),
    ),
    _Own(
        (-3.0159, 3.0159), 5.26, 12.0, 0.6271432862, (0.0045225817, 0.0086261921, -0.0161633251),
        (0.0002109239, 0.0001771857, 5.99319e-05, -2.4333e-05, 4.56448e-05, 8.74407e-05),
        SlowEnds(-3.0196, 3.0196, deceleration=17.0, offset=0.35),
    ),
)  # fmt: skip

FR3 = replace(
    PANDA,
    name="fr3",
    title="Franka Research 3, 7 joints, Franka Hand",
    links=tuple(replace(link, **vars(own)) for link, own in zip(PANDA.links, _OWN, strict=True)),
)
