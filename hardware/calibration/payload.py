"""Mass and centre of mass of what an arm carries, from readings while it stands still."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardware.calibration.poses import CalibrationError, checked, same_length

GRAVITY = np.array([0.0, 0.0, -9.81])
"""In the base frame of an arm on a level table, m/s²."""

LEAST_MASS = 0.02
"""Below it, kg, the centre of mass cannot be told."""

REMEDY = "stand still in 6 to 12 postures with the hand tilted by 45 degrees or more to different sides"


@dataclass(frozen=True)
class Payload:
    """What was identified.

    Attributes:
        mass: kg.
        com: (3,) centre of mass in the frame of the sensor or of the Jacobian, m; zero for masses below
            :data:`LEAST_MASS`.
        bias: offsets that were removed: (6,) force and torque of a wrench sensor, or (dof,) joint torques.
        residual: root mean square of what stays unexplained: ``force_N`` and ``torque_Nm``, or ``joint_torque_Nm``.
    """

    mass: float
    com: np.ndarray
    bias: np.ndarray
    residual: dict[str, float]


def payload_from_wrenches(
    rot_base_sensor: np.ndarray, force: np.ndarray, torque: np.ndarray, gravity: np.ndarray = GRAVITY
) -> Payload:
    """Identify a payload from a wrench sensor with constant offsets.

    With g' = Rᵀ g in the sensor's frame, linear in (m, m c, f_0, τ_0)::

        f = m g' + f_0,     τ = (m c) x g' + τ_0

    Args:
        rot_base_sensor: (n, 3, 3) orientation of the sensor.
        force: (n, 3) that the payload exerts on the sensor, in its frame, N.
        torque: (n, 3) about the sensor's origin, N·m.
        gravity: (3,) in the base frame, m/s².

    Raises:
        CalibrationError: if the postures do not tell weight from offset, or the weight points upwards.
    """
    rot = checked("rot_base_sensor", rot_base_sensor, (3, 3), 4, REMEDY)
    force = checked("force", force, (3,), 4, REMEDY)
    torque = checked("torque", torque, (3,), 4, REMEDY)
    same_length(rot_base_sensor=rot, force=force, torque=torque)
    down = np.einsum("nji,j->ni", rot, gravity)
    _check_directions(down)
    n = len(down)
    eye = np.tile(np.eye(3), (n, 1))
    by_mass = np.concatenate([down.reshape(-1, 1), eye], axis=1)
    mass_and_bias, force_off = _least_squares(by_mass, force.reshape(-1))
    by_moment = np.concatenate([-_hat(down).reshape(-1, 3), eye], axis=1)  # c x g = -[g] c
    moment_and_bias, torque_off = _least_squares(by_moment, torque.reshape(-1))
    residual = {"force_N": force_off * np.sqrt(3), "torque_Nm": torque_off * np.sqrt(3)}  # per vector, not per entry
    bias = np.concatenate([mass_and_bias[1:], moment_and_bias[3:]])
    return _payload(float(mass_and_bias[0]), moment_and_bias[:3], bias, residual)


def payload_torque(
    jacobian: np.ndarray, rot_base_tool: np.ndarray, mass: float, com: np.ndarray, gravity: np.ndarray = GRAVITY
) -> np.ndarray:
    """Return the torques (n, dof) N·m that a payload exerts at the joints: Jᵀ [m g;  R (m c) x g].

    Args:
        jacobian: (n, 6, dof), as of :func:`payload_from_joint_torques`.
        rot_base_tool: (n, 3, 3) orientation of the tool.
        mass: kg.
        com: (3,) in the tool's frame, m.
        gravity: (3,) in the base frame, m/s².
    """
    moment = np.cross(mass * (rot_base_tool @ com), gravity)
    wrench = np.concatenate([np.broadcast_to(mass * gravity, moment.shape), moment], axis=1)
    return np.asarray(np.einsum("nij,ni->nj", jacobian, wrench))


def payload_from_joint_torques(
    jacobian: np.ndarray, rot_base_tool: np.ndarray, joint_torque: np.ndarray, gravity: np.ndarray = GRAVITY
) -> Payload:
    """Identify a payload from joint torques with constant offsets.

    Linear in (m, m c, τ_0), with c from the point of the Jacobian::

        τ = Jᵀ [m g;  R (m c) x g] + τ_0

    Args:
        jacobian: (n, 6, dof) of the tool: linear over angular, base frame
            (:meth:`controllers.kinematics.Chain.jacobian`).
        rot_base_tool: (n, 3, 3) orientation of the tool.
        joint_torque: (n, dof) that the payload exerts at the joints, the arm's own weight removed, N·m
            (``RobotState.joint_torque`` while nothing touches the arm).
        gravity: (3,) in the base frame, m/s².

    Raises:
        CalibrationError: if the postures do not tell weight from offset, or the weight points upwards.
    """
    dof = np.shape(jacobian)[-1] if np.ndim(jacobian) == 3 else 0
    jacobian = checked("jacobian", jacobian, (6, dof), 4, REMEDY)
    rot = checked("rot_base_tool", rot_base_tool, (3, 3), 4, REMEDY)
    joint_torque = checked("joint_torque", joint_torque, (dof,), 4, REMEDY)
    same_length(jacobian=jacobian, rot_base_tool=rot, joint_torque=joint_torque)
    _check_directions(np.einsum("nji,j->ni", rot, gravity))
    n = len(rot)
    by_mass = np.einsum("nij,i->nj", jacobian[:, :3], gravity)[..., None]
    by_moment = np.einsum("nij,nik->njk", jacobian[:, 3:], -_hat(gravity[None]) @ rot)
    bias = np.tile(np.eye(dof), (n, 1, 1))
    model = np.concatenate([by_mass, by_moment, bias], axis=2).reshape(n * dof, 4 + dof)
    solved, off = _least_squares(model, joint_torque.reshape(-1))
    return _payload(float(solved[0]), solved[1:4], solved[4:], {"joint_torque_Nm": off * np.sqrt(dof)})


def _payload(mass: float, moment: np.ndarray, bias: np.ndarray, residual: dict[str, float]) -> Payload:
    if mass < -LEAST_MASS:
        raise CalibrationError(
            f"the mass comes out as {mass:.2f} kg: weight points upwards; reverse the sign of the readings (wanted is "
            "what the payload exerts on the arm), or of gravity for an arm that hangs"
        )
    com = moment / mass if mass >= LEAST_MASS else np.zeros(3)
    return Payload(max(mass, 0.0), com, bias, {key: float(value) for key, value in residual.items()})


def _check_directions(down: np.ndarray) -> None:
    """Gravity has to be seen from directions that span the space around their mean."""
    aside = down / np.linalg.norm(down, axis=1, keepdims=True)
    values = np.sqrt(np.linalg.eigvalsh(np.cov(aside.T, bias=True)))
    if values[1] < 0.1:
        raise CalibrationError(
            "the hand was tilted in one plane only, or hardly: weight and the sensor's offset cannot be told apart; "
            + REMEDY
        )


def _least_squares(model: np.ndarray, measured: np.ndarray) -> tuple[np.ndarray, float]:
    """Solution, and root mean square of what is left per entry. Columns are scaled, so that rank is one of directions.

    Raises:
        CalibrationError: if it is not unique.
    """
    size = np.maximum(np.linalg.norm(model, axis=0), 1e-12)
    solved, _, rank, _ = np.linalg.lstsq(model / size, measured, rcond=1e-6)
    if rank < model.shape[1]:
        raise CalibrationError(f"these postures do not determine the payload; {REMEDY}")
    return solved / size, float(np.sqrt(np.mean((model @ (solved / size) - measured) ** 2)))


def _hat(v: np.ndarray) -> np.ndarray:
    """Cross product matrices (n, 3, 3) of vectors (n, 3)."""
    out = np.zeros((len(v), 3, 3))
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        out[:, i, j], out[:, j, i] = -v[:, k], v[:, k]
    return out
