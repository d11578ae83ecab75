from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.calibration.poses import CalibrationError, pose
from hardware.calibration.tool_center import tool_center
from robo_rl import geometry

TIP, PIVOT = np.array([0.01, -0.02, 0.15]), np.array([0.5, 0.1, 0.05])


def pivoting(rot, tip=TIP):
    return pose(PIVOT - rot @ tip, rot)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-0.3, 0.3), min_size=3, max_size=3), st.integers(4, 12), st.integers(0, 10_000))
def test_exact_poses_give_the_exact_tip(tip, n, seed):
    rot = geometry.exp(0.6 * np.random.default_rng(seed).normal(size=(n, 3)))
    found = tool_center(pivoting(rot, np.array(tip)))
    np.testing.assert_allclose(found.pos, tip, atol=1e-9)
    np.testing.assert_allclose(found.pivot, PIVOT, atol=1e-9)
    assert found.residual["position_mm"] < 1e-6


def test_noise_shows_in_the_residual(rng):
    poses = pivoting(geometry.exp(0.5 * rng.normal(size=(40, 3))))
    poses[:, :3, 3] += 0.001 * rng.normal(size=(40, 3))
    found = tool_center(poses)
    assert np.linalg.norm(found.pos - TIP) < 0.001
    assert 1.2 < found.residual["position_mm"] < 2.2


def test_a_slip_is_found(rng):
    poses = pivoting(geometry.exp(0.5 * rng.normal(size=(10, 3))))
    poses[4, :3, 3] += [0.01, 0.0, 0.0]
    assert tool_center(poses).worst == 4


def test_turns_about_one_axis_name_it():
    rot = geometry.exp(np.linspace(-1, 1, 6)[:, None] * np.array([0.0, 0.0, 1.0]))
    with pytest.raises(CalibrationError, match=r"one axis only, \(-?0\.00, -?0\.00, -?1\.00\).*tilt the tool"):
        tool_center(pivoting(rot))


def test_no_turns():
    with pytest.raises(CalibrationError, match="hardly turned"):
        tool_center(pivoting(np.tile(np.eye(3), (6, 1, 1))))


def test_too_few():
    with pytest.raises(CalibrationError, match="3 measurements are too few, take 4 or more; keep the tip in one place"):
        tool_center(pivoting(np.tile(np.eye(3), (3, 1, 1))))
