"""Forward and inverse kinematics of a serial arm, batched, for NumPy and torch alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from robo_rl import geometry
from robo_rl.contracts.robot import RobotSpec

Array = Any


class Chain:
    """Kinematics of an arm from its base to its tool centre point.

    Example:
        >>> import numpy as np
        >>> from robo_rl.robots.panda import PANDA
        >>> chain = Chain(PANDA)
        >>> pos, rot = chain.forward(np.array(PANDA.home))
        >>> q, converged = chain.inverse(pos + np.array([0.0, 0.05, 0.0]), rot, np.array(PANDA.home))
        >>> bool(converged)
        True

    Attributes:
        dof: number of joints, n.
    """

    def __init__(self, spec: RobotSpec) -> None:
        self.dof = spec.dof
        fixed, sine, cosine = np.zeros((3, self.dof, 4, 4))
        for i, link in enumerate(spec.links):
            mount = geometry.from_quat_wxyz(np.array(link.quat, dtype=float))
            axis = np.array(link.axis, dtype=float)
            axis /= np.linalg.norm(axis)
            hat = np.array([[0.0, -axis[2], axis[1]], [axis[2], 0.0, -axis[0]], [-axis[1], axis[0], 0.0]])
            # Rodrigues: T_parent_link(q) = fixed + sine * sin q + cosine * cos q
            fixed[i, :3, :3] = mount @ np.outer(axis, axis)
            fixed[i, :, 3] = *link.pos, 1.0
            sine[i, :3, :3] = mount @ hat
            cosine[i, :3, :3] = mount @ (np.eye(3) - np.outer(axis, axis))
        hand = geometry.from_quat_wxyz(np.array(spec.gripper.hand_quat, dtype=float))
        tool = np.eye(4)
        tool[:3, :3] = hand
        tool[:3, 3] = np.array(spec.gripper.hand_pos) + hand @ np.array(spec.gripper.tcp_pos)
        axes = np.array([link.axis for link in spec.links], dtype=float)
        axes /= np.linalg.norm(axes, axis=-1, keepdims=True)
        limits = np.array([link.joint_range for link in spec.links])
        self._values = (fixed, sine, cosine, tool, axes, limits[:, 0].copy(), limits[:, 1].copy(), np.eye(6))
        self._made: dict[Any, tuple[Array, ...]] = {}

    def forward(self, q: Array) -> tuple[Array, Array]:
        """Return the tool centre point (..., 3), m, and the orientation (..., 3, 3) of the tool at ``q`` (..., n)."""
        tool = self._link_poses(array_namespace(q), q)[-1]
        return tool[..., :3, 3], tool[..., :3, :3]

    def jacobian(self, q: Array) -> Array:
        """Return the tool's Jacobian (..., 6, n) at ``q`` (..., n): linear over angular, base frame."""
        return self._forward_and_jacobian(q)[2]

    def inverse(
        self,
        pos: Array,
        rot: Array,
        q0: Array,
        iterations: int = 16,
        pull: float = 0.3,
        tolerance: float = 1e-4,
    ) -> tuple[Array, Array]:
        """Find joint positions that put the tool at a pose, near ``q0`` and within the joint limits.

        Levenberg-Marquardt with the damping of Sugihara, "Solvability-unconcerned inverse kinematics by the
        Levenberg-Marquardt method", T-RO 2011, which grows with the error left; what the pose leaves free moves towards
        ``q0``; joints that reach a limit stay there. With e the pose error and d = pull (q0 - q)::

            dq = d + Jᵀ (J Jᵀ + λ² 1)⁻¹ (e - J d)

        Args:
            pos: (..., 3) of the tool centre point, base frame, m.
            rot: (..., 3, 3).
            q0: (..., n) where to begin, and what to stay near to, rad.
            iterations: steps taken; always that many, so that it runs as one batch.
            pull: share of the way to ``q0`` that is tried in the first step; fades to 0 with the last one.
            tolerance: of ``converged``, in m and in rad.

        Returns:
            ``q`` (..., n), and ``converged`` (...,) bool: whether ``q`` reaches the pose to within ``tolerance``.
        """
        xp = array_namespace(pos, rot, q0)
        *_, low, high, eye = self._constants(xp, q0)
        q = xp.minimum(xp.maximum(q0, low), high)
        for i in range(iterations):
            here, turned, jacobian = self._forward_and_jacobian(q)
            turn = geometry.log(rot @ geometry.transpose(turned))
            # A far target is approached in strides in which the arm's curvature stays small.
            error = xp.concat([(pos - here).clip(-0.2, 0.2), turn.clip(-0.5, 0.5)], axis=-1)[..., None]
            # Fades out, or it would hold the pose a little off wherever the damping lets it.
            posture = (pull * (1.0 - (i + 1) / iterations) * (q0 - q))[..., None]
            transposed = xp.matrix_transpose(jacobian)
            damping = 0.5 * (xp.matrix_transpose(error) @ error) + 1e-5
            step = xp.linalg.solve(jacobian @ transposed + damping * eye, error - jacobian @ posture)
            q = xp.minimum(xp.maximum(q + (posture + transposed @ step)[..., 0], low), high)
        here, turned = self.forward(q)
        off = xp.concat([pos - here, geometry.log(rot @ geometry.transpose(turned))], axis=-1)
        return q, xp.all(xp.abs(off) < tolerance, axis=-1)

    def _constants(self, xp: Any, like: Array) -> tuple[Array, ...]:
        key = (xp, like.dtype, getattr(like, "device", None))
        if key not in self._made:
            self._made[key] = geometry.constants(self._values, *key)
        return self._made[key]

    def _link_poses(self, xp: Any, q: Array) -> list[Array]:
        """T_base_link of every link, then T_base_tcp, (..., 4, 4) each."""
        fixed, sine, cosine, tool, *_ = self._constants(xp, q)
        angle = q[..., None, None]
        local = fixed + xp.sin(angle) * sine + xp.cos(angle) * cosine  # (..., n, 4, 4)
        poses = [local[..., 0, :, :]]
        for i in range(1, self.dof):
            poses.append(poses[-1] @ local[..., i, :, :])
        return [*poses, poses[-1] @ tool]

    def _forward_and_jacobian(self, q: Array) -> tuple[Array, Array, Array]:
        xp = array_namespace(q)
        axes = self._constants(xp, q)[4]
        *links, tool = self._link_poses(xp, q)
        joints = xp.stack(links, axis=-3)  # (..., n, 4, 4)
        pos, rot = tool[..., :3, 3], tool[..., :3, :3]
        turning = geometry.rotate(joints[..., :3, :3], axes)  # (..., n, 3) joint axes in the base frame
        moving = geometry.cross(turning, pos[..., None, :] - joints[..., :3, 3])
        return pos, rot, xp.matrix_transpose(xp.concat([moving, turning], axis=-1))
