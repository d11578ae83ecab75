"""Cartesian impedance with reference limiting, for position and orientation of the tool.

The tool is held by a spring and a damper whose error is clipped on every axis before it stretches the spring (Luo et
al., "SERL", ICRA 2024, after Hogan, "Impedance control", 1985)::

    e = clip(target (-) tool)                               position; rotation vector, base axes
    f = clamp(K e - D J dq)                                 wrench that the tool is pushed with
    tau = Jᵀ f + N (k (home - q) - d dq) + bias             bias: gravity, Coriolis
    N = 1 - Jᵀ (J Jᵀ)⁻¹ J

**Null space.** N is the pseudo-inverse projector, not the dynamically consistent one: both leave a tool at rest alone,
and this one needs nothing but kinematics, so a wrong mass matrix cannot make it leak. While the arm moves, the posture
spring may disturb the tool a little; it is weak. Arms of up to six joints have no null space and get no posture torque.

How hard that can push its surroundings is stated in :mod:`controllers.force_bounds`.

The limits on torque and its rate scale torques as a whole, so that they only ever apply less of f, or what f was some
milliseconds ago, never a wrench in another direction.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace

from controllers.limits import fit_torque, limit_rate
from controllers.reference import pose_error
from controllers.state import ArmState, require_finite
from robo_rl import geometry
from robo_rl.contracts.robot import Impedance, RobotSpec

if TYPE_CHECKING:
    from robo_rl.contracts.world import Command, Pose

Array = Any

# Added to the diagonal of J Jᵀ: lets the projector through singularities, at 0.3 % of leakage where the Panda works.
_SQUARED_DAMPING = 1e-4


def tool_wrench(gains: Impedance, state: ArmState, target_pos: Array, target_rot: Array) -> Array:
    """Wrench (..., 6) that pulls the tool to its target, force over torque, base frame, N and N·m."""
    xp = array_namespace(state.q)
    translation, rotation = pose_error(target_pos, target_rot, state.tcp_pos, state.tcp_rot)
    twist = geometry.rotate(state.jacobian, state.dq)
    clip, rotational_clip = gains.clip, gains.rotational_clip
    force = gains.stiffness * translation.clip(-clip, clip) - gains.damping * twist[..., :3]
    torque = (
        gains.rotational_stiffness * rotation.clip(-rotational_clip, rotational_clip)
        - gains.rotational_damping * twist[..., 3:]
    )
    limits = gains.max_force, gains.max_torque
    return xp.concat([force.clip(-limits[0], limits[0]), torque.clip(-limits[1], limits[1])], axis=-1)


def project_to_nullspace(jacobian: Array, torque: Array) -> Array:
    """Return what of ``torque`` (..., n) leaves a tool at rest alone: ``(1 - Jᵀ (J Jᵀ)⁻¹ J) torque``."""
    xp = array_namespace(jacobian)
    transposed = geometry.transpose(jacobian)
    damped = jacobian @ transposed + _damping(xp, jacobian.dtype, getattr(jacobian, "device", None))
    column = torque[..., None]
    return (column - transposed @ xp.linalg.solve(damped, jacobian @ column))[..., 0]


def impedance_torque(
    gains: Impedance,
    state: ArmState,
    target_pos: Array,
    target_rot: Array,
    home: Array,
    max_torque: Array,
    previous: Array,
    dt: float,
) -> Array:
    """Joint torques (..., n), N·m, for the next control cycle; also the ``previous`` of the next call.

    Args:
        gains: stiffness, damping and limits.
        state: of the arm.
        target_pos: (..., 3) m.
        target_rot: (..., 3, 3).
        home: (n,) or (..., n) posture that the null space is pulled to, rad.
        max_torque: (n,) N·m.
        previous: (..., n) torques of the last cycle, N·m.
        dt: length of a cycle, s.
    """
    wrench = tool_wrench(gains, state, target_pos, target_rot)
    effort = geometry.rotate(geometry.transpose(state.jacobian), wrench)
    if state.q.shape[-1] > 6:
        posture = gains.nullspace_stiffness * (home - state.q) - gains.nullspace_damping * state.dq
        effort = effort + project_to_nullspace(state.jacobian, posture)
    wanted = fit_torque(effort, state.bias, max_torque)
    return limit_rate(wanted, previous, gains.max_torque_rate * dt * 1e3)


class CartesianImpedance:
    """:func:`impedance_torque` of an arm, with the torque of the last cycle remembered; a ``Controller``.

    Example:
        >>> controller = CartesianImpedance(PANDA, dt=0.001)                    # doctest: +SKIP
        >>> controller.reset(state)                                             # doctest: +SKIP
        >>> torque = controller.torque(state, Pose(target_pos, target_rot))     # doctest: +SKIP
    """

    def __init__(self, spec: RobotSpec, dt: float) -> None:
        self._gains = spec.impedance
        self._dt = dt
        self._values = np.array(spec.home, dtype=float), np.array([link.max_torque for link in spec.links], dtype=float)
        self._home: Array = None
        self._max_torque: Array = None
        self._previous: Array = None

    def reset(self, state: ArmState) -> None:
        """Begin anew from ``state``, with the torque that holds the arm's own weight."""
        _require_finite(state)
        xp = array_namespace(state.q)
        self._home, self._max_torque = geometry.constants(
            self._values, xp, state.q.dtype, getattr(state.q, "device", None)
        )
        self._previous = fit_torque(xp.zeros_like(state.bias), state.bias, self._max_torque)

    def torque(self, state: ArmState, target: Pose | Command) -> Array:
        """Return the joint torques (..., n), N·m, for the next control cycle.

        Raises:
            NotFiniteError: if the state or the target is not finite; nothing has changed then.
            RuntimeError: before the first :meth:`reset`.
        """
        if self._previous is None:
            raise RuntimeError("call reset(state) before the first torque(state, target)")
        _require_finite(state, target_pos=target.pos, target_rot=target.rot)
        torque = impedance_torque(
            self._gains, state, target.pos, target.rot, self._home, self._max_torque, self._previous, self._dt
        )
        require_finite(torque=torque)  # finite numbers that are no rotation, or overflow, end here
        self._previous = torque
        return torque


@lru_cache(maxsize=64)
def _damping(xp: Any, dtype: Any, device: Any) -> Array:
    return geometry.constants((_SQUARED_DAMPING * np.eye(6),), xp, dtype, device)[0]


def _require_finite(state: ArmState, **more: Array) -> None:
    require_finite(
        q=state.q,
        dq=state.dq,
        jacobian=state.jacobian,
        tcp_pos=state.tcp_pos,
        tcp_rot=state.tcp_rot,
        bias=state.bias,
        **more,
    )
