"""WidowX 250s, the Interbotix X-series arm with six joints and a parallel gripper.

Kinematics, joint ranges, masses and inertias: ``wx250s.urdf.xacro`` of Interbotix' interbotix_ros_manipulators
(ROS 2). Inertias are turned here from the frames of the URDF's ``inertial`` elements into the axes of the links; the
dummy masses of its massless frames are left out. The zero-angle pose agrees with the product of exponentials in the
maker's specification (tool at 0.458325, 0, 0.36065 m).

Servos (same specification): Dynamixel XM430-W350 on the first five joints, two side by side on shoulder and elbow,
and XL430-W250 on wrist rotation and gripper. Torques are the stall torques of the ROBOTIS e-Manual at 12 V, 4.1 and
1.5 N·m. Velocities are the firmware limit that the maker sets (131 x 0.229 rev/min). Viscous friction is the URDF's.
Armature is what is identified for a XM430-W350 (0.014 kg·m², twice that where two servos share a joint) and, for want
of one for the XL430-W250, scaled by the squared ratio of the gears (258.5 / 353.5).

Gripper: the maker states an opening of 30 to 74 mm, which is the distance between the frames of the fingers. The pads
of its finger mesh stand 9 mm inside these frames and end 15.6 mm beyond the tool centre point, so the opening between
the pads, which is what counts here, is 12 to 56 mm. The tool centre point is the maker's ``ee_gripper_link``.
"""

from __future__ import annotations

import math

from robo_rl.contracts.robot import Gripper, Impedance, Link, RobotSpec
from robo_rl.contracts.scene import RGBA, Quat, Shape, Vec3

_STRAIGHT: Quat = (1.0, 0.0, 0.0, 0.0)
_ALONG_X: Quat = (math.sqrt(0.5), 0.0, math.sqrt(0.5), 0.0)  # turns z to x
_ALONG_Y: Quat = (math.sqrt(0.5), -math.sqrt(0.5), 0.0, 0.0)  # turns z to y
_HAND: Quat = (0.0, math.sqrt(0.5), 0.0, math.sqrt(0.5))  # z along the fingers; at home the hand's x points forward
_BLACK: RGBA = (0.17, 0.17, 0.19, 1.0)
_SERVO: RGBA = (0.28, 0.28, 0.31, 1.0)
_PAD: RGBA = (0.1, 0.1, 0.1, 1.0)

_TURN = math.pi - 1e-5  # a full turn less the URDF's margin
_VELOCITY = math.pi
_XM430, _XL430 = 4.1, 1.5  # stall torque at 12 V, N·m
_XM430_ARMATURE, _XL430_ARMATURE = 0.014, 0.0075


def _box(half: Vec3, pos: Vec3, rgba: RGBA = _BLACK) -> Shape:
    return Shape("box", half, pos, rgba=rgba)


def _capsule(radius: float, half_length: float, pos: Vec3, quat: Quat = _STRAIGHT, rgba: RGBA = _BLACK) -> Shape:
    return Shape("capsule", (radius, half_length), pos, quat, rgba)


WIDOWX250S = RobotSpec(
    name="widowx250s",
    title="Interbotix WidowX 250s",
    base_shapes=(
        _box((0.075, 0.05, 0.0045), (-0.015, 0.0, 0.0045)),
        _box((0.045, 0.045, 0.03), (-0.005, 0.0, 0.039)),
    ),
    links=(
        Link(
            name="shoulder",
            pos=(0.0, 0.0, 0.072),
            quat=_STRAIGHT,
            axis=(0.0, 0.0, 1.0),
            joint_range=(-_TURN, _TURN),
            max_velocity=_VELOCITY,
            max_torque=_XM430,
            mass=0.480879,
            com=(2.23482e-05, 4.14609e-05, 0.0066287),
            inertia=(0.0005557, 0.000379, 0.0005889, -2.2e-09, -1.2245e-06, -3.561e-07),
            shapes=(
                Shape("cylinder", (0.048, 0.01), (0.0, 0.0, 0.007), rgba=_BLACK),
                _box((0.016, 0.045, 0.018), (0.0, 0.0, 0.033), _SERVO),
            ),
        ),
        Link(
            name="upper_arm",
            pos=(0.0, 0.0, 0.03865),
            quat=_STRAIGHT,
            axis=(0.0, 1.0, 0.0),
            joint_range=(math.radians(-108), math.radians(114)),
            max_velocity=_VELOCITY,
            max_torque=2 * _XM430,
            mass=0.430811,
            com=(0.0171605, 2.725e-07, 0.191323),
            inertia=(0.003587, 0.003463, 0.0004566, 1e-10, -0.0004272, -2e-10),
            shapes=(
                _capsule(0.016, 0.1, (0.0, 0.0, 0.11)),
                _box((0.028, 0.05, 0.016), (0.024, 0.0, 0.25), _SERVO),
            ),
        ),
        Link(
            name="upper_forearm",
            pos=(0.04975, 0.0, 0.25),
            quat=_STRAIGHT,
            axis=(0.0, 1.0, 0.0),
            joint_range=(math.radians(-123), math.radians(92)),
            max_velocity=_VELOCITY,
            max_torque=2 * _XM430,
            mass=0.234589,
            com=(0.107963, 0.000115876, 0.0),
            inertia=(3.971e-05, 0.0008878, 0.000888, 2.3528e-06, 0.0, 0.0),
            shapes=(_capsule(0.016, 0.07, (0.085, 0.0, 0.0), _ALONG_X),),
        ),
        Link(
            name="lower_forearm",
            pos=(0.175, 0.0, 0.0),
            quat=_STRAIGHT,
            axis=(1.0, 0.0, 0.0),
            joint_range=(-_TURN, _TURN),
            max_velocity=_VELOCITY,
            max_torque=_XM430,
            mass=0.220991,
            com=(0.0374395, 0.00522252, 0.0),
            inertia=(6.369e-05, 0.0001677, 0.0001834, 2.292e-05, 0.0, 0.0),
            shapes=(
                _box((0.02, 0.025, 0.02), (0.014, 0.005, 0.0), _SERVO),
                _capsule(0.017, 0.02, (0.055, 0.0, 0.0), _ALONG_X),
            ),
        ),
        Link(
            name="wrist",
            pos=(0.075, 0.0, 0.0),
            quat=_STRAIGHT,
            axis=(0.0, 1.0, 0.0),
            joint_range=(math.radians(-100), math.radians(123)),
            max_velocity=_VELOCITY,
            max_torque=_XM430,
            mass=0.084957,
            com=(0.04236, -1.0663e-05, 0.010577),
            inertia=(2.822e-05, 3.082e-05, 3.152e-05, -1.91e-08, -2.5481e-06, 2.3e-09),
            shapes=(
                _capsule(0.014, 0.012, (0.0, 0.0, 0.0), _ALONG_Y, _SERVO),
                _box((0.024, 0.02, 0.014), (0.034, 0.0, 0.008)),
            ),
        ),
        Link(
            name="gripper",
            pos=(0.065, 0.0, 0.0),
            quat=_STRAIGHT,
            axis=(1.0, 0.0, 0.0),
            joint_range=(-_TURN, _TURN),
            max_velocity=_VELOCITY,
            max_torque=_XL430,
            mass=0.072885,
            com=(0.021631, 2.516e-07, 0.01141),
            inertia=(1.836e-05, 2.537e-05, 1.674e-05, 0.0, -4.34e-07, 0.0),
            shapes=(_box((0.02, 0.018, 0.024), (0.021, 0.0, 0.008), _SERVO),),
        ),
    ),
    gripper=Gripper(
        hand_pos=(0.043, 0.0, 0.0),
        hand_quat=_HAND,
        hand_mass=0.038539,
        hand_com=(0.0044079, -5.4e-07, 0.0093108),
        hand_inertia=(2.92173e-05, 8.14101e-06, 2.96388e-05, -3.18853e-07, 1.32599e-06, -7.7e-10),
        hand_shapes=(
            _box((0.007, 0.05, 0.006), (0.0, 0.0, 0.006)),
            _box((0.016, 0.018, 0.006), (0.0, 0.0, 0.006)),
        ),
        finger_pos=(0.0, 0.0, 0.023),
        finger_mass=0.016246,
        finger_shapes=(
            _box((0.012, 0.006, 0.011), (0.0, 0.009, 0.0), _BLACK),
            Shape("box", (0.011, 0.0025, 0.0156), (0.0, 0.0025, 0.0276), rgba=_PAD, friction=1.0),
        ),
        tcp_pos=(0.0, 0.0, 0.050575),
        max_width=0.056,
        max_force=15.0,
        min_width=0.012,
    ),
    impedance=Impedance(
        stiffness=500.0,
        rotational_stiffness=8.0,
        damping_ratio=1.0,
        nominal_mass=0.6,
        nominal_inertia=0.012,
        clip=0.016,
        rotational_clip=0.1,
        nullspace_stiffness=0.0,
        nullspace_damping=0.0,
        max_force=9.0,
        max_torque=1.0,
        max_torque_rate=0.5,
    ),
    home=(0.0, -0.02207460, 0.36097353, 0.0, 1.23189740, 0.0),
    workspace_low=(0.16, -0.16, 0.01),
    workspace_high=(0.38, 0.16, 0.26),
    work_center=(0.28, 0.0, 0.0),
    reach_scale=0.6,
    joint_damping=(0.1,) * 6,
    armature=(
        _XM430_ARMATURE,
        2 * _XM430_ARMATURE,
        2 * _XM430_ARMATURE,
        _XM430_ARMATURE,
        _XM430_ARMATURE,
        _XL430_ARMATURE,
    ),
)
