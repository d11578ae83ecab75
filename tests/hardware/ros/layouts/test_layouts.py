"""The drives of other ecosystems, against a stand-in of each one's driver on real topics."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest

from controllers.kinematics import Chain
from hardware.arms.drive import Drive, JointDrive, PoseDrive, TorqueDrive
from hardware.cell import ArmEntry, Cell, RosEntry
from hardware.devices import check_settings, control_rate, make_arm
from hardware.ros import Session
from hardware.ros.layouts.franka_ros2 import franka_ros2
from hardware.ros.layouts.interbotix import interbotix
from hardware.ros.layouts.trajectory import TrajectoryDrive
from robo_rl.contracts import ToolCommand
from robo_rl.errors import Faulted, Stale, UserError
from robo_rl.robots.fr3 import FR3
from robo_rl.robots.widowx250s import WIDOWX250S

pytest.importorskip("rclpy")

DOMAIN = 1 + (os.getpid() * 13 + 50) % 100
FINGER = 0.03


class Driver:
    """Publishes joint states, follows what it is told as a trajectory controller does, and remembers it."""

    def __init__(self, session, layout, home):
        from sensor_msgs.msg import JointState
        from trajectory_msgs.msg import JointTrajectory

        self.layout = layout
        self.position = dict(zip(layout.joints, home, strict=True)) | dict.fromkeys(layout.fingers, FINGER)
        self.goal, self.velocity = dict(self.position), dict.fromkeys(self.position, 0.0)
        self.silent = False
        self.told = []
        self.session = session
        self.kind = JointState
        node = session.node
        topics = {layout.joint_states, layout.finger_states}
        self.out = [node.create_publisher(JointState, topic, 1) for topic in sorted(topics)]
        self.torques = (
            node.create_publisher(JointState, layout.external_torques, 1) if layout.external_torques else None
        )
        for topic in filter(None, (layout.command, layout.finger_command)):
            node.create_subscription(JointTrajectory, topic, self.obey, 1)
        self.end = session.loop("driver", 0.01, self.publish)

    def obey(self, message):
        self.told.append(message)
        self.goal.update(zip(message.joint_names, message.points[0].positions, strict=True))

    def place(self, joints):
        self.goal.update(zip(self.layout.joints, joints, strict=True))
        self.position.update(self.goal)

    def publish(self):
        for joint, goal in self.goal.items():
            self.velocity[joint] = (goal - self.position[joint]) / 0.04  # what a point is sent for
            self.position[joint] += 0.01 * self.velocity[joint]
        if self.silent:
            return
        message = self.kind()
        stamp = self.session.clock.stamp(time.monotonic())
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)
        message.name = ["passenger", *reversed(self.position)]  # their order is theirs
        message.position = [9.9, *reversed(self.position.values())]
        message.velocity = [0.0, *reversed(self.velocity.values())]
        for out in self.out:
            out.publish(message)
        if self.torques is not None:
            message.effort = [0.5 * i for i in range(len(message.name))]
            self.torques.publish(message)


@pytest.fixture(scope="module")
def monkeymodule():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module", params=["franka_ros2", "interbotix"])
def rig(request, monkeymodule):
    spec, layout = {
        "franka_ros2": (FR3, franka_ros2("fr3", "cell")),
        "interbotix": (WIDOWX250S, interbotix("wx250s")),
    }[request.param]
    # The tests of a process share its transports, whoever was first.
    monkeymodule.setattr("hardware.ros.transport.choose", lambda *_: None)
    with Session("their_driver", domain=DOMAIN) as session:
        driver = Driver(session, layout, spec.home)
        drive = TrajectoryDrive(spec, layout, rate=50.0, domain=DOMAIN)
        drive.open()
        yield driver, drive
        drive.close()
        driver.end()


def test_it_is_a_drive_that_reads_their_names_in_our_order(rig):
    driver, drive = rig
    assert isinstance(drive, Drive)
    state = drive.read()
    np.testing.assert_allclose(state.joint_pos, drive.spec.home)
    np.testing.assert_allclose(state.joint_vel, 0.0, atol=1e-9)
    assert state.gripper_width == pytest.approx(2 * FINGER - driver.layout.finger_offset)
    assert 0.0 <= time.monotonic() - state.stamp < 5.0
    stamps = [drive.read().stamp for _ in range(5)]
    assert stamps == sorted(set(stamps))


def test_external_torques_are_theirs_or_unknown(rig, eventually):
    driver, drive = rig
    if not driver.layout.external_torques:
        assert np.isnan(drive.read().joint_torque).all()
        return
    eventually(lambda: np.isfinite(drive.read().joint_torque).all())
    names = ["passenger", *reversed(driver.position)]
    np.testing.assert_allclose(drive.read().joint_torque, [0.5 * names.index(name) for name in driver.layout.joints])


def test_joints_are_sent_as_a_trajectory_of_one_point(rig, eventually):
    driver, drive = rig
    target = np.array(drive.spec.home) + 0.01
    drive.write_joints(target)
    eventually(lambda: np.allclose(drive.read().joint_pos, target, atol=1e-6))
    told = next(message for message in reversed(driver.told) if list(message.joint_names) == list(driver.layout.joints))
    assert (told.points[0].time_from_start.sec, told.points[0].time_from_start.nanosec) == (0, 40_000_000)


def test_the_gripper_moves_where_a_standard_message_moves_it(rig, eventually):
    driver, drive = rig
    before = drive.read().gripper_width
    drive.write_gripper(before - 0.01)
    if driver.layout.finger_command:
        eventually(lambda: drive.read().gripper_width == pytest.approx(before - 0.01))
    else:
        assert drive.read().gripper_width == before


def test_it_is_driven_by_joint_positions_alone(rig):
    _, drive = rig
    assert isinstance(drive, JointDrive)
    assert not isinstance(drive, TorqueDrive | PoseDrive)


def test_a_driver_that_falls_silent_is_stale_and_found_again(rig, eventually):
    driver, drive = rig
    driver.silent = True

    def stale():
        try:
            drive.read()
        except Stale as error:
            return "is silent" in str(error)
        return False

    eventually(stale)
    eventually(lambda: time.monotonic() - drive._state[0] > 0.3)
    with pytest.raises(UserError, match="recover it by its own means"):
        drive.recover()
    driver.silent = False
    eventually(lambda: not stale())
    drive.recover()


def test_a_driver_that_is_not_there_is_said_with_the_remedy(monkeypatch):
    monkeypatch.setattr("hardware.ros.layouts.trajectory.PATIENCE", 0.3)
    monkeypatch.setattr("hardware.ros.transport.choose", lambda *_: None)
    drive = TrajectoryDrive(FR3, franka_ros2(), domain=DOMAIN)
    before = threading.active_count()
    with pytest.raises(UserError, match=r"no joint states .* on ROS domain \d+ for 0 s; start its driver"):
        drive.open()
    assert threading.active_count() <= before


@pytest.fixture
def guarded(rig, eventually):
    """The arm of a rig as a cell file names it, behind our guard."""
    driver, drive = rig
    name = "franka_ros2" if drive.spec is FR3 else "interbotix"
    settings = {"namespace": "cell"} if drive.spec is FR3 else {"robot_name": "wx250s"}
    entry = ArmEntry(
        drive.spec.name,
        name,
        {**settings, "domain": DOMAIN},
        {"max_state_age": 1.0, "max_force": 500.0, "max_torque": 100.0},
    )
    driver.silent = False
    driver.place(drive.spec.home)
    with make_arm(Cell("mine", {"arm": entry}, ros=RosEntry(domain=DOMAIN + 1)), "arm") as arm:
        yield driver, arm


def test_behind_our_guard_it_holds_pursues_and_stops(guarded, eventually):
    _, arm = guarded
    assert arm.status().mode == "holding"
    start = arm.state(1.0)
    goal = start.tcp_pos + np.array([0.0, 0.0, 0.02])
    number = 0

    def near():
        nonlocal number
        number += 1
        arm.command(ToolCommand(number, goal, start.tcp_rot, start.gripper_width, 0.3))
        return np.linalg.norm(arm.state(1.0).tcp_pos - goal) < 2e-3

    eventually(near)
    arm.stop("a person")
    eventually(lambda: arm.status().fault == "stopped")
    with pytest.raises(Faulted):
        arm.command(ToolCommand(number + 1, goal, start.tcp_rot, 0.0, 0.3))
    arm.recover()
    eventually(lambda: arm.status().mode == "holding")


def test_what_it_sends_through_our_guard_never_leaves_the_limits(guarded, eventually):
    driver, arm = guarded
    start = arm.state(1.0)
    chain, high = Chain(arm.spec), np.array(arm.limits.workspace_high)
    first = len(driver.told)
    for number in range(1, 40):
        arm.command(ToolCommand(number, high + 1.0, start.tcp_rot, start.gripper_width, 0.3))
        time.sleep(0.05)
    assert {"workspace"} <= set(arm.applied().reasons)
    told = [m.points[0].positions for m in driver.told[first:] if list(m.joint_names) == list(driver.layout.joints)]
    assert len(told) > 10
    sent, _ = chain.forward(np.array([list(each) for each in told]))
    assert (np.asarray(sent) - high).max() <= 1e-5
    assert np.abs(np.diff(np.asarray(sent), axis=0)).max() <= arm.limits.max_speed * 0.1  # a cycle, or a late few


def test_a_driver_that_falls_silent_faults_the_arm(guarded, eventually):
    driver, arm = guarded
    driver.silent = True
    eventually(lambda: arm.status().fault == "stale_state")
    assert "is silent" in arm.status().reason
    driver.silent = False


def test_any_arm_with_a_trajectory_controller_is_described_in_the_cell_file():
    layout = {
        "title": "a driver of ours", "joints": [f"j{i}" for i in range(7)], "joint_states": "/their/joint_states",
        "command": "/their/controller/joint_trajectory", "fingers": ["finger"], "finger_states": "/their/joint_states",
    }  # fmt: skip
    cell = Cell("mine", {"arm": ArmEntry("fr3", "trajectory", {"layout": layout, "rate": 100})})
    check_settings(cell)
    assert control_rate(cell, "arm") == 100.0
    wrong = Cell("mine", {"arm": ArmEntry("fr3", "trajectory", {"layout": {**layout, "joints": ["j1"]}})})
    with pytest.raises(UserError, match=r"arms\.arm: a driver of ours names 1 joints, but fr3 has 7"):
        check_settings(wrong)


def test_settings_of_a_layout_that_do_not_fit_are_told():
    for arm, says in (
        (ArmEntry("widowx250s", "franka_ros2"), "runs an fr3 or a panda, not 'widowx250s'"),
        (ArmEntry("widowx250s", "interbotix", {"robot": "wx250s"}), "unknown field in arms.wx250s.settings: 'robot'"),
        (ArmEntry("widowx250s", "interbotix", {"domain": 300}), "domain is 300; it must be from 0 to 232"),
        (ArmEntry("widowx250s", "interbotix"), "its driver publishes /wx250s/joint_states, as our node would"),
    ):
        with pytest.raises(UserError) as told:
            check_settings(Cell("mine", {"wx250s": arm}))
        assert says in str(told.value)
    check_settings(Cell("mine", {"wx250s": ArmEntry("widowx250s", "interbotix", {"domain": 3})}))  # apart by domain


def test_an_arm_with_other_joints_is_refused():
    with pytest.raises(UserError, match="names 6 joints, but fr3 has 7"):
        TrajectoryDrive(FR3, interbotix())
