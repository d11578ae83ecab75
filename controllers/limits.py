"""Limits, as pure functions over arrays with leading batch dimensions.

Torque vectors are scaled as a whole, never clipped joint by joint: a clipped vector points elsewhere, and at the tool
that is a force in a direction nobody asked for. Scaled ones keep the bound on the tool's wrench, see
:mod:`controllers.impedance`.
"""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace

Array = Any


def clamp_to_box(pos: Array, low: Array, high: Array) -> Array:
    """Bring positions (..., 3) into the box between the corners ``low`` and ``high`` (3,)."""
    xp = array_namespace(pos, low, high)
    return xp.minimum(xp.maximum(pos, low), high)


def fit_torque(effort: Array, load: Array, max_torque: Array) -> Array:
    """Return ``load + s effort``, with the largest s of at most 1 that keeps every joint within its limit.

    Args:
        effort: (..., n) torque that may be scaled down, N·m.
        load: (..., n) torque that has to be there, such as the arm's weight; clipped if it alone exceeds a limit.
        max_torque: (n,), above 0.
    """
    xp = array_namespace(effort)
    load = load.clip(-max_torque, max_torque)
    needed = xp.abs(effort)
    room = max_torque - xp.sign(effort) * load
    # needed / room is 0/0 where a joint is at its limit and nothing is asked of it; that joint does not limit.
    share = xp.max(needed / (room + 1e-9), axis=-1, keepdims=True)
    return load + effort / share.clip(1.0)


def limit_rate(torque: Array, previous: Array, max_step: float) -> Array:
    """Go from ``previous`` (..., n) straight to ``torque``, no joint's changing by more than ``max_step``, N·m."""
    xp = array_namespace(torque)
    change = torque - previous
    share = xp.max(xp.abs(change), axis=-1, keepdims=True) / max_step
    return previous + change / share.clip(1.0)
