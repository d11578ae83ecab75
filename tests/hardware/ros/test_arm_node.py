"""A node in a process of its own is sent everything but what it takes: it goes on, counts, and moves nothing."""

from __future__ import annotations

import contextlib
import json
import math
import signal
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hardware.ros import RosRobot, Session, messages, qos
from robo_rl.contracts import ToolCommand
from robo_rl.errors import Stale
from robo_rl.robots.fr3 import FR3

pytest.importorskip("rclpy")

NAMES = messages.joint_names(FR3)
AT_ONCE = 10
START = np.array([0.5, 0.0, 0.3])
DOWN = np.diag([1.0, -1.0, -1.0])
ELSEWHERE = START + 0.1

wild = st.sampled_from([math.nan, math.inf, -math.inf, 1e308, -1e300, 1e3])
letters = st.characters(min_codepoint=1, codec="utf-8")  # on the wire a text ends at its first NUL
name = st.text(letters, max_size=8) | st.sampled_from([*NAMES, "tcp", "gripper"])
names = st.lists(name, max_size=12) | st.just(["tcp"] * 500) | st.just(["x" * 5000])


NOW = 10**18
"""Stands for the stamp of the moment at which a message is sent."""


def command(stamp: int = NOW):
    return messages.command_message(ToolCommand(1, ELSEWHERE, DOWN, 0.01, 0.3), "", stamp)


def move(stamp: int = NOW):
    return messages.move_message(np.array(FR3.home) + 0.1, 0.01, NAMES, stamp)


@st.composite
def spoiled_command(draw):
    message = command()
    point = message.points[0]
    kind = draw(st.integers(0, 9))
    if kind == 0:
        message.joint_names = draw(names.filter(lambda names: names != ["tcp", "gripper"]))
    elif kind == 1:
        message.points = [point] * draw(st.sampled_from([0, 2, 3, 300]))
    elif kind == 2:
        point.transforms = point.transforms[:1] * draw(st.sampled_from([0, 1, 3, 500]))
    elif kind == 3:
        transform = point.transforms[draw(st.integers(0, 1))]
        setattr(transform.translation, draw(st.sampled_from("xyz")), draw(wild))
    elif kind == 4:
        turn = point.transforms[0].rotation
        turn.x, turn.y, turn.z, turn.w = draw(
            st.tuples(*[st.floats(width=64) | wild] * 4).filter(lambda q: not abs(math.hypot(*q) - 1.0) <= 2e-3)
        )
    elif kind == 5:
        point.time_from_start.sec = draw(st.integers(-(2**31), 2**31 - 1).filter(bool))
    elif kind == 6:
        point.time_from_start.nanosec = draw(st.just(0) | st.integers(300_000_001, 2**32 - 1))
    elif kind == 7:
        message.header.frame_id = draw(name.filter(bool))
    elif kind == 8:
        from geometry_msgs.msg import Twist

        point.velocities = [Twist()] * draw(st.integers(1, 3))
    else:  # a stamp that is none, or as of long before the last
        message.header.stamp.sec = draw(st.integers(-(2**31), 900_000_000))
    return message


@st.composite
def spoiled_move(draw):
    message = move()
    point = message.points[0]
    kind = draw(st.integers(0, 4))
    if kind == 0:
        message.joint_names = draw(names.filter(lambda names: tuple(names) != NAMES))
    elif kind == 1:
        message.points = [point] * draw(st.sampled_from([0, 2, 300]))
    elif kind == 2:
        point.positions[draw(st.integers(0, 7))] = draw(wild)
    elif kind == 3:
        point.positions = draw(st.lists(st.floats(), max_size=30).filter(lambda values: len(values) != 8))
    else:
        setattr(point, draw(st.sampled_from(["velocities", "accelerations", "effort"])), [1.0])
    return message


batches = st.lists(spoiled_command() | spoiled_command() | spoiled_move(), min_size=AT_ONCE // 2, max_size=AT_ONCE // 2)


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
def strange_session(place, session):
    with Session("stranger", domain=place.domain) as other:
        yield other


@pytest.fixture(scope="module")
def stranger(robot, place, strange_session, eventually):
    """Publishers of a process that is up to no good."""
    from trajectory_msgs.msg import JointTrajectory, MultiDOFJointTrajectory

    node = strange_session.node
    command = node.create_publisher(MultiDOFJointTrajectory, f"{place.name}/command", qos.command())
    move = node.create_publisher(JointTrajectory, f"{place.name}/move_joints", qos.command())
    eventually(lambda: command.get_subscription_count() and move.get_subscription_count())
    time.sleep(0.5)  # until the node has met them, too
    return {"MultiDOFJointTrajectory": command, "JointTrajectory": move}


def send(stranger, message):
    stranger[type(message).__name__].publish(message)


class Known:
    """Keeps the stranger's clock known to the node: without a sound command for 10 s any other stamp would do."""

    def __init__(self, robot, stranger, session, eventually):
        self.robot, self.stranger, self.session, self.eventually = robot, stranger, session, eventually
        self.at = -math.inf

    def heard(self):
        status = self.robot.status()
        return status.counters["pursued"] + status.rejected

    def refresh(self):
        if time.monotonic() - self.at > 4.0:
            before = self.heard()
            message = messages.command_message(ToolCommand(1, START, DOWN, 0.04, 0.3), "", self.session.clock.next())
            send(self.stranger, message)
            self.eventually(lambda: self.heard() == before + 1)
            self.at = time.monotonic()


@pytest.fixture(scope="module")
def known(robot, stranger, session, eventually):
    return Known(robot, stranger, session, eventually)


def pursued(robot):
    """Commands that the arm has pursued, once its counters have been published again."""
    time.sleep(0.3)
    return robot.status().counters["pursued"]


def go(robot, numbers, pos):
    """Command a position at 20 Hz until the tool is there, as a policy would; return the last command's number."""
    for _ in range(200):
        number = next(numbers)
        robot.command(ToolCommand(number, pos, DOWN, 0.03, 0.3))
        time.sleep(0.05)
        if np.abs(robot.state(10.0).tcp_pos - pos).max() < 1e-9:
            return number
    raise AssertionError("the tool did not get there")


@pytest.fixture(scope="module")
def numbers():
    return iter(range(1, 10_000))


def moved(robot):
    state = robot.state(max_age=10.0)  # a busy machine; the test is about where the arm is
    return float(np.abs(state.tcp_pos - START).max() + np.abs(state.joint_pos - FR3.home).max())


@settings(
    max_examples=500, deadline=None, suppress_health_check=list(HealthCheck), database=None, phases=[Phase.generate]
)
@given(spoiled=batches)
def test_five_thousand_malformed_messages_move_nothing_and_are_counted(
    robot, stranger, session, node, eventually, known, spoiled
):
    known.refresh()
    before = robot.status().rejected
    for message in spoiled * 2:  # to make one takes longer than to send it
        if messages.stamp_of(message.header) == NOW:
            stamp = session.clock.next()
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)
        send(stranger, message)
    eventually(lambda: robot.status().rejected >= before + AT_ONCE)
    assert robot.status().rejected == before + AT_ONCE
    assert node.poll() is None
    assert moved(robot) == 0.0
    assert not robot.status().fault


@settings(
    max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), database=None, phases=[Phase.generate]
)
@given(payload=st.binary(max_size=300), kind=st.sampled_from(["MultiDOFJointTrajectory", "JointTrajectory"]))
def test_bytes_that_are_no_message_do_nothing(robot, stranger, node, payload, kind):
    stranger[kind].publish(b"\x00\x01\x00\x00" + payload)
    assert node.poll() is None


def test_after_all_that_it_obeys_its_own_client(robot, numbers, eventually):
    number = go(robot, numbers, START + np.array([0.0, 0.0, 0.02]))
    eventually(lambda: 0 < robot.applied().id <= number)


def test_a_stranger_with_a_clock_of_its_own_shuts_nobody_out(robot, session, stranger, numbers, eventually):
    so_far = pursued(robot)
    day = 86_400_000_000_000
    here = ToolCommand(1, robot.state(10.0).tcp_pos, DOWN, 0.03, 0.3)
    # A day ahead: its clock is simply another one.
    send(stranger, messages.command_message(here, "", session.clock.next() + day))
    eventually(lambda: robot.status().counters["pursued"] > so_far)
    rejected = robot.status().rejected
    send(stranger, messages.command_message(here, "", session.clock.next()))  # a day older than its last: not in order
    eventually(lambda: robot.status().rejected == rejected + 1)
    number = go(robot, numbers, START)
    eventually(lambda: 0 < robot.applied().id <= number)


def test_a_command_that_was_held_up_on_its_way_is_refused(robot, place):
    from trajectory_msgs.msg import MultiDOFJointTrajectory

    second = 10**9
    with Session("late", domain=place.domain) as late:
        out = late.node.create_publisher(MultiDOFJointTrajectory, f"{place.name}/command", qos.command())
        for _ in range(50):  # until it has met the node
            so_far = pursued(robot)
            newest = late.clock.next() + second
            out.publish(messages.command_message(ToolCommand(1, START, DOWN, 0.04, 0.3), "", newest))
            if pursued(robot) > so_far:
                break
        # By its own clock the next one left 0.4 s after that, and it is later than that now: it was held up.
        time.sleep(1.0)
        rejected = robot.status().rejected
        out.publish(messages.command_message(ToolCommand(1, ELSEWHERE, DOWN, 0.04, 0.3), "", newest + 4 * 10**8))
        deadline = time.monotonic() + 10.0
        while robot.status().rejected == rejected and time.monotonic() < deadline:
            time.sleep(0.01)
    assert robot.status().rejected == rejected + 1
    assert moved(robot) == 0.0


def test_a_command_that_a_later_posture_has_overtaken_does_not_end_it(robot, place, eventually):
    from trajectory_msgs.msg import JointTrajectory, MultiDOFJointTrajectory

    with Session("overtaken", domain=place.domain) as other:
        commands = other.node.create_publisher(MultiDOFJointTrajectory, f"{place.name}/command", qos.command())
        moves = other.node.create_publisher(JointTrajectory, f"{place.name}/move_joints", qos.command())
        eventually(lambda: commands.get_subscription_count() and moves.get_subscription_count())
        time.sleep(0.5)
        early = other.clock.next()
        rejected = robot.status().rejected
        moves.publish(messages.move_message(np.array(FR3.home) + 0.02, 0.04, NAMES, other.clock.next()))
        eventually(lambda: robot.status().mode == "moving")
        commands.publish(messages.command_message(ToolCommand(1, ELSEWHERE, DOWN, 0.04, 0.3), "", early))
        eventually(lambda: robot.status().rejected == rejected + 1)
    eventually(lambda: robot.status().mode == "holding")
    np.testing.assert_allclose(robot.state(10.0).tcp_pos, START, atol=1e-9)
    eventually(lambda: np.allclose(robot.state(10.0).joint_pos, np.array(FR3.home) + 0.02))
    robot.move_joints(np.array(FR3.home), 0.04)
    eventually(lambda: np.allclose(robot.state(10.0).joint_pos, FR3.home))


def test_a_flood_does_not_stop_the_state(robot, session, stranger, eventually):
    nonsense = command()
    nonsense.points[0].transforms[0].translation.x = math.nan
    for _ in range(2000):
        send(stranger, nonsense)

    def young():
        with contextlib.suppress(Stale):  # a busy machine
            return robot.state(max_age=0.1)

    eventually(young)
    assert moved(robot) == 0.0


def test_it_ends_on_sigterm_and_says_what_it_did(robot, node):
    node.send_signal(signal.SIGTERM)
    said = json.loads(node.stdout.readline())
    assert node.wait(10) == 0
    assert said["pursued"] >= 3
    np.testing.assert_allclose(said["pos"], START, atol=1e-9)
