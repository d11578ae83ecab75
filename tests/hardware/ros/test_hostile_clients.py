"""The policy's side hears what is no state, no status and no picture, and states that are a lie: it goes on.

Straight into the clients' callbacks, after serialisation, as their executor would do it: none raises, and whatever a
client then says is whole and finite.
"""

from __future__ import annotations

import array
import math
from dataclasses import fields
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from controllers.kinematics import Chain
from hardware.ros import RosCamera, RosRobot, images, messages
from hardware.ros.messages import NodeStatus
from robo_rl.contracts import Applied, Mode, RobotState, RobotStatus
from robo_rl.errors import InvalidAction, Stale
from robo_rl.robots.fr3 import FR3

pytest.importorskip("rclpy")

NAMES = messages.joint_names(FR3)
HOME = np.array(FR3.home)
POS, ROT = Chain(FR3).forward(HOME)
WIDTH, HEIGHT = 16, 12
AT_ONCE, EXAMPLES = 25, 200
HOSTILE = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None,
    phases=[Phase.generate],
)  # fmt: skip

number = st.floats() | st.sampled_from([math.nan, math.inf, -math.inf, 1e308, -1e300, 99.0, 0.0])
letters = st.characters(min_codepoint=1, codec="utf-8")
text = st.text(letters, max_size=12) | st.sampled_from(["", "x" * 5000, "two\nlines", "9" * 4000, "-1", "nan"])
stamps = st.integers(-(2**31) * 10**9, (2**31 - 1) * 10**9) | st.integers(1, 5)
senders = st.integers(0, 3)


class Flood:
    """Hands messages over as the executor does, and counts them."""

    def __init__(self) -> None:
        self.heard = 0

    def say(self, heard: Any, message: Any, *, sender: int | None = None, count: int = 1) -> None:
        from rclpy.serialization import deserialize_message, serialize_message

        message = deserialize_message(serialize_message(message), type(message))
        info = {"publisher_gid": {"data": bytes([sender or 0] * 16)}, "publication_sequence_number": count}
        heard(message) if sender is None else heard(message, info)
        self.heard += 1


@pytest.fixture(scope="module")
def flood():
    return Flood()


@pytest.fixture(scope="module")
def robot(session, place):
    robot = RosRobot(place.name, FR3, session)
    yield robot
    robot.close()


def state(joint_pos=HOME, pos=POS, width=0.04) -> RobotState:
    still, zero = np.zeros(7), np.zeros(3)
    return RobotState(0.0, joint_pos, still, still, pos, ROT, zero, zero, zero, zero, width)


@st.composite
def said_of_an_arm(draw) -> tuple[str, Any, int]:
    kind = draw(st.sampled_from(["state", "state", "applied", "status"]))
    if kind == "state":
        stamp = draw(stamps)
        parts = messages.state_messages(state(), NAMES, "arm_base", stamp)
        which = draw(
            st.sampled_from(["none", "joints", "names", "pose", "turn", "twist", "wrench", "stamp", "missing"])
        )
        if which == "joints":
            values = draw(st.lists(number, max_size=12))
            setattr(parts.joints, draw(st.sampled_from(["position", "velocity", "effort"])), array.array("d", values))
        elif which == "names":
            parts.joints.name = draw(st.lists(text, max_size=10))
        elif which == "pose":
            setattr(parts.pose.pose.position, draw(st.sampled_from("xyz")), draw(number))
        elif which == "turn":
            setattr(parts.pose.pose.orientation, draw(st.sampled_from("xyzw")), draw(number))
        elif which == "twist":
            vector = draw(st.sampled_from([parts.twist.twist.linear, parts.twist.twist.angular]))
            setattr(vector, draw(st.sampled_from("xyz")), draw(number))
        elif which == "wrench":
            setattr(parts.wrench.wrench.force, draw(st.sampled_from("xyz")), draw(number))
        elif which == "stamp":
            parts.pose.header.stamp.sec = draw(st.integers(-(2**31), 2**31 - 1))
        return kind, parts[: draw(st.integers(1, 3))] if which == "missing" else parts, draw(senders)
    if kind == "applied":
        target = Applied(1, POS, ROT, 0.04, tuple(draw(st.lists(text, max_size=40))))
        message = messages.applied_message(target, draw(st.sampled_from(["", "arm_base", "world"])), draw(stamps))
        point = message.points[0]
        spoil = draw(st.sampled_from(["none", "number", "turn", "names", "points", "transforms"]))
        if spoil == "number":
            setattr(point.transforms[draw(st.integers(0, 1))].translation, draw(st.sampled_from("xyz")), draw(number))
        elif spoil == "turn":
            setattr(point.transforms[0].rotation, draw(st.sampled_from("xyzw")), draw(number))
        elif spoil == "names":
            message.joint_names = draw(st.lists(text, max_size=10))
        elif spoil == "points":
            message.points = [point] * draw(st.sampled_from([0, 2, 50]))
        elif spoil == "transforms":
            point.transforms = point.transforms[:1] * draw(st.integers(0, 5))
        return kind, message, 0
    mode = draw(st.sampled_from(get_args(Mode)))
    node = NodeStatus(RobotStatus(mode, "why", draw(text), counters={"cycles": draw(number)}), draw(st.integers()))
    message = messages.status_message(node, draw(st.sampled_from(["NAME", "NAME", "NAME", "other"])), "fr3", 1)
    pairs = message.status[0].values
    for _ in range(draw(st.integers(0, 2))):
        setattr(pairs[draw(st.integers(0, len(pairs) - 1))], draw(st.sampled_from(["key", "value"])), draw(text))
    message.status = message.status * draw(st.sampled_from([1, 1, 1, 0, 2, 40]))
    return kind, message, 0


def stands(robot: RosRobot) -> None:
    """Whatever it has heard, what the client says is whole, or it says that it has nothing."""
    try:
        seen = robot.state(math.inf)
    except Stale:
        pass
    else:
        for each in fields(RobotState):
            if each.name not in ("joint_torque", "tcp_force", "tcp_torque"):
                assert np.isfinite(getattr(seen, each.name)).all(), each.name
        assert seen.joint_pos.shape == (7,)
        np.testing.assert_allclose(seen.tcp_rot @ seen.tcp_rot.T, np.eye(3), atol=1e-6)
    try:
        target = robot.applied()
    except Stale:
        pass
    else:
        assert np.isfinite(target.pos).all()
        assert math.isfinite(target.gripper)
        assert len(target.reasons) <= 32
    status = robot.status()
    assert status.mode in get_args(Mode)
    assert "\n" not in status.reason + status.fault


@HOSTILE
@given(batch=st.lists(said_of_an_arm(), min_size=AT_ONCE, max_size=AT_ONCE))
def test_five_thousand_lies_about_an_arm_are_survived(robot, flood, place, batch):
    keys = ("joints", "pose", "twist", "wrench")
    for kind, message, sender in batch:
        if kind == "state":
            for key, part in zip(keys, message, strict=False):
                flood.say(lambda heard, info, key=key: robot._on_part(key, heard, info), part, sender=sender)
        elif kind == "applied":
            flood.say(robot._on_applied, message)
        else:
            for each in message.status:
                each.name = each.name.replace("NAME", place.name)
            flood.say(robot._on_status, message)
    stands(robot)
    assert len(robot._parts) <= 8


def test_the_arm_itself_is_heard_after_all_that(robot, flood, session, place):
    assert flood.heard >= AT_ONCE * EXAMPLES
    wanted = HOME + 0.125
    for stamp in (session.clock.next(), session.clock.next()):
        for key, part in zip(("joints", "pose", "twist", "wrench"), messages.state_messages(
            state(wanted), NAMES, f"{place.name}_base", stamp
        ), strict=True):  # fmt: skip
            flood.say(lambda heard, info, key=key: robot._on_part(key, heard, info), part, sender=9)
    np.testing.assert_allclose(robot.state().joint_pos, wanted)
    flood.say(robot._on_status, messages.status_message(NodeStatus(RobotStatus("holding")), place.name, "fr3", 1))
    assert robot.status().mode == "holding"
    assert robot.status().fault == ""
    with pytest.raises(InvalidAction):
        robot.move_joints(HOME * np.nan, 0.0)


@pytest.fixture(scope="module")
def camera(session, place):
    camera = RosCamera(f"{place.name}_eye", WIDTH, HEIGHT, session, depth=True)
    yield camera
    camera.close()


RGB = np.full((HEIGHT, WIDTH, 3), 7, np.uint8)
DEPTH = np.full((HEIGHT, WIDTH), 0.5, np.float32)


@st.composite
def said_of_a_camera(draw) -> tuple[str, Any, int, int]:
    kind, stamp = draw(st.sampled_from(["colour", "colour", "depth", "depth", "status"])), draw(stamps)
    sender, count = draw(senders), draw(st.integers(0, 2**63 - 1) | st.integers(0, 5))
    if kind == "status":
        values = {"published": draw(text), "lost": draw(text)}
        message = messages.diagnostics(draw(st.integers(0, 3)), "EYE", "x", draw(text), values, 1)
        message.status = message.status * draw(st.sampled_from([1, 1, 0, 2]))
        return kind, message, sender, count
    depth = draw(st.sampled_from(["32FC1", "16UC1"])) == "32FC1"
    time_of = divmod(stamp, 10**9)
    if kind == "colour":
        message = images.colour_message(RGB, "eye", *time_of)
    else:
        pixels = DEPTH.copy()
        with np.errstate(over="ignore"):
            pixels[0] = np.float32(draw(number) if draw(st.booleans()) else 0.5)
        message = images.depth_message(pixels, "eye", *time_of)
        if not depth:
            message.encoding, message.step = "16UC1", 2 * WIDTH
            message.data = array.array("B", bytes(2 * WIDTH * HEIGHT))
    spoil = draw(st.sampled_from(["none", "size", "step", "data", "encoding", "order"]))
    if spoil == "size":
        setattr(message, draw(st.sampled_from(["width", "height"])), draw(st.integers(0, 2**32 - 1)))
    elif spoil == "step":
        message.step = draw(st.integers(0, 2**32 - 1) | st.integers(0, 200))
    elif spoil == "data":
        message.data = array.array("B", draw(st.binary(max_size=1200)))
    elif spoil == "encoding":
        message.encoding = draw(text | st.sampled_from(["bgr8", "rgba8", "mono8", "32FC1", "rgb8", "16UC1"]))
    elif spoil == "order":
        message.is_bigendian = draw(st.integers(0, 255))
    return kind, message, sender, count


@HOSTILE
@given(batch=st.lists(said_of_a_camera(), min_size=AT_ONCE, max_size=AT_ONCE))
def test_five_thousand_lies_about_a_camera_are_survived(camera, flood, batch):
    for kind, message, sender, count in batch:
        if kind == "colour":
            flood.say(camera._on_colour, message, sender=sender, count=count)
        elif kind == "depth":
            flood.say(camera._on_depth, message)
        else:
            for each in message.status:
                each.name = camera.name
            flood.say(camera._on_status, message)
    try:
        frame = camera.read(math.inf)
    except Stale as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert frame.rgb.shape == (HEIGHT, WIDTH, 3)
        assert frame.depth.shape == (HEIGHT, WIDTH)
        assert np.isfinite(frame.depth).all()
        assert (frame.depth >= 0.0).all()
    assert len(camera._colours) <= 4
    assert len(camera._depths) <= 4


def test_the_camera_itself_is_seen_after_all_that(camera, flood, session):
    indices = []
    for count in (1, 2):
        sec, nanosec = divmod(session.clock.next(), 10**9)
        flood.say(camera._on_colour, images.colour_message(RGB + count, "eye", sec, nanosec), sender=9, count=count)
        flood.say(camera._on_depth, images.depth_message(DEPTH, "eye", sec, nanosec))
        frame = camera.read(1.0)
        assert (frame.rgb == 7 + count).all()
        assert (frame.depth == DEPTH).all()
        indices.append(frame.index)
    assert indices[1] == indices[0] + 1


def test_a_list_of_what_a_camera_could_be_told_is_that_of_its_topics(session, place):
    """A camera node takes nothing in: there is no message that could reach it."""
    from hardware.ros import CameraNode, Session

    with Session("eye_node", domain=place.domain) as far:
        before = len(list(far.node.subscriptions)), len(list(far.node.services))
        blind = SimpleNamespace(read=lambda max_age=0.2: (_ for _ in ()).throw(Stale("blind")), name="blind")
        node = CameraNode(blind, f"{place.name}_blind", far)
        assert (len(list(far.node.subscriptions)), len(list(far.node.services))) == before
        node.close()
