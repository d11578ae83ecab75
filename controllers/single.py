"""Kinematics and impedance of one arm in NumPy and plain floats, several times as fast as the batched laws.

They compute what :mod:`controllers.kinematics` and :mod:`controllers.impedance` do. The batched laws spend most of
their time, at a batch of one, in choosing array namespaces. A control thread that has a millisecond for everything
cannot afford that. Tests hold both to each other.
"""

from __future__ import annotations

import math

import numpy as np

from controllers import vectors
from robo_rl import geometry
from robo_rl.contracts.robot import Impedance, RobotSpec

# As in controllers.impedance: lets the projector through singularities.
_SQUARED_DAMPING = 1e-4 * np.eye(6)


def rotation_vector(rot: np.ndarray) -> np.ndarray:
    """Rotation vector (3,) of a rotation matrix (3, 3), its angle in [0, pi]; see :func:`robo_rl.geometry.log`."""
    return np.array(vectors.log(vectors.entries(rot)))


def rotation(rotvec: np.ndarray) -> np.ndarray:
    """Rotation matrix (3, 3) of a rotation vector (3,), rad."""
    return vectors.matrix(vectors.exp(vectors.vector(rotvec)))


class SingleChain:
    """Forward kinematics and Jacobian of one arm, as :class:`controllers.kinematics.Chain` computes them.

    In plain floats, link by link: products of matrices this small are over before NumPy has looked at its arguments.

    Example:
        >>> from robo_rl.robots.panda import PANDA
        >>> pos, rot, jacobian = SingleChain(PANDA).forward(np.array(PANDA.home))
        >>> jacobian.shape
        (6, 7)
    """

    def __init__(self, spec: RobotSpec) -> None:
        self.dof = spec.dof
        # Frames of the links are turned such that each joint turns about the z axis of its own.
        self._mounts = []  # of each link in the one before: rotation row by row, then position
        before = np.eye(3)
        for link in spec.links:
            turned = _with_z_along(np.array(link.axis, dtype=float))
            mount = before.T @ geometry.from_quat_wxyz(np.array(link.quat, dtype=float)) @ turned
            self._mounts.append((*mount.ravel().tolist(), *(before.T @ np.array(link.pos)).tolist()))
            before = turned
        hand = geometry.from_quat_wxyz(np.array(spec.gripper.hand_quat, dtype=float))
        tool_pos = np.array(spec.gripper.hand_pos) + hand @ np.array(spec.gripper.tcp_pos)
        self._tool_rot = vectors.entries(before.T @ hand)
        self._tool_pos = vectors.vector(before.T @ tool_pos)

    def forward(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the tool centre point (3,), m, its orientation (3, 3) and its Jacobian (6, n) at ``q`` (n,)."""
        # Origin (x, y, z) of the frame in the base, and its rotation: columns (ux, uy, uz), (vx, vy, vz), (wx, wy, wz).
        x = y = z = 0.0
        ux, vx, wx, uy, vy, wy, uz, vz, wz = 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0
        joints = []  # axis and origin of each
        for angle, (m0, m1, m2, m3, m4, m5, m6, m7, m8, px, py, pz) in zip(q.tolist(), self._mounts, strict=True):
            x += ux * px + vx * py + wx * pz
            y += uy * px + vy * py + wy * pz
            z += uz * px + vz * py + wz * pz
            sine, cosine = math.sin(angle), math.cos(angle)
            ax, ay, az = ux * m0 + vx * m3 + wx * m6, uy * m0 + vy * m3 + wy * m6, uz * m0 + vz * m3 + wz * m6
            bx, by, bz = ux * m1 + vx * m4 + wx * m7, uy * m1 + vy * m4 + wy * m7, uz * m1 + vz * m4 + wz * m7
            wx, wy, wz = ux * m2 + vx * m5 + wx * m8, uy * m2 + vy * m5 + wy * m8, uz * m2 + vz * m5 + wz * m8
            ux, uy, uz = ax * cosine + bx * sine, ay * cosine + by * sine, az * cosine + bz * sine
            vx, vy, vz = bx * cosine - ax * sine, by * cosine - ay * sine, bz * cosine - az * sine
            joints.append((wx, wy, wz, x, y, z))
        px, py, pz = self._tool_pos
        x += ux * px + vx * py + wx * pz
        y += uy * px + vy * py + wy * pz
        z += uz * px + vz * py + wz * pz
        columns = []
        for ax, ay, az, ox, oy, oz in joints:  # a joint moves the tool by a x (p - o) and turns it by a
            rx, ry, rz = x - ox, y - oy, z - oz
            columns.append((ay * rz - az * ry, az * rx - ax * rz, ax * ry - ay * rx, ax, ay, az))
        rot = vectors.product((ux, vx, wx, uy, vy, wy, uz, vz, wz), self._tool_rot)
        return np.array((x, y, z)), vectors.matrix(rot), np.array(columns).T


def _with_z_along(axis: np.ndarray) -> np.ndarray:
    """A rotation (3, 3) that turns z to ``axis`` (3,), which may have any length."""
    z = axis / np.linalg.norm(axis)
    x = np.cross(np.eye(3)[np.abs(z).argmin()], z)
    x /= np.linalg.norm(x)
    return np.stack((x, np.cross(z, x), z), axis=1)


def tool_wrench(
    gains: Impedance,
    twist: np.ndarray,
    pos: np.ndarray,
    rot: np.ndarray,
    target_pos: np.ndarray,
    target_rot: np.ndarray,
) -> np.ndarray:
    """Wrench (6,) that pulls the tool to its target, as :func:`controllers.impedance.tool_wrench`.

    Args:
        gains: of the law.
        twist: (6,) of the tool, m/s over rad/s.
        pos: (3,) of the tool, m.
        rot: (3, 3) of the tool.
        target_pos: (3,) m.
        target_rot: (3, 3).
    """
    error = vectors.vector(target_pos - pos)
    turn = vectors.log(vectors.relative(vectors.entries(target_rot), vectors.entries(rot)))
    vx, vy, vz, wx, wy, wz = twist.tolist()
    g = gains
    force = _spring(g.stiffness, g.clip, error, g.damping, (vx, vy, vz), g.max_force)
    torque = _spring(g.rotational_stiffness, g.rotational_clip, turn, g.rotational_damping, (wx, wy, wz), g.max_torque)
    return np.array(force + torque)


def _spring(
    stiffness: float, clip: float, error: vectors.Vector, damping: float, speed: vectors.Vector, most: float
) -> vectors.Vector:
    """``clamp(K clip(e) - D v)`` on each axis."""
    pull = vectors.times(stiffness, vectors.clipped(error, clip))
    return vectors.clipped(vectors.minus(pull, vectors.times(damping, speed)), most)


def damped_inverse(jacobian: np.ndarray) -> np.ndarray:
    """``(J Jᵀ + λ² 1)⁻¹`` (6, 6): computed once a cycle, it serves projector, pseudo-inverse and force estimate."""
    return np.asarray(np.linalg.inv(jacobian.dot(jacobian.T) + _SQUARED_DAMPING))


def impedance_effort(wrench: np.ndarray, posture: np.ndarray, jacobian: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """``Jᵀ f + N p``, torque (n,) of a wrench on the tool and of a posture spring in the null space.

    With ``N = 1 - Jᵀ (J Jᵀ + λ² 1)⁻¹ J`` as in :mod:`controllers.impedance`, J comes in twice only::

        Jᵀ f + N p = p + Jᵀ (f - (J Jᵀ + λ² 1)⁻¹ J p)

    Args:
        wrench: (6,) on the tool, N over N·m.
        posture: (n,) that acts as far as it leaves a tool at rest alone, N·m.
        jacobian: (6, n).
        inverse: (6, 6) of :func:`damped_inverse`.
    """
    return posture + jacobian.T.dot(wrench - inverse.dot(jacobian.dot(posture)))


def fit_torque(effort: np.ndarray, load: np.ndarray, max_torque: np.ndarray) -> np.ndarray:
    """``load + s effort`` with the largest s that keeps to the limits, as :func:`controllers.limits.fit_torque`."""
    share, held = 1.0, []
    for e, weight, most in zip(effort.tolist(), load.tolist(), max_torque.tolist(), strict=True):
        weight = vectors.bounded(weight, -most, most)
        room = (most - weight if e > 0.0 else most + weight) + 1e-9
        if abs(e) > share * room:
            share = abs(e) / room
        held.append(weight)
    return np.array(held) + (effort / share if share > 1.0 else effort)


def limit_rate(torque: np.ndarray, previous: np.ndarray, max_step: float) -> np.ndarray:
    """Go from ``previous`` (n,) straight to ``torque`` by at most ``max_step``; see :mod:`controllers.limits`."""
    change = torque - previous
    share = max(map(abs, change.tolist())) / max_step
    return previous + change / share if share > 1.0 else torque
