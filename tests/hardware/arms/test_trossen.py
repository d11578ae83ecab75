"""The drive of the WidowX AI: the maker's driver against the simulated controller that comes from elsewhere.

That simulator ignores velocities and efforts, reports no external ones, clips goals silently, has no limits of its own
that trip, and forgets its error at the next handshake. Forces and the controller's own guard are not tested here.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from controllers.kinematics import Chain
from hardware.arm import Arm
from hardware.arms.drive import DriveState, JointDrive, PoseDrive, TorqueDrive
from hardware.arms.trossen import WidowXAI
from hardware.safety.limits import SafetyLimits
from robo_rl import geometry
from robo_rl.contracts import ToolCommand
from robo_rl.errors import Faulted, Stale, UserError
from robo_rl.robots.widowx_ai import RISER, WIDOWX_AI

pytest.importorskip("trossen_arm")
pytest.importorskip("trossen_arm_sim")

HOME = np.array(WIDOWX_AI.home)
PATIENCE = 30.0


class Simulator:
    """The simulated controller, in a process."""

    def __init__(self, host: str) -> None:
        self.host = host
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        script = Path(__file__).with_name("serve_trossen.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), self.host], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout.readline() == "ready\n"

    def fault(self, line: str) -> None:
        """As ``serve_trossen.py`` takes it."""
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def simulator():
    # Its ports are fixed; addresses of the loopback there are many.
    host = f"127.{np.random.default_rng().integers(1, 255)}.{np.random.default_rng().integers(0, 255)}.7"
    simulator = Simulator(host)
    simulator.start()
    yield simulator
    simulator.kill()


def wait(condition) -> bool:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


def read(drive: WidowXAI) -> DriveState:
    """The next measurement; a busy machine may be late."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return drive.read()
        except Stale:
            if time.monotonic() > deadline:
                raise


def travel(drive: WidowXAI, goal: np.ndarray, gripper: float) -> DriveState:
    """Stream positions to a posture at 2 rad/s and wait there."""
    state = read(drive)
    at, deadline = state.joint_pos, time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        at = at + np.clip(goal - at, -0.01, 0.01)
        drive.write_joints(at)
        drive.write_gripper(gripper)
        state = read(drive)
        if np.abs(state.joint_pos - goal).max() < 1e-3 and abs(state.gripper_width - gripper) < 1e-3:
            break
    return state


@pytest.fixture
def arm(simulator):
    drive = WidowXAI(simulator.host)
    drive.open()
    travel(drive, HOME, 0.05)  # it starts folded, outside of the work space
    drive.close()
    with Arm(WidowXAI(simulator.host), replace(SafetyLimits.of(WIDOWX_AI), max_state_age=1.0)) as arm:
        yield arm


def recovers(arm: Arm) -> bool:
    try:
        arm.recover()
    except Faulted:
        return False
    deadline = time.monotonic() + 3.0
    while arm.status().fault and time.monotonic() < deadline:
        time.sleep(0.01)
    return not arm.status().fault


def refuses(arm: Arm, fault: str) -> None:
    """Neither a target nor a posture is taken in a fault."""
    with pytest.raises(Faulted, match=fault):
        arm.command(ToolCommand(2**40, np.array([0.3, 0.2, 0.3]), np.eye(3), 0.02, 0.3))
    with pytest.raises(Faulted, match=fault):
        arm.move_joints(HOME + 0.2, 0.02)


def refuses_and_holds(arm: Arm, fault: str = "device") -> None:
    """It refuses, unless it has recovered by itself meanwhile, and stays where it is."""
    held = arm.state(PATIENCE).joint_pos
    for _ in range(10):
        if arm.status().fault:
            refuses(arm, fault)
        time.sleep(0.02)
    np.testing.assert_allclose(arm.state(PATIENCE).joint_pos, held, atol=0.01)


def test_it_is_a_drive_of_joints():
    drive = WidowXAI("127.0.0.1")
    assert isinstance(drive, JointDrive)
    assert not isinstance(drive, TorqueDrive | PoseDrive)


@pytest.mark.parametrize(("option", "value"), [("rate", 5000.0), ("end_effector", "leader")])
def test_options_out_of_range_are_refused(option, value):
    with pytest.raises(UserError, match=option):
        WidowXAI("127.0.0.1", **{option: value})


def test_nobody_at_the_address():
    with pytest.raises(UserError, match=r"address 127\.1\.2\.3: Failed to connect.*is the WidowX AI on") as caught:
        WidowXAI("127.1.2.3").open()
    assert "\n" not in str(caught.value)


def test_it_goes_where_it_is_told(simulator):
    drive = WidowXAI(simulator.host)
    drive.open()
    assert np.abs(read(drive).joint_pos).max() < 0.01
    state = travel(drive, HOME, 0.06)
    np.testing.assert_allclose(state.joint_pos, HOME, atol=2e-3)
    assert state.gripper_width == pytest.approx(0.06, abs=2e-3)
    assert state.error == ""
    assert (state.bias == 0).all()
    stamps = [read(drive).stamp for _ in range(20)]
    assert np.diff(stamps).min() >= 0
    with pytest.raises(ValueError, match="finite"):
        drive.write_joints(np.full(6, np.nan))
    drive.close()
    drive.close()


def test_the_tool_is_where_the_maker_says(simulator):
    """Our kinematics against those of the maker's driver."""
    drive = WidowXAI(simulator.host)
    drive.open()
    joints = travel(drive, np.array([0.4, 1.4, 1.0, -0.5, 0.3, -0.6]), 0.02).joint_pos
    pose = np.array(list(drive._driver.get_cartesian_positions()))
    drive.close()
    pos, rot = Chain(WIDOWX_AI).forward(joints)
    np.testing.assert_allclose(pos, pose[:3] + np.array([0, 0, RISER]), atol=1e-3)
    # The maker's tool points along x, ours along z.
    turn = geometry.from_quat_wxyz(np.array(WIDOWX_AI.gripper.hand_quat))
    np.testing.assert_allclose(rot @ turn.T, geometry.exp(pose[3:]), atol=5e-3)


def test_poses_and_postures_through_the_guard(arm):
    start = arm.state(PATIENCE)
    goal, number = start.tcp_pos + np.array([0.02, 0.04, 0.03]), 0  # upwards: its arm has no riser over its ground

    def there() -> bool:
        nonlocal number
        number += 1
        arm.command(ToolCommand(number, goal, start.tcp_rot, 0.02, 0.3))
        return np.abs(arm.state(PATIENCE).tcp_pos - goal).max() < 0.002

    assert wait(there)
    assert wait(lambda: abs(arm.state(PATIENCE).gripper_width - 0.02) < 2e-3)
    arm.move_joints(HOME, 0.05)
    assert wait(lambda: arm.status().mode == "holding"), arm.status()
    np.testing.assert_allclose(arm.state(PATIENCE).joint_pos, HOME, atol=0.01)


def test_an_error_of_the_controller_is_recovered(simulator, arm):
    simulator.fault("error JOINT_OVERHEATED")
    assert wait(lambda: arm.status().fault == "device"), arm.status()
    assert "Joint overheated" in arm.status().reason
    refuses_and_holds(arm)
    assert wait(lambda: arm.status().fault == "" or recovers(arm))
    np.testing.assert_allclose(arm.state(PATIENCE).joint_pos, HOME, atol=0.05)


def test_a_controller_that_hangs_is_latched(simulator, arm):
    simulator.signal(signal.SIGSTOP)
    assert wait(lambda: arm.status().fault == "stale_state")
    with pytest.raises(Faulted):
        arm.recover()
    refuses(arm, "stale_state")
    simulator.signal(signal.SIGCONT)
    refuses_and_holds(arm, "stale_state")  # until a person has looked, though it is back
    assert wait(lambda: recovers(arm)), arm.status()


def test_a_controller_that_died_and_came_back_waits_for_a_person(simulator, arm):
    simulator.kill()
    assert wait(lambda: arm.status().fault == "stale_state")
    assert arm.status().needs_acknowledgement
    refuses(arm, "stale_state")
    simulator.start()
    assert wait(lambda: recovers(arm)), arm.status()
    assert arm.state(PATIENCE).joint_pos == pytest.approx(np.zeros(6), abs=0.05)  # the new one starts folded


def under_way(arm: Arm) -> None:
    """Have it travel, so that there is something to hold."""
    arm.move_joints(HOME + np.array([0.5, 0.0, 0.0, 0.0, 0.0, 0.0]), 0.03)
    assert wait(lambda: np.abs(arm.state(PATIENCE).joint_vel).max() > 0.05)


def goes_on(arm: Arm) -> None:
    """After the acknowledgement it moves as before."""
    arm.move_joints(HOME, 0.05)
    assert wait(lambda: arm.status().mode == "holding"), arm.status()
    np.testing.assert_allclose(arm.state(PATIENCE).joint_pos, HOME, atol=0.01)


def test_a_cable_that_is_pulled_on_the_way_is_latched_and_held_until_acknowledged(simulator, arm):
    under_way(arm)
    simulator.fault("unplug")
    assert wait(lambda: arm.status().fault == "stale_state")
    assert arm.status().needs_acknowledgement
    assert simulator.host in arm.status().reason
    with pytest.raises(Faulted):
        arm.recover()  # the cause is still there
    refuses(arm, "stale_state")
    simulator.fault("plug")
    assert wait(lambda: fresh(arm))
    refuses_and_holds(arm, "stale_state")
    assert wait(lambda: recovers(arm)), arm.status()
    refuses_and_holds(arm)
    goes_on(arm)


def fresh(arm: Arm) -> bool:
    try:
        arm.state(0.5)
    except Stale:
        return False
    return True


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        ("nan", "not finite"),
        ("noise", "what cannot be"),
        ("far", "at 1e+06 rad"),
        ("stuck", "silent"),
    ],
)
def test_measurements_that_cannot_be_are_latched_and_held_until_acknowledged(simulator, arm, spoil, says):
    under_way(arm)
    simulator.fault(f"spoil {spoil}")
    assert wait(lambda: arm.status().fault)
    assert arm.status().fault == "stale_state", arm.status()
    assert says in arm.status().reason
    assert arm.status().needs_acknowledgement
    refuses(arm, arm.status().fault)
    time.sleep(0.3)
    simulator.fault("spoil nothing")
    assert wait(lambda: fresh(arm))
    time.sleep(0.2)
    refuses_and_holds(arm, arm.status().fault)
    assert wait(lambda: recovers(arm)), arm.status()
    refuses_and_holds(arm)
    goes_on(arm)


def is_stale(drive: WidowXAI) -> bool:
    try:
        drive.read()
    except Stale:
        return True
    return False


def test_it_is_not_told_to_hold_at_numbers_that_are_none(simulator):
    drive = WidowXAI(simulator.host)
    simulator.fault("spoil nan")
    with pytest.raises(UserError, match="positions that are not finite"):
        drive.open()
    simulator.fault("spoil nothing")
    drive.open()
    assert np.isfinite(read(drive).joint_pos).all()
    simulator.fault("spoil nan")
    assert wait(lambda: is_stale(drive))
    drive.write_gripper(0.03)
    simulator.fault("spoil nothing")
    assert wait(lambda: abs(read(drive).gripper_width - 0.03) < 1e-3)
    drive.close()
