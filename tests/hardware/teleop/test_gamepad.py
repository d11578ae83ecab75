"""A gamepad that SDL makes up, read through pygame-ce as any other."""

import time

import pytest

pytest.importorskip("pygame")

from hardware.emulation.hand_held import VirtualGamepad
from hardware.teleop.gamepad import Gamepad, connected
from robo_rl.errors import UserError


@pytest.fixture
def pad():
    pad = VirtualGamepad()
    yield pad
    pad.unplug()


@pytest.mark.parametrize(
    ("axis", "value", "moves"),
    [
        ("LEFTY", -1.0, [1, 0, 0, 0, 0, 0]),  # the stick away from the person
        ("LEFTX", -1.0, [0, 1, 0, 0, 0, 0]),  # to the left
        ("TRIGGERRIGHT", 1.0, [0, 0, 1, 0, 0, 0]),
        ("TRIGGERLEFT", 1.0, [0, 0, -1, 0, 0, 0]),
        ("RIGHTY", -1.0, [0, 0, 0, 0, 1, 0]),
        ("RIGHTX", -1.0, [0, 0, 0, 0, 0, 1]),  # to the left: about the vertical, against the clock
    ],
)
def test_sticks_and_triggers(pad, axis, value, moves):
    gamepad = Gamepad()
    assert not gamepad.read().moved
    pad.axis(axis, value)
    said = gamepad.read()
    assert [*said.translation, *said.rotation] == pytest.approx(moves, abs=0.01)
    pad.axis(axis, -1.0 if "TRIGGER" in axis else 0.1)  # within the dead-band
    assert not gamepad.read().moved
    gamepad.close()


def test_a_button_counts_when_it_goes_down(pad):
    gamepad = Gamepad()
    told = []
    for number in (0, 1, 2, 9, 10, 6, 4):
        pad.button(number, True)
        said = gamepad.read()
        told.append(said.label or said.gripper or said.request)
        held = gamepad.read()
        assert (held.label, held.gripper, held.request) == (None, None, None)
        pad.button(number, False)
        gamepad.read()
    assert told == ["success", "failure", "discard", -1.0, 1.0, "pause", "stop"]
    gamepad.close()


def test_unplugged_while_pushed_and_plugged_in_again(pad):
    gamepad = Gamepad()
    pad.axis("LEFTY", -1.0)
    assert gamepad.read().moved
    pad.unplug()
    assert gamepad.read() is None
    pad.plug_in()
    end = time.monotonic() + 20.0
    while (said := gamepad.read()) is None:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert not said.moved
    gamepad.close()


def test_one_that_is_not_there_tells_which_are(pad):
    assert connected() == "0 (Virtual Controller)"
    with pytest.raises(UserError, match=r"gamepad 'Stadia' is not there; connected: 0 \(Virtual Controller\)"):
        Gamepad("Stadia")
    Gamepad("virtual").close()
    pad.unplug()
    with pytest.raises(UserError, match="gamepad is not there; connected: no gamepad"):
        Gamepad()
