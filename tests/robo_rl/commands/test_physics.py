from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

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


START_AND_DIE = """
import os, signal
from robo_rl.commands.physics import SimulatedCell
cell = SimulatedCell("reach", "fr3")
cell.wait(120.0)
print(cell.physics.pid, cell.folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_physics_does_not_outlive_a_killed_parent():
    ran = subprocess.run([sys.executable, "-c", START_AND_DIE], capture_output=True, text=True, timeout=200)
    pid, folder = ran.stdout.split()
    try:
        deadline = time.monotonic() + 60.0
        while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
            assert time.monotonic() < deadline, "it goes on"
            time.sleep(0.05)
        assert not (Path(folder) / "physics.sock").exists()  # it has ended in order
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_process_that_cannot_start_says_why():
    with pytest.raises(UserError, match="unknown task 'rech'"), SimulatedCell("rech", "fr3"):
        pytest.fail("it started")
