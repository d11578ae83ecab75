"""Torques that hold an arm against its weight, from the published masses."""

from __future__ import annotations

import math

import numpy as np

from robo_rl import geometry
from robo_rl.contracts.robot import Link, RobotSpec
from robo_rl.contracts.scene import Vec3

_GRAVITY = 9.81


class Gravity:
    """Weight of an arm, its gripper and what it holds.

    With z_j the axis of joint j through o_j, and c_i the centre of mass m_i that it carries, by virtual work::

        g_j = - Σ_i m_i z_j · ((c_i - o_j) × gravity),  gravity along -z

    Args:
        spec: the arm; stands upright.
        payload_mass: of what is fixed to the tool, kg.
        payload_com: its centre of mass in the tool's frame, m.
    """

    def __init__(self, spec: RobotSpec, payload_mass: float = 0.0, payload_com: Vec3 = (0.0, 0.0, 0.0)) -> None:
        self._joints = [_joint(link) for link in spec.links]
        hand = geometry.from_quat_wxyz(np.array(spec.gripper.hand_quat))
        gripper, origin = spec.gripper, np.array(spec.gripper.hand_pos)
        tool = np.array(gripper.tcp_pos)
        # The fingers weigh as if halfway out to the tool centre point: they open symmetrically.
        fingers = (np.array(gripper.finger_pos) + tool) / 2
        carried = [(gripper.hand_mass, np.array(gripper.hand_com)), (2 * gripper.finger_mass, fingers)]
        carried.append((payload_mass, tool + np.array(payload_com)))
        bodies = [[(link.mass, np.array(link.com))] for link in spec.links]
        bodies[-1] += [(mass, origin + hand @ com) for mass, com in carried]
        self._bodies = [(sum(m for m, _ in of), sum(m * com for m, com in of)) for of in bodies]  # mass, moment

    def torque(self, joint_pos: np.ndarray) -> np.ndarray:
        """Return the torques (n,) N·m that hold the arm still at ``joint_pos`` (n,) rad."""
        pos, rot = np.zeros(3), np.eye(3)
        joints = []
        for (offset, along, sine, cosine, axis), angle in zip(self._joints, joint_pos.tolist(), strict=True):
            pos = pos + rot @ offset
            rot = rot @ (along + math.sin(angle) * sine + math.cos(angle) * cosine)
            joints.append((pos, rot, rot @ axis))
        torque = np.zeros(len(joints))
        mass, moment = 0.0, np.zeros(3)  # of everything that a joint carries
        for j in reversed(range(len(joints))):
            origin, turn, axis = joints[j]
            weight, first = self._bodies[j]
            mass += weight
            moment = moment + weight * origin + turn @ first
            lever = moment - mass * origin
            torque[j] = _GRAVITY * (axis[0] * lever[1] - axis[1] * lever[0])
        return torque


def flange_to_tool(spec: RobotSpec, point: np.ndarray) -> np.ndarray:
    """Turn a point (3,) of the flange's frame, m, into one of the tool's.

    The flange's origin is where the hand is mounted, its axes are those of the last link.
    """
    hand = geometry.from_quat_wxyz(np.array(spec.gripper.hand_quat))
    return np.asarray(hand.T @ point - np.array(spec.gripper.tcp_pos))


def tool_to_flange(spec: RobotSpec, point: np.ndarray) -> np.ndarray:
    """The inverse of :func:`flange_to_tool`."""
    hand = geometry.from_quat_wxyz(np.array(spec.gripper.hand_quat))
    return np.asarray(hand @ (np.array(spec.gripper.tcp_pos) + point))


def _joint(link: Link) -> tuple[np.ndarray, ...]:
    """Offset, the rotation as along + sin q * sine + cos q * cosine (Rodrigues), and the axis, of a joint."""
    mount, axis = geometry.from_quat_wxyz(np.array(link.quat)), np.array(link.axis) / np.linalg.norm(link.axis)
    outer = np.outer(axis, axis)
    hat = np.array([[0.0, -axis[2], axis[1]], [axis[2], 0.0, -axis[0]], [-axis[1], axis[0], 0.0]])
    return np.array(link.pos), mount @ outer, mount @ hat, mount @ (np.eye(3) - outer), axis
