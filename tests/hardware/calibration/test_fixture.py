from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.calibration.fixture import fixture_from_planes, fixture_from_points
from hardware.calibration.poses import CalibrationError, pose
from robo_rl import geometry

HOLES = np.array([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0], [0.1, 0.06, 0.0], [0.0, 0.06, 0.02]])
TRUE = pose(np.array([0.5, -0.1, 0.03]), geometry.exp(np.array([0.05, -0.1, 0.8])))
VECTORS = st.lists(st.floats(-1.5, 1.5), min_size=3, max_size=3).map(np.array)


def at(T, points):
    return points @ T[:3, :3].T + T[:3, 3]


@settings(max_examples=30, deadline=None)
@given(VECTORS, VECTORS, st.integers(3, 4))
def test_exact_touches_give_the_exact_pose(pos, turn, n):
    T = pose(pos, geometry.exp(turn))
    found = fixture_from_points(HOLES[:n], at(T, HOLES[:n]))
    np.testing.assert_allclose(found.T_base_fixture, T, atol=1e-9)
    assert found.residual["position_mm"] < 1e-6


def test_a_bad_touch_is_found():
    touched = at(TRUE, HOLES)
    touched[2] += [0.004, 0.0, 0.0]
    found = fixture_from_points(HOLES, touched)
    assert found.worst == 2
    assert 0.5 < found.residual["position_mm"] < 4.0


def test_a_mirror_image_is_no_rotation():
    found = fixture_from_points(HOLES, at(TRUE, HOLES))
    assert np.linalg.det(found.T_base_fixture[:3, :3]) == pytest.approx(1.0)


def test_points_on_a_line():
    line = np.linspace(0, 1, 4)[:, None] * [0.1, 0.0, 0.0]
    with pytest.raises(CalibrationError, match=r"points lie on one line.*could turn about it"):
        fixture_from_points(line, at(TRUE, HOLES))
    with pytest.raises(CalibrationError, match="touched lie on one line"):
        fixture_from_points(HOLES, line)


def test_touches_in_another_order_or_unit():
    with pytest.raises(CalibrationError, match=r"do not have the shape of the points.*in the order"):
        fixture_from_points(HOLES, at(TRUE, HOLES[[2, 1, 0, 3]]))
    with pytest.raises(CalibrationError, match="in metres"):
        fixture_from_points(1000 * HOLES, at(TRUE, HOLES))


def test_too_few_points():
    with pytest.raises(CalibrationError, match="2 measurements are too few, take 3 or more; touch points"):
        fixture_from_points(HOLES[:2], HOLES[:2])


# A block of 0.1 x 0.06 x 0.04 m: three touches on its top, two on its front, one on its right side.
NORMALS = np.array([[0, 0, 1.0]] * 3 + [[0, -1.0, 0]] * 2 + [[1.0, 0, 0]])
OFFSETS = np.array([0.04] * 3 + [0.0] * 2 + [0.1])
TOUCHES = np.array(
    [[0.01, 0.01, 0.04], [0.09, 0.02, 0.04], [0.05, 0.05, 0.04], [0.02, 0, 0.02], [0.08, 0, 0.02], [0.1, 0.03, 0.02]]
)


@settings(max_examples=30, deadline=None)
@given(VECTORS, VECTORS, VECTORS, st.floats(0.0, 0.01))
def test_three_two_one_touches_give_the_exact_pose(pos, turn, off, radius):
    T = pose(pos, geometry.exp(turn))
    guess = T @ pose(0.02 * off, geometry.exp(0.15 * off))
    found = fixture_from_planes(NORMALS, OFFSETS, at(T, TOUCHES + radius * NORMALS), guess, radius)
    np.testing.assert_allclose(found.T_base_fixture, T, atol=1e-7)


def test_touches_that_leave_it_free_say_how():
    with pytest.raises(CalibrationError, match=r"free to slide along \(-?1\.00, -?0\.00, -?0\.00\).*three faces"):
        fixture_from_planes(
            np.vstack([NORMALS[:5], NORMALS[:1]]),
            np.append(OFFSETS[:5], 0.04),
            at(TRUE, np.vstack([TOUCHES[:5], [[0.02, 0.03, 0.04]]])),
            TRUE,
        )
    same_place = TOUCHES.copy()
    same_place[4] = same_place[3]
    with pytest.raises(CalibrationError, match="free to turn about"):
        fixture_from_planes(NORMALS, OFFSETS, at(TRUE, same_place), TRUE)


def test_planes_that_are_wrong():
    touched = at(TRUE, TOUCHES)
    with pytest.raises(CalibrationError, match=r"normals\[0\] is not of unit length"):
        fixture_from_planes(2 * NORMALS, OFFSETS, touched, TRUE)
    with pytest.raises(CalibrationError, match="5 measurements are too few, take 6"):
        fixture_from_planes(NORMALS[:5], OFFSETS[:5], touched[:5], TRUE)
    with pytest.raises(CalibrationError, match=r"guess\[0\] is not a pose"):
        fixture_from_planes(NORMALS, OFFSETS, touched, 2 * TRUE)


def test_noise_shows_in_the_residual(rng):
    more = np.concatenate([TOUCHES, TOUCHES[[1, 2, 0, 4, 3, 5]] * [0.9, 0.9, 1.0]])
    more[9:11, 1], more[11, 0] = 0.0, 0.1
    normals, offsets = np.tile(NORMALS, (2, 1)), np.tile(OFFSETS, 2)
    touched = at(TRUE, more) + 0.0005 * rng.normal(size=(12, 3))
    found = fixture_from_planes(normals, offsets, touched, TRUE)
    assert np.linalg.norm(found.T_base_fixture[:3, 3] - TRUE[:3, 3]) < 0.002
    assert 0.1 < found.residual["position_mm"] < 1.0
