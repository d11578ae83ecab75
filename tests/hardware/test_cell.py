"""The cell file: what is wrong with one is told in one line, with field, value and expectation."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import yaml

from hardware.cell_file import SHIPPED, load_cell, save_cell, shipped
from robo_rl.errors import UserError

GOOD = {
    "name": "mine",
    "arms": {"arm": {"robot": "fr3", "driver": "franky", "settings": {"address": "172.16.0.2"}}},
    "cameras": {"wrist": {"driver": "realsense", "settings": {"serial": "123"}}},
    "fixtures": {"hole": {"pos": [0.5, 0.0, 0.02]}},
}


def changed(path, value):
    """The good cell with one field replaced; ``None`` removes it."""
    cell = yaml.safe_load(yaml.safe_dump(GOOD))
    *groups, name = path.split(".")
    at = cell
    for group in groups:
        at = at.setdefault(group, {})
    if value is None:
        del at[name]
    else:
        at[name] = value
    return cell


def load(tmp_path, values):
    file = tmp_path / "cell.yaml"
    file.write_text(yaml.safe_dump(values))
    return load_cell(file)


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.stem)
def test_every_shipped_cell_is_one_and_goes_by_its_name(path):
    assert load_cell(path.stem) == load_cell(path)
    assert load_cell(path.stem).name == path.stem


def test_a_cell_survives_being_written(tmp_path):
    cell = load(tmp_path, GOOD)
    save_cell(cell, tmp_path / "again.yaml")
    assert load_cell(tmp_path / "again.yaml") == cell


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("arms.arm.robot", "fr4", "unknown robot 'fr4'; did you mean 'fr3'"),
        ("arms.arm.driver", "frankie", "did you mean 'franky'"),
        ("arms.arm.driver", None, "driver is missing; expected one of"),
        ("arms.arm.limits", {"max_spede": 0.2}, "did you mean 'max_speed'"),
        ("arms.arm.limits", {"max_speed": -1.0}, "max_speed is -1.0; it must be above 0"),
        ("arms.arm.limits", {"max_speed": "fast"}, "'fast' given, a number expected"),
        (
            "arms.arm.limits",
            {"workspace_low": [0.6, 0, 0], "workspace_high": [0.3, 1, 1]},
            "not below workspace_high, 0.3 m, along x; swap them?",
        ),
        ("arms", {}, "arms is empty"),
        ("cameras.wrist.width", 4, "width is 4; give 8 to 4096 pixels"),
        ("cameras.wrist.width", 128.5, "128.5 given, a whole number expected"),
        ("cameras.arm", {"driver": "webcam"}, "'arm' names two devices of the cell"),
        ("cameras.wrist.driver", "simulated", "simulation is missing"),
        ("fixtures.hole.pos", [500.0, 0.0, 20.0], "is it in millimetres?"),
        ("fixtures.hole.pos", [0.5, 0.0], "a list of 3 numbers expected"),
        ("calibration", {"fixtures": [1, 2]}, "calibration.fixtures is [1, 2]; a pose by name is expected"),
        ("calibration.fixtures", {"hole": {"quat": [1, 0, 0, 0]}}, "fixtures.hole: pos is None; 3 finite numbers"),
        ("calibration.fixtures", {"hole": {"pos": [0, 0, float("nan")]}}, "pos is [0, 0, nan]; 3 finite numbers"),
        ("calibration.fixtures", {"hole": {"pos": [0, 0, 0], "quat": [1, 0, 0]}}, "quat is [1, 0, 0]; 4 finite"),
        ("calibration.fixtures", {"hole": {"pos": [0, 0, 0], "quat": [1, 1, 0, 0]}}, "whose length is not 1"),
        ("ros", {"domain": 500}, "domain is 500; it must be from 0 to 232"),
        ("calibration", {"cameras": 3}, "calibration.cameras is 3; fields by name are expected"),
        (
            "calibration",
            {"cameras": {"wrist": {"intrinsics": {"fx": 1.0}}}},
            "[fx, fy, cx, cy] is [1.0, None, None, None]; 4 finite",
        ),
        (
            "calibration",
            {
                "cameras": {
                    "wrist": {"intrinsics": {"width": 640, "height": 480, "fx": 600, "fy": 600, "cx": 320, "cy": 240}}
                }
            },
            "is of pictures of 640x480, those of the camera are 128x128 and show another part of the scene",
        ),
        ("fixtures.hole.arm", "right", "unknown value of fixtures.hole: arm: 'right'; (known: arm)"),
        ("colour", "red", "unknown field in"),
        ("arms.arm.settings", {}, "arms.arm.settings: address is missing; expected text"),
        ("arms.arm.settings", {"address": 172}, "address: 172 given, text expected; put it in quotes"),
        ("arms.arm.settings.payload_mas", 0.1, "unknown field in arms.arm.settings: 'payload_mas'; did you mean"),
        ("arms.arm.settings.payload_com", [0.0, 0.0], "payload_com: [0.0, 0.0] given, a list of 3 numbers expected"),
        ("arms.arm.settings.payload_mass", -1.0, "payload_mass is -1.0; give a finite number of at least 0"),
        ("arms.arm.settings.hand", "yes please", "hand: 'yes please' given, true or false expected"),
        ("arms.arm.robot", "widowx250s", "the driver franky drives an fr3 or a panda, robot is 'widowx250s'"),
        ("arms.arm.driver", "widowx250s", "the driver widowx250s drives a widowx250s, robot is 'fr3'"),
        ("cameras.wrist.settings.serial", 123, "cameras.wrist.settings: serial: 123 given, text expected; put it in"),
        ("cameras.wrist.settings.fps", 0, "fps is 0; it must be above 0"),
        ("cameras.wrist.settings.frames", 30, "unknown field in cameras.wrist.settings: 'frames'"),
        ("cameras.front", {"driver": "webcam"}, "cameras.front.settings: address is missing; expected a whole number"),
        ("cameras.front", {"driver": "webcam", "settings": {"address": 0, "exposure": -2}}, "exposure is -2.0"),
        (
            "cameras.front",
            {"driver": "webcam", "settings": {"address": 0, "lens": {"width": 640, "height": 480, "fx": 0}}},
            "cameras.front.settings: lens: fy is missing; expected a number",
        ),
        ("cameras.front", {"driver": "video_file", "settings": {"path": 3}}, "path: 3 given, text expected"),
        ("emergency_stops.foot", {"driver": "evdev", "settings": {"path": "/dev/x", "released": 1}}, "true or false"),
        ("emergency_stops.foot", {"driver": "evdev", "settings": {"path": "/dev/x", "released": True}}, "name the key"),
        ("emergency_stops.foot", {"driver": "gpio", "settings": {"path": "/sys/x", "stops": 2}}, "stops at 0 or 1"),
        ("name", None, "name is missing"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path, path, value, says):
    with pytest.raises(UserError) as told:
        load(tmp_path, changed(path, value))
    assert says in str(told.value)
    assert "cell.yaml" in str(told.value) or says.startswith("unknown")
    assert "\n" not in str(told.value)


WIDOWX = {"robot": "widowx250s", "driver": "widowx250s", "settings": {"address": "/dev/ttyDXL"}}
TROSSEN = {"robot": "widowx_ai", "driver": "trossen", "settings": {"address": "192.168.1.2"}}


@pytest.mark.parametrize(
    ("arm", "name", "value", "says"),
    [
        (WIDOWX, "rate", 1000.0, "rate is 1000.0; it must be from 20 to 250"),
        (WIDOWX, "mode", "currant", "(known: current_based_position, position)"),
        (WIDOWX, "payload_com", "low", "'low' given, a list of 3 numbers expected"),
        (TROSSEN, "end_effector", "leader", "unknown value of"),
        (TROSSEN, "rate", "fast", "'fast' given, a number expected"),
        (TROSSEN, "speed", 1.0, "unknown field in arms.arm.settings: 'speed'"),
    ],
)
def test_every_driver_checks_its_settings_before_anything_is_opened(tmp_path, arm, name, value, says):
    with pytest.raises(UserError) as told:
        load(tmp_path, {"name": "mine", "arms": {"arm": {**arm, "settings": {**arm["settings"], name: value}}}})
    assert says in str(told.value)
    assert "\n" not in str(told.value)


def test_a_cell_is_read_without_any_sdk():
    blocked = ("rclpy", "cv2", "pyrealsense2", "franky", "pylibfranka", "dynamixel_sdk", "trossen_arm", "torch")
    program = (
        f"import sys\nfor name in {blocked}: sys.modules[name] = None\n"
        "from hardware.cell_file import load_cell, shipped\nfor path in shipped(): load_cell(path)"
    )
    root = str(SHIPPED.parents[1])
    subprocess.run([sys.executable, "-c", program], check=True, cwd=root, env={**os.environ, "PYTHONPATH": root})


def test_the_lens_of_a_camera_is_as_calibrated_for_the_pictures_that_it_hands_on(tmp_path):
    found = {"width": 640, "height": 640, "fx": 600.0, "fy": 601.0, "cx": 319.5, "cy": 319.5, "distortion": [0.1] * 5}
    file = changed("calibration.cameras", {"wrist": {"intrinsics": {**found, "residual": {"px": 0.2}}}})
    lens = load(tmp_path, file).intrinsics_of("wrist")
    assert (lens.width, lens.height, lens.fx, lens.cx, lens.distortion) == (128, 128, 120.0, 63.5, (0.1,) * 5)
    assert load(tmp_path, GOOD).intrinsics_of("wrist") is None


def test_a_webcam_is_set_up_as_the_cell_file_says(tmp_path):
    from hardware.cameras.view import Intrinsics
    from hardware.devices import settings_of

    lens = {"width": 640, "height": 480, "fx": 600.0, "fy": 601.0, "cx": 320.0, "cy": 240.0}
    settings = {"address": 0, "exposure": 100, "width": 640, "height": 480, "lens": lens, "fovy": 40}
    found = settings_of(load(tmp_path, changed("cameras.front", {"driver": "webcam", "settings": settings})), "front")
    assert (found.exposure, found.fovy, found.lens) == (100.0, 40.0, Intrinsics(*lens.values()))


TWO = {
    "name": "two",
    "arms": {side: {"robot": "fr3", "driver": "franky", "settings": {"address": side}} for side in ("left", "right")},
    "fixtures": {"hole": {"pos": [0.5, 0.0, 0.0], "arm": "left"}, "peg": {"pos": [0.4, 0.0, 0.0], "arm": "right"}},
    "calibration": {"fixtures": {"hole": {"arm": "right", "pos": [0.6, 0.0, 0.0], "quat": [1, 0, 0, 0]}}},
}


def test_a_fixture_is_only_that_of_the_arm_in_whose_base_it_was_measured(tmp_path):
    cell = load(tmp_path, TWO)
    left, right = (cell.fixture_poses(side) for side in ("left", "right"))
    assert {name: pos[0] for name, (pos, _) in left.items()} == {"hole": 0.5}
    assert {name: pos[0] for name, (pos, _) in right.items()} == {"hole": 0.6, "peg": 0.4}
    with pytest.raises(UserError, match="choose one by --arm: left, right"):
        cell.fixture_poses()


@pytest.mark.parametrize("place", ["fixtures", "calibration"])
def test_a_fixture_of_two_arms_has_to_say_whose_it_is(tmp_path, place):
    file = yaml.safe_load(yaml.safe_dump(TWO))
    del (file if place == "fixtures" else file["calibration"])["fixtures"]["hole"]["arm"]
    with pytest.raises(UserError, match=r"fixtures\.hole: arm is missing, and the cell has several; .*: left, right"):
        load(tmp_path, file)


def test_an_unknown_name_is_told_with_the_known_ones():
    with pytest.raises(UserError, match="did you mean 'franka'"):
        load_cell("frank")


@pytest.mark.parametrize("text", ["{", "- 1\n- 2\n", "name: [\n", "\x00"])
def test_what_is_no_cell_file_is_told(tmp_path, text):
    file = tmp_path / "cell.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=r"cell\.yaml"):
        load_cell(file)


def test_an_arm_has_to_be_chosen_where_there_are_two(tmp_path):
    file = changed("arms.other", {"robot": "fr3", "driver": "franky", "settings": {"address": "b"}})
    file["fixtures"]["hole"]["arm"] = "arm"
    cell = load(tmp_path, file)
    with pytest.raises(UserError, match="choose one by --arm: arm, other"):
        cell.arm()
    assert cell.arm("other") == "other"
    with pytest.raises(UserError, match="unknown arm 'left'"):
        cell.arm("left")
