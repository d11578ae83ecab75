from __future__ import annotations

import json

import pytest

from robo_rl.commands.physics import SimulatedCell, main, read_settings
from robo_rl.contracts.plant import DIFFERENT, PlantSettings
from robo_rl.errors import UserError


def test_settings_come_by_name_as_json_or_from_a_file(tmp_path):
    assert read_settings("ideal") == PlantSettings()
    assert read_settings("different") == DIFFERENT
    assert read_settings('{"command_delay": 0.03}') == PlantSettings(command_delay=0.03)
    (tmp_path / "settings.json").write_text(json.dumps({"guard": 0.05, "realtime": False}))
    assert read_settings(str(tmp_path / "settings.json")) == PlantSettings(guard=0.05, realtime=False)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("idael", "did you mean 'ideal'"),
        ('{"comand_delay": 0.03}', "did you mean 'command_delay'"),
        ('{"guard": "soon"}', "guard"),
        ('{"guard": -1.0}', r"plant\.guard"),
        ("{nonsense", "no JSON"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(text, says):
    with pytest.raises(UserError, match=says):
        read_settings(text)


def test_wrong_options_are_refused(tmp_path):
    with pytest.raises(UserError, match="fps"):
        main(["reach", "--folder", str(tmp_path), "--fps", "0"])


def test_a_process_that_cannot_start_says_why():
    with pytest.raises(UserError, match="unknown task 'rech'"), SimulatedCell("rech", "fr3"):
        pytest.fail("it started")
