"""Franka Emika Panda with the Franka Hand.

Sources: kinematics and limits from Franka's published Denavit-Hartenberg table and limit tables (Craig's convention);
masses, centres of mass and inertias as identified by Gaz et al., "Dynamic Identification of the Franka Emika Panda
Robot", RA-L 2019; hand and fingers from Franka's hand description. The primitives are ours.
"""

from __future__ import annotations

from math import pi, sqrt

from robo_rl.contracts.robot import Gripper, Impedance, Link, RobotSpec
from robo_rl.contracts.scene import RGBA, Quat, Shape, Vec3

_WHITE: RGBA = (0.93, 0.93, 0.94, 1.0)
_GREY: RGBA = (0.25, 0.26, 0.28, 1.0)

_ABOUT_X_BACK: Quat = (sqrt(0.5), -sqrt(0.5), 0.0, 0.0)
_ABOUT_X: Quat = (sqrt(0.5), sqrt(0.5), 0.0, 0.0)
_ALONG_Y: Quat = (sqrt(0.5), -sqrt(0.5), 0.0, 0.0)
_Z: Vec3 = (0.0, 0.0, 1.0)


def _capsule(radius: float, half: float, pos: Vec3, quat: Quat = (1.0, 0.0, 0.0, 0.0), rgba: RGBA = _WHITE) -> Shape:
    return Shape("capsule", (radius, half), pos, quat, rgba)


PANDA = RobotSpec(
    name="panda",
    title="Franka Emika Panda, 7 joints, Franka Hand",
    base_shapes=(_capsule(0.06, 0.05, (-0.04, 0.0, 0.06), (sqrt(0.5), 0.0, sqrt(0.5), 0.0)),),
    links=(
        Link(
            "link1", (0.0, 0.0, 0.333), (1.0, 0.0, 0.0, 0.0), _Z, (-2.8973, 2.8973), 2.175, 87.0,
            4.970684, (0.003875, 0.002081, -0.04762), (0.70337, 0.70661, 0.009117, -0.000139, 0.006772, 0.019169),
            (_capsule(0.06, 0.08, (0.0, 0.0, -0.14)),),
        ),
        Link(
            "link2", (0.0, 0.0, 0.0), _ABOUT_X_BACK, _Z, (-1.7628, 1.7628), 2.175, 87.0,
            0.646926, (-0.003141, -0.02872, 0.003495), (0.007962, 0.02811, 0.025995, -0.003925, 0.010254, 0.000704),
            (_capsule(0.06, 0.05, (0.0, 0.0, 0.0)), _capsule(0.055, 0.04, (0.0, -0.12, 0.0), _ALONG_Y)),
        ),
        Link(
            "link3", (0.0, -0.316, 0.0), _ABOUT_X, _Z, (-2.8973, 2.8973), 2.175, 87.0,
            3.228604, (0.027518, 0.039252, -0.066502), (0.037242, 0.036155, 0.01083, -0.004761, -0.011396, -0.012805),
            (_capsule(0.055, 0.035, (0.0, 0.0, -0.085)), _capsule(0.055, 0.03, (0.0825, 0.0, 0.0), _ALONG_Y)),
        ),
        Link(
            "link4", (0.0825, 0.0, 0.0), _ABOUT_X, _Z, (-3.0718, -0.0698), 2.175, 87.0,
            3.587895, (-0.05317, 0.104419, 0.027454), (0.025853, 0.019552, 0.028323, 0.007796, -0.001332, 0.008641),
            (_capsule(0.055, 0.03, (0.0, 0.0, 0.0)), _capsule(0.055, 0.03, (-0.0825, 0.095, 0.0), _ALONG_Y)),
        ),
        Link(
            "link5", (-0.0825, 0.384, 0.0), _ABOUT_X_BACK, _Z, (-2.8973, 2.8973), 2.61, 12.0,
            1.225946, (-0.011953, 0.041065, -0.038437), (0.035549, 0.029474, 0.008627, -0.002117, -0.004037, 0.000229),
            (_capsule(0.055, 0.035, (0.0, 0.0, -0.215)), _capsule(0.04, 0.06, (0.0, 0.06, -0.09))),
        ),
        Link(
            "link6", (0.0, 0.0, 0.0), _ABOUT_X, _Z, (-0.0175, 3.7525), 2.61, 12.0,
            1.666555, (0.060149, -0.014117, -0.010517), (0.001964, 0.004354, 0.005433, 0.000109, -0.001158, 0.000341),
            (_capsule(0.05, 0.035, (0.0, 0.0, -0.025)), _capsule(0.05, 0.02, (0.088, 0.0, 0.0), _ALONG_Y)),
        ),
        Link(
            "link7", (0.088, 0.0, 0.0), _ABOUT_X, _Z, (-2.8973, 2.8973), 2.61, 12.0,
            0.735522, (0.010517, -0.004252, 0.061597), (0.012516, 0.010027, 0.004815, -0.000428, -0.001196, -0.000741),
            (_capsule(0.045, 0.02, (0.0, 0.0, 0.06)),),
        ),
    ),
    gripper=Gripper(
        hand_pos=(0.0, 0.0, 0.107),
        hand_quat=(0.9238795325, 0.0, 0.0, -0.3826834324),
        hand_mass=0.73,
        hand_com=(-0.01, 0.0, 0.03),
        hand_inertia=(0.001, 0.0025, 0.0017, 0.0, 0.0, 0.0),
        hand_shapes=(Shape("box", (0.025, 0.1, 0.033), (0.0, 0.0, 0.033), rgba=_WHITE),),
        finger_pos=(0.0, 0.0, 0.0584),
        finger_mass=0.015,
        finger_shapes=(Shape("box", (0.009, 0.006, 0.025), (0.0, 0.006, 0.03), rgba=_GREY, friction=1.2),),
        tcp_pos=(0.0, 0.0, 0.1034),
        max_width=0.08,
        max_force=70.0,
    ),
    impedance=Impedance(
        stiffness=1500.0,
        rotational_stiffness=80.0,
        damping_ratio=1.0,
        nominal_mass=3.0,
        nominal_inertia=0.15,
        clip=0.015,
        rotational_clip=0.12,
        nullspace_stiffness=0.5,
        nullspace_damping=1.0,
        max_force=30.0,
        max_torque=10.0,
    ),
    home=(0.0, 0.3, 0.0, -1.9, 0.0, 2.2, pi / 4),
    workspace_low=(0.3, -0.3, 0.005),
    workspace_high=(0.7, 0.3, 0.5),
    work_center=(0.5, 0.0, 0.0),
    joint_damping=(1.0,) * 7,
    armature=(0.1,) * 7,
)  # fmt: skip
