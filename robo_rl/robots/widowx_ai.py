"""WidowX AI of Trossen Robotics, follower variant: six joints and a parallel gripper, on a riser of 120 mm.

The wrist pitches by a quarter turn only, so that an arm that stands on the table can point its tool down no higher
than 140 mm over its own foot. On the riser that is 260 mm over the table, whose top is z = 0 of the base frame here;
the maker's base frame is ``RISER`` higher.

Kinematics, masses and inertias: what a newly made controller holds (``wxai_v0_20260626`` of ``StandardJoints`` and
``StandardLinks`` in the maker's trossen-arm 1.11), palm and fingers of ``StandardEndEffector.wxai_v0_follower``; a
test compares them with that package where it is installed. Lateral offsets of .05 mm of one joint are left out. Joint
ranges, velocities and torques: the maker's specification page, the first joint's range that of its MuJoCo model, which
is narrower. Armature and friction of the gripper's rack are that model's (trossen_arm_mujoco); it has dry friction
only, for which a little viscous friction stands here.

The palm is the last link. As a hand has to have a mass of its own here, it is given half of the palm's mass and
inertia at the same centre, which moves alike. The jaws touch at gripper position 0; each moves by that position, and
the tool centre point, the maker's default, lies between their tips.
"""

from __future__ import annotations

import math

from robo_rl.contracts.robot import Gripper, Impedance, Link, RobotSpec
from robo_rl.contracts.scene import RGBA, Quat, Shape, Vec3

_STRAIGHT: Quat = (1.0, 0.0, 0.0, 0.0)
_ALONG_X: Quat = (math.sqrt(0.5), 0.0, math.sqrt(0.5), 0.0)  # turns z to x
_ALONG_Y: Quat = (math.sqrt(0.5), -math.sqrt(0.5), 0.0, 0.0)  # turns z to y
_HAND: Quat = (0.0, math.sqrt(0.5), 0.0, math.sqrt(0.5))  # z along the fingers; at home the hand's x points forward
_BLACK: RGBA = (0.12, 0.12, 0.13, 1.0)
_GREY: RGBA = (0.3, 0.3, 0.33, 1.0)

RISER = 0.12
"""Height of the arm's foot over the table, m."""

_LARGE, _SMALL = 27.0, 7.0  # N·m
_FAST, _FASTER = 2 * math.pi, 3 * math.pi  # rad/s
_PALM_MASS, _PALM_COM = 0.67244176, (0.04557269, 0.00040888, 0.00893526)
_PALM_INERTIA = (0.00115274, 0.00067665, 0.00101644, -8e-08, -1.266e-05, -1.573e-05)
_HALF_PALM = tuple(value / 2 for value in _PALM_INERTIA)
_CARRIAGE = 0.0865  # m from the last joint to the jaws' carriages


def _box(half: Vec3, pos: Vec3, rgba: RGBA = _BLACK) -> Shape:
    return Shape("box", half, pos, rgba=rgba)


def _capsule(radius: float, half_length: float, pos: Vec3, quat: Quat = _STRAIGHT, rgba: RGBA = _BLACK) -> Shape:
    return Shape("capsule", (radius, half_length), pos, quat, rgba)


WIDOWX_AI = RobotSpec(
    name="widowx_ai",
    title="Trossen WidowX AI",
    base_shapes=(
        _box((0.06, 0.06, RISER / 2), (0.0, 0.0, RISER / 2), _GREY),
        Shape("cylinder", (0.031, 0.0285), (0.0, 0.0, RISER + 0.0285), rgba=_BLACK),
    ),
    links=(
        Link(
            name="link_1",
            pos=(0.0, 0.0, RISER + 0.05725),
            quat=_STRAIGHT,
            axis=(0.0, 0.0, 1.0),
            joint_range=(-3.05433, 3.05433),
            max_velocity=_FAST,
            max_torque=_LARGE,
            mass=0.15008228,
            com=(-0.00018072, 0.00138124, 0.02037991),
            inertia=(0.00018088, 8.194e-05, 0.00018797, -1.18e-06, -1.396e-05, -4.2e-07),
            shapes=(_box((0.028, 0.035, 0.025), (0.004, 0.0, 0.03)),),
        ),
        Link(
            name="link_2",
            pos=(0.02, 0.0, 0.04625),
            quat=_STRAIGHT,
            axis=(0.0, 1.0, 0.0),
            joint_range=(0.0, math.pi),
            max_velocity=_FAST,
            max_torque=_LARGE,
            mass=1.13581111,
            com=(-0.13172378, -0.00180325, 8.127e-05),
            inertia=(0.00064547, 0.01736392, 0.01753333, -5e-07, -1.069e-05, -6.3e-07),
            shapes=(
                _capsule(0.029, 0.012, (0.0, 0.0, 0.0), _ALONG_Y, _GREY),
                _box((0.0975, 0.02, 0.02), (-0.131, 0.0, 0.0)),
            ),
        ),
        Link(
            name="link_3",
            pos=(-0.264, 0.0, 0.0),
            quat=_STRAIGHT,
            axis=(0.0, -1.0, 0.0),
            joint_range=(0.0, math.radians(135)),
            max_velocity=_FAST,
            max_torque=_LARGE,
            mass=0.67178383,
            com=(0.18204373, -0.0004913, 0.0554129),
            inertia=(0.00053201, 0.00543866, 0.00545384, 8.141e-05, -0.00053779, 1.195e-05),
            shapes=(
                _capsule(0.029, 0.012, (0.0, 0.0, 0.0), _ALONG_Y, _GREY),
                _box((0.08, 0.02, 0.02), (0.13, 0.0, 0.06)),
            ),
        ),
        Link(
            name="link_4",
            pos=(0.245, 0.0, 0.06),
            quat=_STRAIGHT,
            axis=(0.0, -1.0, 0.0),
            joint_range=(-math.pi / 2, math.pi / 2),
            max_velocity=_FASTER,
            max_torque=_SMALL,
            mass=0.47899686,
            com=(0.0584547, 0.00047346, 0.05984125),
            inertia=(0.00045072, 0.00058606, 0.00045456, 1.099e-05, -0.00019411, 1.185e-05),
            shapes=(
                _capsule(0.028, 0.012, (0.0, 0.0, 0.0), _ALONG_Y, _GREY),
                _box((0.027, 0.028, 0.014), (0.062, 0.0, 0.085)),
            ),
        ),
        Link(
            name="link_5",
            pos=(0.06775, 0.0, 0.0455),
            quat=_STRAIGHT,
            axis=(0.0, 0.0, -1.0),
            joint_range=(-math.pi / 2, math.pi / 2),
            max_velocity=_FASTER,
            max_torque=_SMALL,
            mass=0.36818897,
            com=(0.00357317, -6.705e-05, -0.04271537),
            inertia=(0.00019188, 0.00019906, 0.00014673, -4.4e-07, 1.21e-06, -1e-07),
            shapes=(Shape("cylinder", (0.027, 0.028), (0.0, 0.0, -0.046), rgba=_BLACK),),
        ),
        Link(
            name="link_6",
            pos=(0.02895, 0.0, -0.0455),
            quat=_STRAIGHT,
            axis=(1.0, 0.0, 0.0),
            joint_range=(-math.pi, math.pi),
            max_velocity=_FASTER,
            max_torque=_SMALL,
            mass=_PALM_MASS / 2,
            com=_PALM_COM,
            inertia=_HALF_PALM,  # type: ignore[arg-type]
            shapes=(_capsule(0.027, 0.02, (0.025, 0.0, 0.0), _ALONG_X),),
        ),
    ),
    gripper=Gripper(
        hand_pos=(_CARRIAGE, 0.0, 0.0),
        hand_quat=_HAND,
        hand_mass=_PALM_MASS / 2,
        # The hand's axes in the palm's are z, -y, x.
        hand_com=(_PALM_COM[2], -_PALM_COM[1], _PALM_COM[0] - _CARRIAGE),
        hand_inertia=(
            _HALF_PALM[2], _HALF_PALM[1], _HALF_PALM[0], -_HALF_PALM[5], _HALF_PALM[4], -_HALF_PALM[3],
        ),
        hand_shapes=(_box((0.031, 0.094, 0.0125), (0.0, 0.0, -0.018)),),
        finger_pos=(0.0, 0.0, 0.0),
        finger_mass=0.0728352,
        finger_shapes=(
            _box((0.012, 0.006, 0.02), (0.0, 0.014, 0.02)),
            Shape("box", (0.009, 0.005, 0.0148), (0.0, 0.005, 0.0547), rgba=_GREY, friction=1.0),
        ),
        tcp_pos=(0.0, 0.0, 0.156062 - _CARRIAGE),
        max_width=0.08,
        max_force=100.0,
    ),
    impedance=Impedance(
        stiffness=800.0,
        rotational_stiffness=25.0,
        damping_ratio=1.0,
        nominal_mass=1.5,
        nominal_inertia=0.03,
        clip=0.015,
        rotational_clip=0.1,
        nullspace_stiffness=0.0,
        nullspace_damping=0.0,
        max_force=20.0,
        max_torque=4.0,
        max_torque_rate=1.0,
    ),
    home=(0.0, 1.70483911, 1.08974789, -0.9557051, 0.0, 0.0),
    workspace_low=(0.19, -0.18, 0.01),
    workspace_high=(0.38, 0.18, 0.24),
    work_center=(0.29, 0.0, 0.0),
    reach_scale=0.6,
    joint_damping=(0.5, 0.5, 0.5, 0.1, 0.1, 0.1),
    armature=(0.032, 0.032, 0.032, 0.0018, 0.0018, 0.0018),
)  # fmt: skip
