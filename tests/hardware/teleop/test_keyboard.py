import os
import pty
import termios
import time

import pytest

from hardware.teleop.keyboard import DIRECTIONS, MEANINGS, Keyboard
from robo_rl.errors import UserError


@pytest.fixture
def terminal():
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def read(keyboard, met, seconds=10.0):
    end = time.monotonic() + seconds
    while not met(said := keyboard.read()):
        assert time.monotonic() < end, said
        time.sleep(0.005)
    return said


def test_every_direction_and_its_end(terminal):
    ours, theirs = terminal
    keyboard = Keyboard(step=0.5, pulse=0.1, stream=theirs)
    for key, (axis, sense) in DIRECTIONS.items():
        os.write(ours, key.encode())
        said = read(keyboard, lambda said: said.moved)
        assert [*said.translation, *said.rotation] == [0.5 * sense * (axis == k) for k in range(6)]
        assert 0.0 <= time.monotonic() - said.stamp < 10.0
        read(keyboard, lambda said: not said.moved)  # a terminal never says that a key is let go
    keyboard.close()


def test_what_keys_mean(terminal):
    ours, theirs = terminal
    keyboard = Keyboard(stream=theirs)
    told = []
    for key in ("c", "v", "\n", "\x7f", "x", "p", "p", "n", "q"):
        os.write(ours, key.encode())
        said = read(keyboard, lambda said: said.gripper or said.label or said.request)
        told.append(said.gripper or said.label or said.request)
    assert told == [-1.0, 1.0, "success", "failure", "discard", "pause", "resume", "reset", "stop"]
    assert not set(MEANINGS) & set(DIRECTIONS)
    os.write(ours, b"Z\xff\x1b")  # nothing
    time.sleep(0.05)
    assert not keyboard.read().moved
    keyboard.close()


def test_the_terminal_is_left_as_it_was(terminal):
    _, theirs = terminal
    before = termios.tcgetattr(theirs)
    keyboard = Keyboard(stream=theirs)
    assert termios.tcgetattr(theirs) != before
    keyboard.close()
    keyboard.close()
    assert termios.tcgetattr(theirs) == before


def test_what_is_no_terminal_is_refused(tmp_path):
    with (tmp_path / "file").open("w") as file, pytest.raises(UserError, match="needs a terminal"):
        Keyboard(stream=file.fileno())
    with pytest.raises(UserError, match="pulse"):
        Keyboard(pulse=0.0)
    with pytest.raises(UserError, match="step"):
        Keyboard(step=2.0)
