"""``robo-rl cell check``, and what is told of a node that cannot start: processes and topics are real."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace

import pytest

from hardware.cell import CameraEntry, StopEntry
from hardware.cell_file import load_cell, save_cell

ROWS = (
    "state", "control_loop", "command", "malformed_commands", "limit_of_work_space", "limit_of_tilt", "limit_of_joints",
    "limit_of_speed", "expiry", "emergency_stop",
)  # fmt: skip


@pytest.fixture
def written(tmp_path):
    """Write a simulated cell with other devices; returns its file."""
    pytest.importorskip("rclpy")

    def write(**changes):
        cell = load_cell("sim")
        ros = replace(cell.ros, domain=100 + os.getpid() % 100)
        simulation = replace(cell.simulation, task="reach", plant={"patience": 0.2})
        changes = {"cameras": {}, **changes}
        file = tmp_path / "cell.yaml"
        save_cell(replace(cell, name=f"check_{os.getpid()}", ros=ros, simulation=simulation, **changes), file)
        return str(file)

    return write


MISSING = CameraEntry("webcam", settings={"address": "/dev/no-such-camera"})


@pytest.mark.realtime
def test_a_cell_is_looked_over_device_by_device(terminal, written, tmp_path):
    line = tmp_path / "gpio17" / "value"
    line.parent.mkdir()
    line.write_text("0")
    stop = {"button": StopEntry("gpio", {"path": str(line)})}
    code, out, err = terminal.run("cell", "check", written(emergency_stops=stop), "--seconds", "1")
    found = json.loads(out)
    assert set(found["figures"]) == {"cell.faults_before", "button.signs_of_life", *(f"arm.{row}" for row in ROWS)}
    # What does not depend on how busy this machine is.
    assert found["figures"]["arm.limit_of_work_space"] == {"corners": 8.0}
    assert found["figures"]["arm.limit_of_tilt"] == {"tilts": 6.0}
    assert found["figures"]["arm.limit_of_joints"] == {"refused": 14.0}
    assert found["figures"]["arm.malformed_commands"] == {"taken": 0}
    assert 0.0 <= found["figures"]["arm.limit_of_speed"]["fastest_m_per_s"] < 0.3125
    assert found["figures"]["arm.control_loop"]["rate_hz"] > 0.0
    assert 0.0 <= found["figures"]["arm.state"]["lost_share"] <= 1.0
    assert found["ok"] is (code == 0)
    assert len(found["wrong"]) == err.count("NOT OK")
    for row in ROWS:
        assert row.replace("_", " ") in err


@pytest.mark.realtime
def test_the_rest_of_a_cell_is_looked_over_when_a_camera_is_missing(terminal, written):
    began = time.monotonic()
    code, out, err = terminal.run("cell", "check", written(cameras={"top": MISSING}), "--seconds", "0.5")
    found = json.loads(out)
    assert (code, found["ok"]) == (1, False)
    said = next(each for each in found["wrong"] if each.startswith("top: node: "))
    assert "top does not start: cameras.top: there is no device /dev/no-such-camera; connected: " in said
    assert found["figures"]["arm.limit_of_joints"] == {"refused": 14.0}
    assert "NOT OK" in err
    assert time.monotonic() - began < 120.0  # it waits a minute for a node that says nothing


@pytest.mark.realtime
def test_a_cell_that_is_up_tells_which_node_does_not_start_and_ends_with_an_error(terminal, written):
    file = written(cameras={"top": MISSING})
    code, out, err = terminal.run("cell", "up", file, "--seconds", "10")
    assert code == 1, err
    assert "top: does not start: cameras.top: there is no device /dev/no-such-camera" in err
    found = json.loads(out)
    assert found["dead"].keys() == {"top"}
    assert found["health"]["arm"].startswith("holding")


@pytest.mark.realtime
@pytest.mark.parametrize("command", ["deploy", "train"])
def test_an_arm_that_is_not_there_ends_a_deployment_at_once(terminal, tmp_path, command):
    pytest.importorskip("rclpy")
    pytest.importorskip("dynamixel_sdk")
    cell = load_cell("widowx250s")
    arm = replace(cell.arms["arm"], settings={"address": str(tmp_path / "no-such-port")})
    ros = replace(cell.ros, domain=100 + os.getpid() % 100)
    file = tmp_path / "cell.yaml"
    save_cell(replace(cell, name=f"gone_{os.getpid()}", arms={"arm": arm}, cameras={}, ros=ros), file)
    small = [*terminal.small, "--robot", "widowx250s", "--demos", "0"]
    if command == "deploy":
        code, _, err = terminal.run("train", "reach", *small, "--steps", "60")
        assert code == 0, err
        words = ["deploy", str(terminal.only_run()), "--cell", str(file)]
    else:
        words = ["train", "reach", *small, "--num-envs", "1", "--eval-envs", "1", "--cell", str(file)]
    began = time.monotonic()
    code, out, err = terminal.run(*words)
    assert (code, out) == (2, ""), err
    last = err.strip().splitlines()[-1]
    assert last.startswith("robo-rl: error: arm does not start: ")
    assert "no-such-port" in last
    assert time.monotonic() - began < 50.0
