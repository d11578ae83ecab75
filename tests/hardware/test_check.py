"""Looking a cell over: an arm that keeps to its limits passes, one that keeps to none is told in every row."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import numpy as np
import pytest

from controllers.kinematics import Chain
from controllers.vectors import entries, matrix, vector
from hardware import check, check_limits
from hardware.check import Expected, check_camera, check_skew, check_stop, control_loop, past_faults
from hardware.findings import CommandIds
from hardware.safety.filter import SafetyFilter
from hardware.safety.limits import SafetyLimits
from robo_rl.contracts import Applied, Frame, RobotState, RobotStatus
from robo_rl.errors import InvalidAction
from robo_rl.robots.panda import PANDA

HOME = np.array(PANDA.home)
POS, ROT = (np.asarray(part) for part in Chain(PANDA).forward(HOME))
LIMITS = SafetyLimits.of(PANDA)


class Still:
    """An arm that is where it was told to be at once, after what its limits make of that; without any if ``None``."""

    spec = PANDA

    def __init__(self, limits: SafetyLimits | None) -> None:
        self.limits = limits
        self.pos, self.rot, self.now = POS, ROT, Applied(0, POS, ROT, 0.04)
        self.moved = []

    def state(self, max_age=0.1):
        zero = np.zeros(3)
        now = time.monotonic()
        return RobotState(now, HOME, 0 * HOME, 0 * HOME, self.pos, self.rot, zero, zero, zero, zero, 0.04)

    def command(self, command):
        pos, rot, reasons = command.pos, command.rot, []
        if self.limits is not None:
            inside, turned, reasons = SafetyFilter(PANDA, self.limits, ROT)._clamp(vector(pos), entries(rot))
            pos, rot = np.array(inside), matrix(turned)
            if not reasons and np.linalg.norm(pos - self.pos) > 1e-3:
                reasons = ["acceleration"]
        else:
            self.pos, self.rot = pos, rot
        self.now = Applied(command.id, pos, rot, command.gripper, tuple(reasons))

    def applied(self):
        return self.now

    def move_joints(self, joint_pos, gripper):
        low, high = np.array([link.joint_range for link in PANDA.links]).T
        margin = self.limits.joint_margin if self.limits else 0.0
        if (joint_pos < low + margin).any() or (joint_pos > high - margin).any():
            raise InvalidAction("outside")
        self.moved.append(joint_pos)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(check_limits, "_TRIES", 1)
    monkeypatch.setattr(check_limits, "_VALID", 0.005)


ROWS = ["limit of work space", "limit of tilt", "limit of joints", "limit of speed"]


def test_an_arm_that_keeps_to_its_limits_passes(quick):
    arm = Still(LIMITS)
    found = list(check_limits.check_limits("arm", arm, LIMITS, CommandIds()))
    assert [each.what for each in found] == ROWS
    assert all(each.ok for each in found), found
    assert found[0].figures == {"corners": 8}
    assert found[2].figures == {"refused": 14}
    assert not arm.moved


def test_an_arm_without_limits_is_told_in_every_row(quick):
    found = list(check_limits.check_limits("arm", Still(None), LIMITS, CommandIds()))
    assert [(each.what, each.ok) for each in found] == [(row, False) for row in ROWS]
    assert "taken: joint 1 at" in found[2].found


@pytest.mark.parametrize(
    ("field", "value", "row"),
    [("workspace_high", (9.0, 9.0, 9.0), 0), ("max_tilt", 3.1, 1), ("joint_margin", 0.001, 2)],
)
def test_an_arm_whose_limits_are_wider_than_the_cell_file_says_is_told(quick, field, value, row):
    found = list(check_limits.check_limits("arm", Still(replace(LIMITS, **{field: value})), LIMITS, CommandIds()))
    assert found[row].ok is False


def status(rate, cost=0.3):
    return RobotStatus("holding", counters={"rate_hz": rate, "compute_p50_ms": cost, "missed": 1.0})


def test_a_slow_control_loop_is_judged_and_says_what_mends_it():
    assert control_loop("arm", status(990.0), Expected(LIMITS, 1000.0)).ok is True
    slow = control_loop("arm", status(700.0), Expected(LIMITS, 1000.0))
    assert slow.ok is False
    assert "under 950 Hz" in slow.found
    assert "so a robot computer with a real-time kernel" in slow.found
    assert "franky" in slow.found
    assert "only a faster robot computer" in control_loop("arm", status(500.0, 1.9), Expected(LIMITS, 1000.0)).found
    assert control_loop("arm", status(700.0), Expected(LIMITS, 1000.0, simulated=True)).ok is None
    assert control_loop("arm", status(99.0), Expected(LIMITS, 100.0)).ok is True  # servos have their own
    assert control_loop("arm", RobotStatus("holding"), Expected(LIMITS, 1000.0)).ok is None


class Late:
    """A camera whose pictures are so many seconds old."""

    name, width, height = "front", 4, 4

    def __init__(self, age: float, each: int = 1) -> None:
        self.age, self.index, self.arrived, self.each = age, 0, 0, each

    def read(self, max_age=0.2):
        self.index += self.each
        self.arrived += 1
        return Frame(time.monotonic() - self.age, self.index, np.zeros((4, 4, 3), np.uint8))


@pytest.mark.parametrize(("age", "ok"), [(0.03, True), (0.15, False), (-0.15, False)])
def test_the_skew_of_a_camera_is_measured_against_the_control_period(age, ok):
    (found,) = check_skew("arm", Still(LIMITS), {"front": Late(age)}, 0.25, 0.1)
    assert (found.device, found.what) == ("front", "skew to arm")
    assert found.ok is ok
    assert found.figures["skew_p50_ms"] == pytest.approx(abs(age) * 1e3, abs=5.0)


def test_pictures_that_were_lost_are_counted():
    assert check_camera("front", Late(0.01), 0.1).figures["lost_share"] == 0.0
    lossy = check_camera("front", Late(0.01, each=2), 0.1)
    assert lossy.ok is False
    assert lossy.figures["lost_share"] == pytest.approx(0.5, abs=0.05)


def test_an_emergency_stop_is_judged_by_its_silence():
    assert check_stop("button", 0.11).ok is True
    assert check_stop("button", 2.0).ok is False


def test_the_newest_fault_is_told_with_its_age(tmp_path):
    assert past_faults(tmp_path / "none").figures == {"faults": 0}
    for name, age in (("20260101T000000_000001_contact_force", 300.0), ("20260101T000000_000002_stopped", 9000.0)):
        file = tmp_path / f"{name}.npz"
        file.touch()
        os.utime(file, (time.time() - age,) * 2)
    found = past_faults(tmp_path)
    assert "2 logged" in found.found
    assert "the newest, contact_force, is 5 minutes old" in found.found
    assert found.figures["newest_age_s"] == pytest.approx(300.0, abs=5.0)
    assert found.ok is None


def test_an_arm_in_a_fault_is_not_moved():
    class Faulty(Still):
        def status(self):
            return RobotStatus("fault", "a person is in the cell", "stopped")

    (found,) = check.check_arm("arm", Faulty(LIMITS), Expected(LIMITS, 1000.0))
    assert (found.ok, found.found) == (False, "fault stopped: a person is in the cell")
