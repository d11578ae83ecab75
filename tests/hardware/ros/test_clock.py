"""Stamps survive a clock that leaps, and ages are right however far apart two clocks are."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.ros.clock import ArrivalClock, StampClock


def test_stamps_do_not_follow_a_clock_that_leaps(monkeypatch):
    clock = StampClock()
    before = clock.stamp(time.monotonic())
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert 0 <= clock.stamp(time.monotonic()) - before < 1_000_000_000


def test_stamps_that_serve_as_ids_always_increase(monkeypatch):
    clock = StampClock()
    monkeypatch.setattr(time, "monotonic_ns", lambda: 5)
    assert [clock.next() - clock.stamp(0.0) for _ in range(3)] == [5, 6, 7]


@given(
    apart=st.integers(-(10**18), 10**18),
    delays=st.lists(st.integers(1_000_000, 400_000_000), min_size=1, max_size=40),
)
def test_ages_are_measured_against_the_quickest_message(apart, delays):
    clock = ArrivalClock()
    quickest = delays[0]
    for i, delay in enumerate(delays):
        sent = 1_000_000_000_000 + i * 100_000_000  # on the receiver's clock
        received = (sent + delay) * 1e-9
        quickest = min(quickest, delay)
        age = received - clock.arrival(sent + apart, received)
        assert age >= 0.0
        assert age == pytest.approx((delay - quickest) * 1e-9, abs=2e-6)


def test_a_clock_that_was_set_back_is_believed_again_after_ten_seconds():
    clock = ArrivalClock()
    hour = 3_600_000_000_000
    ages = []
    for tenth in range(200):
        received = 1000.0 + 0.1 * tenth
        stamp = round(received * 1e9) - (hour if tenth >= 20 else 0)
        ages.append(received - clock.arrival(stamp, received))
    assert max(ages[:20]) == pytest.approx(0.0, abs=1e-6)
    assert ages[20] == pytest.approx(3600.0)
    assert ages[-1] == pytest.approx(0.0, abs=1e-6)
    assert sum(age > 1.0 for age in ages) <= 110
