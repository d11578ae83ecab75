"""Kinematics and impedance of one arm in plain NumPy, several times as fast as the batched laws.

They compute what :mod:`controllers.kinematics` and :mod:`controllers.impedance` do. The batched laws spend most of
their time, at a batch of one, in choosing array namespaces. A control thread that has a millisecond for everything
cannot afford that. Tests hold both to each other.
"""

from __future__ import annotations

import math

import numpy as np

from robo_rl import geometry
from robo_rl.contracts.robot import Impedance, RobotSpec

# As in controllers.impedance: lets the projector through singularities.
_SQUARED_DAMPING = 1e-4 * np.eye(6)


def rotation_vector(rot: np.ndarray) -> np.ndarray:
    """Rotation vector (3,) of a rotation matrix (3, 3), its angle in [0, pi]; see :func:`robo_rl.geometry.log`."""
    (r00, r01, r02), (r10, r11, r12), (r20, r21, r22) = rot.tolist()
    x, y, z = r21 - r12, r02 - r20, r10 - r01
    double_sine = math.sqrt(x * x + y * y + z * z)
    angle = math.atan2(double_sine, r00 + r11 + r22 - 1.0)
    if not angle < 3.0:  # the sine says little about the axis there
        return np.asarray(geometry.log(rot))
    scale = angle / double_sine if double_sine > 1e-9 else 0.5
    return np.array((x * scale, y * scale, z * scale))


def rotation(rotvec: np.ndarray) -> np.ndarray:
    """Rotation matrix (3, 3) of a rotation vector (3,), rad."""
    x, y, z = rotvec.tolist()
    half = 0.5 * math.sqrt(x * x + y * y + z * z)
    sinc = 0.5 * math.sin(half) / half if half > 1e-12 else 0.5
    w, x, y, z = math.cos(half), x * sinc, y * sinc, z * sinc
    return np.array(
        (
            (1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)),
            (2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)),
            (2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)),
        )
    )


class SingleChain:
    """Forward kinematics and Jacobian of one arm, as :class:`controllers.kinematics.Chain` computes them.

    Example:
        >>> from robo_rl.robots.panda import PANDA
        >>> pos, rot, jacobian = SingleChain(PANDA).forward(np.array(PANDA.home))
        >>> jacobian.shape
        (6, 7)
    """

    def __init__(self, spec: RobotSpec) -> None:
        self.dof = spec.dof
        self._terms = np.zeros((3, self.dof, 4, 4))  # of 1, sin q and cos q
        for i, link in enumerate(spec.links):
            mount = geometry.from_quat_wxyz(np.array(link.quat, dtype=float))
            axis = np.array(link.axis, dtype=float)
            axis /= np.linalg.norm(axis)
            hat = np.array([[0.0, -axis[2], axis[1]], [axis[2], 0.0, -axis[0]], [-axis[1], axis[0], 0.0]])
            self._terms[0, i, :3, :3] = mount @ np.outer(axis, axis)
            self._terms[0, i, :, 3] = *link.pos, 1.0
            self._terms[1, i, :3, :3] = mount @ hat
            self._terms[2, i, :3, :3] = mount @ (np.eye(3) - np.outer(axis, axis))
        hand = geometry.from_quat_wxyz(np.array(spec.gripper.hand_quat, dtype=float))
        self._tool = np.eye(4)
        self._tool[:3, :3] = hand
        self._tool[:3, 3] = np.array(spec.gripper.hand_pos) + hand @ np.array(spec.gripper.tcp_pos)
        axes = np.array([link.axis for link in spec.links], dtype=float)
        self._axes = (axes / np.linalg.norm(axes, axis=-1, keepdims=True))[:, :, None]

    def forward(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the tool centre point (3,), m, its orientation (3, 3) and its Jacobian (6, n) at ``q`` (n,)."""
        fixed, sine, cosine = self._terms
        angle = q[:, None, None]
        links = fixed + np.sin(angle) * sine + np.cos(angle) * cosine  # (n, 4, 4), then in the base frame
        for i in range(1, self.dof):
            links[i] = links[i - 1].dot(links[i])
        tool = links[-1].dot(self._tool)
        pos = tool[:3, 3]
        jacobian = np.empty((6, self.dof))
        turning = (links[:, :3, :3] @ self._axes)[:, :, 0].T
        jacobian[3:] = turning
        (wx, wy, wz), (ax, ay, az) = turning, (pos - links[:, :3, 3]).T
        jacobian[0] = wy * az - wz * ay
        jacobian[1] = wz * ax - wx * az
        jacobian[2] = wx * ay - wy * ax
        return pos, tool[:3, :3], jacobian


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
    turn = rotation_vector(target_rot @ rot.T).tolist()
    clip, angle = gains.clip, gains.rotational_clip
    k, d, most = gains.stiffness, gains.damping, gains.max_force
    kr, dr, most_r = gains.rotational_stiffness, gains.rotational_damping, gains.max_torque
    speed = twist.tolist()
    wrench = [
        min(max(k * min(max(e, -clip), clip) - d * v, -most), most)
        for e, v in zip((target_pos - pos).tolist(), speed[:3], strict=True)
    ]
    wrench += [
        min(max(kr * min(max(e, -angle), angle) - dr * v, -most_r), most_r)
        for e, v in zip(turn, speed[3:], strict=True)
    ]
    return np.array(wrench)


def damped_inverse(jacobian: np.ndarray) -> np.ndarray:
    """``(J Jᵀ + λ² 1)⁻¹`` (6, 6): computed once a cycle, it serves projector, pseudo-inverse and force estimate."""
    return np.asarray(np.linalg.inv(jacobian @ jacobian.T + _SQUARED_DAMPING))


def project_to_nullspace(jacobian: np.ndarray, inverse: np.ndarray, torque: np.ndarray) -> np.ndarray:
    """What of ``torque`` (n,) leaves a tool at rest alone, as :func:`controllers.impedance.project_to_nullspace`.

    Args:
        jacobian: (6, n).
        inverse: (6, 6) of :func:`damped_inverse`.
        torque: (n,) N·m.
    """
    return torque - jacobian.T @ (inverse @ (jacobian @ torque))


def fit_torque(effort: np.ndarray, load: np.ndarray, max_torque: np.ndarray) -> np.ndarray:
    """``load + s effort`` with the largest s that keeps to the limits, as :func:`controllers.limits.fit_torque`."""
    load = np.minimum(np.maximum(load, -max_torque), max_torque)
    room = max_torque - np.copysign(load, effort * load)
    share = float((np.abs(effort) / (room + 1e-9)).max())
    return load + effort / share if share > 1.0 else load + effort


def limit_rate(torque: np.ndarray, previous: np.ndarray, max_step: float) -> np.ndarray:
    """Go from ``previous`` (n,) straight to ``torque`` by at most ``max_step``; see :mod:`controllers.limits`."""
    change = torque - previous
    share = float(np.abs(change).max()) / max_step
    return previous + change / share if share > 1.0 else torque
