"""``robo-rl cell`` and ``robo-rl deploy``: a simulated cell from a person's terminal, its processes and topics real."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from controllers.kinematics import Chain
from hardware.cell import ArmEntry, Cell, RosEntry, SimulationEntry, StopEntry
from hardware.cell_file import load_cell, save_cell
from robo_rl import geometry
from robo_rl.cli import main
from robo_rl.commands import postures
from robo_rl.commands.cells import plant_of
from robo_rl.contracts.plant import DIFFERENT
from robo_rl.errors import Stale, UserError


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
    return write_cell(tmp_path)


def write_cell(folder):
    shipped = load_cell("sim")
    file = folder / "cell.yaml"
    name = f"test_{os.getpid()}"
    save_cell(replace(shipped, name=name, cameras={}, ros=replace(shipped.ros, domain=100 + os.getpid() % 100)), file)
    return str(file)


def with_plant(file, **plant):
    """Give a simulated cell an arm like its data sheet but for ``plant``."""
    cell = load_cell(file)
    simulation = replace(cell.simulation, task="reach", plant={"patience": 0.2, **plant})
    save_cell(replace(cell, simulation=simulation), Path(file))


def processes(*words):
    """Numbers of the processes with all of ``words`` on their command line."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = each.read_text()
        except OSError:  # it has ended meanwhile
            continue
        if all(word in line for word in words) and int(each.parent.name) != os.getpid():
            found.append(int(each.parent.name))
    return found


def health(file):
    """What the arm of a cell says of itself."""
    from hardware.ros import RosRobot, Session

    cell = load_cell(file)
    with Session("looks", domain=cell.ros.domain) as session:
        arm = RosRobot("arm", cell.spec_of("arm"), session)
        with contextlib.suppress(Stale):
            arm.wait_until_ready(1.5)
        status = arm.status()
        arm.close()
    return f"{status.mode} {status.fault} {status.reason}"


def until(true, seconds=60.0):
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def hear(process, *words):
    """Read what a process says until it has said all of ``words``."""
    said = ""
    while not all(each in said for each in words):
        line = process.stderr.readline()
        assert line, f"it ended after saying: {said}"
        said += line


@contextlib.contextmanager
def up(terminal, file, *words):
    """A cell that is up, as `cell up` runs it: its process, ended as by a person."""
    process = terminal.start("cell", "up", file, *words)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.said = process.communicate(timeout=60)


def here(*words):
    """Run ``robo-rl`` in this process, which has imported already what takes a new one seconds."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(words))
    return code, out.getvalue(), err.getvalue()


def recover(file):
    """Acknowledge the faults; return how the arms are then."""
    code, out, err = here("cell", "recover", file)
    assert code == 0, err
    return json.loads(out)["modes"]


@pytest.fixture(scope="class")
def going(terminal_in, tmp_path_factory):
    """A cell that is up for several tests, each of which leaves its arm holding: its terminal, file and process."""
    pytest.importorskip("rclpy")
    folder = tmp_path_factory.mktemp("going")
    file, terminal = write_cell(folder), terminal_in(folder)
    with_plant(file)
    code, _, err = here("cell", "stop", file)
    assert (code, "is not up" in err) == (2, True)
    with up(terminal, file, "--task", "reach") as process:
        hear(process, "arm: holding")
        yield terminal, file, process
    out, err = process.said
    assert process.returncode == 0, err
    assert json.loads(out)["health"].keys() == {"arm"}


@pytest.mark.realtime
class TestACellThatIsUp:
    """What several tests share ends with them: the others start cells of the same name."""

    def test_a_cell_is_up_once_and_is_stopped_and_acknowledged(self, going):
        _, cell, _ = going
        code, _, err = here("cell", "up", cell)
        assert (code, "is up already" in err) == (2, True)
        code, out, err = here("cell", "stop", cell)
        assert code == 0, err
        assert json.loads(out)["modes"] == {"arm": "fault"}
        assert recover(cell) == {"arm": "holding"}

    def test_a_fixture_is_found_by_touching_it(self, going):
        from hardware.ros import RosRobot, Session

        terminal, cell, _ = going
        loaded = load_cell(cell)
        spec = loaded.spec_of("arm")
        postures = [np.array(spec.home) + 0.1 * np.eye(7)[joint] for joint in (0, 1, 3)]
        touched = np.array([Chain(spec).forward(posture)[0] for posture in postures])
        turn = geometry.exp(np.array([0.1, -0.2, 0.3]))
        points = (touched - [0.5, 0.1, 0.2]) @ turn
        command = [sys.executable, "-m", "robo_rl.cli", "cell", "calibrate", cell, "fixture", "--name", "hole"]
        command += ["--points", *(f"{number:.6f}" for number in points.ravel())]
        person = subprocess.Popen(
            command, env=terminal.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        with Session("hand", domain=loaded.ros.domain) as session:
            arm = RosRobot("arm", spec, session)
            arm.wait_until_ready(60.0)
            for posture in postures:
                hear(person, "press return")
                arm.move_joints(posture, 0.04)
                while arm.status().mode == "moving":
                    time.sleep(0.05)
                until(lambda: np.abs(arm.state(10.0).joint_vel).max() < 0.02)
                person.stdin.write("\n")
                person.stdin.flush()
        out, err = person.communicate(timeout=60)
        assert person.returncode == 0, err
        assert json.loads(out)["residual"]["position_mm"] < 15.0  # an arm holds within a centimetre
        pos, rot = load_cell(cell).fixture_poses()["hole"]
        assert np.abs(pos - [0.5, 0.1, 0.2]).max() < 0.02
        assert geometry.distance(rot, turn) < 0.1

    def test_an_arm_whose_node_was_killed_is_served_anew_and_moves_only_after_a_person_says_so(self, going):
        _, cell, process = going
        (node,) = processes("hardware.serve", load_cell(cell).name)
        os.kill(node, signal.SIGKILL)
        hear(process, "arm: fault no_link")
        until(lambda: "started anew" in health(cell))
        assert recover(cell) == {"arm": "holding"}


@pytest.fixture
def two_arms(tmp_path):
    """File of a cell with two WidowX on emulated buses, in processes of their own as other machines would be."""
    pytest.importorskip("dynamixel_sdk")
    buses = []
    arms = {}
    for side in ("left", "right"):
        link = str(tmp_path / side)
        command = [sys.executable, "-m", "hardware.emulation.dynamixel_bus", "--link", link]
        buses.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        settings = {"address": link, "watchdog": 2.5, "patience": 0.25}
        arms[side] = ArmEntry("widowx250s", "widowx250s", settings, {"max_state_age": 2.0})
    for bus in buses:
        assert "WidowX 250s at" in bus.stdout.readline()
    file = tmp_path / "two.yaml"
    name = f"two_{os.getpid()}"
    save_cell(Cell(name, arms, ros=RosEntry(domain=100 + os.getpid() % 100, max_age=1.0)), file)
    yield str(file)
    for bus in buses:
        bus.terminate()
        bus.communicate(timeout=20)


@pytest.mark.realtime
def test_two_arms_share_a_cell(terminal, two_arms):
    pytest.importorskip("rclpy")
    with up(terminal, two_arms) as process:
        hear(process, "left: holding", "right: holding")
        code, out, err = here("cell", "stop", two_arms)
        assert code == 0, err
        assert json.loads(out)["modes"] == {"left": "fault", "right": "fault"}
        assert recover(two_arms) == {"left": "holding", "right": "holding"}
    with pytest.raises(UserError, match="several arms; choose one by --arm: left, right"):
        load_cell(two_arms).arm()


@pytest.mark.realtime
def test_what_an_arm_carries_is_weighed_and_written_into_the_file(terminal, cell):
    pytest.importorskip("rclpy")
    with_plant(cell, payload_error=0.3)
    code, out, err = terminal.run("cell", "calibrate", cell, "payload")
    assert code == 0, err
    assert json.loads(out)["mass"] == pytest.approx(0.3, abs=0.02)
    written = load_cell(cell).calibration["arms"]["arm"]["payload"]
    assert written["mass"] == pytest.approx(0.3, abs=0.02)
    assert written["residual"]["joint_torque_Nm"] < 0.5


def put(line, level):
    """Write over a level in place: a file that is truncated first would read as none for an instant."""
    with line.open("r+") as file:
        file.write(level)


def with_button(file, tmp_path):
    """Give a cell a button on a line of a board; return the line, which reads 1 when it is pressed."""
    line = tmp_path / "gpio17" / "value"
    line.parent.mkdir()
    line.write_text("0")
    save_cell(replace(load_cell(file), emergency_stops={"button": StopEntry("gpio", {"path": str(line)})}), Path(file))
    return line


@pytest.mark.realtime
def test_a_button_stops_the_arms_until_it_is_released_and_the_fault_acknowledged(terminal, tmp_path, cell):
    pytest.importorskip("rclpy")
    line = with_button(cell, tmp_path)
    with up(terminal, cell, "--task", "reach") as process:
        hear(process, "arm: holding")
        recover(cell)  # the button's node is there
        put(line, "1")
        hear(process, "arm: fault stopped")
        code, _, err = here("cell", "recover", cell)
        assert (code, "still pressed; release it first" in err) == (2, True)
        put(line, "0")
        assert recover(cell) == {"arm": "holding"}
        (node,) = processes("hardware.serve", load_cell(cell).name, "button")
        os.kill(node, signal.SIGSTOP)  # a button that nobody watches counts as pressed
        hear(process, "arm: fault stopped the emergency stop button is silent")
        code, _, err = here("cell", "recover", cell)
        assert (code, "emergency stop button does not answer" in err) == (2, True)
        os.kill(node, signal.SIGCONT)
        until(lambda: here("cell", "recover", cell)[0] == 0)
        until(lambda: "holding" in health(cell))
        line.unlink()
        hear(process, "arm: fault stopped")


@pytest.mark.realtime
@pytest.mark.slow
def test_arms_stop_when_the_process_of_a_button_is_killed(terminal, tmp_path, cell):
    """By the default run it is silent for another reason: its process stands still."""
    pytest.importorskip("rclpy")
    with_button(cell, tmp_path)
    with up(terminal, cell, "--task", "reach") as process:
        hear(process, "arm: holding")
        recover(cell)
        (node,) = processes("hardware.serve", load_cell(cell).name, "button")
        os.kill(node, signal.SIGKILL)
        hear(process, "arm: fault stopped the emergency stop button is silent")
        until(lambda: here("cell", "recover", cell)[0] == 0)
        until(lambda: "holding" in health(cell))


@pytest.mark.realtime
def test_arms_stay_stopped_without_the_button_that_the_cell_names(terminal, tmp_path, cell):
    pytest.importorskip("rclpy")
    with_button(cell, tmp_path).unlink()
    with up(terminal, cell, "--task", "reach") as process:
        hear(process, "arm: fault stopped", "gpio17/value does not open")
        code, _, err = here("cell", "recover", cell)
        assert (code, "is lost: connect it and start again" in err) == (2, True)


@pytest.mark.parametrize("line", ["", "s\n"])
def test_an_arm_is_not_moved_by_calibration_unless_a_person_says_so(monkeypatch, line):
    monkeypatch.setattr(sys, "stdin", io.StringIO(line))
    with pytest.raises(UserError, match="nothing was written"):
        postures.ask("the arm is about to move")


@pytest.mark.realtime
def test_a_run_is_deployed_and_what_came_of_it_is_kept(terminal, cell, run):
    pytest.importorskip("rclpy")
    code, out, err = terminal.run("deploy", str(run), "--cell", cell, "--episodes", "2")
    assert code == 0, err
    told = json.loads(out)
    assert (told["world"], told["episodes"]) == ("cell", 2)
    assert 0.0 <= told["true_success_rate"] <= 1.0
    assert json.loads((run / "deployments.jsonl").read_text()) == told


def test_a_run_of_another_arm_is_refused_before_anything_starts(terminal, run):
    code, _, err = terminal.run("deploy", str(run), "--cell", "widowx250s")
    assert code == 2
    assert "the run is of robot 'panda', but arm 'arm' of cell 'widowx250s' is 'widowx250s'" in err
