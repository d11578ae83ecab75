"""What every robot promises, held to by every robot. A new one earns these tests by one more entry in ``CASES``.

An entry makes an open arm that may move freely, with nothing in its way, under ``SafetyLimits.of(spec)``. One arm
serves all tests of its case, each of which begins with it at home, holding, without a fault. Times are generous, so
that a busy machine passes; distances are not.
"""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from controllers.kinematics import Chain
from hardware.arm import Arm
from hardware.arms.emulated import EmulatedDrive
from hardware.arms.widowx import WidowX
from hardware.emulation.client import CellClient
from hardware.emulation.dynamixel_bus import widowx_bus
from hardware.emulation.in_process import InProcessDrive, InProcessJointDrive, InProcessPoseDrive, InProcessTorqueDrive
from hardware.realtime import prioritise
from hardware.safety.limits import SafetyLimits
from robo_rl import geometry
from robo_rl.commands.physics import SimulatedCell
from robo_rl.contracts import MAX_VALIDITY, Robot, RobotSpec, RobotState, ToolCommand
from robo_rl.contracts.plant import PlantSettings
from robo_rl.errors import Faulted, InvalidAction, Stale
from robo_rl.robots import robot as spec_of


@dataclass(frozen=True)
class Case:
    """An implementation under test.

    Attributes:
        name: of it.
        make: opens one; leaving the context closes it and what was started for it.
        joint_moves: whether :meth:`Robot.move_joints` determines every joint, or the pose of the tool only, as for a
            redundant arm that is driven by poses.
        gripper: whether there is one that moves.
    """

    name: str
    make: Callable[[], AbstractContextManager[Robot]]
    joint_moves: bool = True
    gripper: bool = True


def in_process(name: str, kind: type[InProcessDrive], rate: float) -> Arm:
    """An arm in this very process; a machine so busy that it stalls is no arm that has fallen silent."""
    spec = spec_of(name)
    return Arm(kind(spec, rate=rate), replace(SafetyLimits.of(spec), max_state_age=2.0))


@contextmanager
def simulated_cell() -> Iterator[Robot]:
    """An arm whose physics runs in a process of its own, which an arm that moves freely has no cube in."""
    spec, before = spec_of("fr3"), (os.sched_getscheduler(0), os.sched_getparam(0))
    with SimulatedCell("pick_cube", spec.name, settings=PlantSettings(guard=0.25)) as cell:
        CellClient(cell.folder).place({"cube": (np.array([-0.6, 0.0, 0.02]), np.eye(3))})
        limits = replace(SafetyLimits.of(spec), max_state_age=2.0, recoveries=50)
        prioritise(5)  # as on a robot's computer; without the right to it, without
        try:
            with Arm(EmulatedDrive(spec, cell.folder, silence=0.1), limits) as arm:
                yield arm
        finally:
            os.sched_setscheduler(0, *before)


@contextmanager
def widowx250s() -> Iterator[Robot]:
    """The drive of the Dynamixel servos, on an emulated bus."""
    pytest.importorskip("dynamixel_sdk")
    spec = spec_of("widowx250s")
    with tempfile.TemporaryDirectory() as folder, widowx_bus(f"{folder}/tty", angles=(*spec.home, 1.0)):
        # What servos tell of forces is poor where the arm is stretched out, and here it is sent there on purpose.
        limits = replace(SafetyLimits.of(spec), max_state_age=2.0, max_force=150.0)
        with Arm(WidowX(f"{folder}/tty", watchdog=2.5, patience=0.25), limits) as arm:
            yield arm


@contextmanager
def widowx_ai() -> Iterator[Robot]:
    """A WidowX AI by its maker's driver, on the simulated controller in a process of its own."""
    pytest.importorskip("trossen_arm")
    pytest.importorskip("trossen_arm_sim")
    from hardware.arms.trossen import WidowXAI

    host = f"127.7.{os.getpid() % 250}.{1 + os.getpid() // 250 % 250}"  # its ports are fixed
    script = Path(__file__).parents[1] / "hardware" / "arms" / "serve_trossen.py"
    simulator = subprocess.Popen(
        [sys.executable, str(script), host], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert simulator.stdout.readline() == "ready\n"
        with Arm(WidowXAI(host), replace(SafetyLimits.of(spec_of("widowx_ai")), max_state_age=2.0)) as arm:
            yield arm
    finally:
        simulator.kill()
        simulator.communicate()


SERVE = """
import sys
from dataclasses import replace
from hardware.arm import Arm
from hardware.emulation.in_process import InProcessJointDrive
from hardware.ros import serve_arm
from hardware.safety.limits import SafetyLimits
from robo_rl.robots import robot
spec = robot("widowx250s")
with Arm(InProcessJointDrive(spec, rate=100.0), replace(SafetyLimits.of(spec), max_state_age=2.0)) as arm:
    serve_arm(arm, sys.argv[1], domain=int(sys.argv[2]))
"""


@contextmanager
def over_ros() -> Iterator[Robot]:
    """An arm in a process of its own, at the far end of its topics."""
    pytest.importorskip("rclpy")
    from hardware.ros import RosRobot, Session

    name, domain = f"contract_{os.getpid()}", 1 + os.getpid() * 13 % 100
    node = subprocess.Popen(
        [sys.executable, "-c", SERVE, name, str(domain)], env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    try:
        with Session("suite", domain=domain) as session:
            robot = RosRobot(name, spec_of("widowx250s"), session)
            robot.wait_until_ready(60.0)
            yield robot
            robot.close()
    finally:
        node.terminate()
        node.wait(20.0)


CASES = [
    Case("in-process torque panda", lambda: in_process("panda", InProcessTorqueDrive, 1000.0)),
    Case("in-process pose panda", lambda: in_process("panda", InProcessPoseDrive, 200.0), joint_moves=False),
    Case("in-process joints widowx250s", lambda: in_process("widowx250s", InProcessJointDrive, 100.0)),
    Case("simulated cell fr3", simulated_cell),
    Case("widowx250s on an emulated bus", widowx250s),
    Case("widowx_ai on a simulated controller", widowx_ai),
    Case("joints widowx250s over ROS 2", over_ros),
]

NEAR = 0.008  # m: how well an arm reaches and holds a pose
NEAR_ANGLE = 0.05  # rad
PATIENCE = 20.0  # s

_ids = itertools.count(time.time_ns())  # above those of any earlier sender


@pytest.fixture(scope="module", params=CASES, ids=lambda case: getattr(case, "name", None))
def opened(request) -> Iterator[tuple[Robot, Case]]:
    with request.param.make() as robot:
        yield robot, request.param


@pytest.fixture
def case(opened) -> Case:
    return opened[1]


@pytest.fixture
def arm(opened) -> Robot:
    robot, _ = opened
    if robot.status().fault:
        robot.recover()
    until(lambda: not robot.status().fault, "the fault is cleared")
    if not is_home(robot):
        go_home(robot)
    return robot


def until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Wait for something that has to come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.005)


def newest(robot: Robot) -> RobotState:
    """The newest state, however busy the machine is; what is too old is the business of one test only."""
    return robot.state(max_age=10.0)


def stays(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether something is true all the while."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not condition():
            return False
        time.sleep(0.01)
    return True


def is_home(robot: Robot) -> bool:
    """Whether the test before has left it there, at rest and holding."""
    state, off = newest(robot), 0.25 * NEAR
    near = np.linalg.norm(state.tcp_pos - Chain(robot.spec).forward(np.array(robot.spec.home))[0]) < off
    near = near and np.abs(state.joint_pos - robot.spec.home).max() < 0.02 and np.abs(state.joint_vel).max() < 0.02
    open_ = abs(state.gripper_width - robot.spec.gripper.max_width) < 0.002
    return bool(near and open_ and robot.status().mode == "holding")


def go_home(robot: Robot) -> None:
    home = np.array(robot.spec.home)
    try:
        robot.move_joints(home, robot.spec.gripper.max_width)
    except InvalidAction:  # out of a corner no way through joint space may stay in the work space
        pursue(robot, center(robot.spec), Chain(robot.spec).forward(home)[1], seconds=3.0)
        robot.move_joints(home, robot.spec.gripper.max_width)
    until(lambda: robot.status().mode != "moving", "home is reached")
    assert robot.status().mode == "holding", robot.status()
    until(lambda: bool(np.abs(newest(robot).joint_vel).max() < 0.05), "the arm is at rest")


def command(robot: Robot, pos, rot=None, gripper=None, valid_for=0.25) -> int:
    number = next(_ids)
    gripper = robot.spec.gripper.max_width if gripper is None else gripper
    rot = newest(robot).tcp_rot if rot is None else rot
    robot.command(ToolCommand(number, np.asarray(pos, dtype=float), rot, gripper, valid_for))
    return number


def pursue(robot: Robot, pos, rot=None, seconds=2.0, each: Callable[[], None] = lambda: None, **more) -> int:
    """Command one pose at 20 Hz, as a policy would; ``each`` is called between commands."""
    rot = newest(robot).tcp_rot if rot is None else rot
    deadline, number = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        number = command(robot, pos, rot, **more)
        time.sleep(0.05)
        each()
    return number


def arrive(robot: Robot, pos, rot=None) -> int:
    """Command one pose, as a policy would, until tool and target have been there for a while, or patience ends."""
    rot = newest(robot).tcp_rot if rot is None else rot
    deadline, number, there = time.monotonic() + PATIENCE, 0, 0
    while there < 5 and time.monotonic() < deadline:
        number = pursue(robot, pos, rot, seconds=0.04)
        state, applied = newest(robot), robot.applied()
        near = np.linalg.norm(state.tcp_pos - pos) < NEAR and geometry.distance(state.tcp_rot, rot) < NEAR_ANGLE
        near = near and np.linalg.norm(applied.pos - pos) < 2e-3 and geometry.distance(applied.rot, rot) < 0.02
        there = there + 1 if near else 0
    return number


def center(spec: RobotSpec) -> np.ndarray:
    return 0.5 * (np.array(spec.workspace_low) + np.array(spec.workspace_high))


def inwards(robot: Robot, distance: float) -> np.ndarray:
    """A position that far from the tool, towards the middle of the work space."""
    pos = newest(robot).tcp_pos
    way = center(robot.spec) - pos
    if np.linalg.norm(way) < 0.02:
        way = np.array([0.0, 1.0, 0.0])
    return pos + distance * way / np.linalg.norm(way)


def outside(robot: Robot, pos: np.ndarray) -> float:
    """How far a position is out of the work space, m."""
    low, high = np.array(robot.spec.workspace_low), np.array(robot.spec.workspace_high)
    return float(np.maximum(low - pos, pos - high).max())


def test_it_is_a_robot(arm):
    assert isinstance(arm, Robot)
    assert arm.status().mode == "holding"
    assert arm.status().fault == ""
    assert not arm.status().needs_acknowledgement


def test_a_state_is_whole_and_new(arm):
    n = arm.spec.dof
    state = newest(arm)
    shapes = {
        "joint_pos": (n,), "joint_vel": (n,), "joint_torque": (n,), "tcp_pos": (3,), "tcp_rot": (3, 3),
        "tcp_linvel": (3,), "tcp_angvel": (3,), "tcp_force": (3,), "tcp_torque": (3,),
    }  # fmt: skip
    for name, shape in shapes.items():
        value = getattr(state, name)
        assert value.shape == shape, name
        assert value.dtype == np.float64, name
        if name not in ("joint_torque", "tcp_force", "tcp_torque"):  # NaN where the device cannot tell
            assert np.isfinite(value).all(), name
    np.testing.assert_allclose(state.tcp_rot @ state.tcp_rot.T, np.eye(3), atol=1e-6)
    assert -0.005 <= state.gripper_width <= arm.spec.gripper.max_width + 0.005
    until(lambda: 0.0 <= time.monotonic() - newest(arm).stamp < 0.1, "a state that is new")
    until(lambda: newest(arm).stamp > state.stamp + 0.02, "the state goes on")


def test_the_tool_is_where_the_joints_put_it(arm):
    state = newest(arm)
    pos, rot = Chain(arm.spec).forward(state.joint_pos)
    np.testing.assert_allclose(state.tcp_pos, pos, atol=2e-3)
    assert geometry.distance(state.tcp_rot, rot) < 0.01


def test_an_age_that_no_state_can_have_is_refused(arm):
    with pytest.raises(Stale):
        arm.state(max_age=0.0)


def test_left_alone_it_holds(arm):
    before = newest(arm)
    assert stays(lambda: np.linalg.norm(newest(arm).tcp_pos - before.tcp_pos) < NEAR, 0.5)
    assert arm.status().mode == "holding"


def test_it_goes_where_it_is_told_to_and_says_so(arm):
    before = newest(arm)
    target, rot = inwards(arm, 0.04), geometry.yaw(np.array(0.15)) @ before.tcp_rot
    modes = set()
    pursue(arm, target, rot, seconds=0.3, each=lambda: modes.add(arm.status().mode))
    number = arrive(arm, target, rot)
    until(lambda: arm.applied().id == number, "the last command is pursued")
    state, applied = newest(arm), arm.applied()
    np.testing.assert_allclose(state.tcp_pos, target, atol=NEAR)
    assert geometry.distance(state.tcp_rot, rot) < NEAR_ANGLE
    np.testing.assert_allclose(applied.pos, target, atol=2e-3)
    assert geometry.distance(applied.rot, rot) < 0.02
    assert "running" in modes
    assert "moving" not in modes
    assert "fault" not in modes


def test_a_command_that_expires_is_held_and_said_to_have_expired(arm):
    target = inwards(arm, 0.03)
    number = arrive(arm, target)
    until(lambda: arm.status().mode == "holding", "it holds")
    until(lambda: "expired" in arm.applied().reasons, "it says why")
    assert arm.applied().id == number
    held = newest(arm).tcp_pos
    assert stays(lambda: np.linalg.norm(newest(arm).tcp_pos - held) < NEAR, 0.3)


def test_it_does_not_go_on_when_a_command_expires_on_the_way(arm):
    """A far target, valid for a moment: the arm sets out, and stops long before it is there."""
    start = newest(arm).tcp_pos
    target = inwards(arm, 0.3)
    command(arm, target, valid_for=0.1)
    until(lambda: arm.status().mode == "holding", "it holds")
    time.sleep(0.3)
    gone = newest(arm).tcp_pos
    # 0.1 s and the 50 ms that it may take at the largest speed, the way to stop, and a busy machine.
    assert np.linalg.norm(gone - start) < 0.09
    assert stays(lambda: np.linalg.norm(newest(arm).tcp_pos - gone) < NEAR, 0.3)


@pytest.mark.parametrize("direction", [(1.0, 0.0, 0.0), (0.3, -1.0, 1.0)])
def test_it_cannot_be_sent_out_of_the_work_space(arm, direction):
    seen, far, targets = [], [], [arm.applied().pos]

    def look() -> None:
        applied = arm.applied()
        seen.extend(applied.reasons)
        targets.append(applied.pos)
        far.append(max(outside(arm, applied.pos), outside(arm, newest(arm).tcp_pos) - 0.01))

    goal, deadline = newest(arm).tcp_pos + 2.0 * np.array(direction), time.monotonic() + PATIENCE
    while len(targets) < 10 or np.ptp(targets[-5:], axis=0).max() > 1e-4:  # it has got as far as it goes
        assert time.monotonic() < deadline
        pursue(arm, goal, seconds=0.04, each=look)
    assert max(far) <= 1e-6
    assert "workspace" in seen


def test_it_cannot_be_tilted_beyond_its_limit(arm):
    home = Chain(arm.spec).forward(np.array(arm.spec.home))[1]
    most = SafetyLimits.of(arm.spec).max_tilt
    seen = []

    def look() -> None:
        seen.extend(arm.applied().reasons)
        assert geometry.distance(arm.applied().rot, home) <= most + 1e-3

    pursue(arm, center(arm.spec), geometry.exp(np.array([0.0, 2.5, 0.0])) @ home, seconds=0.7, each=look)
    assert "rotation" in seen


def test_neither_it_nor_its_target_is_faster_than_allowed(arm):
    limits = SafetyLimits.of(arm.spec)
    targets, speeds, seen = [], [], []

    def look() -> None:
        state = newest(arm)
        targets.append((time.monotonic(), arm.applied().pos))
        speeds.append(float(np.linalg.norm(state.tcp_linvel)))
        seen.extend(arm.applied().reasons)

    for corner in (arm.spec.workspace_low, arm.spec.workspace_high):
        pursue(arm, 0.5 * (center(arm.spec) + np.array(corner)), seconds=0.7, each=look)
    for (then, before), (now, after) in itertools.pairwise(targets):
        assert np.linalg.norm(after - before) <= limits.max_speed * (now - then + 0.05) + 1e-3
    assert max(speeds) < 1.5 * limits.max_speed
    assert {"speed", "leash", "joint_speed", "acceleration"} & set(seen)


BAD = {
    "position not finite": {"pos": np.array([np.nan, 0.0, 0.0])},
    "position infinite": {"pos": np.array([np.inf, 0.0, 0.0])},
    "position of the wrong shape": {"pos": np.zeros(4)},
    "no rotation": {"rot": np.zeros((3, 3))},
    "a reflection": {"rot": np.diag([1.0, 1.0, -1.0])},
    "a stretched rotation": {"rot": 1.1 * np.eye(3)},
    "gripper not finite": {"gripper": math.nan},
    "not valid at all": {"valid_for": 0.0},
    "valid for too long": {"valid_for": MAX_VALIDITY + 0.1},
    "valid for ever": {"valid_for": math.inf},
}


@pytest.mark.parametrize("what", BAD)
def test_a_malformed_command_is_refused_counted_and_moves_nothing(arm, what):
    before, rejected = newest(arm), arm.status().rejected
    fields = {"pos": inwards(arm, 0.05), "rot": before.tcp_rot, "gripper": 0.02, "valid_for": 0.25, **BAD[what]}
    with pytest.raises(InvalidAction):
        arm.command(ToolCommand(next(_ids), **fields))
    until(lambda: arm.status().rejected > rejected, "it is counted")
    assert arm.status().mode == "holding"
    assert stays(lambda: np.linalg.norm(newest(arm).tcp_pos - before.tcp_pos) < NEAR, 0.15)


def test_a_command_out_of_order_is_refused(arm):
    state = newest(arm)
    number = command(arm, state.tcp_pos)
    for again in (number, number - 1):
        with pytest.raises(InvalidAction):
            arm.command(ToolCommand(again, inwards(arm, 0.1), state.tcp_rot, 0.02, 0.25))


def test_a_policy_gone_mad_does_no_harm(arm):
    """Jumps all over the place at 20 Hz: no fault, and every limit kept."""
    random = np.random.default_rng(0)
    home = Chain(arm.spec).forward(np.array(arm.spec.home))[1]
    for _ in range(30):
        pos = center(arm.spec) + random.normal(0.0, 0.5, 3)
        command(arm, pos, geometry.exp(random.normal(0.0, 1.0, 3)) @ home, gripper=float(random.normal(0.0, 0.1)))
        time.sleep(0.05)
        assert outside(arm, arm.applied().pos) <= 1e-6
        assert outside(arm, newest(arm).tcp_pos) < 0.01
    assert arm.status().fault == ""


def test_the_gripper_goes_where_it_is_told_to_within_what_it_can(arm, case):
    if not case.gripper:
        pytest.skip("it has none that moves")
    gripper, pos = arm.spec.gripper, newest(arm).tcp_pos
    middle = 0.5 * (gripper.min_width + gripper.max_width)
    for told, width in ((middle, middle), (5.0, gripper.max_width), (-5.0, gripper.min_width)):
        deadline = time.monotonic() + PATIENCE
        while abs(newest(arm).gripper_width - width) > 0.004:
            assert time.monotonic() < deadline, f"told {told}, at {newest(arm).gripper_width}"
            pursue(arm, pos, seconds=0.2, gripper=told)
        assert arm.applied().gripper == pytest.approx(width, abs=1e-6)


def posture(spec: RobotSpec, sign: float = 1.0) -> np.ndarray:
    """Near home, with the tool in the work space."""
    q = np.array(spec.home)
    q[0] += 0.3 * sign
    q[-1] += 0.2 * sign
    return q


def test_it_moves_through_joint_space(arm, case):
    goal = posture(arm.spec)
    arm.move_joints(goal, arm.spec.gripper.max_width)
    until(lambda: arm.status().mode == "moving", "it sets out", 5.0)
    until(lambda: arm.status().mode != "moving", "it arrives")
    assert arm.status().mode == "holding"
    assert arm.applied().id == 0
    state = newest(arm)
    pos, rot = Chain(arm.spec).forward(goal)
    np.testing.assert_allclose(state.tcp_pos, pos, atol=NEAR)
    assert geometry.distance(state.tcp_rot, rot) < NEAR_ANGLE
    if case.joint_moves:
        np.testing.assert_allclose(state.joint_pos, goal, atol=0.03)
    assert stays(lambda: np.linalg.norm(newest(arm).tcp_pos - pos) < NEAR, 0.3)


def test_a_command_ends_a_move(arm):
    arm.move_joints(posture(arm.spec), arm.spec.gripper.max_width)
    until(lambda: arm.status().mode == "moving", "it sets out", 5.0)
    time.sleep(0.2)
    here = newest(arm).tcp_pos
    pursue(arm, here, seconds=0.5)
    assert arm.status().mode != "moving"
    np.testing.assert_allclose(newest(arm).tcp_pos, here, atol=3 * NEAR)


def test_a_posture_that_cannot_be_is_refused(arm):
    home, width = np.array(arm.spec.home), arm.spec.gripper.max_width
    bent = home.copy()
    bent[1] = arm.spec.links[1].joint_range[1] + 0.1
    for bad in (home * np.nan, home[:-1], bent):
        with pytest.raises(InvalidAction):
            arm.move_joints(bad, width)
    with pytest.raises(InvalidAction):
        arm.move_joints(home, math.nan)
    assert arm.status().mode == "holding"


def test_stop_latches_until_somebody_recovers(arm):
    pursue(arm, inwards(arm, 0.1), seconds=0.3)
    arm.stop("the suite says so")
    until(lambda: arm.status().fault == "stopped", "it is stopped")
    status = arm.status()
    assert status.mode == "fault"
    assert status.needs_acknowledgement
    assert "the suite says so" in status.reason
    with pytest.raises(Faulted, match="stopped"):
        command(arm, inwards(arm, 0.1))
    with pytest.raises(Faulted, match="stopped"):
        arm.move_joints(np.array(arm.spec.home), 0.02)
    time.sleep(0.3)
    held = newest(arm).tcp_pos
    assert stays(lambda: np.linalg.norm(newest(arm).tcp_pos - held) < NEAR and arm.status().fault == "stopped", 0.3)
    arm.recover()
    until(lambda: arm.status().mode == "holding", "it goes on holding")
    assert arm.status().fault == ""
    target = inwards(arm, 0.02)
    arrive(arm, target)
    np.testing.assert_allclose(newest(arm).tcp_pos, target, atol=NEAR)


def test_stop_ends_a_move(arm):
    arm.move_joints(posture(arm.spec, -1.0), arm.spec.gripper.max_width)
    until(lambda: arm.status().mode == "moving", "it sets out", 5.0)
    time.sleep(0.2)
    arm.stop("on the way")
    until(lambda: arm.status().mode == "fault", "it is stopped")
    until(lambda: bool(np.abs(newest(arm).joint_vel).max() < 0.05), "it comes to rest")
    held = newest(arm).tcp_pos
    assert stays(lambda: np.linalg.norm(newest(arm).tcp_pos - held) < NEAR, 0.3)


def test_stop_may_be_called_again_and_recover_without_a_fault(arm):
    arm.recover()
    arm.stop("once")
    arm.stop("twice")
    until(lambda: arm.status().fault == "stopped", "it is stopped")
    arm.recover()
    until(lambda: arm.status().fault == "", "it goes on")
    arm.recover()
    assert arm.status().mode == "holding"


def test_closing_once_more_is_no_error(opened):
    """The last test of its arm."""
    robot, _ = opened
    robot.close()
    robot.close()
    time.sleep(0.3)
    with pytest.raises(Stale):
        robot.state()
