from __future__ import annotations

import time

import numpy as np
import pytest

from hardware.emulation.delayed import DelayedRobot
from robo_rl.contracts import Applied, Robot, RobotState, RobotStatus, ToolCommand
from robo_rl.errors import Faulted, InvalidAction, Stale
from robo_rl.robots import robot

SPEC = robot("fr3")


class Recorder:
    """Remembers when it was told what; its state is its time."""

    spec = SPEC

    def __init__(self):
        self.told, self.calls, self.fault = [], [], ""

    def state(self, max_age=0.1):
        now, zero = time.monotonic(), np.zeros(3)
        return RobotState(now, np.zeros(7), np.zeros(7), np.zeros(7), zero, np.eye(3), zero, zero, zero, zero, 0.04)

    def command(self, command):
        self.told.append((time.monotonic(), command.id))

    def applied(self):
        return Applied(7, np.zeros(3), np.eye(3), 0.0)

    def status(self):
        return RobotStatus("fault" if self.fault else "running", fault=self.fault)

    def move_joints(self, joint_pos, gripper):
        self.calls.append("move_joints")

    def stop(self, reason):
        self.calls.append(reason)

    def recover(self):
        self.calls.append("recover")

    def close(self):
        self.calls.append("close")


@pytest.fixture
def recorder():
    return Recorder()


def command(number, valid_for=0.2):
    return ToolCommand(number, np.array([0.5, 0.0, 0.3]), np.eye(3), 0.04, valid_for)


def until(condition):
    deadline = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_commands_arrive_late_and_in_order(recorder):
    with DelayedRobot(recorder, command_delay=0.05) as delayed:
        assert isinstance(delayed, Robot)
        given = []
        for number in range(1, 6):
            given.append(time.monotonic())
            delayed.command(command(number))
            time.sleep(0.01)
        until(lambda: len(recorder.told) == 5)
        assert [number for _, number in recorder.told] == [1, 2, 3, 4, 5]
        assert all(arrived - sent >= 0.05 for (arrived, _), sent in zip(recorder.told, given, strict=True))


def test_states_are_as_old_as_they_shall_be(recorder):
    with DelayedRobot(recorder, state_delay=0.1) as delayed:
        with pytest.raises(Stale):
            delayed.state(10.0)

        def has_state():
            try:
                return delayed.state(10.0) is not None
            except Stale:
                return False

        until(has_state)
        for _ in range(20):
            assert time.monotonic() - delayed.state(10.0).stamp >= 0.1
            time.sleep(0.005)
        with pytest.raises(Stale, match="ms old"):
            delayed.state(0.05)


def test_what_is_malformed_out_of_order_or_in_a_fault_is_refused_at_once(recorder):
    with DelayedRobot(recorder, command_delay=0.01) as delayed:
        delayed.command(command(5))
        for bad in (command(5), command(4), command(6, valid_for=9.0)):
            with pytest.raises(InvalidAction):
                delayed.command(bad)
        assert delayed.status().rejected == 3
        recorder.fault = "stopped"
        with pytest.raises(Faulted, match="stopped"):
            delayed.command(command(7))


def test_stopping_and_resets_are_not_delayed_and_what_is_on_its_way_is_lost(recorder):
    delayed = DelayedRobot(recorder, command_delay=1.0)
    delayed.command(command(1))
    delayed.stop("now")
    delayed.move_joints(np.zeros(7), 0.04)
    delayed.recover()
    assert recorder.calls == ["now", "move_joints", "recover"]
    delayed.close()
    assert recorder.told == []
    assert recorder.calls[-1] == "close"


def test_delays_that_make_no_sense_are_refused(recorder):
    with pytest.raises(ValueError, match="delays"):
        DelayedRobot(recorder, command_delay=-0.1)
