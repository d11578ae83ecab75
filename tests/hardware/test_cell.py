"""The cell file: what is wrong with one is told in one line, with field, value and expectation."""

from __future__ import annotations

import pytest
import yaml

from hardware.cell import load_cell, save_cell, shipped
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
        ("colour", "red", "unknown field in"),
        ("name", None, "name is missing"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path, path, value, says):
    with pytest.raises(UserError) as told:
        load(tmp_path, changed(path, value))
    assert says in str(told.value)
    assert "cell.yaml" in str(told.value) or says.startswith("unknown")
    assert "\n" not in str(told.value)


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
    cell = load(tmp_path, changed("arms.other", {"robot": "fr3", "driver": "franky", "settings": {"address": "b"}}))
    with pytest.raises(UserError, match="choose one by --arm: arm, other"):
        cell.arm()
    assert cell.arm("other") == "other"
    with pytest.raises(UserError, match="unknown arm 'left'"):
        cell.arm("left")
