"""RosRobot over a real node: what it tells, what it refuses, and what it says when either end is killed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from hardware.ros import RosRobot, qos
from robo_rl.contracts import Robot, ToolCommand
from robo_rl.errors import Faulted, InvalidAction, Stale
from robo_rl.robots.fr3 import FR3

pytest.importorskip("rclpy")

START = np.array([0.5, 0.0, 0.3])
DOWN = np.diag([1.0, -1.0, -1.0])
HOME = np.array(FR3.home)

STREAM = """
import sys, time
import numpy as np
from hardware.ros import RosRobot, Session
from robo_rl.contracts import ToolCommand
from robo_rl.robots.fr3 import FR3
with Session("policy", domain=int(sys.argv[2])) as session:
    arm = RosRobot(sys.argv[1], FR3, session)
    arm.wait_until_ready(20.0)
    for number in range(1, 10_000):
        arm.command(ToolCommand(number, np.array([5.0, 0.0, 0.3]), np.diag([1.0, -1.0, -1.0]), 0.04, 0.2))
        print(number, flush=True)
        time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def node(serve):
    return serve("arm")


@pytest.fixture(scope="module")
def robot(node, place, session):
    robot = RosRobot(place.name, FR3, session)
    robot.wait_until_ready(20.0)
    yield robot
    robot.close()


@pytest.fixture(scope="module")
def number():
    return iter(range(1, 1000))


def to(number, pos, **other):
    return ToolCommand(next(number), np.array(pos), DOWN, **{"gripper": 0.04, "valid_for": 0.3, **other})


def go(robot, number, pos, **other):
    """Command a position at 20 Hz until the tool is there, as a policy would."""
    for _ in range(200):
        command = to(number, pos, **other)
        robot.command(command)
        time.sleep(0.05)
        with contextlib.suppress(Stale):  # a busy machine
            if abs(robot.state(1.0).tcp_pos - pos).max() < 1e-9:
                return command
    raise AssertionError("the tool did not get there")


def test_it_is_a_robot_and_tells_the_state_of_the_far_one(robot):
    assert isinstance(robot, Robot)
    state = robot.state()
    np.testing.assert_allclose(state.joint_pos, HOME)
    np.testing.assert_allclose(state.tcp_pos, START)
    np.testing.assert_allclose(state.tcp_rot, DOWN)
    assert np.isnan(state.joint_torque).all()
    assert robot.status().mode == "holding"
    assert robot.applied().id == 0


def test_states_come_in_order_and_are_young(robot):
    stamps = []
    for _ in range(60):
        stamps.append(robot.state(max_age=1.0).stamp)
        time.sleep(0.01)
    assert stamps == sorted(stamps)
    assert len(set(stamps)) > 10
    assert all(stamp <= time.monotonic() for stamp in stamps)


def test_a_command_is_pursued_until_it_expires(robot, number, eventually):
    last = go(robot, number, START + np.array([0.0, 0.05, 0.0]), gripper=0.02)
    assert robot.state(1.0).gripper_width == 0.02
    eventually(lambda: robot.applied().reasons == ("expired",))
    assert 0 < robot.applied().id <= last.id  # a busy machine may have held up the last one for too long
    eventually(lambda: robot.status().mode == "holding")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"pos": np.array([np.nan, 0.0, 0.0])}, "not finite"),
        ({"pos": np.zeros(4)}, "shapes"),
        ({"rot": np.eye(3) * 2.0}, "rotation"),
        ({"gripper": np.inf}, "not finite"),
        ({"valid_for": 0.0}, "valid for 0.0 s"),
        ({"valid_for": 0.31}, "valid for 0.31 s"),
        ({"id": 0}, "comes after"),
    ],
)
def test_a_malformed_command_is_refused_before_it_is_sent(robot, number, change, says):
    robot.command(to(number, robot.state(1.0).tcp_pos))
    fields = {"id": next(number), "pos": START, "rot": DOWN, "gripper": 0.04, "valid_for": 0.2}
    with pytest.raises(InvalidAction, match=says):
        robot.command(ToolCommand(**{**fields, **change}))


def test_a_move_is_moving_at_once_and_then_holding(robot, eventually):
    robot.move_joints(HOME + 0.05, 0.03)
    assert robot.status().mode == "moving"
    eventually(lambda: robot.status().mode == "holding")
    eventually(lambda: np.allclose(robot.state(1.0).joint_pos, HOME + 0.05))
    robot.move_joints(HOME, 0.03)
    eventually(lambda: np.allclose(robot.state(1.0).joint_pos, HOME))


def test_a_posture_that_cannot_be_is_refused_here_or_there(robot):
    for posture in (HOME + 10.0, np.full(7, np.nan), np.zeros(6)):
        with pytest.raises(InvalidAction):
            robot.move_joints(posture, 0.0)
    with pytest.raises(InvalidAction, match="too close to the limit"):
        robot.move_joints(np.array([2.6, *HOME[1:]]), 0.0)  # the arm keeps a margin that is not known here
    assert robot.status().mode == "holding"
    np.testing.assert_allclose(robot.state(1.0).joint_pos, HOME)


def test_a_stop_is_in_force_at_once_and_until_recover(robot, number, eventually):
    robot.stop("a person was seen")
    status = robot.status()
    assert (status.mode, status.fault, status.reason) == ("fault", "stopped", "a person was seen")
    for refused in (lambda: robot.command(to(number, START)), lambda: robot.move_joints(HOME, 0.0)):
        with pytest.raises(Faulted, match="a person was seen"):
            refused()
    robot.recover()
    assert robot.status().fault == ""
    go(robot, number, START)


def test_the_fault_of_the_far_arm_is_told_and_its_cause_too(robot, session, place, eventually):
    from std_srvs.srv import Trigger

    client = session.node.create_client(Trigger, f"{place.name}/stop")
    assert client.wait_for_service(10.0)
    answer = client.call_async(Trigger.Request())
    eventually(answer.done)
    assert answer.result().success
    eventually(lambda: robot.status().fault == "stopped")
    assert robot.status().needs_acknowledgement
    robot.recover()
    robot.stop("for good")
    with pytest.raises(Faulted, match="the cause is still there"):
        robot.recover()
    robot.stop("not for good any more")
    eventually(lambda: robot.status().reason == "not for good any more")
    robot.recover()


def test_a_silent_arm_is_stale_and_says_why(robot, session, place, eventually):
    from std_msgs.msg import String

    freezer = session.node.create_publisher(String, f"{place.name}/emergency_stop", qos.command())
    eventually(freezer.get_subscription_count)
    freezer.publish(String(data="freeze"))  # of the arm of numbers: no state for 0.6 s, and no fault

    def young():
        try:
            return robot.state() is not None
        except Stale as error:
            assert re.search(r"the newest state is \d+ ms old, over 100 ms", str(error))  # noqa: PT017
            return False

    eventually(lambda: not young())
    eventually(young)
    session.node.destroy_publisher(freezer)


def test_a_client_that_is_killed_leaves_the_arm_holding(robot, place, eventually):
    command = [sys.executable, "-c", STREAM, place.name, str(place.domain)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    policy = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    while int(policy.stdout.readline()) < 5:
        pass
    eventually(lambda: robot.state(1.0).tcp_pos[0] > 0.52)
    policy.kill()
    policy.wait()
    policy.stdout.close()
    killed = time.monotonic()
    moving_at = []
    while time.monotonic() < killed + 1.0:
        state = robot.state(1.0)
        if not moving_at or state.tcp_pos[0] != moving_at[-1][1]:
            moving_at.append((state.stamp, state.tcp_pos[0]))
        time.sleep(0.002)
    assert moving_at[-1][1] < 4.9
    assert moving_at[-1][0] - killed <= 0.2 + 0.05  # the last command expires, and the arm has 50 ms
    assert robot.status().mode == "holding"
    assert "expired" in robot.applied().reasons


def test_a_client_that_is_held_up_delays_nobody(robot, place, eventually):
    command = [sys.executable, "-c", STREAM, place.name, str(place.domain)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    policy = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert policy.stdout.readline() == "1\n"
    policy.send_signal(signal.SIGSTOP)
    try:
        for _ in range(10):
            robot.state(max_age=1.0)
            time.sleep(0.05)
        eventually(lambda: robot.status().mode == "holding")
    finally:
        policy.kill()
        policy.wait()
        policy.stdout.close()


def test_a_node_that_is_killed_is_said_to_be_gone_and_found_again(robot, node, serve, number, eventually):
    node.kill()
    node.wait()
    with pytest.raises(Stale, match="silent"):
        eventually(lambda: robot.state() is None)
    eventually(lambda: robot.status().fault == "no_link")
    assert "no status for" in robot.status().reason
    for refused in (lambda: robot.command(to(number, START)), lambda: robot.move_joints(HOME, 0.0)):
        with pytest.raises(Faulted, match="no_link"):
            refused()
    serve("arm")
    robot.wait_until_ready(20.0)
    go(robot, number, START + np.array([0.0, 0.02, 0.0]))


def test_nobody_there_is_said_with_the_remedy(session):
    robot = RosRobot("nobody", FR3, session)
    with pytest.raises(
        Stale, match=r"no state .*; nobody publishes nobody/joint_states on ROS domain \d+; start its node"
    ):
        robot.wait_until_ready(0.2)
    with pytest.raises(Stale, match="nobody publishes"):
        robot.state()
    with pytest.raises(Stale, match="nobody publishes"):
        robot.recover()
    assert robot.status().fault == "no_link"
    robot.close()
    robot.close()
