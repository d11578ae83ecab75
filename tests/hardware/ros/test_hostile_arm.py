"""An arm's node, its safety filter and its law are sent what is well formed and means ill: no limit is left.

The messages go through serialisation and straight into the node's callbacks, which is what its executor would do with
them: 5 000 take seconds. Time passes on the arm, and every millisecond of it is looked at.
"""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from controllers.kinematics import Chain
from hardware.arm import Arm
from hardware.emulation.in_process import InProcessTorqueDrive
from hardware.realtime import hand_over_soon
from hardware.ros import ArmNode, RosRobot, Session, messages
from hardware.ros.emergency_stop_node import BEAT, StopWatch
from hardware.safety.limits import SafetyLimits
from robo_rl import geometry
from robo_rl.contracts import ToolCommand
from robo_rl.errors import Faulted
from robo_rl.robots.panda import PANDA

pytest.importorskip("rclpy")

NAMES = messages.joint_names(PANDA)
HOME = np.array(PANDA.home)
DOWN = Chain(PANDA).forward(HOME)[1]
LOW, HIGH = np.array(PANDA.workspace_low), np.array(PANDA.workspace_high)
# A machine so busy that it stalls is no arm that has fallen silent.
LIMITS = replace(SafetyLimits.of(PANDA), max_state_age=2.0)
AT_ONCE, EXAMPLES = 50, 100
SLACK = 0.01  # m by which the tool may miss its reference


class WatchedDrive(InProcessTorqueDrive):
    """Remembers every millisecond of the arm, and every torque that it was told."""

    def __init__(self) -> None:
        super().__init__(PANDA, rate=500.0)
        self.seen: list[tuple[np.ndarray, np.ndarray]] = []
        self.told: list[np.ndarray] = []

    def write_torque(self, torque: np.ndarray) -> None:
        super().write_torque(torque)
        self.told.append(np.array(torque))

    def _step(self, dt: float, braked: bool) -> None:
        super()._step(dt, braked)
        self.seen.append((self._q, self._dq))


@dataclass
class Bench:
    """The node with all that is behind it, and how it is spoken to."""

    drive: WatchedDrive
    arm: Arm
    node: ArmNode
    watch: StopWatch
    session: Session
    heard: int = 0
    generation: int = 0

    def say(self, kind: str, message: Any, sender: int) -> None:
        """Hand over a message of one of the senders of this generation; what they have said binds the later ones."""
        from rclpy.serialization import deserialize_message, serialize_message

        info = {"publisher_gid": {"data": self.generation.to_bytes(8, "little") + bytes([sender] * 8)}}
        if message is not None:
            message = deserialize_message(serialize_message(message), type(message))
        if kind == "command":
            self.node._on_command(message, info)
        elif kind == "move":
            self.node._on_move(message, info)
        elif kind == "emergency_stop":
            self.node._on_emergency(message)
        elif kind == "alive":
            self.watch._heard("button", message)
        else:
            from std_srvs.srv import Trigger

            answer = {"stop": self.node._on_stop, "recover": self.node._on_recover}[kind](None, Trigger.Response())
            assert answer.message
        self.heard += 1


@pytest.fixture(scope="module")
def bench(place):
    drive = WatchedDrive()
    with hand_over_soon(), Session("hostile", domain=place.domain) as session, Arm(drive, LIMITS) as arm:
        node = ArmNode(arm, place.name, session, state_rate=25.0)
        watch = StopWatch(arm, ["button"], session)
        try:
            yield Bench(drive, arm, node, watch, session)
        finally:
            watch.close()
            node.close()


def directions(*spans: float):
    return st.tuples(*(st.floats(-span, span) for span in spans))


near = directions(1.0, 1.0, 1.0)
far = st.sampled_from([(100.0, -100.0, 100.0), (-100.0, 100.0, -100.0), (0.5, 0.0, -99.0), (0.0, 0.0, 0.0)])
turn = directions(math.pi, math.pi, math.pi)
wild = st.sampled_from([math.nan, math.inf, -math.inf, 1e308])
validity = st.sampled_from([1e-9, 0.001, 0.05, 0.3, 0.3])
DAY = 86_400 * 10**9
stamps = st.sampled_from([-1, 1, -(10**9), 10**9, -DAY, DAY, 500 * DAY])
frames = st.sampled_from(["arm_base", "world", "tcp", "x" * 4000])
SOUND = (0, "", None)
spoils = st.sampled_from([SOUND] * 3) | st.sampled_from([SOUND]) | st.one_of(
    st.tuples(stamps, st.just(""), st.none()),
    st.tuples(st.just(0), frames, st.none()),
    st.tuples(st.just(0), st.just(""), wild),
)  # fmt: skip
KINDS = ["command"] * 14 + ["move"] + ["recover"] * 3 + ["stop", "emergency_stop", "alive", "alive"]
postures = st.tuples(*(st.floats(*link.joint_range) for link in PANDA.links)) | st.sampled_from([
    tuple(link.joint_range[0] for link in PANDA.links), tuple(link.joint_range[1] for link in PANDA.links),
    tuple(HOME + 0.3), tuple(HOME), (math.nan,) * 7, (99.0,) * 7,
])  # fmt: skip


@st.composite
def hostile(draw) -> tuple[str, Any, int, float]:
    """What is sent, on what, by whom, and how long the arm has before the next; a stamp is one of now, moved."""
    kind = draw(st.sampled_from(KINDS))
    sender, pause = draw(st.integers(0, 2)), draw(st.sampled_from([0.0, 0.0, 0.0, 0.001, 0.008]))
    if kind == "command":
        pos = draw(near | far)
        rot = geometry.exp(np.array(draw(turn))) @ DOWN
        asked = ToolCommand(1, np.array(pos), rot, draw(st.floats(-99.0, 99.0)), draw(validity))
        return kind, (asked, *draw(spoils)), sender, pause
    if kind == "move":
        return kind, (np.array(draw(postures)), draw(st.floats(-1.0, 1.0)), draw(spoils)[0]), sender, pause
    text = draw(st.sampled_from(["", "now", "x" * 10_000, "two\nlines"])) if kind == "emergency_stop" else ""
    return kind, text, sender, pause


def written(kind: str, what: Any, session: Session) -> Any:
    """The message itself, stamped as of now."""
    from std_msgs.msg import Empty, String

    now = session.clock.next()
    if kind == "command":
        asked, moved, frame, spoil = what
        message = messages.command_message(asked, frame, max(now + moved, 1))
        if spoil is not None:
            message.points[0].transforms[0].translation.z = spoil
        return message
    if kind == "move":
        joint_pos, gripper, moved = what
        return messages.move_message(joint_pos, gripper, NAMES, max(now + moved, 0))
    return {"emergency_stop": String(data=what), "alive": Empty()}.get(kind)


def look(bench: Bench) -> None:
    """No limit was left in what the arm has done since the last look; nor is there a fault that nobody asked for."""
    seen, bench.drive.seen = bench.drive.seen, []
    told, bench.drive.told = bench.drive.told, []
    assert seen
    assert told
    q, dq = (np.array(part) for part in zip(*seen, strict=True))
    low, high = (np.array([link.joint_range[i] for link in PANDA.links]) for i in (0, 1))
    assert (q > low).all()
    assert (q < high).all()
    assert (np.abs(dq) < [link.max_velocity for link in PANDA.links]).all()
    pos, rot = Chain(PANDA).forward(q[:: max(1, len(q) // 50)])
    assert (pos > LOW - SLACK).all(), pos.min(0)
    assert (pos < HIGH + SLACK).all(), pos.max(0)
    assert geometry.distance(rot, DOWN).max() < LIMITS.max_tilt + 0.05
    assert (np.abs(told) <= [link.max_torque for link in PANDA.links]).all()
    applied = bench.arm.applied()
    assert (applied.pos > LOW - SLACK).all()
    assert (applied.pos < HIGH + SLACK).all()
    assert PANDA.gripper.min_width <= applied.gripper <= PANDA.gripper.max_width
    assert bench.arm.status().fault in ("", "stopped"), bench.arm.status()
    assert bench.session.errors == 0


@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None,
    phases=[Phase.generate],
)  # fmt: skip
@given(batch=st.lists(hostile(), min_size=AT_ONCE // 2, max_size=AT_ONCE // 2))
def test_five_thousand_hostile_messages_move_the_arm_out_of_no_limit(bench, batch):
    bench.generation += 1
    if bench.arm.status().fault:
        bench.arm.recover()
    for kind, what, sender, pause in batch * 2:  # to make one takes longer than to send it
        bench.say(kind, written(kind, what, bench.session), sender)
        time.sleep(pause)
    time.sleep(0.02)
    look(bench)


def test_all_that_has_moved_the_arm_and_been_refused(bench):
    """The control of the test above: an arm that stands still, or is left alone, keeps every limit."""
    assert bench.heard >= AT_ONCE * EXAMPLES
    status = bench.arm.status()
    assert status.counters["cycles"] > 500
    assert bench.node._rejected + status.rejected > 500
    assert bench.node._id > 500  # commands that were handed to the arm


def keep(bench: Bench, eventually) -> RosRobot:
    """A client of the node, as a policy has it, after the hostile ones have gone."""
    robot = RosRobot(bench.node._name, PANDA, bench.session)
    robot.wait_until_ready(20.0)
    eventually(lambda: not sound(robot).fault)
    return robot


def sound(robot: RosRobot) -> Any:
    if robot.status().fault:
        robot.recover()
    return robot.status()


def begin(bench: Bench) -> None:
    """Other senders than before, a button that has just been heard, and no fault."""
    bench.generation += 1
    bench.say("alive", written("alive", "", bench.session), 0)
    bench.arm.recover()


def test_opposite_targets_of_two_senders_keep_the_arm_in_between(bench):
    """Two policies at 50 Hz, each wanting the other corner and half a turn: nobody wins, no limit is left."""
    begin(bench)
    bench.drive.seen.clear()
    for number in range(100):
        side = 1.0 if number % 2 else -1.0
        rot = geometry.exp(np.array([side * 1.5, 0.0, side])) @ DOWN
        target = ToolCommand(1, np.array([0.5, side * 9.0, 0.3]), rot, 0.04, 0.3)
        bench.say("command", written("command", (target, *SOUND), bench.session), number % 2)
        bench.say("alive", written("alive", "", bench.session), 0)
        time.sleep(0.01)
    assert not bench.arm.status().fault
    speed = np.array([np.linalg.norm(Chain(PANDA).jacobian(q)[:3] @ dq) for q, dq in bench.drive.seen[::20]])
    assert speed.max() < 1.5 * LIMITS.max_speed
    look(bench)


def test_commands_against_a_posture_leave_no_limit(bench):
    begin(bench)
    goals = itertools.cycle([HOME + 0.2, HOME - 0.2])
    for number in range(60):
        bench.say("move", written("move", (next(goals), 0.04, 0), bench.session), 0)
        target = ToolCommand(1, np.array([9.0, 9.0, 9.0]), DOWN, 0.04, 0.3)
        if number % 3:
            bench.say("command", written("command", (target, *SOUND), bench.session), 1)
        bench.say("alive", written("alive", "", bench.session), 0)
        time.sleep(0.02)
    assert not bench.arm.status().fault
    look(bench)


def test_a_storm_of_stops_ends_stopped_and_one_of_recoveries_does_not_undo_the_next_stop(bench):
    for _ in range(200):
        bench.say("stop", None, 0)
        bench.say("recover", None, 1)
    bench.say("stop", None, 0)
    time.sleep(0.05)
    assert bench.arm.status().fault == "stopped"
    with pytest.raises(Faulted):
        bench.arm.command(ToolCommand(2**62, np.array([0.5, 0.0, 0.3]), DOWN, 0.04, 0.3))
    look(bench)


def test_signs_of_life_by_a_stranger_of_another_type_are_none(bench, eventually):
    """Only what an emergency stop sends counts; without it the arm stops, and stays so."""
    from std_msgs.msg import String

    begin(bench)
    with Session("stranger", domain=bench.session.domain) as other:
        stranger = other.node.create_publisher(String, "button/alive", 1)
        for _ in range(100):
            stranger.publish(String(data="x" * 1000))
            time.sleep(0.005)
        eventually(lambda: bench.arm.status().fault == "stopped")
    assert "button is silent" in bench.arm.status().reason
    assert bench.session.errors == 0


def test_after_all_that_the_node_serves_a_client(bench, eventually):
    """State, status, commands, postures and services, over ROS 2."""
    from std_msgs.msg import Empty

    from hardware.ros import qos

    alive = bench.session.node.create_publisher(Empty, "button/alive", qos.state_out())
    end = bench.session.loop("beat", BEAT, lambda: alive.publish(Empty()))
    try:
        time.sleep(3 * BEAT)
        robot = keep(bench, eventually)
        middle, way = 0.5 * (LOW + HIGH), itertools.count(1)

        def there() -> bool:
            robot.command(ToolCommand(next(way), middle, DOWN, 0.04, 0.3))
            time.sleep(0.05)
            return float(np.abs(robot.state(2.0).tcp_pos - middle).max()) < 0.01

        eventually(there)
        robot.move_joints(HOME, 0.04)
        eventually(lambda: robot.status().mode == "holding" and np.abs(robot.state(2.0).joint_pos - HOME).max() < 0.03)
        robot.close()
    finally:
        end()
    look(bench)
