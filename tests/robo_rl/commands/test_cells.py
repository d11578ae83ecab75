"""``robo-rl cell`` and ``robo-rl deploy``: a simulated cell from a person's terminal, its processes and topics real."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from hardware.cell import SimulationEntry, StopEntry, load_cell, save_cell
from robo_rl.commands.cells import plant_of
from robo_rl.contracts.plant import DIFFERENT
from robo_rl.errors import UserError


def test_a_plant_is_a_preset_its_fields_or_fields_on_top_of_one():
    assert plant_of(SimulationEntry(plant="different")) == DIFFERENT
    assert plant_of(SimulationEntry(plant={"preset": "different", "guard": 0.04})) == replace(DIFFERENT, guard=0.04)
    assert plant_of(SimulationEntry(plant={"mass_scale": 1.2})).mass_scale == 1.2
    assert plant_of(SimulationEntry(plant={"mass_scale": 1.2})).joint_friction == 0.0


@pytest.mark.parametrize(
    ("plant", "says"),
    [
        ("diferent", "did you mean 'different'"),
        ({"preset": "diferent"}, "did you mean 'different'"),
        ({"mass": 1.2}, "field in simulation.plant: 'mass'"),
        ({"mass_scale": 0.0}, "mass_scale is 0"),
    ],
)
def test_a_plant_that_cannot_be_is_told_with_its_field(plant, says):
    with pytest.raises(UserError) as told:
        plant_of(SimulationEntry(plant=plant))
    assert says in str(told.value)


@pytest.fixture
def cell(tmp_path):
    """File of a simulated cell without cameras, on a domain of its own."""
    shipped = load_cell("sim")
    file = tmp_path / "cell.yaml"
    name = f"test_{os.getpid()}"
    save_cell(replace(shipped, name=name, cameras={}, ros=replace(shipped.ros, domain=100 + os.getpid() % 100)), file)
    return str(file)


def hear(process, words):
    """Read what a process says until it says ``words``."""
    said = ""
    while words not in said:
        line = process.stderr.readline()
        assert line, f"it ended after saying: {said}"
        said += line


@pytest.mark.realtime
def test_a_cell_is_started_stopped_acknowledged_and_ended(terminal, cell):
    pytest.importorskip("rclpy")
    code, _, err = terminal.run("cell", "stop", cell)
    assert (code, "is not up" in err) == (2, True)
    up = terminal.start("cell", "up", cell, "--task", "reach")
    try:
        hear(up, "arm: holding")
        code, _, err = terminal.run("cell", "up", cell)
        assert (code, "is up already" in err) == (2, True)
        code, out, err = terminal.run("cell", "stop", cell)
        assert code == 0, err
        assert json.loads(out)["modes"] == {"arm": "fault"}
        code, out, err = terminal.run("cell", "recover", cell)
        assert code == 0, err
        assert json.loads(out)["modes"] == {"arm": "holding"}
    finally:
        up.send_signal(signal.SIGINT)
        out, err = up.communicate(timeout=60)
    assert up.returncode == 0, err
    assert json.loads(out)["health"].keys() == {"arm"}


@pytest.mark.realtime
def test_a_button_stops_the_arms_until_it_is_released_and_the_fault_acknowledged(terminal, tmp_path, cell):
    pytest.importorskip("rclpy")
    line = tmp_path / "gpio17" / "value"
    line.parent.mkdir()
    line.write_text("0")
    save_cell(replace(load_cell(cell), emergency_stops={"button": StopEntry("gpio", {"path": str(line)})}), Path(cell))
    up = terminal.start("cell", "up", cell, "--task", "reach")
    try:
        hear(up, "arm: holding")
        code, out, err = terminal.run("cell", "recover", cell)  # the button's node is there
        assert code == 0, err
        line.write_text("1")
        hear(up, "arm: fault stopped")
        code, _, err = terminal.run("cell", "recover", cell)
        assert (code, "still pressed; release it first" in err) == (2, True)
        line.write_text("0")
        code, out, err = terminal.run("cell", "recover", cell)
        assert code == 0, err
        assert json.loads(out)["modes"] == {"arm": "holding"}
        line.unlink()
        hear(up, "arm: fault stopped")
    finally:
        up.send_signal(signal.SIGINT)
        up.communicate(timeout=60)


@pytest.mark.realtime
def test_a_run_is_deployed_and_what_came_of_it_is_kept(terminal, cell):
    pytest.importorskip("rclpy")
    code, _, err = terminal.run("train", "reach", *terminal.small, "--steps", "60")
    assert code == 0, err
    run = terminal.only_run()
    code, out, err = terminal.run("deploy", str(run), "--cell", cell, "--episodes", "2")
    assert code == 0, err
    told = json.loads(out)
    assert (told["world"], told["episodes"]) == ("cell", 2)
    assert 0.0 <= told["true_success_rate"] <= 1.0
    assert json.loads((run / "deployments.jsonl").read_text()) == told


def test_a_run_of_another_arm_is_refused_before_anything_starts(terminal):
    code, _, err = terminal.run("train", "reach", *terminal.small, "--steps", "60")
    assert code == 0, err
    code, _, err = terminal.run("deploy", str(terminal.only_run()), "--cell", "widowx250s")
    assert code == 2
    assert "the run is of robot 'panda', but arm 'arm' of cell 'widowx250s' is 'widowx250s'" in err
