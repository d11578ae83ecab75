from __future__ import annotations

import pytest

from hardware.emulation.pace import Pace


class Clock:
    """Time that passes by sleeping, and by being told to."""

    def __init__(self):
        self.now = 100.0

    def sleep(self, seconds):
        self.now += seconds + 1e-9


@pytest.fixture
def clock():
    return Clock()


def paced(clock, catch_up=0.005):
    pace = Pace(0.001, catch_up, lambda: clock.now, clock.sleep)
    pace.start()
    return pace


def test_without_stalls_there_is_one_step_a_period(clock):
    pace = paced(clock)
    assert [pace.wait() for _ in range(1000)] == [1] * 1000
    assert clock.now == pytest.approx(101.0, abs=1e-4)
    figures = pace.figures()
    assert figures["rate_hz"] == pytest.approx(1000.0, rel=1e-3)
    assert (figures["missed"], figures["lost_s"], figures["cycles"]) == (0.0, 0.0, 1000.0)


def test_a_short_stall_is_made_up_for(clock):
    pace = paced(clock)
    pace.wait()
    clock.now += 0.0035
    assert pace.wait() == 3
    assert pace.wait() == 1
    figures = pace.figures()
    assert (figures["missed"], figures["lost_s"], figures["cycles"]) == (2.0, 0.0, 5.0)


def test_a_long_stall_is_made_up_for_within_bounds_and_the_rest_is_lost(clock):
    pace = paced(clock)
    pace.wait()
    clock.now += 0.1005
    assert pace.wait() == 6
    assert pace.wait() == 1
    figures = pace.figures()
    assert figures["missed"] == 99.0
    assert figures["lost_s"] == pytest.approx(0.094, abs=1e-9)
    assert figures["period_max_ms"] == pytest.approx(100.5, abs=0.01)


def test_before_the_first_tick_there_are_no_figures(clock):
    assert paced(clock).figures() == {}
