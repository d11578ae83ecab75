"""The WidowX 250s: units, set-up, force, and the guarded arm on the emulated bus with each of its faults."""

from __future__ import annotations

import math
import os
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.kinematics import Chain
from hardware.arm import Arm
from hardware.arms import dynamixel as dxl
from hardware.arms.drive import DriveState, JointDrive, PoseDrive, TorqueDrive
from hardware.arms.gravity import Gravity
from hardware.arms.serial_ports import connected_ports
from hardware.arms.widowx import WidowX
from hardware.arms.widowx_clock import ServoClock
from hardware.arms.widowx_servos import SERVOS, TICK, angle, gripper_angle, gripper_width, ticks
from hardware.emulation.dynamixel_bus import DynamixelBus, widowx_bus
from hardware.safety.limits import SafetyLimits
from robo_rl.contracts import ToolCommand
from robo_rl.errors import Faulted, Stale, UserError
from robo_rl.robots.widowx250s import WIDOWX250S

pytest.importorskip("dynamixel_sdk")

HOME = np.array(WIDOWX250S.home)
OVER_THE_TABLE = (*WIDOWX250S.home, 1.0)
BUSY = {"watchdog": 2.5, "patience": 0.25}  # for a machine that has other things to do
PATIENCE = 30.0  # s until a test gives up


def wait(condition) -> bool:
    """Whether ``condition()`` comes true in time."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


def read(drive: WidowX) -> DriveState:
    """The next measurement; a busy machine may be late."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return drive.read()
        except Stale:
            if time.monotonic() > deadline:
                raise


def staleness(drive: WidowX) -> str:
    """What the next read complains of; empty if it does not."""
    try:
        drive.read()
    except Stale as error:
        return str(error)
    return ""


def settle(drive: WidowX, joint_pos: np.ndarray | None = None, seconds: float = 0.5) -> DriveState:
    """Hold ``joint_pos`` for a while; return the last measurement."""
    deadline = time.monotonic() + seconds
    while True:
        if joint_pos is not None:
            drive.write_joints(joint_pos)
        state = read(drive)
        if time.monotonic() > deadline:
            return state


@pytest.fixture
def link(tmp_path):
    return str(tmp_path / "ttyDXL")


@pytest.fixture
def bus(link):
    with widowx_bus(link, angles=OVER_THE_TABLE) as bus:
        yield bus


@pytest.fixture
def drive(bus, link):
    drive = WidowX(link, **BUSY)
    drive.open()
    yield drive
    drive.close()


@pytest.fixture
def arm(bus, link):
    limits = replace(SafetyLimits.of(WIDOWX250S), max_state_age=2.0)
    with Arm(WidowX(link, **BUSY), limits) as arm:
        assert wait(lambda: arm.status().fault == "")
        yield arm


# -- units -------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 4095))
def test_ticks_and_angles_are_one(position):
    assert ticks(angle(position)) == position


@given(st.floats(-math.pi, math.pi))
def test_an_angle_is_met_within_half_a_tick(value):
    assert abs(angle(ticks(value)) - value) <= TICK / 2 + 1e-12


@given(st.floats(WIDOWX250S.gripper.min_width, WIDOWX250S.gripper.max_width))
def test_the_gripper_linkage_is_undone(width):
    assert gripper_width(gripper_angle(width)) == pytest.approx(width, abs=1e-12)


def test_the_gripper_linkage_by_hand():
    # Crank upright on the way of the fingers (0 rad): the finger stands at sqrt(24² - 14²) = 19.494 mm, less 9 mm pad.
    assert gripper_width(0.0) == pytest.approx(2 * (0.0194936 - 0.009), abs=1e-7)
    # Crank along it (pi / 2): crank and rod add up to 38 mm.
    assert gripper_width(math.pi / 2) == pytest.approx(2 * (0.038 - 0.009), abs=1e-12)
    widths = [gripper_width(a) for a in np.linspace(-0.4, 1.3, 50)]
    assert np.all(np.diff(widths) > 0)


def test_the_servos_limits_are_the_specs():
    for servo in SERVOS[:-1]:
        low, high = WIDOWX250S.links[servo.joint].joint_range
        assert abs(ticks(low) - servo.limits[0]) <= 1
        assert abs(min(ticks(high), 4095) - servo.limits[1]) <= 1
    for width in (WIDOWX250S.gripper.min_width, WIDOWX250S.gripper.max_width):
        assert 1700 < ticks(gripper_angle(width)) < 3000


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-1.5, 1.5), min_size=6, max_size=6))
def test_gravity_is_the_slope_of_the_potential_energy(q):
    """Against an energy that is summed from poses of another implementation, with a payload."""
    mass, com = 0.3, (0.01, -0.02, 0.05)
    torque = Gravity(WIDOWX250S, mass, com).torque(np.array(q))

    def energy(at: np.ndarray) -> float:
        poses = Chain(WIDOWX250S)._link_poses(np, at)
        bodies = [(link.mass, pose, link.com) for link, pose in zip(WIDOWX250S.links, poses, strict=False)]
        tool, gripper = poses[-1], WIDOWX250S.gripper
        on_hand = (
            (gripper.hand_mass, gripper.hand_com),
            (2 * gripper.finger_mass, (np.array(gripper.finger_pos) + gripper.tcp_pos) / 2),
        )
        bodies += [(m, tool, np.array(at_) - gripper.tcp_pos) for m, at_ in on_hand]
        bodies.append((mass, tool, com))
        return sum(m * 9.81 * (pose @ [*c, 1.0])[2] for m, pose, c in bodies)

    steps = np.eye(6) * 1e-6
    slope = [(energy(np.array(q) + step) - energy(np.array(q) - step)) / 2e-6 for step in steps]
    np.testing.assert_allclose(torque, slope, atol=1e-6)


def counts(times: np.ndarray, phase: float) -> list[int]:
    return [int((t + phase) * 1000) % 32768 for t in times]


@settings(deadline=None, max_examples=40)
@given(st.floats(0, 40), st.lists(st.floats(0.0, 0.4), min_size=1, max_size=30), st.floats(0.005, 20.0))
def test_late_answers_are_told_by_the_servos_clocks(phase, delays, period):
    clock, now = ServoClock(3), 5.0
    for delay in [0.0, *delays, 0.0]:
        ticks = counts(np.full(3, now), phase)
        age = clock.age(ticks, now + delay)
        # Where the last two windows held none but late ones, the quickest of those, at most 30 ms late, is the measure.
        assert delay - 0.033 <= age <= delay + 0.003
        if age < 0.03:
            clock.accept(ticks, now + delay)
        now += delay + period


def test_one_servo_that_restarts_is_outvoted_and_all_of_them_begin_anew():
    clock = ServoClock(3)
    for now in np.arange(100.0, 101.0, 0.01):
        clock.accept(counts(np.full(3, now), 0.0), now)
    restarted = counts(np.array([0.01, 101.0, 101.0]), 0.0)
    assert clock.age(restarted, 101.0) == pytest.approx(0.0, abs=0.003)
    assert clock.age(restarted, 101.2) == pytest.approx(0.2, abs=0.003)
    assert clock.age(counts(np.full(3, 0.01), 0.0), 101.3) == 0.0


# -- set-up ------------------------------------------------------------------------------------------------------------


def test_it_is_a_drive_of_joints(link):
    drive = WidowX(link)
    assert isinstance(drive, JointDrive)
    assert not isinstance(drive, TorqueDrive | PoseDrive)


def test_opening_does_not_move_it(bus, drive):
    state = settle(drive)
    np.testing.assert_allclose(state.joint_pos, WIDOWX250S.home, atol=0.01)
    np.testing.assert_allclose(bus.angles()[:6], WIDOWX250S.home, atol=0.01)
    assert state.error == ""
    assert (state.bias == 0).all()
    assert state.gripper_width == pytest.approx(gripper_width(1.0), abs=1e-3)


def test_new_servos_are_set_up_and_pairs_agree(link):
    with widowx_bus(link, angles=OVER_THE_TABLE, configured=False) as bus:
        drive = WidowX(link, **BUSY)
        drive.open()
        settle(drive)
        with bus.lock:
            for servo in SERVOS:
                found = bus.chain.servo(servo.id)
                assert found.get("Drive Mode") == int(servo.reverse)
                assert found.get("Operating Mode") == 3
                assert found.get("Velocity Limit") == 131
                assert (found.get("Min Position Limit"), found.get("Max Position Limit")) == servo.limits
                assert found.get("Bus Watchdog") == 125
            for first, second in ((2, 3), (4, 5)):
                ends = [bus.chain.servo(n).get("Present Position") for n in (first, second)]
                assert abs(ends[0] - ends[1]) <= 3
                currents = [bus.chain.servo(n).get("Present Current") for n in (first, second)]
                assert currents[0] * currents[1] > 0  # they share the load
        drive.close()


def test_set_up_servos_are_not_written_again(bus, drive):
    drive.close()
    bus.chain.seen.clear()
    drive.open()
    settle(drive)
    assert 0x03 not in bus.chain.seen  # WRITE, as only the EEPROM needs


def test_a_horn_that_is_off_by_far_is_refused(link):
    with widowx_bus(link, angles=OVER_THE_TABLE) as bus:
        bus.chain.servo(5).horn = math.radians(100)
        bus.angles()
        with pytest.raises(UserError, match=r"servo 5 \(elbow shadow\).*servo 4 \(elbow\); mount its horn"):
            WidowX(link).open()


def test_current_based_position_where_the_servos_can(bus, link):
    drive = WidowX(link, mode="current_based_position", max_current=0.8, **BUSY)
    drive.open()
    settle(drive)
    with bus.lock:
        modes = [bus.chain.servo(servo.id).get("Operating Mode") for servo in SERVOS]
        assert modes == [5] * 7 + [3] * 2
        assert bus.chain.servo(4).get("Goal Current") == round(0.8 / 2.69e-3)
        assert bus.chain.servo(9).get("Goal PWM") == round(0.4 * 885)
    drive.close()
    drive = WidowX(link, **BUSY)  # and back
    drive.open()
    drive.close()
    assert bus.chain.servo(1).get("Operating Mode") == 3


def test_a_wrong_path_names_the_devices_that_there_are(tmp_path):
    with pytest.raises(UserError, match=r"address .*ttyNONE: there is no such device\. Connected: ") as caught:
        WidowX(str(tmp_path / "ttyNONE")).open()
    assert "\n" not in str(caught.value)


def test_lasting_names_come_first(tmp_path):
    device, lasting = tmp_path / "ttyUSB7", tmp_path / "by-id" / "usb-FTDI_U2D2"
    device.touch()
    lasting.parent.mkdir()
    lasting.symlink_to(device)
    assert f"{lasting} -> {device}" in connected_ports(lasting.parent)


def test_a_file_that_is_no_device(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be opened as a serial device"):
        WidowX(str(tmp_path / "file")).open()


def test_one_program_at_a_time(drive, link):
    with pytest.raises(UserError, match="another program has it open"):
        WidowX(link).open()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda bus: bus.chain.mute.update(range(1, 10)), "no servo answers; is the arm's power on"),
        (lambda bus: bus.mute(7), r"no answer from .*servo 7 \(wrist angle\)"),
        (lambda bus: bus.chain.servo(8).put("Model Number", 1020), r"servo 8 \(wrist rotate\) is model 1020"),
        (lambda bus: bus.chain.servo(2).put("Firmware Version", 30), "firmware 30, which has no bus watchdog"),
    ],
)
def test_another_arm_is_refused(bus, link, change, message):
    change(bus)
    with pytest.raises(UserError, match=message):
        WidowX(link, **BUSY).open()


@pytest.mark.parametrize(
    ("option", "value"), [("rate", 1000), ("max_current", 9.0), ("watchdog", 0.0), ("gripper_effort", 0.0)]
)
def test_options_out_of_range_are_refused(link, option, value):
    with pytest.raises(UserError, match=option):
        WidowX(link, **{option: value})


# -- driving -----------------------------------------------------------------------------------------------------------


def test_it_goes_where_it_is_told_against_its_weight(bus, drive):
    goal = HOME + np.array([0.2, 0.1, -0.1, 0.3, 0.1, -0.4])
    state = settle(drive, goal, 1.5)
    np.testing.assert_allclose(state.joint_pos, goal, atol=2 * TICK)
    np.testing.assert_allclose(bus.angles()[:6], goal, atol=2 * TICK)
    drive.write_gripper(0.03)
    assert settle(drive, goal).gripper_width == pytest.approx(0.03, abs=5e-4)
    drive.write_gripper(9.9)
    assert settle(drive, goal).gripper_width == pytest.approx(WIDOWX250S.gripper.max_width, abs=2e-3)


def test_it_is_late_but_never_faster_than_its_servos_may_be(drive):
    start = read(drive).joint_pos
    drive.write_joints(start + np.array([1.5, 0, 0, 0, 0, 0]))
    fastest = max(abs(read(drive).joint_vel[0]) for _ in range(60))
    assert 2.0 < fastest <= WIDOWX250S.links[0].max_velocity + 1e-9


@pytest.mark.parametrize("push", [(0.0, 0.8, 0.0, 0.0, 0.0, 0.0), (0.3, -0.5, 0.6, 0.2, -0.3, 0.25)])
def test_it_feels_a_push_at_each_joint(bus, drive, push):
    home = HOME
    assert np.abs(settle(drive, home).joint_torque).max() < 0.03  # nobody pushes: its weight is known
    bus.push([*push, 0.0])
    # The XL430 of the last joint tells its load in tenths of a percent only.
    np.testing.assert_allclose(settle(drive, home, 1.0).joint_torque, push, atol=0.03)


def test_a_payload_is_told_from_a_push(bus, link):
    mass = 0.2
    com = np.array([0.0, 0.0, 0.02])
    for known in (True, False):
        drive = WidowX(link, **BUSY, payload_mass=mass if known else 0.0, payload_com=tuple(com))
        drive.open()
        weight = Gravity(WIDOWX250S).torque(HOME) - Gravity(WIDOWX250S, mass, tuple(com)).torque(HOME)
        bus.push([*weight, 0.0])
        felt = np.abs(settle(drive, HOME, 1.0).joint_torque).max()
        assert (felt < 0.03) == known
        drive.close()


def test_lost_answers_are_asked_for_again(bus, drive):
    bus.faults.drop = 0.02
    for _ in range(60):
        assert read(drive).error == ""
    bus.faults.drop = 0.0
    assert drive.lost > 0
    assert read(drive).error == ""


def test_garbage_and_flipped_bits_never_become_measurements(bus, drive):
    bus.faults.garbage, bus.faults.corrupt = 0.2, 0.02
    for _ in range(30):
        state = read(drive)
        np.testing.assert_allclose(state.joint_pos, WIDOWX250S.home, atol=0.05)
        assert state.error == ""


def test_its_cycle_is_paced(drive):
    stamps = [read(drive).stamp for _ in range(30)]
    assert np.diff(stamps).min() > 0
    assert np.mean(np.diff(stamps)) >= 0.99 / drive.rate


def test_silence_is_stale_and_names_who_is_silent(bus, drive):
    bus.mute(6)
    assert wait(lambda: "servo 6 (forearm roll) does not answer" in staleness(drive))
    bus.mute(6, False)
    assert read(drive).error == ""


def test_the_watchdog_holds_the_arm_when_nobody_speaks(bus, link):
    drive = WidowX(link, watchdog=0.5, patience=0.25)
    drive.open()
    drive.write_joints(HOME + np.array([2.5, 0, 0, 0, 0, 0]))  # 0.8 s away at its fastest
    time.sleep(1.5)  # as if the PC had died
    stopped = bus.angles()
    assert bus.chain.servo(1).get("Bus Watchdog") == 255
    assert stopped[0] < 2.0
    assert "stopped by its watchdog" in settle(drive).error
    drive.write_joints(HOME)  # ignored
    np.testing.assert_allclose(settle(drive, seconds=0.3).joint_pos[0], stopped[0], atol=0.02)
    drive.recover()
    assert wait(lambda: read(drive).error == "")
    np.testing.assert_allclose(read(drive).joint_pos[0], stopped[0], atol=0.02)
    drive.close()
    assert bus.chain.servo(1).get("Bus Watchdog") == 0
    assert bus.chain.servo(1).get("Torque Enable") == 1  # it goes on holding


def test_a_servo_that_restarted_is_noticed(bus, drive):
    with bus.lock:
        bus.chain.servo(6).reboot(time.monotonic(), 0.0)  # a loose power plug
    assert wait(lambda: "servo 6 (forearm roll): torque off, perhaps restarted" in read(drive).error)
    drive.recover()
    assert wait(lambda: read(drive).error == "")


def test_what_does_not_cool_down_does_not_recover(bus, drive):
    bus.overheat(4)
    assert wait(lambda: read(drive).error == "servo 4 (elbow): overheating, torque off")
    with pytest.raises(UserError, match=r"servo 4 \(elbow\) still reports overheating; support the arm"):
        drive.recover()
    bus.cool(4)
    drive.recover()
    assert wait(lambda: read(drive).error == "")


# -- behind the guard --------------------------------------------------------------------------------------------------


def test_the_arm_goes_to_poses_and_postures(bus, arm):
    start = arm.state(PATIENCE)
    goal = start.tcp_pos + np.array([0.02, -0.03, 0.02])
    number = 0

    def there() -> bool:
        nonlocal number
        number += 1
        arm.command(ToolCommand(number, goal, start.tcp_rot, 0.03, 0.3))
        return np.abs(arm.state(PATIENCE).tcp_pos - goal).max() < 0.002

    assert wait(there)
    assert wait(lambda: abs(arm.state(PATIENCE).gripper_width - 0.03) < 1e-3)
    arm.move_joints(HOME, 0.05)
    assert wait(lambda: arm.status().mode == "holding")
    np.testing.assert_allclose(bus.angles()[:6], WIDOWX250S.home, atol=0.01)
    assert arm.status().fault == ""


def recovers(arm: Arm) -> bool:
    """Whether the arm is well soon after a person has asked it to be."""
    try:
        arm.recover()
    except Faulted:
        return False
    deadline = time.monotonic() + 3.0
    while arm.status().fault and time.monotonic() < deadline:
        time.sleep(0.01)
    return not arm.status().fault


def fault(name: str, on: object, off: object = 0.0) -> tuple:
    """How to set one of the bus' faults, and how to end it."""
    return lambda bus: setattr(bus.faults, name, on), lambda bus: setattr(bus.faults, name, off), "stale_state"


FAULTS = {
    "unplugged": (DynamixelBus.unplug, DynamixelBus.plug, "stale_state"),
    "frozen": fault("frozen", True, False),
    "delayed": fault("delay", 0.5),
    "lossy": fault("drop", 1.0),
    "noisy": fault("corrupt", 1.0),
    "broken cable": (lambda b: b.mute(6), lambda b: b.mute(6, False), "stale_state"),
    "overheated": (lambda b: b.overheat(4), lambda b: b.cool(4), "device"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_latched_held_and_recovered(bus, arm, name):
    break_it, mend_it, fault = FAULTS[name]
    before = bus.angles()[:6]
    break_it(bus)
    assert wait(lambda: arm.status().fault == fault), arm.status()
    assert arm.status().mode == "fault"
    if fault == "stale_state":
        assert arm.status().needs_acknowledgement
        with pytest.raises(Faulted):
            arm.recover()
    with pytest.raises(Faulted):
        arm.command(ToolCommand(1, np.array([0.28, 0.0, 0.1]), np.eye(3), 0.03, 0.3))
    np.testing.assert_allclose(bus.angles()[:6], before, atol=0.15)  # it sags where a servo or its set-point is lost
    mend_it(bus)
    assert wait(lambda: recovers(arm)), arm.status()
    arm.move_joints(HOME, 0.05)
    assert wait(lambda: arm.status().mode == "holding"), arm.status()
    np.testing.assert_allclose(bus.angles()[:6], WIDOWX250S.home, atol=0.01)


def test_a_hard_push_is_latched_as_contact(bus, link):
    limits = replace(SafetyLimits.of(WIDOWX250S), max_state_age=2.0, max_force=5.0)
    with Arm(WidowX(link, **BUSY), limits) as arm:
        jacobian = Chain(WIDOWX250S).jacobian(HOME)
        bus.push([*(jacobian[:3].T @ [0.0, 0.0, 2.0]), 0.0])  # 2 N upwards at the tool
        assert wait(lambda: abs(arm.state(PATIENCE).tcp_force[2] - 2.0) < 0.5)
        assert arm.status().fault == ""
        bus.push([*(jacobian[:3].T @ [0.0, 0.0, 8.0]), 0.0])
        assert wait(lambda: arm.status().fault == "contact_force")
        bus.push([0.0] * 7)
        assert wait(lambda: recovers(arm))


def test_it_runs_without_torch():
    code = "import sys; sys.modules['torch'] = None; import hardware.arms.widowx, hardware.emulation.dynamixel_bus"
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == 0


def test_words_for_hardware_errors():
    assert dxl.hardware_errors(0x24) == "overheating and overload"
