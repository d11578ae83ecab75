"""Rotations over any array namespace (NumPy, torch), with any leading batch dimensions.

Rotations are matrices (..., 3, 3). Quaternions live at the edges only; both orders are converted here and nowhere else:
MuJoCo writes wxyz, ROS 2 writes xyzw.

Each function is a short chain of array operations that never branches on data. At a batch of one nearly all time would
go into calling those operations, so :func:`exp` and :func:`log` of a single rotation on the CPU are done in plain
floats. On CUDA leave float32 matrix products in full precision (torch's default): in TF32 a rotation would be good to
1e-3 rad only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_torch_namespace

Array = Any

_TINY = (
    1e-30  # added to a squared length before its root, so that a quotient by it is 1 at zero; below float32 rounding
)
_WEIGHTS = (1.0, 1.25, 1.5, 1.75)


def _quadratic_forms() -> np.ndarray:
    """The map (9, 16) for which vec(R) = A vec(q qᵀ), with q the unit quaternion wxyz; then 4 q qᵀ = 1 + Aᵀ vec(R)."""
    forms = np.zeros((3, 3, 4, 4))
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        forms[i, i, range(4), range(4)] = -1.0
        forms[i, i, 0, 0] = forms[i, i, i + 1, i + 1] = 1.0  # R_ii = w² + q_i² - q_j² - q_k²
        forms[i, j, i + 1, j + 1] = forms[i, j, j + 1, i + 1] = 1.0  # R_ij = 2 (q_i q_j - w q_k)
        forms[i, j, 0, k + 1] = forms[i, j, k + 1, 0] = -1.0
        forms[j, i] = forms[i, j]
        forms[j, i, 0, k + 1] = forms[j, i, k + 1, 0] = 1.0  # R_ji = 2 (q_i q_j + w q_k)
    return forms.reshape(9, 16)


@lru_cache(maxsize=64)
def _maps(xp: Any, dtype: Any, device: Any) -> tuple[Array, Array, Array]:
    """Constants for one namespace, type and device: A (9, 16)ᵀ; then the map and offset from vec(R) to 4 q qᵀ.

    The last four of their 20 columns repeat the diagonal with unequal weights, so that two entries that are largest at
    the same time have different lengths.
    """
    forms = _quadratic_forms()
    weights = np.array(_WEIGHTS)
    diagonal = [0, 5, 10, 15]
    linear = np.concatenate([forms, forms[:, diagonal] * weights], axis=1)
    offset = np.concatenate([np.eye(4).reshape(16), weights])
    made = constants((np.ascontiguousarray(forms.T), linear, offset), xp, dtype, device)
    return made[0], made[1], made[2]


def constants(values: Sequence[np.ndarray], xp: Any, dtype: Any, device: Any) -> tuple[Array, ...]:
    """Copy ``values`` into a namespace, type and device, fit to be kept whatever mode torch is in."""
    # A tensor made in torch's inference mode could not be used by autograd later on.
    with xp.inference_mode(False) if is_torch_namespace(xp) else nullcontext():
        return tuple(xp.asarray(value, dtype=dtype, device=device, copy=True) for value in values)


def cross(a: Array, b: Array) -> Array:
    """Cross product of (..., 3) and (..., 3)."""
    xp = array_namespace(a)
    ax, ay, az = a[..., 0], a[..., 1], a[..., 2]
    bx, by, bz = b[..., 0], b[..., 1], b[..., 2]
    return xp.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=-1)


def rotate(rot: Array, v: Array) -> Array:
    """Apply rotations (..., 3, 3) to vectors (..., 3)."""
    return (rot @ v[..., None])[..., 0]


def transpose(rot: Array) -> Array:
    """Transpose of matrices (..., m, n): the inverse of rotations."""
    return rot.swapaxes(-1, -2)


def exp(rotvec: Array) -> Array:
    """Rotation matrix (..., 3, 3) of a rotation vector (..., 3), rad."""
    xp = array_namespace(rotvec)
    if _is_single(rotvec, 1):
        return _of_floats(xp, _exp_floats(*rotvec.reshape(-1).tolist()), rotvec, (*rotvec.shape[:-1], 3, 3))
    half = xp.sqrt(0.25 * xp.sum(rotvec * rotvec, axis=-1, keepdims=True) + _TINY)
    return _from_unit_quat(xp, xp.concat([xp.cos(half), rotvec * (0.5 * xp.sin(half) / half)], axis=-1))


def log(rot: Array) -> Array:
    """Rotation vector (..., 3) of a rotation matrix (..., 3, 3), its angle in [0, pi].

    Goes through the quaternion, so it is exact to rounding at every angle; at exactly pi either sign is right, and the
    one returned is a function of the matrix alone.
    """
    xp = array_namespace(rot)
    if _is_single(rot, 2):
        return _of_floats(xp, _log_floats(*rot.reshape(-1).tolist()), rot, rot.shape[:-1])
    return log_quat_wxyz(_quat_direction(xp, rot))


def log_quat_wxyz(quat: Array) -> Array:
    """Rotation vector (..., 3) of a quaternion (..., 4), wxyz, of any length but zero; its angle is in [0, pi]."""
    xp = array_namespace(quat)
    w, v = quat[..., :1], quat[..., 1:]
    n = xp.sqrt(xp.sum(v * v, axis=-1, keepdims=True) + _TINY)
    return v * (xp.copysign(xp.atan2(n, xp.abs(w)), w) * 2.0 / n)


def to_quat_wxyz(rot: Array) -> Array:
    """Unit quaternion (..., 4) in MuJoCo's order, w >= 0, of a rotation matrix (..., 3, 3)."""
    xp = array_namespace(rot)
    if _is_single(rot, 2):
        return _of_floats(xp, _unit_quat_floats(*rot.reshape(-1).tolist()), rot, (*rot.shape[:-2], 4))
    quat = _quat_direction(xp, rot)
    length = xp.sqrt(xp.sum(quat * quat, axis=-1, keepdims=True))
    return quat / xp.copysign(length, quat[..., :1])


def from_quat_wxyz(quat: Array) -> Array:
    """Rotation matrix (..., 3, 3) of a quaternion (..., 4) in MuJoCo's order; it is normalised first."""
    xp = array_namespace(quat)
    return _from_unit_quat(xp, quat / xp.sqrt(xp.sum(quat * quat, axis=-1, keepdims=True)))


def to_quat_xyzw(rot: Array) -> Array:
    """Unit quaternion (..., 4) in ROS's order, w >= 0, of a rotation matrix (..., 3, 3)."""
    xp = array_namespace(rot)
    quat = to_quat_wxyz(rot)
    return xp.concat([quat[..., 1:], quat[..., :1]], axis=-1)


def from_quat_xyzw(quat: Array) -> Array:
    """Rotation matrix (..., 3, 3) of a quaternion (..., 4) in ROS's order; it is normalised first."""
    xp = array_namespace(quat)
    return from_quat_wxyz(xp.concat([quat[..., 3:], quat[..., :3]], axis=-1))


def distance(a: Array, b: Array) -> Array:
    """Geodesic distance (...,) in rad between rotations (..., 3, 3)."""
    xp = array_namespace(a)
    rotvec = log(transpose(a) @ b)
    return xp.sqrt(xp.sum(rotvec * rotvec, axis=-1))


def yaw(angle: Array) -> Array:
    """Rotation (..., 3, 3) by ``angle`` (...,) rad about z."""
    xp = array_namespace(angle)
    zero = xp.zeros_like(angle)
    return exp(xp.stack([zero, zero, angle], axis=-1))


def _from_unit_quat(xp: Any, quat: Array) -> Array:
    """Rotation matrix (..., 3, 3) of a unit quaternion (..., 4), wxyz."""
    batch = quat.shape[:-1]
    products = xp.reshape(quat[..., :, None] * quat[..., None, :], (*batch, 16))
    return xp.reshape(products @ _maps(xp, quat.dtype, getattr(quat, "device", None))[0], (*batch, 3, 3))


def _quat_direction(xp: Any, rot: Array) -> Array:
    """Quaternion (..., 4), wxyz, of a rotation matrix, of either sign and of a length between 1.6 and 4.

    Every row of 4 q qᵀ is a multiple of q; the one with (about) the largest divisor is taken (Shepperd, 1978).
    """
    batch = rot.shape[:-2]
    _, linear, offset = _maps(xp, rot.dtype, getattr(rot, "device", None))
    entries = xp.reshape(rot, (*batch, 9)) @ linear + offset  # (..., 20)
    diagonal = entries[..., 16:]
    best = xp.astype(diagonal == xp.max(diagonal, axis=-1, keepdims=True), rot.dtype)
    return (best[..., None, :] @ xp.reshape(entries[..., :16], (*batch, 4, 4)))[..., 0, :]


def _is_single(x: Array, event_dims: int) -> bool:
    """Whether ``x`` is one element in CPU memory, outside autograd, however many batch dimensions of size 1 it has."""
    batch = x.shape[:-event_dims]
    return batch.count(1) == len(batch) and getattr(x, "is_cpu", True) and not getattr(x, "requires_grad", False)


def _of_floats(xp: Any, values: tuple[float, ...], like: Array, shape: tuple[int, ...]) -> Array:
    return xp.asarray(values, dtype=like.dtype).reshape(shape)


def _exp_floats(x: float, y: float, z: float) -> tuple[float, ...]:
    half = math.sqrt(0.25 * (x * x + y * y + z * z) + _TINY)
    if not math.isfinite(half):
        return (math.nan,) * 9
    sinc = 0.5 * math.sin(half) / half
    w, x, y, z = math.cos(half), x * sinc, y * sinc, z * sinc
    ww, xx, yy, zz = w * w, x * x, y * y, z * z
    return (
        ww + xx - yy - zz, 2.0 * (x * y - w * z), 2.0 * (x * z + w * y),
        2.0 * (x * y + w * z), ww - xx + yy - zz, 2.0 * (y * z - w * x),
        2.0 * (x * z - w * y), 2.0 * (y * z + w * x), ww - xx - yy + zz,
    )  # fmt: skip


def _quat_floats(
    r00: float, r01: float, r02: float, r10: float, r11: float, r12: float, r20: float, r21: float, r22: float
) -> tuple[float, float, float, float]:
    diagonal = (1.0 + r00 + r11 + r22, 1.0 + r00 - r11 - r22, 1.0 - r00 + r11 - r22, 1.0 - r00 - r11 + r22)
    weighted = [d * weight for d, weight in zip(diagonal, _WEIGHTS, strict=True)]
    best = weighted.index(max(weighted))
    if best == 0:
        return diagonal[0], r21 - r12, r02 - r20, r10 - r01
    if best == 1:
        return r21 - r12, diagonal[1], r10 + r01, r02 + r20
    if best == 2:
        return r02 - r20, r10 + r01, diagonal[2], r21 + r12
    return r10 - r01, r02 + r20, r21 + r12, diagonal[3]


def _unit_quat_floats(*entries: float) -> tuple[float, ...]:
    w, x, y, z = _quat_floats(*entries)
    scale = math.copysign(1.0, w) / math.sqrt(w * w + x * x + y * y + z * z)
    return w * scale, x * scale, y * scale, z * scale


def _log_floats(*entries: float) -> tuple[float, ...]:
    w, x, y, z = _quat_floats(*entries)
    n = math.sqrt(x * x + y * y + z * z + _TINY)
    scale = math.copysign(2.0 * math.atan2(n, abs(w)), w) / n
    return x * scale, y * scale, z * scale
