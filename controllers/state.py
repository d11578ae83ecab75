"""What a control law is given, and what it looks like from outside."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from array_api_compat import array_namespace

from robo_rl.errors import UserError

Array = Any
Target = TypeVar("Target", contravariant=True)


class NotFiniteError(UserError, ValueError):
    """A state or a target holds NaN or infinity; the law refused it and kept its own state."""


@dataclass(frozen=True, slots=True)
class ArmState:
    """An arm at one instant, any leading batch dimensions, all in one array namespace.

    Attributes:
        q: (..., n) joint positions, rad.
        dq: (..., n) joint velocities, rad/s.
        jacobian: (..., 6, n) of the tool centre point, linear over angular, base frame.
        tcp_pos: (..., 3) tool centre point, base frame, m.
        tcp_rot: (..., 3, 3) orientation of the tool.
        bias: (..., n) torque that gravity, Coriolis and centrifugal forces ask for, N·m (MuJoCo: ``qfrc_bias``). Zero
            for what the arm itself compensates, as Franka's does gravity.

    Example:
        >>> mujoco.mj_jacSite(model, data, jacobian[:3], jacobian[3:], site)      # doctest: +SKIP
        >>> state = ArmState(                                                     # doctest: +SKIP
        ...     data.qpos[:7], data.qvel[:7], jacobian[:, :7], data.site_xpos[site],
        ...     data.site_xmat[site].reshape(3, 3), data.qfrc_bias[:7],
        ... )
    """

    q: Array
    dq: Array
    jacobian: Array
    tcp_pos: Array
    tcp_rot: Array
    bias: Array


class Controller(Protocol[Target]):
    """A control law with what it remembers from one call to the next.

    Example:
        >>> controller.reset(state)                       # doctest: +SKIP
        >>> while running:                                # doctest: +SKIP
        ...     torque = controller.torque(state, target)
    """

    def reset(self, state: ArmState) -> None:
        """Begin anew from ``state``: nothing remembered, and the torque that holds the arm's own weight."""
        ...

    def torque(self, state: ArmState, target: Target) -> Array:
        """Return the joint torques (..., n), N·m, for the next control cycle.

        Raises:
            NotFiniteError: if the state or the target is not finite; nothing has changed then.
        """
        ...


def require_finite(**arrays: Array) -> None:
    """Refuse arrays that hold NaN or infinity.

    Raises:
        NotFiniteError: naming the first one.
    """
    # A sum is finite only if every term is; one number crosses from the device.
    flat = [array.reshape(-1) for array in arrays.values()]
    if math.isfinite(float(array_namespace(flat[0]).concat(flat).sum())):
        return
    for name, array in arrays.items():
        if not math.isfinite(float(array.sum())):
            raise NotFiniteError(
                f"{name} is not finite; send finite numbers only, and check the sensor or policy they come from"
            )
