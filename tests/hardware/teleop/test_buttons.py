import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.teleop.buttons import MEANINGS, Presses, check_dead_band, dead_band
from robo_rl.errors import UserError


@given(st.floats(-2.0, 2.0), st.floats(0.0, 0.9))
def test_the_dead_band_is_odd_continuous_and_reaches_the_end(value, width):
    out = dead_band(value, width)
    assert -1.0 <= out <= 1.0
    assert dead_band(-value, width) == -out
    if abs(value) <= width:
        assert out == 0.0
    assert abs(out) <= abs(value)
    assert dead_band(1.0, width) == 1.0
    assert dead_band(width + 1e-9, width) < 1e-6


def test_each_press_is_told_once_and_in_order():
    presses = Presses()
    for meaning in ("close", "success", "open", "failure", "stop"):
        presses.press(meaning)
    first, second, third = presses.tell(0.0), presses.tell(0.0), presses.tell(0.0)
    assert (first.gripper, first.label, first.request) == (-1.0, "success", "stop")
    assert (second.gripper, second.label, second.request) == (1.0, "failure", None)
    assert (third.gripper, third.label, third.request) == (None, None, None)


def test_a_pause_pressed_again_goes_on():
    presses = Presses()
    told = []
    for meaning in ("pause", "pause", "pause", "reset", "pause"):
        presses.press(meaning)
        told.append(presses.tell(0.0).request)
    assert told == ["pause", "resume", "pause", "reset", "pause"]


def test_what_was_pressed_before_the_device_was_lost_is_dropped():
    presses = Presses()
    presses.press("stop")
    presses.forget()
    assert presses.tell(0.0).request is None


def test_what_means_nothing_is_refused():
    with pytest.raises(UserError, match="choose one of close, open"):
        Presses().press("dance")
    assert "dance" not in MEANINGS
    with pytest.raises(UserError, match="dead_band"):
        check_dead_band(1.0)
