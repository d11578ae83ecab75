"""Rotations over any array namespace (NumPy, torch), with any leading batch dimensions.

Rotations are matrices (..., 3, 3). Quaternions live at the edges only; both orders are converted here and nowhere else:
MuJoCo writes wxyz, ROS 2 writes xyzw.
"""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace

Array = Any


def cross(a: Array, b: Array) -> Array:
    """Cross product of (..., 3) and (..., 3)."""
    xp = array_namespace(a, b)
    ax, ay, az = a[..., 0], a[..., 1], a[..., 2]
    bx, by, bz = b[..., 0], b[..., 1], b[..., 2]
    return xp.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=-1)


def rotate(rot: Array, v: Array) -> Array:
    """Apply rotations (..., 3, 3) to vectors (..., 3)."""
    return (rot @ v[..., None])[..., 0]


def transpose(rot: Array) -> Array:
    """Inverse of rotations (..., 3, 3)."""
    xp = array_namespace(rot)
    return xp.matrix_transpose(rot)


def exp(rotvec: Array) -> Array:
    """Rotation matrix (..., 3, 3) of a rotation vector (..., 3), rad (Rodrigues' formula)."""
    xp = array_namespace(rotvec)
    sq = xp.sum(rotvec * rotvec, axis=-1)[..., None, None]
    tiny = sq < 1e-8
    safe = xp.where(tiny, xp.ones_like(sq), sq)
    angle = xp.sqrt(safe)
    a = xp.where(tiny, 1.0 - sq / 6.0, xp.sin(angle) / angle)
    b = xp.where(tiny, 0.5 - sq / 24.0, (1.0 - xp.cos(angle)) / safe)
    x, y, z = rotvec[..., 0], rotvec[..., 1], rotvec[..., 2]
    zero = xp.zeros_like(x)
    hat = xp.reshape(xp.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1), (*rotvec.shape[:-1], 3, 3))
    eye = xp.eye(3, dtype=rotvec.dtype, device=getattr(rotvec, "device", None))
    return eye + a * hat + b * (hat @ hat)


def log(rot: Array) -> Array:
    """Rotation vector (..., 3) of a rotation matrix (..., 3, 3), its angle in [0, pi].

    Goes through the quaternion, so it is exact to rounding at every angle; at exactly pi either sign is right, and the
    one returned is a function of the matrix alone.
    """
    return log_quat_wxyz(to_quat_wxyz(rot))


def log_quat_wxyz(quat: Array) -> Array:
    """Rotation vector (..., 3) of a unit quaternion (..., 4), wxyz."""
    xp = array_namespace(quat)
    w, v = quat[..., :1], quat[..., 1:]
    v = xp.where(w < 0, -v, v)
    w = xp.abs(w)
    n = xp.sqrt(xp.sum(v * v, axis=-1, keepdims=True))
    tiny = n < 1e-6
    safe = xp.where(tiny, xp.ones_like(n), n)
    return v * xp.where(tiny, 2.0 / xp.where(tiny, w, xp.ones_like(w)), 2.0 * xp.atan2(safe, w) / safe)


def to_quat_wxyz(rot: Array) -> Array:
    """Unit quaternion (..., 4) in MuJoCo's order, w >= 0, of a rotation matrix (..., 3, 3).

    Of the four equivalent formulas, the one with the largest divisor is taken for each element (Shepperd, 1978).
    """
    xp = array_namespace(rot)
    r00, r01, r02 = rot[..., 0, 0], rot[..., 0, 1], rot[..., 0, 2]
    r10, r11, r12 = rot[..., 1, 0], rot[..., 1, 1], rot[..., 1, 2]
    r20, r21, r22 = rot[..., 2, 0], rot[..., 2, 1], rot[..., 2, 2]
    one = 1.0
    squares = xp.stack([one + r00 + r11 + r22, one + r00 - r11 - r22, one - r00 + r11 - r22, one - r00 - r11 + r22], axis=-1)
    candidates = xp.stack(
        [
            xp.stack([squares[..., 0], r21 - r12, r02 - r20, r10 - r01], axis=-1),
            xp.stack([r21 - r12, squares[..., 1], r10 + r01, r02 + r20], axis=-1),
            xp.stack([r02 - r20, r10 + r01, squares[..., 2], r21 + r12], axis=-1),
            xp.stack([r10 - r01, r02 + r20, r21 + r12, squares[..., 3]], axis=-1),
        ],
        axis=-2,
    )
    best = xp.argmax(squares, axis=-1)[..., None]
    index = xp.arange(4, device=getattr(rot, "device", None))
    chosen = xp.sum(xp.where((index == best)[..., None], candidates, xp.zeros_like(candidates)), axis=-2)
    chosen = chosen / xp.sqrt(xp.sum(chosen * chosen, axis=-1, keepdims=True))
    return xp.where(chosen[..., :1] < 0, -chosen, chosen)


def from_quat_wxyz(quat: Array) -> Array:
    """Rotation matrix (..., 3, 3) of a quaternion (..., 4) in MuJoCo's order; it is normalised first."""
    xp = array_namespace(quat)
    quat = quat / xp.sqrt(xp.sum(quat * quat, axis=-1, keepdims=True))
    w, x, y, z = quat[..., 0], quat[..., 1], quat[..., 2], quat[..., 3]
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return xp.reshape(xp.stack(rows, axis=-1), (*quat.shape[:-1], 3, 3))


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
    xp = array_namespace(a, b)
    rotvec = log(transpose(a) @ b)
    return xp.sqrt(xp.sum(rotvec * rotvec, axis=-1))


def yaw(angle: Array) -> Array:
    """Rotation (..., 3, 3) by ``angle`` (...,) rad about z."""
    xp = array_namespace(angle)
    zero = xp.zeros_like(angle)
    return exp(xp.stack([zero, zero, angle], axis=-1))
