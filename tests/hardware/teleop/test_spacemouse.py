"""SpaceMouse: its USB reports through pyspacemouse, and a serial one through the real spacenavd."""

import os
import shutil
import socket
import struct
import threading
import time

import pytest

from hardware.emulation.hand_held import HidSpaceMouse, MagellanSpaceMouse
from hardware.teleop.reports import HidReports, SpacenavReports
from hardware.teleop.spacemouse import BUTTONS, BUTTONS_WITHOUT_GRIPPER, SpaceMouse, open_spacemouse
from robo_rl.contracts import View
from robo_rl.errors import UserError
from robo_rl.human.mapping import ActionMap
from robo_rl.human.teleoperation import Teleoperator


def read(device, met, seconds=20.0):
    end = time.monotonic() + seconds
    while not met(said := device.read()):
        assert time.monotonic() < end, said
        time.sleep(0.005)
    return said


def directions(device, push):
    """What each of the six raw axes moves, pushed one after the other."""
    found = []
    for axis in range(6):
        push([float(k == axis) for k in range(6)])
        said = read(device, lambda said: said is not None and said.moved)
        found.append([round(v) for v in (*said.translation, *said.rotation)])
        push([0.0] * 6)
        read(device, lambda said: not said.moved)
    return found


@pytest.fixture
def mouse(tmp_path):
    pytest.importorskip("pyspacemouse")
    path = tmp_path / "hidraw7"
    path.touch()
    mouse = HidSpaceMouse(str(path))
    with mouse.bus():
        yield mouse


def test_usb_axes_become_the_persons(mouse):
    device = SpaceMouse(HidReports())
    assert directions(device, mouse.push) == [
        [0, -1, 0, 0, 0, 0], [-1, 0, 0, 0, 0, 0], [0, 0, -1, 0, 0, 0],  # right, towards the person, down
        [0, 0, 0, 0, -1, 0], [0, 0, 0, -1, 0, 0], [0, 0, 0, 0, 0, -1],  # and the turns about them
    ]  # fmt: skip
    device.close()


def test_usb_buttons(mouse):
    for buttons, told in ((BUTTONS, [-1.0, 1.0]), (BUTTONS_WITHOUT_GRIPPER, ["success", "failure"])):
        device = SpaceMouse(HidReports(), buttons=buttons)
        for number, meaning in enumerate(told):
            mouse.press(number)
            said = read(device, lambda said: said.gripper or said.label)
            assert (said.gripper or said.label) == meaning
        device.close()


def test_a_push_within_the_dead_band_is_rest(mouse):
    device = SpaceMouse(HidReports(), band=0.2)
    mouse.push([0.15, -0.6, 0.0, 0.0, 0.0, 0.0])
    said = read(device, lambda said: said.moved)
    assert said.translation == pytest.approx((0.5, 0.0, 0.0))
    device.close()


def test_one_that_falls_silent_while_pushed_has_the_hands_off(mouse):
    """Its last word was a push; it is not repeated for ever."""
    import torch

    device = SpaceMouse(HidReports())
    person = Teleoperator(device, ActionMap(None, 3), stale=0.2)
    view = View({}, {}, torch.zeros(3), 0, 0.1, torch.zeros(3))
    mouse.push([0.0, -1.0, 0.0, 0.0, 0.0, 0.0])
    read(device, lambda said: said.moved)
    time.sleep(0.3)
    assert device.read().moved
    assert person.read(view).action is None
    mouse.push([0.0, -1.0, 0.0, 0.0, 0.0, 0.0])
    end = time.monotonic() + 20.0
    while person.read(view).action is None:
        assert time.monotonic() < end
    person.close()


def test_a_wrong_path_tells_what_is_connected(mouse, tmp_path, capsys):
    with pytest.raises(UserError, match=r"nonesuch.*connected: .*hidraw7 \(SpaceMouseCompact\)"):
        open_spacemouse(str(tmp_path / "nonesuch"))
    device = open_spacemouse(mouse.path)
    device.close()
    assert capsys.readouterr().out == ""  # standard output belongs to the command
    mouse.unplug()
    with pytest.raises(UserError, match="connected: none; is the cable in"):
        HidReports().open()
    with pytest.raises(UserError, match="spacenavd does not answer"):
        open_spacemouse(str(tmp_path / "spnav.sock"))


def test_the_real_daemon(tmp_path):
    program = shutil.which("spacenavd")
    if program is None or os.geteuid() != 0:
        pytest.skip("needs Debian's package spacenavd, and root")
    with MagellanSpaceMouse(tmp_path, program) as mouse:
        device = open_spacemouse()
        # This make's axes: to the right, up, towards the person.
        assert directions(device, lambda axes: mouse.push([round(350 * v) for v in axes])) == [
            [0, -1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0], [-1, 0, 0, 0, 0, 0],
            [0, 0, 0, 0, -1, 0], [0, 0, 0, 0, 0, 1], [0, 0, 0, -1, 0, 0],
        ]  # fmt: skip
        mouse.press(1)
        assert read(device, lambda said: said.gripper).gripper == 1.0
        mouse.stop()
        read(device, lambda said: said is None)
        mouse.start()
        read(device, lambda said: said is not None)
        mouse.push([350, 0, 0, 0, 0, 0])
        read(device, lambda said: said is not None and said.moved)
        device.close()


def test_events_that_arrive_in_pieces(tmp_path):
    """The daemon's protocol, byte by byte, where Debian's package is not installed."""
    path = str(tmp_path / "spnav.sock")
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(1)

    def serve():
        client, _ = server.accept()
        for byte in struct.pack("=16i", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 350, 0, 0, 0, 16):
            client.sendall(bytes([byte]))
        client.recv(1)  # until the other side hangs up
        client.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    device = SpaceMouse(SpacenavReports(path))
    assert read(device, lambda said: said.gripper).gripper == -1.0
    assert read(device, lambda said: said.moved).translation == (1.0, 0.0, 0.0)
    device.close()
    thread.join()
    server.close()
