"""Rotations: the axioms of the group, hand-worked numbers, the same results from NumPy and torch, one or many."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from robo_rl import geometry

examples = settings(max_examples=50, deadline=None)

SQRT_HALF = math.sqrt(0.5)
X90 = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
Y90 = np.array([[0, 0, 1.0], [0, 1, 0], [-1, 0, 0]])
Z90 = np.array([[0, -1.0, 0], [1, 0, 0], [0, 0, 1]])
X180 = np.diag([1.0, -1.0, -1.0])


@st.composite
def rotvecs(draw: st.DrawFn) -> np.ndarray:
    """(B, 3) rotation vectors with angles over all of [0, pi], many of them next to its ends."""
    n = draw(st.integers(1, 4))
    axis = draw(hnp.arrays(np.float64, (n, 3), elements=st.floats(-1, 1)))
    axis = axis + np.where(np.linalg.norm(axis, axis=-1, keepdims=True) < 1e-3, [1.0, 0.0, 0.0], 0.0)
    axis = axis / np.linalg.norm(axis, axis=-1, keepdims=True)
    near = st.floats(-14, -1).map(lambda e: 10.0**e)
    angle = st.one_of(st.floats(0, math.pi), near, near.map(lambda a: math.pi - a), st.just(0.0), st.just(math.pi))
    return axis * np.array([[draw(angle)] for _ in range(n)])


@examples
@given(rotvecs())
def test_exp_gives_proper_rotations(w: np.ndarray) -> None:
    rot = geometry.exp(w)
    np.testing.assert_allclose(rot @ geometry.transpose(rot), np.broadcast_to(np.eye(3), rot.shape), atol=1e-14)
    np.testing.assert_allclose(np.linalg.det(rot), 1.0, atol=1e-14)


@examples
@given(rotvecs())
def test_exp_matches_its_power_series(w: np.ndarray) -> None:
    hat = np.zeros((len(w), 3, 3))
    hat[:, 0, 1], hat[:, 0, 2], hat[:, 1, 2] = -w[:, 2], w[:, 1], -w[:, 0]
    hat -= geometry.transpose(hat)
    series, term = np.eye(3) + 0 * hat, np.eye(3) + 0 * hat
    for k in range(1, 40):
        term = term @ hat / k
        series = series + term
    np.testing.assert_allclose(geometry.exp(w), series, atol=1e-13)


@examples
@given(rotvecs())
def test_log_undoes_exp(w: np.ndarray) -> None:
    back = geometry.log(geometry.exp(w))
    angle = np.linalg.norm(w, axis=-1)
    # Within rounding of pi, w and -w turned by 2 pi are the same rotation.
    other = w * (1.0 - 2.0 * math.pi / np.maximum(angle, 1e-300))[:, None]
    error = np.minimum(np.abs(back - w).max(-1), np.where(angle > 3.0, np.abs(back - other).max(-1), np.inf))
    assert error.max() < 2e-15 * (1 + angle.max())
    assert np.linalg.norm(back, axis=-1).max() <= math.pi + 1e-15


@examples
@given(rotvecs())
def test_small_rotations_keep_their_relative_precision(w: np.ndarray) -> None:
    w = w * 1e-9
    np.testing.assert_allclose(geometry.log(geometry.exp(w)), w, rtol=1e-6, atol=1e-24)


@examples
@given(rotvecs())
def test_exp_undoes_log_at_every_angle(w: np.ndarray) -> None:
    rot = geometry.exp(w)
    np.testing.assert_allclose(geometry.exp(geometry.log(rot)), rot, atol=3e-15)


@examples
@given(rotvecs(), st.floats(-3, 3), st.floats(-3, 3))
def test_rotations_about_one_axis_add_and_invert(w: np.ndarray, a: float, b: float) -> None:
    np.testing.assert_allclose(geometry.exp(a * w) @ geometry.exp(b * w), geometry.exp((a + b) * w), atol=1e-14)
    np.testing.assert_allclose(geometry.exp(-w), geometry.transpose(geometry.exp(w)), atol=1e-15)


@examples
@given(rotvecs(), rotvecs())
def test_conjugation_turns_the_rotation_vector(v: np.ndarray, w: np.ndarray) -> None:
    turn = geometry.exp(v[:1])
    conjugate = turn @ geometry.exp(w) @ geometry.transpose(turn)
    np.testing.assert_allclose(conjugate, geometry.exp(geometry.rotate(turn, w)), atol=1e-14)


@examples
@given(rotvecs())
def test_distance_is_the_angle_between(w: np.ndarray) -> None:
    base = geometry.exp(w[:1])
    angle = np.linalg.norm(w, axis=-1)
    np.testing.assert_allclose(
        geometry.distance(base, base @ geometry.exp(w)), angle, atol=2e-8 if angle.max() < 1e-7 else 1e-14
    )
    np.testing.assert_allclose(
        geometry.distance(base @ geometry.exp(w), base), angle, atol=2e-8 if angle.max() < 1e-7 else 1e-14
    )


@examples
@given(rotvecs())
def test_quaternions_round_trip_and_double_cover(w: np.ndarray) -> None:
    rot = geometry.exp(w)
    quat = geometry.to_quat_wxyz(rot)
    np.testing.assert_allclose(np.linalg.norm(quat, axis=-1), 1.0, atol=1e-15)
    assert (quat[:, 0] >= 0).all()
    np.testing.assert_allclose(geometry.from_quat_wxyz(quat), rot, atol=3e-15)
    np.testing.assert_allclose(geometry.from_quat_wxyz(-3.0 * quat), rot, atol=3e-15)
    np.testing.assert_allclose(geometry.exp(geometry.log_quat_wxyz(-quat)), rot, atol=3e-15)
    np.testing.assert_array_equal(geometry.to_quat_xyzw(rot), np.roll(quat, -1, axis=-1))
    np.testing.assert_array_equal(geometry.from_quat_xyzw(np.roll(quat, -1, axis=-1)), geometry.from_quat_wxyz(quat))


@pytest.mark.parametrize(
    ("rot", "wxyz", "rotvec"),
    [
        (np.eye(3), [1, 0, 0, 0], [0, 0, 0]),
        (X90, [SQRT_HALF, SQRT_HALF, 0, 0], [math.pi / 2, 0, 0]),
        (Y90, [SQRT_HALF, 0, SQRT_HALF, 0], [0, math.pi / 2, 0]),
        (Z90, [SQRT_HALF, 0, 0, SQRT_HALF], [0, 0, math.pi / 2]),
        (X180, [0, 1, 0, 0], [math.pi, 0, 0]),
        # x to y to z to x: a third of a turn about (1, 1, 1)
        (np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]), [0.5, 0.5, 0.5, 0.5], [2 * math.pi / 3 / math.sqrt(3)] * 3),
    ],
)  # fmt: skip
def test_hand_worked_rotations(rot: np.ndarray, wxyz: list[float], rotvec: list[float]) -> None:
    for batch in ((), (1,), (2,)):
        many = np.broadcast_to(rot, (*batch, 3, 3)).copy()
        np.testing.assert_allclose(geometry.to_quat_wxyz(many), np.broadcast_to(wxyz, (*batch, 4)), atol=1e-15)
        np.testing.assert_allclose(
            geometry.to_quat_xyzw(many), np.broadcast_to(np.roll(wxyz, -1), (*batch, 4)), atol=1e-15
        )
        np.testing.assert_allclose(
            geometry.from_quat_wxyz(np.broadcast_to(np.array(wxyz, float), (*batch, 4))), many, atol=1e-15
        )
        np.testing.assert_allclose(
            geometry.from_quat_xyzw(np.broadcast_to(np.roll(wxyz, -1), (*batch, 4))), many, atol=1e-15
        )
        np.testing.assert_allclose(geometry.log(many), np.broadcast_to(rotvec, (*batch, 3)), atol=1e-15)
        np.testing.assert_allclose(
            geometry.exp(np.broadcast_to(np.array(rotvec, float), (*batch, 3))), many, atol=1e-15
        )


def test_exp_of_zero_is_exactly_the_identity() -> None:
    for batch in ((), (1,), (3,)):
        np.testing.assert_array_equal(geometry.exp(np.zeros((*batch, 3))), np.broadcast_to(np.eye(3), (*batch, 3, 3)))
        np.testing.assert_array_equal(
            geometry.log(np.broadcast_to(np.eye(3), (*batch, 3, 3)).copy()), np.zeros((*batch, 3))
        )


def test_cross_rotate_and_yaw_by_hand() -> None:
    np.testing.assert_array_equal(geometry.cross(np.array([1.0, 2, 3]), np.array([4.0, 5, 6])), [-3, 6, -3])
    np.testing.assert_array_equal(geometry.rotate(Z90, np.array([1.0, 2, 3])), [-2, 1, 3])
    np.testing.assert_allclose(geometry.yaw(np.array([math.pi / 2])), Z90[None], atol=1e-15)


@examples
@given(rotvecs(), st.sampled_from([(), (1,), (1, 1), (2,), (2, 3)]))
def test_numpy_and_torch_agree_in_every_batch_shape(w: np.ndarray, batch: tuple[int, ...]) -> None:
    # Not at pi, where the sign of a rotation vector hangs on the last bit.
    w = np.resize(w * 0.99, (*batch, 3))
    v = w[..., ::-1].copy()
    for dtype, tolerance in ((np.float64, 1e-9), (np.float32, 1e-4)):
        a, b = w.astype(dtype), v.astype(dtype)
        ta, tb = torch.from_numpy(a), torch.from_numpy(b)
        rot, trot = geometry.exp(a), geometry.exp(ta)
        pairs = [
            (rot, trot),
            (geometry.log(rot), geometry.log(trot)),
            (geometry.to_quat_wxyz(rot), geometry.to_quat_wxyz(trot)),
            (geometry.from_quat_xyzw(geometry.to_quat_xyzw(rot)), trot),
            (geometry.rotate(rot, b), geometry.rotate(trot, tb)),
            (geometry.cross(a, b), geometry.cross(ta, tb)),
            (geometry.distance(rot, geometry.exp(b * 0.1)), geometry.distance(trot, geometry.exp(tb * 0.1))),
        ]
        for ours, theirs in pairs:
            assert ours.dtype == dtype
            assert tuple(theirs.shape) == ours.shape
            assert theirs.dtype == ta.dtype
            np.testing.assert_allclose(ours, theirs.numpy(), atol=tolerance)


@examples
@given(rotvecs())
def test_a_single_rotation_gives_what_a_batch_gives(w: np.ndarray) -> None:
    rot = geometry.exp(np.concatenate([w, w]))
    rotvec = geometry.log(rot)
    for i in range(len(w)):
        np.testing.assert_allclose(geometry.exp(w[i]), rot[i], atol=1e-15)
        np.testing.assert_allclose(geometry.log(rot[i]), rotvec[i], atol=1e-15)


def test_gradients_exist_at_the_identity() -> None:
    for batch in (1, 2):
        w = torch.zeros(batch, 3, dtype=torch.float64, requires_grad=True)
        geometry.log(geometry.exp(w)).sum().backward()
        np.testing.assert_allclose(w.grad.numpy(), np.ones((batch, 3)), atol=1e-12)


def test_first_use_in_inference_mode_does_not_spoil_autograd() -> None:
    geometry._maps.cache_clear()
    with torch.inference_mode():
        geometry.log(geometry.exp(torch.zeros(2, 3)))
    w = torch.zeros(2, 3, requires_grad=True)
    geometry.log(geometry.exp(w)).sum().backward()
    assert w.grad.isfinite().all()


def test_not_a_number_stays_not_a_number() -> None:
    for batch in (1, 2):
        for bad in (math.nan, math.inf):
            with np.errstate(invalid="ignore"):
                assert np.isnan(geometry.exp(np.full((batch, 3), bad))).any()
                assert np.isnan(geometry.log(np.full((batch, 3, 3), bad))).any()
