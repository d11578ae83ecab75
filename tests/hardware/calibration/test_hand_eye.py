from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.calibration.hand_eye import hand_eye, park_martin
from hardware.calibration.poses import CalibrationError, inverse, pose
from robo_rl import geometry

X = pose(np.array([0.05, -0.02, 0.08]), geometry.exp(np.array([0.3, -0.2, 1.2])))
Y = pose(np.array([0.5, 0.1, 0.02]), geometry.exp(np.array([0.1, 0.2, -0.4])))
MOUNTS = ["eye_in_hand", "eye_to_hand"]


def boards(rng, n, turn=0.5, shift=0.1):
    """T_camera_board (n, 4, 4): the board half a metre before the camera."""
    return pose(shift * rng.uniform(-1, 1, (n, 3)) + [0, 0, 0.5], geometry.exp(turn * rng.normal(size=(n, 3))))


def tools(T_camera_board, mount, X=X, Y=Y):
    """T_base_tool of an arm that shows the board like this to a camera at X; the board is at Y."""
    A = Y @ inverse(T_camera_board) @ inverse(X)
    return A if mount == "eye_in_hand" else inverse(A)


def apart(a, b):
    return np.linalg.norm(a[:3, 3] - b[:3, 3]), float(geometry.distance(a[:3, :3], b[:3, :3]))


def test_the_closed_form_is_opencvs():
    """OpenCV 4.12, calibrateHandEye(..., CALIB_HAND_EYE_PARK), of these very poses, which fit no X exactly."""
    k, a = np.arange(6)[:, None], np.arange(1, 4)[None]
    A = pose(0.2 * np.sin(k * a), geometry.exp(0.6 * np.cos(k * a + a * a)))
    B = pose(0.3 * np.cos(2 * k + a) + [0, 0, 1], geometry.exp(0.5 * np.sin(3 * k - a)))
    theirs = [
        [-0.583739937, 0.811673066, 0.020845142, 0.276233003],
        [-0.138681441, -0.074375363, -0.987540259, 0.713121755],
        [-0.800009465, -0.579357523, 0.15597986, -0.102975917],
    ]
    np.testing.assert_allclose(park_martin(A, B)[:3], theirs, atol=1e-8)


@pytest.mark.parametrize("mount", MOUNTS)
@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(-1.5, 1.5), min_size=6, max_size=6), st.integers(0, 10_000))
def test_exact_measurements_give_the_exact_place(mount, place, seed):
    board = boards(np.random.default_rng(seed), 8)
    at = pose(np.array(place[:3]), geometry.exp(np.array(place[3:])))
    found = hand_eye(tools(board, mount, at), board, mount)
    assert apart(found.T_mount_camera, at) < (1e-6, 1e-6)
    assert apart(found.T_other_board, Y) < (1e-6, 1e-6)
    assert found.residual["position_mm"] < 1e-3
    assert found.residual["rotation_deg"] < 1e-3


@pytest.mark.parametrize("mount", MOUNTS)
def test_noise_shows_in_the_residual_and_hardly_in_the_result(mount, rng, random_poses):
    board, noise = boards(rng, 30), random_poses(30, 0.002, 0.001)
    found = hand_eye(tools(board, mount), board @ noise, mount)
    position, rotation = apart(found.T_mount_camera, X)
    assert position < 0.002
    assert rotation < 0.003
    # sqrt(3) times the noise along each axis: 1 mm, and 0.002 rad.
    assert 1.2 < found.residual["position_mm"] < 3.0
    assert 0.12 < found.residual["rotation_deg"] < 0.25


def test_refinement_beats_the_closed_form(rng, random_poses):
    refined, closed = [], []
    for _ in range(8):
        board, noise = boards(rng, 12), random_poses(12, 0.006, 0.002)
        tool = tools(board, "eye_in_hand")
        refined.append(apart(hand_eye(tool, board @ noise, "eye_in_hand").T_mount_camera, X)[0])
        closed.append(apart(park_martin(tool, board @ noise), X)[0])
    assert np.mean(refined) < 0.9 * np.mean(closed)


def test_half_turns_do_no_harm():
    turns = geometry.exp(np.array([[0, 0, 0], [np.pi, 0, 0], [0, np.pi, 0], [0.4, 0.3, 0], [0, 0.3, -0.5]]))
    board = pose(np.tile([0.0, 0.0, 0.5], (5, 1)), turns)
    found = hand_eye(tools(board, "eye_in_hand"), board, "eye_in_hand")
    assert apart(found.T_mount_camera, X) < (1e-6, 1e-6)


def test_too_few_poses():
    few = pose(np.zeros((2, 3)), np.tile(np.eye(3), (2, 1, 1)))
    with pytest.raises(CalibrationError, match="T_base_tool: 2 measurements are too few, take 3 or more; move the"):
        hand_eye(few, few, "eye_in_hand")


def test_turns_about_one_axis(rng):
    turns = geometry.exp(np.linspace(-1, 1, 8)[:, None] * np.array([0.0, 0.6, 0.8]))
    board = pose(rng.normal(size=(8, 3)) * 0.1 + [0, 0, 0.5], turns)
    straight = pose(np.array([0.05, 0.0, 0.1]), np.eye(3))
    with pytest.raises(CalibrationError, match=r"one axis only, \(-?0\.00, -?0\.60, -?0\.80\).*different axes"):
        hand_eye(tools(board, "eye_in_hand", straight), board, "eye_in_hand")


def test_no_turns(rng):
    board = boards(rng, 8, turn=0.0)
    with pytest.raises(CalibrationError, match=r"turned by 0\.0 degrees at most.*tilt"):
        hand_eye(tools(board, "eye_in_hand"), board, "eye_in_hand")


@pytest.mark.parametrize("mount", MOUNTS)
def test_swapped_frames_are_named(mount, rng):
    board, other = boards(rng, 8), MOUNTS[1 - MOUNTS.index(mount)]
    tool = tools(board, mount)
    with pytest.raises(CalibrationError, match=f"mounted as {mount}, or T_base_tool holds T_tool_base"):
        hand_eye(tool, board, other)
    for said in MOUNTS:  # with both wrong the equations hold again, of camera and board changed about
        with pytest.raises(CalibrationError, match="behind the camera; frames are swapped: it holds T_board_camera"):
            hand_eye(tool, inverse(board), said)


def test_the_one_that_does_not_fit_is_named(rng):
    board = boards(rng, 8)
    tool = tools(board, "eye_in_hand")
    board[6, :3, 3] += [0.1, 0.05, 0.0]
    with pytest.raises(CalibrationError, match=r"measurement 6 does not fit the others.*leave it out"):
        hand_eye(tool, board, "eye_in_hand")


def test_what_is_no_pose_is_named(random_poses):
    tool = random_poses(5, 0.5, 0.3)
    bad = tool.copy()
    bad[3, :3, :3] *= 1.1
    with pytest.raises(CalibrationError, match=r"T_camera_board\[3\] is not a pose"):
        hand_eye(tool, bad, "eye_in_hand")
    bad = tool.copy()
    bad[2, 0, 0] = np.nan
    with pytest.raises(CalibrationError, match=r"T_base_tool\[2\] is not finite"):
        hand_eye(bad, tool, "eye_in_hand")
    with pytest.raises(CalibrationError, match="5 T_base_tool, 4 T_camera_board"):
        hand_eye(tool, tool[:4], "eye_in_hand")
    with pytest.raises(CalibrationError, match="give n x 4 x 4"):
        hand_eye(tool[:, :3], tool, "eye_in_hand")
    with pytest.raises(CalibrationError, match="mount is 'on the head'"):
        hand_eye(tool, tool, "on the head")
