"""The stop key of a command on a terminal, on a pseudo-terminal of its own."""

from __future__ import annotations

import contextlib
import os
import time

import pytest

from hardware.emulation.operator import SimulatedOperator
from hardware.inputs.stop_inputs import KeyInput
from hardware.inputs.stop_key import CELL_STOP, KEY_PRESSED, StopKey
from robo_rl.errors import Faulted


class Arm:
    def __init__(self, gone=False):
        self.gone, self.stops = gone, []

    def stop(self, reason):
        if self.gone:
            raise Faulted("gone")
        self.stops.append(reason)


@pytest.fixture
def terminal():
    person, program = os.openpty()
    yield person, program
    for each in (person, program):
        with contextlib.suppress(OSError):
            os.close(each)


def wait(true):
    deadline = time.monotonic() + 10.0
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("key", [b" ", b"\x1b"])
def test_it_stops_every_arm_each_time_and_leaves_other_keys_to_who_asks(terminal, key):
    person, program = terminal
    arms = [Arm(), Arm(gone=True), Arm()]
    with StopKey(arms, KeyInput(stream=program)) as stop:
        os.write(person, b"yes\n")
        wait(lambda: stop.source.typed.qsize() == 4)
        assert not arms[0].stops
        for presses in (1, 2):
            os.write(person, key)
            wait(lambda presses=presses: len(arms[2].stops) == presses)
        assert "".join(stop.source.typed.get() for _ in range(4)) == "yes\n"
    assert arms[0].stops == arms[2].stops == [KEY_PRESSED] * 2


def test_a_terminal_that_is_gone_stops_the_arms_too(terminal):
    person, program = terminal
    arm = Arm()
    with StopKey([arm], KeyInput(stream=program)):
        os.close(person)
        wait(lambda: arm.stops)
    assert "terminal" in arm.stops[0]


def test_the_stand_in_for_the_operator_leaves_what_a_person_has_stopped_to_that_person(tmp_path):
    operator = SimulatedOperator(tmp_path)
    assert not operator.acknowledge("stopped", KEY_PRESSED)
    assert not operator.acknowledge("stopped", CELL_STOP)
    assert operator.acknowledge("contact_force", "50 N on the tool, 40 are allowed")
