"""How hard the Cartesian impedance can push its surroundings, whatever it is told to do.

Tests hold it to these figures.

1. **The law** pushes with at most ``max_force`` and ``max_torque`` on each base axis at every instant: spring and
   damper are clamped together. The limits on torque and its rate only scale torques, so they never add to it.
2. **At rest** the surroundings push back with at most :func:`static_bound` on each base axis. With N t the null-space
   torque, Jᵀ (f + contact) + N t = 0 and J N = 0, so contact = -f. This is the net force; a tool that is wedged in can
   be squeezed more.
3. **Sliding** along a hard surface it can be pressed harder, up to :func:`contact_bound`: the inertia of an arm couples
   the axes, so a push along the surface, or a turn, also drives it into the surface.
4. **Striking** a surface, it needs time to lose its momentum: :func:`impact_bound`. The spring alone drives the tool
   along an axis no faster than :func:`terminal_speed`.

All of it away from singularities, and with the arm's weight known: what the model is off adds to the force. Friction at
the surface and in the joints is not counted in 3 and 4.
"""

from __future__ import annotations

import math

import numpy as np

from robo_rl.contracts.robot import Impedance


def static_bound(gains: Impedance) -> tuple[float, float]:
    """Largest force, N, and torque, N·m, on each base axis between the surroundings and a tool at rest."""
    return (
        min(gains.stiffness * gains.clip, gains.max_force),
        min(gains.rotational_stiffness * gains.rotational_clip, gains.max_torque),
    )


def terminal_speed(gains: Impedance) -> tuple[float, float]:
    """Speed, m/s, and angular speed, rad/s, at which the damper takes all that the fully stretched spring gives."""
    force, torque = static_bound(gains)
    return force / gains.damping, torque / gains.rotational_damping


def effective_mass(jacobian: np.ndarray, mass_matrix: np.ndarray, normal: np.ndarray) -> float:
    """Mass, kg, that the arm opposes to a blow along ``normal`` at the tool: 1 / (uᵀ J M⁻¹ Jᵀ u), Khatib 1995.

    Args:
        jacobian: (6, n) of the tool centre point.
        mass_matrix: (n, n) kg·m².
        normal: (3,) unit vector, base frame.
    """
    return 1.0 / float(_mobility(jacobian, mass_matrix, normal)[:3] @ normal)


def contact_bound(gains: Impedance, jacobian: np.ndarray, mass_matrix: np.ndarray, normal: np.ndarray) -> float:
    """Largest force, N, between a tool that moves along a hard, frictionless surface and that surface.

    The acceleration into the surface is zero, so the contact makes up for what every part of the wrench f would add:
    contact = -(uᵀ J M⁻¹ Jᵀ f) / (uᵀ J M⁻¹ Jᵀ u), largest with each part of f at its limit.

    Args:
        gains: of the law.
        jacobian: (6, n) of the tool centre point.
        mass_matrix: (n, n) kg·m².
        normal: (3,) unit vector, base frame.
    """
    mobility = _mobility(jacobian, mass_matrix, normal)
    limits = np.array([gains.max_force] * 3 + [gains.max_torque] * 3)
    return float(np.abs(mobility) @ limits / (mobility[:3] @ normal))


def impact_bound(push: float, stiffness: float, mass: float, speed: float) -> float:
    """Largest force, N, when a mass strikes an elastic surface and is pushed on: from the energy, F + √(F² + k m v²).

    Args:
        push: F, such as :func:`contact_bound`, N.
        stiffness: k, of the surface, N/m.
        mass: m, see :func:`effective_mass`, kg.
        speed: v, towards the surface, m/s.
    """
    return push + math.sqrt(push**2 + stiffness * mass * speed**2)


def _mobility(jacobian: np.ndarray, mass_matrix: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Acceleration along ``normal`` per unit of each part of a wrench at the tool, (6,)."""
    return jacobian @ np.linalg.solve(mass_matrix, jacobian[:3].T @ normal)
