"""The watch over emergency stops, in the process that owns an arm: whose sign of life is missing counts as pressed."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy")

from hardware.ros import Session, emergency_stop_node
from hardware.ros.emergency_stop_node import StopWatch


class Arm:
    """Counts what it is told."""

    spec = SimpleNamespace(name="arm")

    def __init__(self) -> None:
        self.stops: list[str] = []

    def stop(self, reason: str) -> None:
        self.stops.append(reason)


def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to pass"
        time.sleep(0.01)


@pytest.fixture
def session():
    with Session("watches", domain=100 + os.getpid() % 100) as opened:
        yield opened


def test_an_emergency_stop_that_never_comes_up_stops_the_arm(session, monkeypatch):
    monkeypatch.setattr(emergency_stop_node, "START", 0.3)
    arm = Arm()
    watch = StopWatch(arm, ["button"], session)
    assert not arm.stops
    until(lambda: len(arm.stops) > 2)  # again and again, so that nobody recovers it meanwhile
    assert "the emergency stop button is silent" in arm.stops[0]
    watch.close()
    watch.close()


def test_one_that_is_heard_stops_nothing_until_it_falls_silent(session):
    from std_msgs.msg import Empty

    from hardware.ros import qos

    arm = Arm()
    watch = StopWatch(arm, ["button"], session)
    alive = session.node.create_publisher(Empty, "button/alive", qos.state_out())
    until(lambda: alive.get_subscription_count() == 1)
    end = session.loop("beat", 0.05, lambda: alive.publish(Empty()))
    time.sleep(1.5)
    assert not arm.stops
    end()
    until(lambda: len(arm.stops) > 2)
    watch.close()


def test_a_cell_without_emergency_stops_is_not_watched(session, monkeypatch):
    monkeypatch.setattr(emergency_stop_node, "START", 0.0)
    arm = Arm()
    watch = StopWatch(arm, [], session)
    time.sleep(0.4)
    assert not arm.stops
    watch.close()
