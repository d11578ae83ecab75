"""``robo-rl cell calibrate`` and ``home`` on a simulated cell, its nodes real: what they find is true, and used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from controllers.kinematics import Chain
from envs.registry import make_task
from hardware.calibration.board import Board, find_corners
from hardware.calibration.poses import inverse, pose
from hardware.cell import ArmEntry, Cell, RosEntry
from hardware.cell_file import load_cell, save_cell
from robo_rl import geometry
from robo_rl.commands.board_scene import clear_for
from robo_rl.commands.calibrate import known_payload
from robo_rl.commands.cells import running
from robo_rl.errors import UserError

TASK = "peg_insertion"
CAMERAS = {"front": "T_base_camera", "wrist": "T_tcp_camera"}


@pytest.fixture
def cell(tmp_path):
    """File of a simulated cell whose arm is like its data sheet, with its cameras."""
    shipped = load_cell("sim")
    file = tmp_path / "cell.yaml"
    simulation = replace(shipped.simulation, task=TASK, plant={"patience": 0.2})
    ros = replace(shipped.ros, domain=100 + os.getpid() % 100, max_age=1.0)
    save_cell(replace(shipped, name=f"calibrate_{os.getpid()}", simulation=simulation, ros=ros), file)
    return str(file)


def with_plant(file, **plant):
    loaded = load_cell(file)
    save_cell(replace(loaded, simulation=replace(loaded.simulation, plant={"patience": 0.2, **plant})), Path(file))


def true_camera(name):
    """Pose of a camera of the scene in the base's or the tool's frame, as OpenCV has cameras, and its focal length."""
    task = make_task(TASK, "panda")
    camera = next(each for each in task.scene().cameras if each.name == name)
    z = np.subtract(camera.look_at, camera.pos)
    z /= np.linalg.norm(z)
    x = np.cross(z, [0.0, 0.0, 1.0])
    x /= np.linalg.norm(x)
    T = pose(np.array(camera.pos), np.stack([x, np.cross(z, x), z], axis=1))
    if camera.on_tool:
        T[:3, 3] -= np.array(task.robot.gripper.tcp_pos)
    return T, camera.height / 2 / np.tan(np.radians(camera.fovy / 2))


@pytest.mark.slow
@pytest.mark.realtime
@pytest.mark.parametrize("name", CAMERAS)
def test_a_camera_is_found_where_it_truly_is_and_its_lens_is_published(terminal, tmp_path, cell, name):
    pytest.importorskip("rclpy")
    show = tmp_path / "view.png"
    code, out, err = terminal.run(
        "cell", "calibrate", cell, "camera", "--camera", name, "--views", "10", "--show", str(show)
    )
    assert code == 0, err
    told = json.loads(out)
    assert told["residual"]["position_mm"] < 2.0
    assert told["residual"]["reprojection_px"] < 0.6
    loaded = load_cell(cell)
    found, (true, focal) = loaded.camera_pose_of(name), true_camera(name)
    assert (found.of, found.arm) == (CAMERAS[name], "arm")
    assert np.linalg.norm(found.T[:3, 3] - true[:3, 3]) < 0.005
    assert geometry.distance(found.T[:3, :3], true[:3, :3]) < np.radians(0.7)
    lens = loaded.intrinsics_of(name)
    assert (lens.width, lens.height) == (128, 128)
    assert lens.fy == pytest.approx(focal, rel=0.01)
    import cv2

    drawn = cv2.cvtColor(cv2.imread(str(show)), cv2.COLOR_BGR2RGB).astype(int)
    for channel in range(3):  # an axis of each colour
        others = [each for each in range(3) if each != channel]
        assert ((drawn[..., channel] - drawn[..., others].max(axis=-1)) > 80).sum() > 20
    assert published_lens(loaded, name) == pytest.approx([lens.fx, lens.fy, lens.cx, lens.cy])


def published_lens(cell, name):
    """What the node of a camera says in ``camera_info``: fx, fy, cx, cy."""
    from sensor_msgs.msg import CameraInfo

    from hardware.ros import Session, qos

    heard = []
    with running(cell), Session("looks", domain=cell.ros.domain) as session:
        session.node.create_subscription(CameraInfo, f"{name}/camera_info", heard.append, qos.image_in())
        deadline = time.monotonic() + 60.0
        while not heard:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    k = heard[0].k
    return [k[0], k[4], k[2], k[5]]


@pytest.mark.slow
@pytest.mark.realtime
def test_what_was_weighed_is_told_to_the_arm_which_then_feels_nothing(terminal, cell):
    pytest.importorskip("rclpy")
    with_plant(cell, payload_error=0.5)
    before = felt(load_cell(cell))
    assert before > 3.0  # N, of 0.5 kg
    code, out, err = terminal.run("cell", "calibrate", cell, "payload")
    assert code == 0, err
    told = json.loads(out)
    assert told["mass"] == pytest.approx(0.5, abs=0.02)
    assert told["residual"]["joint_torque_Nm"] < 0.2
    assert felt(load_cell(cell)) < 0.3
    # Weighed once more, the same comes out: what the arm reckons with already is not weighed twice or forgotten.
    with_plant(cell, payload_error=0.2)
    code, out, err = terminal.run("cell", "calibrate", cell, "payload")
    assert code == 0, err
    assert json.loads(out)["mass"] == pytest.approx(0.2, abs=0.02)


def felt(cell):
    """Force on the tool of an arm at rest that touches nothing, N."""
    from hardware.ros import RosRobot, Session

    with running(cell, cameras=False) as up, Session("feels", domain=cell.ros.domain) as session:
        arm = RosRobot("arm", up.cell.spec_of("arm"), session)
        arm.wait_until_ready(60.0)
        time.sleep(1.0)
        return float(np.linalg.norm(np.mean([sample(arm) for _ in range(20)], axis=0)))


def sample(arm):
    time.sleep(0.02)
    return arm.state(10.0).tcp_force


@pytest.mark.slow
@pytest.mark.realtime
def test_the_tip_of_a_tool_is_found_and_then_is_what_the_arm_tells(terminal, cell):
    pytest.importorskip("rclpy")
    from hardware.ros import RosRobot, Session

    tip = np.array([0.01, -0.02, 0.16])  # in the hand's frame; nominal is 0.1034 along z
    loaded = load_cell(cell)
    nominal = loaded.spec_of("arm")
    spec = replace(nominal, gripper=replace(nominal.gripper, tcp_pos=tuple(tip.tolist())))
    chain, home = Chain(spec), np.array(spec.home)
    pivot, rot = (np.asarray(part) for part in chain.forward(home))
    tilts = [np.zeros(3), *(0.4 * axis for axis in (np.eye(3)[0], -np.eye(3)[0], np.eye(3)[1], -np.eye(3)[1]))]
    with running(loaded, cameras=False), Session("hand", domain=loaded.ros.domain) as session:
        arm = RosRobot("arm", nominal, session)
        arm.wait_until_ready(60.0)
        person = subprocess.Popen(
            [sys.executable, "-m", "robo_rl.cli", "cell", "calibrate", cell, "tool", "--poses", str(len(tilts))],
            env=terminal.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        for tilt in tilts:
            until_asked(person)
            q, reached = chain.inverse(pivot[None], (geometry.exp(tilt) @ rot)[None], home[None])
            assert reached[0]
            arm.move_joints(q[0], 0.04)
            while arm.status().mode != "holding":
                time.sleep(0.05)
            time.sleep(1.0)
            person.stdin.write("\n")
            person.stdin.flush()
        out, err = person.communicate(timeout=60)
    assert person.returncode == 0, err
    told = json.loads(out)
    np.testing.assert_allclose(told["tcp_pos"], tip, atol=0.004)
    assert told["residual"]["position_mm"] < 4.0
    found = load_cell(cell)
    assert list(found.spec_of("arm").gripper.tcp_pos) == pytest.approx(told["tcp_pos"], abs=1e-6)
    with running(found, cameras=False) as up, Session("hand", domain=found.ros.domain) as session:
        arm = RosRobot("arm", up.cell.spec_of("arm"), session)
        arm.wait_until_ready(60.0)
        state = arm.state(10.0)
        at, turned = (np.asarray(part) for part in Chain(nominal).forward(state.joint_pos))
        off = np.array(told["tcp_pos"]) - np.array(nominal.gripper.tcp_pos)
        np.testing.assert_allclose(state.tcp_pos, at + turned @ off, atol=1e-5)


def until_asked(person):
    said = ""
    while "press return" not in said:
        line = person.stderr.readline()
        assert line, f"it ended after saying: {said}"
        said += line


@pytest.mark.realtime
def test_an_arm_is_brought_home_with_its_gripper_open(terminal, cell):
    pytest.importorskip("rclpy")
    from hardware.ros import RosRobot, Session

    loaded = load_cell(cell)
    spec = loaded.spec_of("arm")
    with running(loaded, cameras=False), Session("away", domain=loaded.ros.domain) as session:
        arm = RosRobot("arm", spec, session)
        arm.wait_until_ready(60.0)
        arm.move_joints(np.array(spec.home) + 0.15, 0.01)
        while arm.status().mode != "holding":
            time.sleep(0.05)
        code, out, err = terminal.run("cell", "home", cell)
        assert code == 0, err
        assert json.loads(out)["arms"]["arm"]["off_rad"] < 0.03
        assert np.abs(arm.state(10.0).joint_pos - spec.home).max() < 0.03
        arm.stop("for the test")
        time.sleep(0.5)
        code, _, err = terminal.run("cell", "home", cell)
        assert (code, "robo-rl cell recover" in err) == (2, True)
        arm.recover()


@pytest.mark.realtime
def test_a_folded_widowx_is_brought_home_once_a_person_agrees(terminal, tmp_path):
    pytest.importorskip("rclpy")
    pytest.importorskip("dynamixel_sdk")
    link, file = str(tmp_path / "bus"), tmp_path / "widowx.yaml"
    command = [sys.executable, "-m", "hardware.emulation.dynamixel_bus", "--link", link]
    bus = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert "WidowX 250s at" in bus.stdout.readline()
        settings = {"address": link, "watchdog": 2.5, "patience": 0.25}
        arms = {"arm": ArmEntry("widowx250s", "widowx250s", settings, {"max_state_age": 2.0})}
        ros = RosEntry(domain=100 + os.getpid() % 100, max_age=1.0)
        save_cell(Cell(f"folded_{os.getpid()}", arms, ros=ros), file)
        refused = subprocess.run(
            [sys.executable, "-m", "robo_rl.cli", "cell", "home", str(file)],
            env=terminal.environment, input="", capture_output=True, text=True, timeout=200,
        )  # fmt: skip
        assert refused.returncode == 2
        done = subprocess.run(
            [sys.executable, "-m", "robo_rl.cli", "cell", "home", str(file)],
            env=terminal.environment, input="\n", capture_output=True, text=True, timeout=200,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["arms"]["arm"]["off_rad"] < 0.05
    finally:
        bus.terminate()
        bus.communicate(timeout=20)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("camera",), "camera is missing: say which camera"),
        (("camera", "--camera", "frnt"), "did you mean 'front'"),
        (("camera", "--camera", "front", "--mount", "tool"), "the simulated camera 'front' is on the base"),
        (("camera", "--camera", "front", "--views", "3"), "views is 3; six or more"),
        (("camera", "--camera", "front", "--show", "view.txt"), "give the name of a picture"),
        (("camera", "--camera", "front", "--marker", "0.05"), "board.marker is 0.05 m; it must lie between"),
    ],
)
def test_a_calibration_that_cannot_be_is_told_before_anything_moves(terminal, cell, words, says):
    code, _, err = terminal.run("cell", "calibrate", cell, *words)
    assert (code, says in err) == (2, True), err


def test_a_real_camera_has_to_be_said_to_be_on_the_tool_or_not(terminal, tmp_path):
    file = tmp_path / "cell.yaml"
    save_cell(load_cell("franka"), file)
    code, _, err = terminal.run("cell", "calibrate", str(file), "camera", "--camera", "wrist")
    assert (code, "mount is missing: say --mount tool" in err) == (2, True), err


SMALL = {"square": 0.02, "marker": 0.015}


@pytest.mark.parametrize(
    ("name", "on"), [("wrist", {"on": "table", **SMALL}), ("front", {"on": "tool", "facing": "front", **SMALL})]
)
def test_a_board_in_the_scene_is_the_board_that_calibration_looks_for(name, on):
    """Drawn by ray casting or OpenGL, its corners are seen where its pose has them."""
    from envs.worlds.plant import MujocoPainter, MujocoPlant

    task = make_task(TASK, "panda")
    scene = task.scene()
    cameras = tuple(replace(each, width=512, height=512) for each in scene.cameras if each.name == name)
    scene = clear_for(replace(scene, cameras=cameras), task.robot, on)
    assert [item.name for item in scene.objects] == ["board"]
    painter = MujocoPainter(task.robot, scene)
    picture = painter.draw(MujocoPlant(task.robot, scene).snapshot(), name)
    painter.close()
    points, pixels = find_corners(picture, Board(**SMALL))
    assert len(points) >= 8  # the rest is beyond the picture: at home the camera looks past the middle of the board
    T, focal = true_camera(name)
    T_base_tcp = pose(*(np.asarray(part) for part in Chain(task.robot).forward(np.array(task.robot.home))))
    T_base_camera = T_base_tcp @ T if name == "wrist" else T
    # The board's frame, from the plate: the first shape stands in its middle, half its own thickness behind the face.
    plate = scene.objects[0].shapes[0]
    rot = geometry.from_quat_wxyz(np.array(plate.quat))
    T_frame = pose(
        np.array(plate.pos) - rot @ np.array([7 * SMALL["square"] / 2, 5 * SMALL["square"] / 2, 0.0012]), rot
    )
    T_base_board = T_frame if on["on"] == "table" else T_base_tcp @ T_frame
    seen = (inverse(T_base_camera) @ T_base_board @ np.concatenate([points, np.ones((len(points), 1))], axis=1).T).T
    expected = 4 * focal * seen[:, :2] / seen[:, 2:3] + 255.5
    assert np.abs(expected - pixels).max() < 1.5


@pytest.mark.parametrize(
    ("board", "says"),
    [
        ({"on": "wall"}, "simulation.board.on is 'wall'; it is table or tool"),
        ({"on": "tool", "facing": "frnt"}, "did you mean 'front'"),
        ({"on": "table", "colums": 7}, "did you mean 'columns'"),
    ],
)
def test_a_board_that_cannot_be_is_told_with_its_field(board, says):
    task = make_task(TASK, "panda")
    with pytest.raises(UserError) as told:
        clear_for(task.scene(), task.robot, board)
    assert says in str(told.value)


def test_what_the_settings_say_is_carried_is_reckoned_with_until_it_is_weighed(tmp_path):
    shipped = load_cell("widowx250s")
    arm = shipped.arms["arm"]
    settings = {**arm.settings, "payload_mass": 0.3, "payload_com": [0.0, 0.0, 0.02]}
    cell = replace(shipped, arms={"arm": replace(arm, settings=settings)})
    known = known_payload(cell, "arm")
    assert known.mass == 0.3
    # The hand's z is the flange's x.
    np.testing.assert_allclose(known.com, [0.050575 + 0.02, 0.0, 0.0], atol=1e-9)
    weighed = {"arms": {"arm": {"payload": {"mass": 0.7, "com_in_flange": [0.1, 0.0, 0.0]}}}}
    assert known_payload(replace(cell, calibration=weighed), "arm").mass == 0.7
