from __future__ import annotations

import contextlib
import os
import pty
import struct
import termios
import time
from types import SimpleNamespace

import pytest

from hardware.inputs import stop_inputs
from hardware.inputs.emergency_stop import EmergencyStop
from hardware.inputs.stop_inputs import EvdevInput, GpioInput, InputLost, KeyInput
from robo_rl.errors import Faulted, UserError

KEY_A, KEY_ENTER = 30, 28


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to pass"
        time.sleep(0.005)


class Arm:
    """What an emergency stop needs of an arm: it latches, and counts."""

    def __init__(self, name="arm", broken=False):
        self.spec, self.broken = SimpleNamespace(name=name), broken
        self.stops, self.stopped = [], False

    def stop(self, reason):
        self.stops.append(reason)
        if self.broken:
            raise ConnectionError("the link is down")
        self.stopped = True

    def recover(self):
        self.stopped = False


class Scripted:
    what = "the button"

    def __init__(self):
        self.held, self.lost, self.closed = False, None, 0

    def open(self):
        """Nothing to open."""

    def wait(self, timeout):
        time.sleep(0.002)
        if self.lost is not None:
            raise self.lost
        return self.held

    def close(self):
        self.closed += 1


@pytest.fixture
def source():
    return Scripted()


def test_nothing_happens_until_it_is_pressed(source):
    arm = Arm()
    with EmergencyStop(source, [arm], period=0.01) as stop:
        time.sleep(0.05)
        assert not arm.stops
        assert not stop.pressed
        assert stop.reason == ""


def test_it_stops_every_arm_and_latches(source):
    arms = [Arm("left"), Arm("right")]
    with EmergencyStop(source, arms, period=0.01) as stop:
        source.held = True
        until(lambda: all(arm.stopped for arm in arms))
        source.held = False
        time.sleep(0.03)
        assert stop.pressed
        assert arms[0].stops[0] == "emergency stop: the button was pressed"


def test_who_recovers_an_arm_meanwhile_is_stopped_again(source):
    arm = Arm()
    with EmergencyStop(source, [arm], period=0.01) as stop:
        source.held = True
        until(lambda: arm.stopped)
        arm.recover()
        until(lambda: arm.stopped)
        with pytest.raises(Faulted, match="still pressed; release it"):
            stop.reset()
        source.held = False
        until(lambda: not stop._held)
        stop.reset()
        assert not stop.pressed
        time.sleep(0.05)
        arm.recover()
        time.sleep(0.05)
        assert not arm.stopped


@pytest.mark.parametrize(
    "error", [InputLost("unplugged"), OSError("no such device"), ZeroDivisionError("a bug"), SystemExit("killed")]
)
def test_a_lost_device_stops_and_cannot_be_reset(source, error):
    arm = Arm()
    with EmergencyStop(source, [arm], period=0.01) as stop:
        source.lost = error
        until(lambda: arm.stopped)
        assert "the button is lost" in stop.reason
        with pytest.raises(Faulted, match="lost: connect it"):
            stop.reset()
        arm.recover()
        until(lambda: arm.stopped)


def test_while_it_is_held_arms_are_stopped_again_at_its_pace(source):
    arm = Arm()
    with EmergencyStop(source, [arm], period=0.1):
        source.held = True
        time.sleep(1.0)
    assert 2 <= len(arm.stops) <= 12


def test_an_arm_that_fails_does_not_keep_the_others_going(source):
    broken, arm = Arm("broken", broken=True), Arm()
    with EmergencyStop(source, [broken, arm], period=0.01) as stop:
        source.held = True
        until(lambda: arm.stopped and len(broken.stops) > 2)
        assert stop.failures == ("broken: the link is down",)
        broken.broken = False
        until(lambda: broken.stopped)
        until(lambda: stop.failures == ())


def test_a_program_may_press_it(source):
    arm = Arm()
    with EmergencyStop(source, [arm], period=0.01) as stop:
        stop.trigger("the cockpit's button was pressed")
        assert arm.stopped
        assert stop.reason == "the cockpit's button was pressed"
        stop.trigger("again")
        assert stop.reason == "the cockpit's button was pressed"


def test_closing_lets_go_of_the_input_once_more_too(source):
    stop = EmergencyStop(source, [Arm()], period=0.01)
    stop.close()
    stop.close()
    assert source.closed == 1


@pytest.fixture
def terminal():
    person, program = pty.openpty()
    yield person, program
    for each in (person, program):
        with contextlib.suppress(OSError):
            os.close(each)


def test_keys_of_a_terminal(terminal):
    person, program = terminal
    before = termios.tcgetattr(program)
    keys = KeyInput(stream=program)
    keys.open()
    assert not keys.wait(0.0)
    os.write(person, b"abc\n")
    assert not keys.wait(5.0)
    os.write(person, b"x")
    assert not keys.wait(5.0)  # without a line's end
    os.write(person, b"a b")
    assert keys.wait(5.0)
    keys.close()
    keys.close()
    assert termios.tcgetattr(program) == before


def test_a_key_stops_the_arm_and_a_terminal_that_hangs_up_as_well(terminal):
    person, program = terminal
    arm = Arm()
    with EmergencyStop(KeyInput("q", program), [arm], period=0.01) as stop:
        os.write(person, b"q")
        until(lambda: arm.stopped)
        assert stop.reason == "the stop key was pressed"
        until(lambda: not stop._held)
        stop.reset()
        arm.recover()
        os.close(person)
        until(lambda: arm.stopped)
        assert "the stop key is lost" in stop.reason


def test_no_terminal_is_said():
    read, write = os.pipe()
    with pytest.raises(UserError, match="needs a terminal"):
        KeyInput(stream=read).open()
    os.close(read)
    os.close(write)


def event(code, value, kind=1):
    return struct.pack("@llHHi", 1, 2, kind, code, value)


SYN = event(0, 0, kind=0)


@pytest.fixture
def button(tmp_path):
    """A device's file, and what writes into it as the kernel would."""
    path = tmp_path / "usb-Button"
    os.mkfifo(path)
    keep = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    kernel = os.open(path, os.O_WRONLY)
    yield path, kernel, keep
    for each in (kernel, keep):
        with contextlib.suppress(OSError):
            os.close(each)


def test_a_button_of_the_kernel(button):
    path, kernel, _ = button
    device = EvdevInput(path)
    device.open()
    assert not device.wait(0.0)
    os.write(kernel, event(0, 5, kind=2) + SYN)  # a wheel
    assert not device.wait(5.0)
    os.write(kernel, event(KEY_A, 1) + SYN)
    assert device.wait(5.0)
    assert device.wait(0.0)  # held
    os.write(kernel, event(KEY_A, 0) + SYN)
    assert not device.wait(5.0)
    os.write(kernel, event(KEY_A, 1) + SYN + event(KEY_A, 0) + SYN)  # a short press counts
    assert device.wait(5.0)
    assert not device.wait(0.0)
    device.close()
    device.close()


def test_events_that_come_in_pieces(button):
    path, kernel, _ = button
    device = EvdevInput(path)
    device.open()
    whole = event(KEY_A, 1)
    for piece in (whole[:5], whole[5:23]):
        os.write(kernel, piece)
        assert not device.wait(5.0)
    os.write(kernel, whole[23:])
    assert device.wait(5.0)
    device.close()


def test_only_the_keys_that_were_named(button):
    path, kernel, _ = button
    device = EvdevInput(path, codes=[KEY_ENTER])
    device.open()
    os.write(kernel, event(KEY_A, 1))
    assert not device.wait(5.0)
    os.write(kernel, event(KEY_ENTER, 1))
    assert device.wait(5.0)
    device.close()


def test_a_button_that_is_closed_at_rest(button):
    path, kernel, _ = button
    device = EvdevInput(path, [KEY_A], released=True)
    device.open()
    os.write(kernel, event(KEY_A, 1))
    assert not device.wait(5.0)
    os.write(kernel, event(KEY_A, 0))
    assert device.wait(5.0)
    device.close()


def test_a_button_that_stops_on_release_needs_its_keys(tmp_path):
    with pytest.raises(UserError, match=r"name the keys \(codes\)"):
        EvdevInput(tmp_path / "button", released=True)


def test_lost_events_are_a_lost_device(button):
    path, kernel, _ = button
    device = EvdevInput(path)
    device.open()
    os.write(kernel, event(3, 0, kind=0))
    with pytest.raises(InputLost, match="whether it was pressed is unknown"):
        device.wait(5.0)
    device.close()


def test_an_unplugged_button_stops_the_arm(button):
    path, kernel, keep = button
    arm = Arm()
    with EmergencyStop(EvdevInput(path), [arm], period=0.01) as stop:
        os.close(kernel)
        os.close(keep)
        until(lambda: arm.stopped)
        assert "usb-Button is lost" in stop.reason


def test_a_pressed_button_stops_the_arm(button):
    path, kernel, _ = button
    arm = Arm()
    with EmergencyStop(EvdevInput(path), [arm], period=0.01) as stop:
        os.write(kernel, event(KEY_A, 1) + SYN)
        until(lambda: arm.stopped)
        assert arm.stops[0] == "emergency stop: usb-Button was pressed"
        with pytest.raises(Faulted, match="still pressed"):
            stop.reset()


def test_a_wrong_path_names_what_is_connected(tmp_path, monkeypatch):
    monkeypatch.setattr(stop_inputs, "INPUTS", tmp_path)
    with pytest.raises(UserError, match=r"nothing does not open \(No such file.*connected: no input device"):
        EmergencyStop(EvdevInput(tmp_path / "nothing"), [])
    (tmp_path / "by-id").mkdir()
    (tmp_path / "by-id" / "usb-Foot_switch").touch()
    with pytest.raises(UserError, match=r"connected: .*usb-Foot_switch"):
        EmergencyStop(EvdevInput(tmp_path / "nothing"), [])


@pytest.fixture
def line(tmp_path):
    path = tmp_path / "gpio17" / "value"
    path.parent.mkdir()
    path.write_text("0\n")
    return path


def test_a_line_that_opens_stops(line):
    button = GpioInput(line)
    button.open()
    assert not button.wait(0.0)
    line.write_text("1\n")
    assert button.wait(5.0)
    line.write_text("0\n")
    assert not button.wait(0.0)
    button.close()
    button.close()


def test_a_line_that_stops_at_zero(line):
    button = GpioInput(line, stops=0)
    button.open()
    assert button.wait(0.0)
    button.close()


@pytest.mark.parametrize("loss", ["removed", "empty", "nonsense"])
def test_a_line_that_is_gone_stops_the_arm(line, loss):
    arm = Arm()
    with EmergencyStop(GpioInput(line), [arm], period=0.01) as stop:
        time.sleep(0.03)
        assert not arm.stopped
        line.unlink() if loss == "removed" else line.write_text("" if loss == "empty" else "in\n")
        until(lambda: arm.stopped)
        assert "is lost: the line reads" in stop.reason


def test_a_wrong_line_names_the_exported_ones(line):
    with pytest.raises(UserError, match=r"gpio4/value does not open .*exported lines: .*gpio17/value"):
        GpioInput(line.parent.parent / "gpio4" / "value").open()
    with pytest.raises(UserError, match="stops at 0 or 1, not 3"):
        GpioInput(line, stops=3)
