from __future__ import annotations

import time

import pytest

from benchmarks.endurance import Tally
from benchmarks.franka_endurance import attribute
from benchmarks.pauses import Pauses, common


def test_only_what_all_cores_missed_is_a_pause_of_the_machine():
    first = [(1.0, 1.02), (2.0, 2.03), (5.0, 5.006)]
    second = [(1.001, 1.019), (3.0, 3.05), (5.004, 5.05)]
    assert common([first, second]) == [(1.001, 1.019)]  # the last two share 2 ms
    assert common([first]) == first


def test_a_silence_is_the_machines_only_if_it_stood_still_just_before():
    pauses = Pauses()
    pauses.known, pauses.found = True, [(10.0, 10.018), (20.0, 20.006)]
    reflex = "communication_constraints_violation"
    tally = Tally(silences=[(10.1, "random", reflex), (11.0, "random", reflex), (20.1, "hold", "no measurement")])
    tally.reflexes["random"] = {"joint_velocity_violation": 1}
    reflexes, others, excused = attribute(tally, pauses)
    assert reflexes == {"random": {"joint_velocity_violation": 1, reflex: 1}}
    assert others == {"hold": {"no measurement": 1}}  # 6 ms are not enough
    assert excused == [{"phase": "random", "reason": reflex, "pause_ms": 18.0}]


def test_where_nobody_watched_nothing_is_excused():
    pauses = Pauses()
    pauses.known, pauses.found = False, []
    reflexes, _, excused = attribute(Tally(silences=[(10.1, "random", "communication")]), pauses)
    assert reflexes == {"random": {"communication": 1}}
    assert not excused


def test_a_busy_process_is_no_pause_of_the_machine():
    with Pauses() as pauses:
        time.sleep(1.0)
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            pass
    if not pauses.known:
        pytest.skip("no real-time priority here")
    assert all(end - begin < 0.4 for begin, end in pauses.found)
