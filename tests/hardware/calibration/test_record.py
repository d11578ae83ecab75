from __future__ import annotations

import math
import os

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.calibration.poses import CalibrationError, pose
from hardware.calibration.record import pose_entry, write_calibration
from robo_rl import geometry
from robo_rl.errors import UserError

CELL = """\
# The cell beside the window.
name: bench   # ours
arms:
  left: {driver: franka, address: 172.16.0.2}

calibration:
  # old ones
  cameras:
    front:
      pos: [0.1, 0.2, 0.3]
      residual: {position_mm: 9.0}
  fixtures:
    socket: {pos: [1.0, 0.0, 0.0]}

# Who listens to whom.
ros:
  domain: 7  # not 0
"""


@pytest.fixture
def cell(tmp_path):
    path = tmp_path / "cell.yaml"
    path.write_text(CELL)
    return path


def test_the_rest_of_the_file_stays_to_the_letter(cell):
    write_calibration(cell, "cameras.wrist", {"pos": np.array([0.5, -0.0, 1 / 3])}, {"position_mm": np.float64(0.25)})
    text = cell.read_text()
    before, _, rest = CELL.partition("calibration:")
    after = rest[rest.index("\n# Who listens") :]
    assert text.startswith(before)
    assert text.endswith(after)
    assert yaml.safe_load(text)["calibration"] == {
        "cameras": {
            "front": {"pos": [0.1, 0.2, 0.3], "residual": {"position_mm": 9.0}},
            "wrist": {"pos": [0.5, 0.0, 0.333333333], "residual": {"position_mm": 0.25}},
        },
        "fixtures": {"socket": {"pos": [1.0, 0.0, 0.0]}},
    }
    assert "pos: [0.5, 0.0, 0.333333333]" in text


def test_what_was_measured_again_replaces_what_was_there(cell):
    write_calibration(cell, "cameras.front", {"pos": [1.0, 2.0, 3.0], "mount": "eye_to_hand"}, {"position_mm": 0.5})
    entry = yaml.safe_load(cell.read_text())["calibration"]["cameras"]["front"]
    assert entry == {"pos": [1.0, 2.0, 3.0], "mount": "eye_to_hand", "residual": {"position_mm": 0.5}}


@pytest.mark.parametrize(
    "text",
    [
        "name: a\n",
        "name: a",
        "name: a\ncalibration:\n",
        "calibration: {}\nname: a\n",
        "calibration: {cameras: {front: {pos: [1, 2]}}}  # one line\nname: a\n",
        "calibration: {cameras: {front: {\n  pos: [1, 2]}}}\nname: a\n",
        "name: a\ncalibration:\n  payload:\n    left: {mass: 1}",
        "name: a\n\ncalibration:\n  payload: {}\n# the end\n",
    ],
)
def test_wherever_the_section_is_or_is_not(tmp_path, text):
    path = tmp_path / "cell.yaml"
    path.write_text(text)
    before = yaml.safe_load(text)
    write_calibration(path, "tool_center.left", {"pos": [0.0, 0.0, 0.1]}, {"position_mm": 0.2})
    after = yaml.safe_load(path.read_text())
    assert after["calibration"].pop("tool_center") == {
        "left": {"pos": [0.0, 0.0, 0.1], "residual": {"position_mm": 0.2}}
    }
    assert after["calibration"] == (before.pop("calibration", None) or {})
    del after["calibration"]
    assert after == before
    assert ("# the end" in text) == ("# the end" in path.read_text())


NAMES = st.text("abcdefgh_", min_size=1, max_size=5)
VALUES = st.recursive(
    st.floats(-9, 9) | st.integers(-9, 9) | st.booleans() | st.text("xy: #-'\n", max_size=6),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(NAMES, each, max_size=3),
    max_leaves=5,
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=4), st.dictionaries(NAMES, VALUES, max_size=3), st.booleans())
def test_any_file_keeps_what_it_says(tmp_path_factory, top, calibration, flow):
    path = tmp_path_factory.mktemp("cell") / "cell.yaml"
    path.write_text(yaml.safe_dump({**top, "calibration": calibration, "z": 1}, default_flow_style=flow or None))
    try:
        write_calibration(path, "new.entry", {"mass": 1.0}, {"force_N": 0.1})
    except UserError:
        assert flow  # a whole file on one line cannot be spliced
        return
    after = yaml.safe_load(path.read_text())
    assert after["calibration"]["new"]["entry"] == {"mass": 1.0, "residual": {"force_N": 0.1}}
    assert {key: value for key, value in after.items() if key != "calibration"} == {**top, "z": 1}


def test_a_pose_as_cell_files_have_it():
    entry = pose_entry(pose(np.array([1.0, 2.0, 3.0]), geometry.yaw(np.array(math.pi / 2))))
    assert entry["pos"] == [1.0, 2.0, 3.0]
    assert entry["quat"] == pytest.approx([math.sqrt(0.5), 0, 0, math.sqrt(0.5)])
    with pytest.raises(CalibrationError, match="is not a pose"):
        pose_entry(np.ones((4, 4)))


def test_a_link_stays_one(cell, tmp_path):
    link = tmp_path / "link.yaml"
    link.symlink_to(cell)
    write_calibration(link, "payload.left", {"mass": 0.7}, {"force_N": 0.1})
    assert link.is_symlink()
    assert yaml.safe_load(cell.read_text())["calibration"]["payload"]["left"]["mass"] == 0.7


@pytest.mark.parametrize(
    ("section", "value", "says"),
    [
        ("cameras.front.pos.x", {}, r"calibration\.cameras\.front\.pos is \[0\.1.*nothing can be put below"),
        ("cameras..x", {}, "has an empty level"),
        ("payload.left", {"mass": math.nan}, "a calibration of nan is not written"),
    ],
)
def test_what_cannot_be_written_leaves_the_file_as_it_is(cell, section, value, says):
    with pytest.raises(UserError, match=says):
        write_calibration(cell, section, value, {})
    assert cell.read_text() == CELL
    assert os.listdir(cell.parent) == ["cell.yaml"]


def test_files_that_are_no_cell(cell, tmp_path):
    with pytest.raises(UserError, match=r"no cell file .*cel\.yaml; did you mean cell\.yaml"):
        write_calibration(tmp_path / "cel.yaml", "a", {}, {})
    for text, says in (("[1, 2]", "no cell file"), ("a: [", "no YAML"), ("calibration: 3", "calibration is 3")):
        cell.write_text(text)
        with pytest.raises(UserError, match=says):
            write_calibration(cell, "a", {}, {})
        assert cell.read_text() == text
