"""Plain floats give what arrays give."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from controllers import vectors
from robo_rl import geometry

triples = arrays(float, 3, elements=st.floats(-3.0, 3.0))


def rot_of(rotvec: np.ndarray) -> np.ndarray:
    return np.asarray(geometry.exp(rotvec))


@given(triples, triples, st.floats(-2.0, 2.0))
def test_vectors(a, b, s):
    u, v = vectors.vector(a), vectors.vector(b)
    np.testing.assert_allclose(vectors.plus(u, v), a + b, atol=1e-15)
    np.testing.assert_allclose(vectors.minus(u, v), a - b, atol=1e-15)
    np.testing.assert_allclose(vectors.times(s, u), s * a, atol=1e-15)
    assert vectors.dot(u, v) == pytest.approx(a @ b, abs=1e-14)
    assert vectors.length(u) == pytest.approx(np.linalg.norm(a), abs=1e-14)
    assert vectors.largest(u) == np.abs(a).max()
    assert vectors.clipped(u, abs(s)) == tuple(np.clip(a, -abs(s), abs(s)))


@given(triples, triples)
def test_rotations(a, b):
    p, q = rot_of(a), rot_of(b)
    np.testing.assert_allclose(vectors.matrix(vectors.exp(vectors.vector(a))), p, atol=1e-14)
    np.testing.assert_array_equal(vectors.matrix(vectors.entries(p)), p)
    np.testing.assert_allclose(
        vectors.matrix(vectors.product(vectors.entries(p), vectors.entries(q))), p @ q, atol=1e-15
    )
    np.testing.assert_allclose(
        vectors.matrix(vectors.relative(vectors.entries(p), vectors.entries(q))), p @ q.T, atol=1e-15
    )
    np.testing.assert_allclose(rot_of(np.array(vectors.log(vectors.entries(p)))), p, atol=1e-12)


@given(triples, arrays(float, (3, 3), elements=st.floats(-1e-4, 1e-4)))
def test_rounding_does_not_add_up(a, error):
    rot = rot_of(a) + error
    found = vectors.matrix(vectors.orthonormal(vectors.entries(rot)))
    np.testing.assert_allclose(found, rot @ (1.5 * np.eye(3) - 0.5 * rot.T @ rot), atol=1e-14)
    np.testing.assert_allclose(found.T @ found, np.eye(3), atol=1e-6)


def test_what_is_no_number_stays_none():
    assert math.isnan(vectors.bounded(math.nan, -1.0, 1.0))
