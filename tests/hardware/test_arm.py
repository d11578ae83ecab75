"""The guarded arm on an in-process drive: each fault is latched, held and recovered; nothing else is a fault."""

from __future__ import annotations

import itertools
import json
import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import hardware.arm
from controllers.force_bounds import static_bound
from hardware.arm import Arm
from hardware.arms.drive import DriveState
from hardware.emulation.in_process import InProcessDrive, InProcessJointDrive, InProcessTorqueDrive, Wall
from hardware.safety.limits import SafetyLimits
from robo_rl.contracts import ToolCommand
from robo_rl.errors import Faulted, Stale, UserError
from robo_rl.robots import robot

SPEC = robot("panda")
HOME = np.array(SPEC.home)
LIMITS = SafetyLimits.of(SPEC)
PATIENT = replace(LIMITS, max_state_age=2.0)  # for what has nothing to do with age, on a machine that stalls

_ids = itertools.count(1)


def until(condition: Callable[[], bool], what: str, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.005)


def command(arm: Arm, offset=(0.0, 0.0, 0.0), valid_for=0.3, gripper=0.04) -> None:
    pos, rot, _ = arm._chain.forward(HOME)
    arm.command(ToolCommand(next(_ids), pos + np.array(offset), rot, gripper, valid_for))


def pursue(arm: Arm, offset, seconds: float, each: Callable[[], Any] = lambda: None) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        command(arm, offset)
        time.sleep(0.02)
        each()


def recovered(arm: Arm) -> bool:
    try:
        arm.recover()
    except Faulted:
        return False
    return True


FAULTS = {
    "silent": ({"silent": True}, "stale_state"),
    "frozen": ({"frozen": True}, "stale_state"),
    "delayed": ({"delay": 1.5}, "stale_state"),
    "not finite": ({"not_finite": True}, "stale_state"),
    "an exception": ({"exception": ConnectionError("cable pulled")}, "control"),
    "pushed": ({"push": np.array([0.0, 60.0, 0.0, 0.0, 0.0, 0.0])}, "contact_force"),
    "twisted": ({"push": np.array([0.0, 0.0, 0.0, 0.0, 0.0, 15.0])}, "contact_torque"),
}
CLEAN: dict[str, Any] = {
    "silent": False, "frozen": False, "stuck": False, "delay": 0.0, "not_finite": False, "exception": None,
    "push": np.zeros(6), "error": "", "recoverable": True, "deaf": False,
}  # fmt: skip


def inject(drive: InProcessTorqueDrive, **what) -> None:
    for name, value in {**CLEAN, **what}.items():
        setattr(drive.faults, name, value)


@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_is_latched_held_and_left_only_by_a_person(what, tmp_path):
    injected, name = FAULTS[what]
    drive = InProcessTorqueDrive(SPEC, rate=500.0)
    # So strong for an instant that the arm is not faster than it may be before that.
    limits = replace(LIMITS, max_state_age=1.0, max_force=25.0, max_torque=6.0)
    with Arm(drive, limits, fault_folder=tmp_path) as arm:
        pursue(arm, (0.0, 0.02, 0.0), 0.3)
        until(lambda: arm.status().counters["cycles"] > 30, "there is something to log")
        inject(drive, **injected)
        until(lambda: arm.status().fault == name, "it is latched")
        status = arm.status()
        assert status.mode == "fault"
        assert status.needs_acknowledgement
        assert status.reason
        with pytest.raises(Faulted, match=name):
            command(arm)
        with pytest.raises(Faulted, match="still there"):
            arm.recover()
        inject(drive)
        time.sleep(0.3)
        assert arm.status().fault == name
        until(lambda: recovered(arm), "its cause is gone")
        until(lambda: arm.status().mode == "holding", "it holds again")
        held = arm.state(5.0).tcp_pos
        time.sleep(0.3)
        np.testing.assert_allclose(arm.state(5.0).tcp_pos, held, atol=0.02)
        target = arm._chain.forward(HOME)[0] + [0.0, 0.02, 0.0]
        until(
            lambda: command(arm, (0.0, 0.02, 0.0)) or np.abs(arm.state(5.0).tcp_pos - target).max() < 5e-3, "it goes on"
        )
    (path,) = tmp_path.glob(f"*_{name}.npz")
    with np.load(path) as file:
        assert json.loads(str(file["about"]))["fault"] == name
        assert len(file["stamp"]) > 20
        assert file["command_id"].max() > 0


def test_without_a_cause_there_is_no_fault(tmp_path):
    """The control of every detector: an arm at work, pushed as hard as it may be."""
    drive = InProcessTorqueDrive(SPEC, rate=500.0)
    with Arm(drive, PATIENT, fault_folder=tmp_path) as arm:
        inject(drive, push=np.array([0.0, 15.0, 10.0, 0.0, 1.0, 0.0]))
        for offset in ((0.0, 0.1, 0.0), (0.0, -0.1, 0.05), (0.0, 0.0, 0.0)):
            pursue(arm, offset, 0.7)
        assert arm.status().fault == ""
        assert arm.status().rejected == 0
    assert not list(tmp_path.iterdir())


def test_measurements_that_stand_still_under_new_stamps_are_a_fault_of_an_arm_that_is_pulled():
    drive = InProcessTorqueDrive(SPEC, rate=500.0)
    with Arm(drive, PATIENT) as arm:
        inject(drive, stuck=True)
        time.sleep(0.5)
        assert arm.status().fault == ""  # at rest it may be so
        with pytest.raises(Faulted, match="frozen_state"):
            pursue(arm, (0.0, 0.1, 0.0), 5.0)
        inject(drive)
        time.sleep(0.3)
        arm.recover()
        pursue(arm, (0.0, 0.02, 0.0), 0.5)
        assert arm.status().fault == ""


def test_a_device_recovers_by_itself_and_begins_where_the_arm_is_then():
    drive = InProcessTorqueDrive(SPEC, rate=500.0)
    with Arm(drive, PATIENT) as arm:
        pursue(arm, (0.0, 0.05, 0.0), 0.3)
        inject(drive, error="joint reflex")
        until(lambda: arm.status().fault == "device", "it is latched")
        assert "joint reflex" in arm.status().reason
        with pytest.raises(Faulted, match="by itself"):
            command(arm)
        until(lambda: arm.status().mode == "holding", "it recovers")
        assert drive.recovered == 1
        assert arm.status().recoveries == 1
        np.testing.assert_allclose(arm.applied().pos, arm.state(5.0).tcp_pos, atol=0.02)
        pursue(arm, (0.0, 0.02, 0.0), 0.3)


def test_a_device_that_does_not_recover_is_left_to_a_person():
    drive = InProcessTorqueDrive(SPEC, rate=500.0)
    with Arm(drive, replace(PATIENT, recoveries=2)) as arm:
        inject(drive, error="brake", recoverable=False)
        until(lambda: arm.status().fault == "device" and arm.status().needs_acknowledgement, "it gives up")
        assert drive.recovered == 2
        time.sleep(0.5)
        assert drive.recovered == 2
        drive.faults.recoverable = True
        arm.recover()
        until(lambda: arm.status().mode == "holding", "it recovers")
        assert drive.recovered == 3
        assert arm.status().recoveries == 2


def test_a_fault_that_comes_with_the_stop_button_waits_for_a_person():
    drive = InProcessTorqueDrive(SPEC, rate=500.0)
    with Arm(drive, PATIENT) as arm:
        thread = threading.Thread(target=arm.stop, args=("button",))
        thread.start()
        thread.join()
        inject(drive, error="reflex")
        time.sleep(0.8)
        assert drive.recovered == 0
        assert arm.status().fault == "stopped"
        arm.recover()
        until(lambda: arm.status().mode == "holding", "both are cleared")
        assert drive.recovered == 1


def test_a_stop_that_is_acknowledged_at_once_still_ends_what_was_pursued():
    drive = InProcessTorqueDrive(SPEC, rate=100.0)
    with Arm(drive, PATIENT) as arm:
        arm.move_joints(HOME + 0.2, 0.04)
        until(lambda: arm.status().mode == "moving", "it sets out")
        arm.stop("for less than a cycle")
        arm.recover()
        until(lambda: arm.status().mode == "holding", "it holds", 0.5)
        command(arm)
        until(lambda: arm.status().mode == "running", "it runs")
        arm.recover()  # nothing to acknowledge, nothing to end
        assert arm.status().mode in ("running", "holding")


def test_a_move_that_makes_no_way_is_a_fault():
    drive = InProcessTorqueDrive(SPEC, rate=500.0)
    with Arm(drive, PATIENT) as arm:
        drive.faults.deaf = True
        arm.move_joints(HOME + 0.2, 0.04)
        until(lambda: arm.status().fault == "blocked", "it is noticed")
        drive.faults.deaf = False
        arm.recover()
        arm.move_joints(HOME + 0.1, 0.04)
        until(lambda: arm.status().mode == "holding", "it arrives")
        np.testing.assert_allclose(arm.state(5.0).joint_pos, HOME + 0.1, atol=0.02)


WALL = Wall((0.0, 0.0, 1.0), 0.22)  # 2 cm below the tool at home


def test_pressing_is_bounded_softly_and_no_fault():
    drive = InProcessTorqueDrive(SPEC, walls=(WALL,), rate=500.0)
    most, _ = static_bound(SPEC.impedance)
    forces, reasons = [], set()
    with Arm(drive, PATIENT) as arm:
        pursue(arm, (0.0, 0.0, -0.018), 1.0)
        for depth in (-0.022, -0.026, -0.03, -0.04, -0.06):
            pursue(arm, (0.0, 0.0, depth), 0.4)
        pursue(
            arm, (0.0, 0.0, -0.1), 1.5,
            lambda: (forces.append(arm.state(5.0).tcp_force[2]), reasons.update(arm.applied().reasons)),
        )  # fmt: skip
        assert arm.status().fault == ""
        assert arm.applied().pos[2] > WALL.offset - 2.0 * SPEC.impedance.clip
    assert np.median(forces[-20:]) == pytest.approx(most, rel=0.15)
    assert "leash" in reasons


def press_ever_harder(arm: Arm) -> None:
    for depth in np.linspace(-0.01, -0.1, 20):
        pursue(arm, (0.0, 0.0, depth), 0.2)


def test_pressing_beyond_the_limit_is_a_fault_that_lets_go():
    drive = InProcessTorqueDrive(SPEC, walls=(WALL,), rate=500.0)
    with Arm(drive, replace(PATIENT, max_force=12.0)) as arm:
        with pytest.raises(Faulted, match="contact_force"):
            press_ever_harder(arm)
        until(lambda: abs(arm.state(5.0).tcp_force[2]) < 4.0, "it no longer presses")
        arm.recover()
        until(lambda: arm.status().mode == "holding", "it holds")


class Recording(InProcessDrive):
    """Keeps what is written, and the stamp that was read before."""

    def __init__(self, *args, **more) -> None:
        self.seen: list[tuple[float, np.ndarray]] = []
        self.told: list[float] = []
        self._stamp = 0.0
        super().__init__(*args, **more)

    def read(self) -> DriveState:
        state = super().read()
        self._stamp = state.stamp
        return state

    def write_gripper(self, width: float) -> None:
        super().write_gripper(width)
        self.told.append(width)


class RecordingTorques(Recording, InProcessTorqueDrive):
    def write_torque(self, torque: np.ndarray) -> None:
        super().write_torque(torque)
        self.seen.append((self._stamp, torque))


class RecordingJoints(Recording, InProcessJointDrive):
    def write_joints(self, joint_pos: np.ndarray) -> None:
        super().write_joints(joint_pos)
        self.seen.append((self._stamp, joint_pos))


def mad(arm: Arm, seconds: float = 1.5) -> None:
    rng = np.random.default_rng(0)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        command(arm, rng.normal(0.0, 0.3, 3), gripper=float(rng.choice([0.0, 0.08])))
        time.sleep(0.03)


def test_torques_and_their_rates_are_bounded_whatever_is_commanded():
    drive = RecordingTorques(SPEC, rate=500.0)
    with Arm(drive, PATIENT) as arm:
        mad(arm)
        arm.move_joints(HOME, 0.04)
        until(lambda: arm.status().mode == "holding", "home is reached")
    most = np.array([link.max_torque for link in SPEC.links])
    for (then, before), (now, torque) in itertools.pairwise(drive.seen):
        assert (np.abs(torque) <= most).all()
        allowed = SPEC.impedance.max_torque_rate * 1e3 * min(now - then, 0.02)
        assert np.abs(torque - before).max() <= allowed + 1e-9
    assert np.abs(np.array([torque for _, torque in drive.seen])).max() > 2.0


def test_joint_set_points_keep_to_ranges_and_speeds_whatever_is_commanded():
    spec = robot("widowx250s")
    drive = RecordingJoints(spec, rate=200.0)
    limits = replace(SafetyLimits.of(spec), max_state_age=2.0)
    pos, rot, _ = Arm(drive)._chain.forward(np.array(spec.home))
    rng = np.random.default_rng(0)
    with Arm(drive, limits) as arm:
        for _ in range(50):
            target = pos + rng.normal(0.0, 0.2, 3)
            arm.command(ToolCommand(next(_ids), target, rot, 0.03, 0.3))
            time.sleep(0.03)
        arm.move_joints(np.array(spec.home), 0.04)
        until(lambda: arm.status().mode == "holding", "home is reached")
    speed = np.array([link.max_velocity for link in spec.links]) * limits.joint_speed
    low, high = (np.array([link.joint_range[i] for link in spec.links]) for i in (0, 1))
    for (then, before), (now, told) in itertools.pairwise(drive.seen):
        assert (np.abs(told - before) <= speed * max(min(now - then, 0.02), 0.005) + 1e-9).all()
        assert (told >= low + limits.joint_margin - 1e-9).all()
        assert (told <= high - limits.joint_margin + 1e-9).all()


def test_no_cycle_pursues_a_command_that_has_expired(tmp_path):
    drive = InProcessTorqueDrive(SPEC, rate=500.0)
    with Arm(drive, PATIENT, fault_folder=tmp_path) as arm:
        time.sleep(0.2)
        command(arm, (0.0, 0.2, 0.0), valid_for=0.3)
        received = time.monotonic()
        until(lambda: arm.status().mode == "holding", "it expires")
        until(lambda: arm.applied().reasons[:1] == ("expired",), "it says so")
        arm.stop("for its log")
        until(lambda: arm.status().mode == "fault", "it is stopped")
    with np.load(next(tmp_path.glob("*.npz"))) as file:
        running = file["stamp"][file["mode"] == 1.0]
        assert len(running) > 0
        assert running.max() <= received + 0.3


def test_the_gripper_is_told_only_what_is_new():
    drive = RecordingTorques(SPEC, rate=500.0)
    with Arm(drive, PATIENT) as arm:
        time.sleep(0.1)
        assert drive.told == []  # a hold leaves what it grasps alone
        pursue(arm, (0.0, 0.0, 0.0), 0.3)
        assert drive.told == [0.04]
        assert arm.applied().gripper == 0.04


def test_it_holds_at_the_measured_pose_not_at_the_one_that_was_commanded():
    """A tool that is held back lets go of what it pressed against once nobody commands it any more."""
    drive = InProcessTorqueDrive(SPEC, walls=(WALL,), rate=500.0)
    with Arm(drive, PATIENT) as arm:
        pursue(arm, (0.0, 0.0, -0.018), 1.0)
        until(lambda: command(arm, (0.0, 0.0, -0.03)) or arm.state(5.0).tcp_force[2] > 8.0, "it presses")
        until(lambda: arm.status().mode == "holding", "it holds")
        until(lambda: arm.state(5.0).tcp_force[2] < 3.0, "it lets go")


def test_closing_brakes_a_moving_arm_first_and_closes_the_drive():
    drive = InProcessTorqueDrive(SPEC, rate=500.0)
    arm = Arm(drive, PATIENT)
    arm.open()
    until(lambda: command(arm, (0.0, 0.2, 0.0)) or np.linalg.norm(arm._filter.linvel) > 0.05, "it moves")
    arm.close()
    arm.close()
    assert arm._filter.slow
    with pytest.raises(Stale):
        drive.read()
    with pytest.raises(Faulted, match="closed"):
        command(arm)
    with pytest.raises(UserError, match="make another"):
        arm.open()


def test_an_arm_that_cannot_be_reached_says_so_at_once(monkeypatch):
    drive = InProcessTorqueDrive(SPEC)
    monkeypatch.setattr(drive, "open", lambda: (_ for _ in ()).throw(UserError("no arm at 10.0.0.2; is it on?")))
    with pytest.raises(UserError, match=r"10\.0\.0\.2"):
        Arm(drive).open()
    monkeypatch.setattr(hardware.arm, "_FIRST_STATE", 0.3)
    silent = InProcessTorqueDrive(SPEC, rate=200.0)
    silent.faults.silent = True
    with pytest.raises(Stale, match=r"no state within 0\.3 s"):
        Arm(silent).open()


def test_before_it_is_open_there_is_no_state():
    arm = Arm(InProcessTorqueDrive(SPEC))
    with pytest.raises(Stale, match="open it first"):
        arm.state()
    with pytest.raises(Stale, match="open it first"):
        arm.move_joints(HOME, 0.04)


def test_a_path_to_the_log_that_cannot_be_written_does_no_harm(tmp_path):
    (tmp_path / "file").write_text("")
    with Arm(InProcessTorqueDrive(SPEC, rate=500.0), PATIENT, fault_folder=tmp_path / "file") as arm:
        arm.stop("now")
        until(lambda: arm.status().counters["fault_log_errors"] == 1.0, "it is counted")
        arm.recover()
        until(lambda: arm.status().mode == "holding", "it holds")


def test_the_loop_counts_what_it_does():
    with Arm(InProcessTorqueDrive(SPEC, rate=200.0), PATIENT) as arm:
        until(lambda: arm.status().counters["cycles"] > 30, "it runs")
        counters = arm.status().counters
        assert 0.0 < counters["rate_hz"] <= 230.0
        assert counters["period_p50_ms"] <= counters["period_p99_ms"] <= counters["period_max_ms"]
        assert all(math.isfinite(value) for value in counters.values())
