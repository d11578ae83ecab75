"""``robo-rl cell check``, and what is told of a node that cannot start: processes and topics are real."""

from __future__ import annotations

import json
import os
import signal
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
def test_a_cell_is_looked_over_device_by_device_but_for_a_camera_that_is_missing(terminal, written, tmp_path):
    line = tmp_path / "gpio17" / "value"
    line.parent.mkdir()
    line.write_text("0")
    stop = {"button": StopEntry("gpio", {"path": str(line)})}
    began = time.monotonic()
    file = written(emergency_stops=stop, cameras={"top": MISSING})
    code, out, err = terminal.run("cell", "check", file, "--seconds", "1")
    found = json.loads(out)
    whole = {"cell.faults_before", "button.signs_of_life", "top.node", *(f"arm.{row}" for row in ROWS)}
    assert set(found["figures"]) == whole
    said = next(each for each in found["wrong"] if each.startswith("top: node: "))
    assert "top does not start: cameras.top: there is no device /dev/no-such-camera; connected: " in said
    assert time.monotonic() - began < 120.0  # it waits a minute for a node that says nothing
    # What does not depend on how busy this machine is.
    assert found["figures"]["arm.limit_of_work_space"] == {"corners": 8.0}
    assert found["figures"]["arm.limit_of_tilt"] == {"tilts": 6.0}
    assert found["figures"]["arm.limit_of_joints"] == {"refused": 14.0}
    assert found["figures"]["arm.malformed_commands"] == {"taken": 0}
    assert 0.0 <= found["figures"]["arm.limit_of_speed"]["fastest_m_per_s"] < 0.3125
    assert found["figures"]["arm.control_loop"]["rate_hz"] > 0.0
    assert 0.0 <= found["figures"]["arm.state"]["lost_share"] <= 1.0
    assert (code, found["ok"]) == (1, False)
    assert len(found["wrong"]) == err.count("NOT OK")
    for row in ROWS:
        assert row.replace("_", " ") in err


@pytest.mark.realtime
def test_a_cell_that_is_up_tells_which_node_does_not_start_and_ends_with_an_error(terminal, written):
    file = written(cameras={"top": MISSING})
    process, said = terminal.start("cell", "up", file), ""
    while not ("top: does not start: " in said and "arm: holding" in said):
        line = process.stderr.readline()
        assert line, said
        said += line
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert "top: does not start: cameras.top: there is no device /dev/no-such-camera" in said
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
