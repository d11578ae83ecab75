"""Views of a board are within the limits, from many sides, and keep the board ahead."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from controllers.kinematics import Chain
from hardware.calibration.hand_eye import hand_eye
from hardware.calibration.overlay import draw_frames, save_picture
from hardware.calibration.poses import inverse, pose
from hardware.calibration.views import view_postures
from hardware.cameras.view import Intrinsics
from hardware.safety.limits import SafetyLimits
from robo_rl.errors import UserError
from robo_rl.robots import robot


@pytest.mark.parametrize("name", ["panda", "widowx250s"])
def test_views_are_within_the_limits_and_determine_where_the_camera_is(name, rng):
    spec = robot(name)
    limits = SafetyLimits.of(spec)
    found = list(islice(view_postures(spec, limits, 0.1), 8))
    assert len(found) == 8
    pos, rot = (np.asarray(part) for part in Chain(spec).forward(np.array(found)))
    assert (pos > np.array(limits.workspace_low) - 1e-3).all()
    assert (pos < np.array(limits.workspace_high) + 1e-3).all()
    T_base_tool = pose(pos, rot)
    T_tool_camera = pose(np.array([0.05, 0.0, -0.1]), np.eye(3))
    T_base_board = pose(pos.mean(axis=0) + 0.2 * rot.mean(axis=0)[:, 2], np.eye(3))
    seen = inverse(T_base_tool @ T_tool_camera) @ T_base_board
    answer = hand_eye(T_base_tool, seen, "eye_in_hand")
    np.testing.assert_allclose(answer.T_mount_camera, T_tool_camera, atol=1e-6)
    tilted = np.degrees(np.arccos((rot[:, :, 2] @ rot[:, :, 2].T).min()))
    assert tilted > 30.0


def test_a_smaller_work_space_leaves_out_the_views_beyond_it():
    spec = robot("panda")
    x, y, z = np.asarray(Chain(spec).forward(np.array(spec.home))[0]).tolist()
    tight = SafetyLimits((x - 0.01, y - 0.01, z - 0.01), (x + 0.01, y + 0.01, z + 0.01))
    assert not list(view_postures(spec, tight, 0.3))


def test_axes_are_drawn_where_their_frame_is_seen():
    lens = Intrinsics(200, 100, 100.0, 100.0, 99.5, 49.5)
    black = np.zeros((100, 200, 3), np.uint8)
    ahead = pose(np.array([0.0, 0.0, 0.5]), np.eye(3))
    drawn = draw_frames(black, lens, {"": ahead}, length=0.1)
    red = np.argwhere((drawn[..., 0] > 150) & (drawn[..., 1] < 100))  # x, to the right: 0.1 m at 0.5 m are 20 pixels
    assert abs(int(red[:, 0].mean()) - 50) <= 1
    assert (int(red[:, 1].min()), int(red[:, 1].max())) == pytest.approx((101, 120), abs=3)
    assert not black.any()
    behind = pose(np.array([0.0, 0.0, -0.5]), np.eye(3))
    assert not draw_frames(black, lens, {"": behind}).any()


def test_a_picture_that_cannot_be_written_is_told(tmp_path):
    picture = np.zeros((8, 8, 3), np.uint8)
    save_picture(tmp_path / "new" / "view.png", picture)
    assert (tmp_path / "new" / "view.png").stat().st_size > 0
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        save_picture(tmp_path / "file" / "view.png", picture)
