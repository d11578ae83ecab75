"""What calibrations have written is read back as it was meant, and what none can have found is refused in one line."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from hardware.calibration.poses import inverse, pose
from hardware.calibration.record import pose_entry
from hardware.cell_file import load_cell
from robo_rl import geometry
from robo_rl.errors import UserError

CELL = {
    "name": "mine",
    "arms": {"arm": {"robot": "fr3", "driver": "franky", "settings": {"address": "172.16.0.2"}}},
    "cameras": {"wrist": {"driver": "realsense"}, "front": {"driver": "realsense"}},
}
LENS = {
    "width": 512,
    "height": 512,
    "fx": 600.0,
    "fy": 610.0,
    "cx": 250.0,
    "cy": 260.0,
    "distortion": [0.1, 0, 0, 0, 0],
}
DOWN = np.diag([1.0, -1.0, -1.0])
ABOVE = pose(np.array([0.5, 0.0, 0.8]), DOWN)  # looks down at the work space
BESIDE = pose(np.array([1.1, -0.1, 0.4]), geometry.exp(np.array([0.0, 1.0, 0.0])) @ DOWN)  # looks at it from the front
ON_HAND = pose(np.array([0.06, 0.0, -0.1]), np.eye(3))  # looks along the tool


def load(tmp_path, **calibration):
    file = tmp_path / "cell.yaml"
    file.write_text(yaml.safe_dump({**CELL, "calibration": calibration}))
    return load_cell(file)


def test_intrinsics_are_those_of_the_pictures_that_the_camera_hands_on(tmp_path):
    found = load(tmp_path, cameras={"wrist": {"intrinsics": LENS}}).intrinsics_of("wrist")
    assert (found.width, found.height, found.fx, found.fy) == (128, 128, 150.0, 152.5)
    assert (found.cx, found.cy) == ((250.0 + 0.5) / 4 - 0.5, (260.0 + 0.5) / 4 - 0.5)
    assert found.distortion == (0.1, 0.0, 0.0, 0.0, 0.0)
    assert load(tmp_path).intrinsics_of("wrist") is None


def test_a_camera_is_where_it_was_found(tmp_path):
    cell = load(tmp_path, cameras={"wrist": {"T_tcp_camera": pose_entry(ON_HAND)},
                                   "front": {"T_base_camera": pose_entry(ABOVE), "arm": "arm"}})  # fmt: skip
    assert cell.camera_pose_of("wrist").of == "T_tcp_camera"
    np.testing.assert_allclose(cell.camera_pose_of("wrist").T, ON_HAND, atol=1e-9)
    np.testing.assert_allclose(cell.camera_pose_of("front").T, ABOVE, atol=1e-9)
    assert load(tmp_path).camera_pose_of("front") is None


@pytest.mark.parametrize("yaw", [0.0, 2.0])
def test_swapped_frames_are_told_from_poses_that_are_only_wrong(tmp_path, yaw, rng):
    for of, T in (("T_base_camera", BESIDE), ("T_tcp_camera", ON_HAND)):
        T = T @ pose(0.02 * rng.normal(size=3), geometry.exp(np.array([0.1, -0.2, yaw])))
        load(tmp_path, cameras={"wrist": {of: pose_entry(T)}})
        with pytest.raises(UserError, match=f"{of}.*frames are swapped: it holds T_camera"):
            load(tmp_path, cameras={"wrist": {of: pose_entry(inverse(T))}})


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"T_base_camera": pose_entry(pose(np.array([500.0, 0.0, 800.0]), DOWN))}, "is it in millimetres?"),
        ({"T_base_camera": pose_entry(pose(np.array([0.5, 0.0, -0.8]), np.eye(3)))}, "below the table"),
        ({"T_tcp_camera": pose_entry(pose(np.array([0.0, 0.0, -0.9]), np.eye(3)))}, "0.90 m from the tcp; at most 0.5"),
        ({"T_base_camera": pose_entry(pose(np.array([0.5, 0.0, 0.8]), np.eye(3)))}, "the work space is not in view"),
        ({"T_base_camera": {"pos": [0.5, 0, 0.8], "quat": [1, 1, 0, 0]}}, "whose length is not 1: that is no rotation"),
        ({"T_base_camera": {"pos": [0.5, 0, 0.8]}}, "quat is None; 4 finite numbers expected"),
        ({"T_base_camera": pose_entry(ABOVE), "arm": "left"}, "arm is 'left'; one of arm expected"),
        ({"intrinsics": {**LENS, "fx": 4.0}}, "fx is 4; 102.4 to 10240 pixels are expected"),
        ({"intrinsics": {**LENS, "cx": 900.0}}, "cx is 900; it must lie in the picture, 0 to 512 pixels"),
        ({"intrinsics": {**LENS, "height": 384}}, "is of pictures of 512x384, those of the camera are 128x128"),
        ({"intrinsics": {**LENS, "distortion": [0.1]}}, "distortion is [0.1]; 5 finite numbers expected"),
        ({"intrinsics": {**LENS, "fy": None}}, "[fx, fy, cx, cy] is [600.0, None, 250.0, 260.0]"),
        ("here", "calibration.cameras.wrist is 'here'; fields by name are expected"),
    ],
)
def test_a_camera_that_cannot_be_is_told_with_its_field(tmp_path, entry, says):
    with pytest.raises(UserError) as told:
        load(tmp_path, cameras={"wrist": entry})
    assert says in str(told.value)
    assert "calibration.cameras.wrist" in str(told.value)


def test_a_tool_is_the_tip_of_the_arm_that_everybody_sees(tmp_path):
    cell = load(tmp_path, arms={"arm": {"tool": {"tcp_pos": [0.01, 0.0, 0.16]}}})
    assert cell.spec_of("arm").gripper.tcp_pos == (0.01, 0.0, 0.16)
    assert load(tmp_path).spec_of("arm").gripper.tcp_pos == (0.0, 0.0, 0.1034)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"tool": {"tcp_pos": [0, 0, 160]}}, "at most 0.3 m are accepted: is it in millimetres"),
        ({"tool": {"tcp_pos": [0, 0]}}, "tcp_pos is [0, 0]; 3 finite numbers"),
        ({"payload": {"mass": -1.0, "com_in_flange": [0, 0, 0]}}, "mass is -1 kg; 0 to 20 kg"),
        ({"payload": {"mass": 1.0, "com_in_flange": [0, 0, 60]}}, "over 1 m from the flange"),
        ({"payload": {"mass": 1.0}}, "com_in_flange is None; 3 finite numbers"),
    ],
)
def test_a_tool_or_payload_that_cannot_be_is_told_with_its_field(tmp_path, entry, says):
    with pytest.raises(UserError) as told:
        load(tmp_path, arms={"arm": entry})
    assert says in str(told.value)
    assert "calibration.arms.arm" in str(told.value)


def test_a_fixture_outside_of_the_work_space_of_its_arm_is_refused(tmp_path):
    there = {"pos": [0.5, 0.0, -0.05], "quat": [1, 0, 0, 0]}
    load(tmp_path, fixtures={"hole": there})
    with pytest.raises(
        UserError, match=r"fixtures.hole: x is 1.300 m, outside of the arm's work space of 0.3 to 0.7 m"
    ):
        load(tmp_path, fixtures={"hole": {**there, "pos": [1.3, 0.0, 0.02], "arm": "arm"}})
    with pytest.raises(UserError, match=r"calibration.fixtures.hole: arm: 'left'; \(known: arm\)"):
        load(tmp_path, fixtures={"hole": {**there, "arm": "left"}})
