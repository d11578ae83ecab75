"""Joint impedance with reference limiting: a spring and a damper at every joint.

The same shape as :mod:`controllers.impedance`, one axis a joint: ``tau = K clip(target - q) - D dq + bias``. At rest,
joint j pushes with at most ``stiffness[j] * clip``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from controllers.limits import fit_torque, limit_rate
from controllers.state import ArmState, require_finite
from robo_rl import geometry
from robo_rl.contracts.robot import RobotSpec
from robo_rl.errors import UserError

Array = Any


@dataclass(frozen=True)
class JointGains:
    """Gains and limits of the joint springs.

    Attributes:
        stiffness: of each joint, N·m/rad.
        damping: of each joint, N·m·s/rad.
        clip: largest difference between target and measured position that stretches a spring, rad.
        max_torque_rate: N·m per millisecond.
    """

    stiffness: tuple[float, ...]
    damping: tuple[float, ...]
    clip: float = 0.1
    max_torque_rate: float = 1.0


def joint_impedance_torque(
    stiffness: Array,
    damping: Array,
    clip: float,
    state: ArmState,
    target: Array,
    max_torque: Array,
    previous: Array,
    max_step: float,
) -> Array:
    """Joint torques (..., n), N·m, for the next control cycle; also the ``previous`` of the next call.

    Args:
        stiffness: (n,) N·m/rad.
        damping: (n,) N·m·s/rad.
        clip: largest difference that stretches a spring, rad.
        state: of the arm; the tool's pose and Jacobian are not used.
        target: (..., n) joint positions, rad.
        max_torque: (n,) N·m.
        previous: (..., n) torques of the last cycle, N·m.
        max_step: largest change of a joint's torque in one cycle, N·m.
    """
    effort = stiffness * (target - state.q).clip(-clip, clip) - damping * state.dq
    return limit_rate(fit_torque(effort, state.bias, max_torque), previous, max_step)


class JointImpedance:
    """:func:`joint_impedance_torque` of an arm, with the torque of the last cycle remembered; a ``Controller``.

    Example:
        >>> controller = JointImpedance(PANDA, JointGains((400.0,) * 7, (40.0,) * 7), dt=0.001)     # doctest: +SKIP
        >>> controller.reset(state)                                                                 # doctest: +SKIP
        >>> torque = controller.torque(state, target)                                               # doctest: +SKIP

    Raises:
        UserError: if the gains are not one a joint, positive or 0.
    """

    def __init__(self, spec: RobotSpec, gains: JointGains, dt: float) -> None:
        for name in ("stiffness", "damping"):
            values = getattr(gains, name)
            if len(values) != spec.dof or not all(value >= 0.0 for value in values):
                raise UserError(f"{name} must be {spec.dof} numbers of at least 0 for {spec.name}, not {values}")
        self._gains = gains
        self._max_step = gains.max_torque_rate * dt * 1e3
        self._values = tuple(
            np.array(v, dtype=float) for v in (gains.stiffness, gains.damping, [link.max_torque for link in spec.links])
        )
        self._arrays: tuple[Array, ...] = ()
        self._previous: Array = None

    def reset(self, state: ArmState) -> None:
        """Begin anew from ``state``, with the torque that holds the arm's own weight."""
        require_finite(q=state.q, dq=state.dq, bias=state.bias)
        xp = array_namespace(state.q)
        self._arrays = geometry.constants(self._values, xp, state.q.dtype, getattr(state.q, "device", None))
        self._previous = fit_torque(xp.zeros_like(state.bias), state.bias, self._arrays[2])

    def torque(self, state: ArmState, target: Array) -> Array:
        """Return the joint torques (..., n), N·m, that pull towards ``target`` (..., n), rad.

        Raises:
            NotFiniteError: if the state or the target is not finite; nothing has changed then.
            RuntimeError: before the first :meth:`reset`.
        """
        if self._previous is None:
            raise RuntimeError("call reset(state) before the first torque(state, target)")
        require_finite(q=state.q, dq=state.dq, bias=state.bias, target=target)
        stiffness, damping, max_torque = self._arrays
        torque = joint_impedance_torque(
            stiffness, damping, self._gains.clip, state, target, max_torque, self._previous, self._max_step
        )
        require_finite(torque=torque)  # numbers so large that they overflow end here
        self._previous = torque
        return torque
