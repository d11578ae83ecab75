"""What goes out comes back; what is not exactly as documented is refused, and nothing else ever happens."""

from __future__ import annotations

import contextlib
import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.ros import images, messages
from hardware.ros.messages import NodeStatus, StateMessages
from robo_rl import geometry
from robo_rl.contracts import Applied, RobotState, RobotStatus, ToolCommand
from robo_rl.errors import InvalidAction
from robo_rl.robots.fr3 import FR3

pytest.importorskip("rclpy")

NAMES = messages.joint_names(FR3)
number = st.floats(-50.0, 50.0)
vector = st.tuples(number, number, number).map(np.array)
rotation = st.tuples(*[st.floats(-3.0, 3.0)] * 3).map(lambda v: geometry.exp(np.array(v)))
joints = st.lists(number, min_size=7, max_size=7).map(np.array)
stamps = st.integers(1, 2**31 * 10**9 - 1)
anything = st.floats() | st.sampled_from([math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324])


@given(joints, joints, vector, rotation, vector, st.floats(0.0, 0.1), stamps)
def test_a_state_comes_back(pos, torque, tcp, rot, force, width, stamp):
    torque[3] = math.nan  # the arm cannot tell
    state = RobotState(0.0, pos, -pos, torque, tcp, rot, tcp / 2, tcp / 3, force, -force, width)
    sent = messages.state_messages(state, NAMES, "arm_base", stamp)
    assert {messages.stamp_of(message.header) for message in sent} == {stamp}
    back = messages.state_of(sent, NAMES, 12.5)
    assert back.stamp == 12.5
    for each in dataclasses.fields(RobotState)[1:]:
        np.testing.assert_allclose(getattr(back, each.name), getattr(state, each.name), atol=1e-12, err_msg=each.name)


@given(vector, rotation, st.floats(0.0, 0.1), st.floats(0.001, 0.3), stamps)
def test_a_command_comes_back(pos, rot, gripper, valid_for, stamp):
    back = messages.command_of(
        messages.command_message(ToolCommand(3, pos, rot, gripper, valid_for), "arm_base", stamp), "arm_base"
    )
    assert back.id == stamp
    np.testing.assert_allclose(back.pos, pos)
    np.testing.assert_allclose(back.rot, rot, atol=1e-12)
    assert back.gripper == gripper
    assert back.valid_for == pytest.approx(valid_for, abs=1e-9)


@given(vector, rotation, st.floats(0.0, 0.1), st.lists(st.sampled_from(["speed", "leash", "expired"]), unique=True))
def test_the_target_in_force_comes_back(pos, rot, gripper, reasons):
    applied = Applied(7, pos, rot, gripper, tuple(reasons))
    back = messages.applied_of(messages.applied_message(applied, "arm_base", 7), "arm_base")
    assert (back.id, back.gripper, back.reasons) == (7, gripper, tuple(reasons))
    np.testing.assert_allclose(back.pos, pos)
    np.testing.assert_allclose(back.rot, rot, atol=1e-12)


@given(joints, st.floats(0.0, 0.1))
def test_a_posture_comes_back(pos, gripper):
    back, width = messages.move_of(messages.move_message(pos, gripper, NAMES, 5), NAMES)
    np.testing.assert_array_equal(back, pos)
    assert width == gripper


@given(st.sampled_from(["holding", "running", "moving", "fault"]), st.booleans(), st.text(max_size=20), st.floats())
def test_a_status_comes_back(mode, needs, reason, rate):
    reason = messages.text(reason)
    robot = RobotStatus(mode, reason, "stopped" if mode == "fault" else "", needs, 2, 5, {"rate_hz": rate})
    sent = NodeStatus(robot, moved=8, move_refusal="no", last_refusal="nan")
    back = messages.status_of(messages.status_message(sent, "arm", "fr3", 9), "arm")
    np.testing.assert_equal(dataclasses.asdict(back), dataclasses.asdict(sent))


def good_command():
    return messages.command_message(ToolCommand(1, np.zeros(3), np.eye(3), 0.02, 0.2), "arm_base", 10**9)


def with_position(message, values):
    place = message.points[0].transforms[0].translation
    place.x, place.y, place.z = values


def with_quaternion(message, values):
    turn = message.points[0].transforms[0].rotation
    turn.x, turn.y, turn.z, turn.w = values


@given(st.tuples(anything, anything, anything, anything))
def test_a_quaternion_is_of_length_one_or_refused(values):
    message = good_command()
    with_quaternion(message, values)
    length = math.hypot(*values)
    if abs(length - 1.0) <= 1e-3:
        rot = messages.command_of(message, "arm_base").rot
        np.testing.assert_allclose(rot @ rot.T, np.eye(3), atol=1e-9)
    else:
        with pytest.raises(InvalidAction, match="quaternion"):
            messages.command_of(message, "arm_base")


@given(st.tuples(anything, anything, anything))
def test_a_position_is_finite_and_near_or_refused(values):
    message = good_command()
    with_position(message, values)
    if all(abs(value) <= messages.FARTHEST for value in values):
        np.testing.assert_array_equal(messages.command_of(message, "arm_base").pos, values)
    else:
        with pytest.raises(InvalidAction, match="target"):
            messages.command_of(message, "arm_base")


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**32 - 1))
def test_a_validity_is_short_or_refused(sec, nanosec):
    message = good_command()
    message.points[0].time_from_start.sec, message.points[0].time_from_start.nanosec = sec, nanosec
    if 0 < sec * 10**9 + nanosec <= 300_000_000:
        assert 0.0 < messages.command_of(message, "arm_base").valid_for <= 0.3
    else:
        with pytest.raises(InvalidAction, match="valid for"):
            messages.command_of(message, "arm_base")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda m: setattr(m, "joint_names", ["gripper", "tcp"]), "joint names"),
        (lambda m: setattr(m, "joint_names", ["x"] * 100_000), "joint names"),
        (lambda m: setattr(m, "points", []), "one point"),
        (lambda m: setattr(m, "points", list(m.points) * 2), "one point"),
        (lambda m: setattr(m.points[0], "transforms", m.points[0].transforms[:1]), "two transforms"),
        (lambda m: setattr(m.header, "frame_id", "world"), "frame 'world'"),
        (lambda m: setattr(m.header.stamp, "sec", -5), "no stamp"),
    ],
)
def test_a_command_of_another_form_is_refused(spoil, says):
    message = good_command()
    spoil(message)
    with pytest.raises(InvalidAction, match=says):
        messages.command_of(message, "arm_base")


@pytest.mark.parametrize(
    ("rot", "says"),
    [
        (np.diag([1.0, 1.0, -1.0]), "reflection"),
        (np.eye(3) * 1.01, "rotation matrix"),
        (np.full((3, 3), np.nan), "rot"),
    ],
)
def test_what_is_no_rotation_is_not_sent(rot, says):
    with pytest.raises(InvalidAction, match=says):
        messages.checked_target(np.zeros(3), rot, 0.0)


def test_a_state_of_another_arm_is_refused():
    zero = np.zeros(3)
    state = RobotState(0.0, *[np.zeros(7)] * 3, zero, np.eye(3), zero, zero, zero, zero, 0.04)
    sent = messages.state_messages(state, NAMES, "arm_base", 5)
    with pytest.raises(InvalidAction, match="joint names"):
        messages.state_of(sent, [name.replace("fr3", "panda") for name in NAMES], 0.0)
    sent.joints.position = [0.0] * 7
    with pytest.raises(InvalidAction, match="7 values of position, not 8"):
        messages.state_of(StateMessages(*sent), NAMES, 0.0)


def test_a_picture_and_its_depth_come_back():
    rgb = np.random.default_rng(1).integers(0, 255, (5, 7, 3), np.uint8)
    np.testing.assert_array_equal(images.colour_of(images.colour_message(rgb, "c", 1, 2), 7, 5), rgb)
    depth = np.linspace(0.0, 2.0, 35, dtype=np.float32).reshape(5, 7)
    message = images.depth_message(depth, "c", 1, 2)
    assert math.isnan(np.frombuffer(message.data, "<f4")[0])  # REP 118: unknown
    np.testing.assert_array_equal(images.depth_of(message, 7, 5), depth)


def test_other_encodings_padding_and_byte_orders_are_read():
    from sensor_msgs.msg import Image

    rows = bytes([3, 2, 1, 6, 5, 4, 99, 99])  # two pixels BGR, two bytes of padding
    picture = Image(height=1, width=2, encoding="bgr8", step=8, data=rows)
    assert images.colour_of(picture, 2, 1).tolist() == [[[1, 2, 3], [4, 5, 6]]]
    millimetres = Image(height=1, width=2, encoding="16UC1", is_bigendian=1, step=4, data=bytes([1, 0, 0, 0]))
    np.testing.assert_allclose(images.depth_of(millimetres, 2, 1), [[0.256, 0.0]])


@given(
    st.sampled_from(["rgb8", "bgr8", "32FC1", "16UC1", "mono8", "", "💥"]),
    *[st.integers(0, 2**32 - 1) | st.integers(0, 9)] * 3,
    st.binary(max_size=200),
)
def test_a_picture_is_of_the_right_shape_or_refused(encoding, width, height, step, data):
    from sensor_msgs.msg import Image

    message = Image(height=height, width=width, encoding=encoding, step=step, data=data)
    for read, shape in ((images.colour_of, (5, 7, 3)), (images.depth_of, (5, 7))):
        with contextlib.suppress(InvalidAction):
            assert read(message, 7, 5).shape == shape
