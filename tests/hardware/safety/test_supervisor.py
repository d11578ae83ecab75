"""Each fault is latched, held and cleared as the table says; and none is latched by what is still allowed."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from hardware.safety.limits import SafetyLimits
from hardware.safety.supervisor import Supervisor
from robo_rl.errors import Faulted
from robo_rl.robots import robot

SPEC = robot("panda")
HOME = np.array(SPEC.home)
LIMITS = SafetyLimits.of(SPEC)


class Watched:
    """A supervisor that is shown measurements, a millisecond apart."""

    def __init__(self, limits: SafetyLimits = LIMITS) -> None:
        self.supervisor = Supervisor(SPEC, limits)
        self.now = 100.0
        self.supervisor.started(self.now)
        self._random = np.random.default_rng(0)

    def show(self, seconds=0.05, *, q=HOME, dq=0.0, wrench=(0.0,) * 6, error="", pulled=True, noise=1e-7):
        for _ in range(round(seconds / 0.001)):
            self.now += 0.001
            shown = q + noise * self._random.normal(size=7)
            self.supervisor.observe(self.now, shown, np.full(7, dq), np.array(wrench), error, pulled)
            self.supervisor.watch_age(self.now)
        return self

    @property
    def fault(self) -> str:
        return self.supervisor.describe(self.now)[0]

    @property
    def needs_person(self) -> bool:
        return self.supervisor.describe(self.now)[2]


BEYOND = HOME.copy()
BEYOND[3] = 0.0
AT_THE_LIMIT = HOME.copy()
AT_THE_LIMIT[3] = SPEC.links[3].joint_range[1]

BAD = {
    "contact_force": {"wrench": (0.0, 44.0, 44.0, 0.0, 0.0, 0.0), "seconds": 0.4},
    "contact_torque": {"wrench": (0.0, 0.0, 0.0, 0.0, 20.2, 0.0), "seconds": 0.4},
    "joint_limit": {"q": BEYOND},
    "joint_speed": {"dq": -2.2},
    "frozen_state": {"noise": 0.0, "seconds": 0.06},
}
ALLOWED = {
    "contact_force": {"wrench": (0.0, 42.0, 42.0, 0.0, 0.0, 0.0), "seconds": 2.0},
    "contact_torque": {"wrench": (0.0, 0.0, 0.0, 0.0, 19.9, 0.0), "seconds": 2.0},
    "joint_limit": {"q": AT_THE_LIMIT},
    "joint_speed": {"dq": -2.1},
    "frozen_state": {"noise": 0.0, "seconds": 0.06, "pulled": False},
}


@pytest.mark.parametrize("name", BAD)
def test_a_fault_is_latched_held_and_cleared_by_a_person_once_its_cause_is_gone(name):
    watched = Watched().show()
    assert watched.fault == ""
    watched.show(**BAD[name])
    assert watched.fault == name
    assert watched.needs_person
    with pytest.raises(Faulted, match=name):
        watched.supervisor.acknowledge()
    watched.show(0.2)
    assert watched.fault == name
    watched.supervisor.acknowledge()
    assert watched.fault == ""
    assert watched.show().fault == ""


@pytest.mark.parametrize("name", ALLOWED)
def test_what_is_still_allowed_latches_nothing(name):
    assert Watched().show().show(**ALLOWED[name]).fault == ""


def test_a_spike_of_one_sample_is_no_contact():
    assert Watched().show().show(0.001, wrench=(0.0, 0.0, 240.0, 0.0, 0.0, 0.0)).show().fault == ""


def test_an_impact_may_be_twice_as_strong_as_what_lasts():
    assert Watched().show().show(0.02, wrench=(0.0, 0.0, 115.0, 0.0, 0.0, 0.0)).show().fault == ""
    hit = Watched().show().show(0.02, wrench=(0.0, 0.0, 130.0, 0.0, 0.0, 0.0))
    assert hit.fault == "contact_force"
    assert "120 are allowed for an instant" in hit.supervisor.describe(hit.now)[1]


def test_a_force_that_is_not_known_is_none():
    assert Watched().show(wrench=(np.nan,) * 6).fault == ""


def test_measurements_that_stop_are_a_fault_and_come_back_only_with_a_person():
    watched = Watched().show()
    watched.supervisor.watch_age(watched.now + 0.09)
    assert watched.fault == ""
    watched.supervisor.watch_age(watched.now + 0.11)
    assert watched.fault == "stale_state"
    with pytest.raises(Faulted, match="110 ms"):
        watched.supervisor.acknowledge()
    watched.show()
    assert watched.fault == "stale_state"
    watched.supervisor.acknowledge()
    assert watched.fault == ""


def test_old_measurements_are_as_bad_as_none():
    watched = Watched()
    for i in range(200):
        watched.supervisor.observe(100.0 + i * 1e-3, HOME + i * 1e-7, np.zeros(7), np.zeros(6), "", False)
        watched.supervisor.watch_age(100.15 + i * 1e-3)
    assert watched.fault == "stale_state"


def test_stop_wins_over_every_other_fault_and_is_never_cleared_by_itself():
    watched = Watched().show(error="reflex")
    thread = threading.Thread(target=watched.supervisor.stop, args=("pressed",))
    thread.start()
    thread.join()
    assert watched.supervisor.describe(watched.now) == ("stopped", "pressed", True)
    watched.show(5.0)
    assert not watched.supervisor.due(watched.now)
    assert watched.fault == "stopped"
    watched.supervisor.acknowledge()
    assert watched.fault == ""


def test_a_device_recovers_by_itself_so_many_times_an_hour():
    watched = Watched(SafetyLimits(LIMITS.workspace_low, LIMITS.workspace_high, recoveries=2)).show()
    for i in range(2):
        watched.show(0.01, error="reflex")
        assert watched.fault == "device"
        assert not watched.needs_person
        assert not watched.supervisor.due(watched.now)  # not in the same breath
        watched.show(0.4, error="reflex")
        assert watched.supervisor.due(watched.now)
        assert watched.supervisor.recoveries == i + 1
        assert watched.show(0.01).fault == ""
    watched.show(0.5, error="reflex")
    assert watched.needs_person
    assert not watched.supervisor.due(watched.now)
    watched.supervisor.acknowledge()
    assert watched.fault == "device"  # until the device says that it is well
    assert watched.supervisor.due(watched.now)
    assert not watched.supervisor.due(watched.now)
    assert watched.show(0.01).fault == ""
    assert watched.supervisor.recoveries == 2


def test_the_hour_passes():
    watched = Watched(SafetyLimits(LIMITS.workspace_low, LIMITS.workspace_high, recoveries=1))
    watched.show(0.4, error="reflex")
    assert watched.supervisor.due(watched.now)
    watched.show(0.1)
    watched.now += 3500.0
    assert watched.show(0.1, error="reflex").needs_person
    watched.now += 200.0
    assert not watched.needs_person


def test_a_device_that_does_not_recover_is_tried_no_more_than_it_may_be():
    watched, tried = Watched(), 0
    for _ in range(100):
        watched.show(0.05, error="broken")
        if watched.supervisor.due(watched.now):
            tried += 1
            watched.supervisor.failed("still broken")
    assert tried == LIMITS.recoveries
    assert watched.needs_person
    assert watched.supervisor.describe(watched.now)[1] == "still broken"


def test_another_fault_beside_the_device_waits_for_a_person():
    watched = Watched().show(error="reflex", **BAD["contact_force"])
    assert watched.needs_person
    assert not watched.supervisor.due(watched.now)
    watched.show(0.1, error="reflex")
    watched.supervisor.acknowledge()
    assert watched.supervisor.due(watched.now)
    assert watched.show(0.01).fault == ""


def test_without_a_fault_there_is_nothing_to_acknowledge():
    watched = Watched().show()
    watched.supervisor.acknowledge()
    assert watched.fault == ""
