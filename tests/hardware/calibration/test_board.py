from __future__ import annotations

import cv2
import numpy as np
import pytest

from hardware.calibration.board import Board, find_board, find_corners, find_lens
from hardware.calibration.hand_eye import hand_eye
from hardware.calibration.poses import CalibrationError, inverse, pose
from hardware.cameras.view import Intrinsics
from robo_rl import geometry
from robo_rl.errors import UserError

BOARD = Board()
LENS = Intrinsics(640, 480, 610.0, 605.0, 322.0, 238.0)
MIDDLE = np.array([3.5 * BOARD.square, 2.5 * BOARD.square, 0.0])


def rendered(T_camera_board, lens=LENS, board=BOARD):
    """A picture of the board, four times finer and then averaged, so that its edges lie between pixels."""
    per_square, fine = 80, 4
    picture = board.picture(per_square)
    # Pixel centres of the board's picture to metres: (u + 0.5) / per_square * square.
    to_board = np.diag([board.square / per_square, board.square / per_square, 1.0]) @ [
        [1, 0, 0.5],
        [0, 1, 0.5],
        [0, 0, 1],
    ]
    K = np.diag([fine, fine, 1.0]) @ [[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]] @ lens.matrix
    H = [[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]] @ K @ T_camera_board[:3, [0, 1, 3]] @ to_board
    size = (lens.width * fine, lens.height * fine)
    large = cv2.warpPerspective(picture, H, size, flags=cv2.INTER_LINEAR, borderValue=190)
    gray = cv2.resize(large, (lens.width, lens.height), interpolation=cv2.INTER_AREA)
    return np.repeat(gray[..., None], 3, axis=2)


def looking(rng, distance=0.45, tilt=0.35):
    """T_camera_board of a camera that looks about the middle of the board, as a print is seen: from its front."""
    rot = geometry.exp(tilt * rng.uniform(-1, 1, 3))
    return pose(np.array([0.0, 0.0, distance]) + 0.03 * rng.normal(size=3) - rot @ MIDDLE, rot)


def test_the_pose_of_a_board_in_a_picture(rng):
    for _ in range(4):
        truth = looking(rng)
        found = find_board(rendered(truth), BOARD, LENS)
        assert np.linalg.norm(found.T_camera_board[:3, 3] - truth[:3, 3]) < 0.001
        assert geometry.distance(found.T_camera_board[:3, :3], truth[:3, :3]) < np.radians(0.3)
        assert found.residual["reprojection_px"] < 0.3
        assert len(found.points) > 15


@pytest.mark.parametrize("mount", ["eye_in_hand", "eye_to_hand"])
def test_from_pictures_to_the_place_of_the_camera(mount, rng):
    X = pose(np.array([0.06, 0.0, 0.04]), geometry.exp(np.array([0.1, -0.1, 1.5])))
    Y = pose(np.array([0.5, 0.1, 0.02]), geometry.exp(np.array([3.0, 0.1, 0.2])))
    boards = np.stack([looking(rng) for _ in range(12)])
    moving = Y @ inverse(boards) @ inverse(X)  # A with A X B = Y
    tool = moving if mount == "eye_in_hand" else inverse(moving)
    found = np.stack([find_board(rendered(board), BOARD, LENS).T_camera_board for board in boards])
    result = hand_eye(tool, found, mount)
    assert np.linalg.norm(result.T_mount_camera[:3, 3] - X[:3, 3]) < 0.002
    assert geometry.distance(result.T_mount_camera[:3, :3], X[:3, :3]) < np.radians(0.3)
    assert result.residual["position_mm"] < 1.0
    assert result.residual["rotation_deg"] < 0.3


def test_the_lens_of_a_camera_that_does_not_know_its_own(rng):
    pictures = [rendered(looking(rng, tilt=0.6)) for _ in range(8)]
    found = find_lens([*pictures, np.zeros((480, 640, 3), np.uint8)], BOARD)
    assert found.intrinsics.fx == pytest.approx(LENS.fx, rel=0.01)
    assert found.intrinsics.fy == pytest.approx(LENS.fy, rel=0.01)
    assert found.intrinsics.cx == pytest.approx(LENS.cx, abs=6)
    assert found.residual["reprojection_px"] < 0.3


def test_pictures_from_one_side_tell_no_lens(rng):
    pictures = [rendered(looking(rng, distance, tilt=0.0)) for distance in (0.4, 0.45, 0.5, 0.55, 0.6)]
    with pytest.raises(CalibrationError, match=r"from one side, within \d+ degrees.*tilt the board"):
        find_lens(pictures, BOARD)


def test_no_board_in_view():
    empty = np.full((480, 640, 3), 128, np.uint8)
    assert find_corners(empty, BOARD)[0].shape == (0, 3)
    with pytest.raises(CalibrationError, match="0 corners of the 7x5 board are seen, 6 on two rows are needed"):
        find_board(empty, BOARD, LENS)
    with pytest.raises(CalibrationError, match="seen in 0 of 3 pictures"):
        find_lens([empty] * 3, BOARD)


def test_intrinsics_of_other_pictures_are_refused():
    with pytest.raises(CalibrationError, match="128x128 pixels, its lens is of 640x480"):
        find_board(np.zeros((128, 128, 3), np.uint8), BOARD, LENS)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"columns": 2}, "2x5 squares is too small"),
        ({"marker": 0.04}, r"board\.marker is 0\.04 m"),
    ],
)
def test_a_board_that_cannot_be(wrong, says):
    with pytest.raises(UserError, match=says):
        Board(**wrong)


def test_markers_that_are_not_there():
    with pytest.raises(UserError, match="did you mean 'DICT_4X4_50'"):
        Board(dictionary="DICT_4X4_5").picture()
    with pytest.raises(UserError, match="too few markers"):
        Board(columns=20, rows=20, dictionary="DICT_4X4_50").picture()
