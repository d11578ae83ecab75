"""Limits by hand-worked numbers, and as properties of whatever goes in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from controllers.limits import clamp_to_box, fit_torque, limit_rate

examples = settings(max_examples=50, deadline=None)

torques = hnp.arrays(np.float64, (3, 4), elements=st.floats(-200, 200))
MAX = np.array([87.0, 40.0, 12.0, 1.0])


def test_effort_is_scaled_as_a_whole_by_the_joint_with_least_room() -> None:
    # Joint 0 may rise by 10 and is asked for 20: everything is halved. Joint 1 has room enough.
    total = fit_torque(np.array([20.0, -4.0]), np.array([40.0, 1.0]), np.array([50.0, 50.0]))
    np.testing.assert_allclose(total, [50.0, -1.0], atol=1e-6)


def test_effort_that_fits_is_untouched_and_a_load_beyond_the_limit_is_clipped() -> None:
    np.testing.assert_allclose(
        fit_torque(np.array([3.0, -4.0]), np.array([1.0, 1.0]), np.array([9.0, 9.0])), [4.0, -3.0]
    )
    np.testing.assert_allclose(
        fit_torque(np.array([0.0, 5.0]), np.array([99.0, 1.0]), np.array([9.0, 9.0])), [9.0, 6.0]
    )
    # What makes the load lighter is allowed in full.
    np.testing.assert_allclose(
        fit_torque(np.array([-5.0, 5.0]), np.array([9.0, 1.0]), np.array([9.0, 9.0])), [4.0, 6.0]
    )


@examples
@given(torques, torques)
def test_no_joint_exceeds_its_limit_and_the_direction_stays(effort: np.ndarray, load: np.ndarray) -> None:
    total = fit_torque(effort, load, MAX)
    assert (np.abs(total) <= MAX * (1 + 1e-9) + 1e-6).all()
    scaled = total - np.clip(load, -MAX, MAX)
    norm = (np.linalg.norm(scaled, axis=-1) * np.linalg.norm(effort, axis=-1))[:, None]
    np.testing.assert_allclose((scaled * effort).sum(-1, keepdims=True), norm, rtol=1e-6, atol=1e-6)
    assert (np.linalg.norm(scaled, axis=-1) <= np.linalg.norm(effort, axis=-1) + 1e-9).all()


def test_rate_limit_by_hand() -> None:
    np.testing.assert_allclose(limit_rate(np.array([4.0, -2.0]), np.zeros(2), 1.0), [1.0, -0.5])
    np.testing.assert_allclose(limit_rate(np.array([0.4, -0.2]), np.zeros(2), 1.0), [0.4, -0.2])


@examples
@given(torques, torques, st.floats(1e-3, 10))
def test_rate_limit_holds_and_arrives(wanted: np.ndarray, previous: np.ndarray, step: float) -> None:
    now = limit_rate(wanted, previous, step)
    assert np.abs(now - previous).max() <= step * (1 + 1e-9) + 1e-12
    # Between the two, so that limits that held for both hold now.
    assert (now <= np.maximum(wanted, previous) + 1e-9).all()
    assert (now >= np.minimum(wanted, previous) - 1e-9).all()
    needed = int(np.abs(wanted - previous).max() / step) + 1
    if needed < 200:
        for _ in range(needed):
            previous = limit_rate(wanted, previous, step)
        np.testing.assert_allclose(previous, wanted, atol=1e-9)


@examples
@given(torques, torques)
def test_numpy_and_torch_agree(a: np.ndarray, b: np.ndarray) -> None:
    for dtype, tolerance in ((np.float64, 1e-9), (np.float32, 1e-4)):
        x, y, m = a.astype(dtype), b.astype(dtype), MAX.astype(dtype)
        tx, ty, tm = (torch.from_numpy(v) for v in (x, y, m))
        for ours, theirs in (
            (fit_torque(x, y, m), fit_torque(tx, ty, tm)),
            (limit_rate(x, y, 1.0), limit_rate(tx, ty, 1.0)),
            (clamp_to_box(x, -m, m), clamp_to_box(tx, -tm, tm)),
        ):
            assert ours.dtype == dtype
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_box(batch: tuple[int, ...]) -> None:
    low, high = np.array([0.3, -0.3, 0.0]), np.array([0.7, 0.3, 0.5])
    pos = np.broadcast_to([0.1, 0.1, 0.9], (*batch, 3))
    np.testing.assert_array_equal(clamp_to_box(pos, low, high), np.broadcast_to([0.3, 0.1, 0.5], (*batch, 3)))
