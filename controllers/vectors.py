"""Vectors and rotations of space in plain floats: what a control thread computes with between two cycles.

A NumPy call costs as much as twenty operations on floats, whatever the size of its arrays, and a safety filter is a
hundred of them on three numbers each. A vector is a tuple (x, y, z), a rotation the nine entries of its matrix, row by
row. Tests hold them to :mod:`robo_rl.geometry`.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np

from robo_rl import geometry

Vector: TypeAlias = tuple[float, float, float]
Rotation: TypeAlias = tuple[float, float, float, float, float, float, float, float, float]

ZERO: Vector = (0.0, 0.0, 0.0)


def vector(array: np.ndarray) -> Vector:
    """The floats of an array (3,)."""
    x, y, z = array.tolist()
    return x, y, z


def entries(array: np.ndarray) -> Rotation:
    """The floats of a rotation matrix (3, 3)."""
    (a, b, c), (d, e, f), (g, h, i) = array.tolist()
    return a, b, c, d, e, f, g, h, i


def matrix(rot: Rotation) -> np.ndarray:
    """Rotation matrix (3, 3) of entries."""
    return np.array(rot).reshape(3, 3)


def plus(a: Vector, b: Vector) -> Vector:
    """``a + b``."""
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def minus(a: Vector, b: Vector) -> Vector:
    """``a - b``."""
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def times(s: float, a: Vector) -> Vector:
    """``s a``."""
    return s * a[0], s * a[1], s * a[2]


def dot(a: Vector, b: Vector) -> float:
    """Scalar product of ``a`` and ``b``."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def length(a: Vector) -> float:
    """Euclidean length of ``a``."""
    x, y, z = a
    return math.sqrt(x * x + y * y + z * z)


def largest(a: Vector) -> float:
    """Largest magnitude among the coordinates of ``a``."""
    return max(abs(a[0]), abs(a[1]), abs(a[2]))


def bounded(x: float, low: float, high: float) -> float:
    """The number from ``low`` to ``high`` that is nearest to ``x``; NaN stays NaN."""
    return low if x < low else high if x > high else x


def clipped(a: Vector, most: float) -> Vector:
    """``a`` with no coordinate of a magnitude above ``most``."""
    return bounded(a[0], -most, most), bounded(a[1], -most, most), bounded(a[2], -most, most)


def product(p: Rotation, q: Rotation) -> Rotation:
    """``P Q``: first Q, then P."""
    a, b, c, d, e, f, g, h, i = p
    j, k, l, m, n, o, r, s, t = q  # noqa: E741
    return (
        a * j + b * m + c * r, a * k + b * n + c * s, a * l + b * o + c * t,
        d * j + e * m + f * r, d * k + e * n + f * s, d * l + e * o + f * t,
        g * j + h * m + i * r, g * k + h * n + i * s, g * l + h * o + i * t,
    )  # fmt: skip


def relative(p: Rotation, q: Rotation) -> Rotation:
    """``P Qᵀ``: what turns Q into P."""
    a, b, c, d, e, f, g, h, i = p
    j, k, l, m, n, o, r, s, t = q  # noqa: E741
    return (
        a * j + b * k + c * l, a * m + b * n + c * o, a * r + b * s + c * t,
        d * j + e * k + f * l, d * m + e * n + f * o, d * r + e * s + f * t,
        g * j + h * k + i * l, g * m + h * n + i * o, g * r + h * s + i * t,
    )  # fmt: skip


def exp(rotvec: Vector) -> Rotation:
    """Rotation of a rotation vector, rad."""
    x, y, z = rotvec
    half = 0.5 * math.sqrt(x * x + y * y + z * z)
    sinc = 0.5 * math.sin(half) / half if half > 1e-12 else 0.5
    w, x, y, z = math.cos(half), x * sinc, y * sinc, z * sinc
    return (
        1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y),
        2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x),
        2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y),
    )  # fmt: skip


def log(rot: Rotation) -> Vector:
    """Rotation vector of a rotation, rad, its angle in [0, pi]; see :func:`robo_rl.geometry.log`."""
    a, b, c, d, e, f, g, h, i = rot
    x, y, z = h - f, c - g, d - b
    double_sine = math.sqrt(x * x + y * y + z * z)
    angle = math.atan2(double_sine, a + e + i - 1.0)
    if not angle < 3.0:  # the sine says little about the axis there
        return vector(geometry.log(matrix(rot)))
    scale = angle / double_sine if double_sine > 1e-9 else 0.5
    return x * scale, y * scale, z * scale


def orthonormal(rot: Rotation) -> Rotation:
    """One step of Newton's iteration for the orthonormal factor: ``R (3 - RᵀR) / 2``; keeps rounding from adding up."""
    a, b, c, d, e, f, g, h, i = rot
    xy, xz, yz = -0.5 * (a * b + d * e + g * h), -0.5 * (a * c + d * f + g * i), -0.5 * (b * c + e * f + h * i)
    xx, yy, zz = (
        1.5 - 0.5 * (a * a + d * d + g * g),
        1.5 - 0.5 * (b * b + e * e + h * h),
        1.5 - 0.5 * (c * c + f * f + i * i),
    )
    return product(rot, (xx, xy, xz, xy, yy, yz, xz, yz, zz))
