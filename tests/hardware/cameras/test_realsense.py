from __future__ import annotations

import contextlib
import math
import os
import re
import socket
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from hardware.cameras.capture import CaptureSettings, ThreadedCamera
from hardware.cameras.realsense import Bus, RealSenseSettings, RealSenseSource, realsense_camera, sdk, set_option
from hardware.cell import ArmEntry, CameraEntry, Cell
from hardware.devices import open_camera
from hardware.emulation.realsense import BASELINE, EmulatedBus, record
from robo_rl.errors import Stale, UserError

pytestmark = pytest.mark.skipif(find_spec("pyrealsense2") is None, reason="the extra 'realsense' is missing")

SMALL = RealSenseSettings(width=320, height=240)


def scene(number):
    """A red square at 0.5 m before a background at 1 m, both in the middle of the depth sensor's picture."""
    rgb = np.full((240, 320, 3), 40 + number % 8, np.uint8)
    rgb[100:140, 140:180] = (255, 0, 0)
    depth = np.ones((240, 320), np.float32)
    depth[100:140, 140:180] = 0.5
    return rgb, depth


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("realsense")
    files = {}
    for serial in ("A1", "B2"):
        files[serial] = folder / f"{serial}.db3"
        record(files[serial], serial, scene, width=320, height=240, frames=15)
    return files


@pytest.fixture
def bus(recordings):
    return EmulatedBus(recordings)


def test_depth_comes_in_metres_and_in_the_pixels_of_the_colours(bus):
    with realsense_camera("wrist", "A1", settings=SMALL, bus=bus) as camera:
        frame = camera.wait(3, timeout=10.0)
        assert frame.rgb.shape == (240, 320, 3)
        assert camera.intrinsics.fx == pytest.approx(305.0)
        distances = set(np.round(frame.depth[frame.depth > 0], 3))
        assert distances <= {np.float32(0.5), np.float32(1.0)}
        # Alignment by hand: a depth pixel at column u, 0.5 m away, is seen by the colour sensor at
        # 305 * ((u - 160) / 300 + BASELINE / 0.5) + 160. The square's left edge: 140 -> 148.8.
        near = np.nonzero(frame.depth[120] == np.float32(0.5))[0]
        assert near.min() == pytest.approx(305.0 * ((140 - 160) / 300.0 + BASELINE / 0.5) + 160, abs=2)
        assert near.max() == pytest.approx(305.0 * ((179 - 160) / 300.0 + BASELINE / 0.5) + 160, abs=2)


def test_colours_alone(bus):
    settings = RealSenseSettings(width=320, height=240, depth=False)
    with realsense_camera("wrist", "B2", 64, 64, settings=settings, bus=bus) as camera:
        frame = camera.read(math.inf)
        assert frame.depth is None
        assert frame.rgb.shape == (64, 64, 3)


def test_the_field_of_view_is_kept(bus):
    with realsense_camera("wrist", "A1", 64, 64, fovy=30.0, settings=SMALL, bus=bus) as camera:
        assert camera.intrinsics.fovy == pytest.approx(30.0, abs=0.2)


def test_a_wrong_serial_names_what_is_connected(bus):
    with pytest.raises(UserError, match=r"serial 'C3' is not connected; connected: A1 \(Intel RealSense D435.*, B2 \("):
        realsense_camera("wrist", "C3", bus=bus)


def test_without_a_serial_there_must_be_one_camera(bus):
    with pytest.raises(UserError, match=r"several .* name one's serial: A1 .*B2"):
        realsense_camera("wrist", bus=bus)
    bus.unplug("B2")
    with realsense_camera("wrist", settings=SMALL, bus=bus) as camera:
        assert camera.read(math.inf).rgb.shape == (240, 320, 3)
    bus.unplug("A1")
    with pytest.raises(UserError, match="no RealSense is connected"):
        realsense_camera("wrist", bus=bus)


def test_a_size_that_it_lacks_names_those_it_has(bus):
    with pytest.raises(UserError, match=r"RealSense A1 does not start 1000x240 at 30 fps .*320x240@30"):
        realsense_camera("wrist", "A1", settings=RealSenseSettings(width=1000, height=240), bus=bus)


def test_two_cameras_at_once_and_one_unplugged(bus):
    settings = CaptureSettings(silence=1.0, backoff=0.02, max_backoff=0.1)
    with (
        ThreadedCamera("a", RealSenseSource("A1", SMALL, bus), settings=settings) as a,
        ThreadedCamera("b", RealSenseSource("B2", SMALL, bus), settings=settings) as b,
    ):
        bus.unplug("A1")
        said, end = "", time.monotonic() + 10.0
        while not re.search(r"A1.*(unplugged|not connected).*connected: B2", said):
            assert time.monotonic() < end, said
            time.sleep(0.01)
            try:
                a.read(0.2)
            except Stale as error:
                said = str(error)
        b.wait(b.read(math.inf).index, timeout=5.0)
        bus.plug("A1")
        a.wait(a.read(math.inf).index, timeout=10.0)


def test_pictures_that_are_held_back_are_as_old_as_that(tmp_path):
    record(tmp_path / "A1.db3", "A1", scene, width=320, height=240, frames=60)
    bus = EmulatedBus({"A1": tmp_path / "A1.db3"})
    with realsense_camera("wrist", "A1", settings=SMALL, bus=bus) as camera:
        ages, end = [0.0], time.monotonic() + 30.0
        # A recording that begins again has a new clock, by which a picture that is held back seems new: should it do
        # so before the first such picture comes, none will look old, and it is tried again.
        while max(ages) < 0.2:
            assert time.monotonic() < end
            bus.troubles["A1"].delay = 0.0
            index = camera.wait(camera.read(math.inf).index + 10, timeout=10.0).index  # its clock is known
            bus.troubles["A1"].delay = 0.25
            for _ in range(20):
                index = camera.wait(index, timeout=5.0).index
                ages.append(time.monotonic() - camera.read(math.inf).stamp)
        bus.troubles["A1"].delay = 0.0
        end = time.monotonic() + 10.0
        while time.monotonic() - camera.read(math.inf).stamp > 0.1:
            assert time.monotonic() < end
            time.sleep(0.005)


def test_damaged_pictures_come_through_the_pipeline_and_good_ones_after_them(bus):
    with realsense_camera("wrist", "A1", settings=SMALL, bus=bus) as camera:
        bus.troubles["A1"].garbage = 1.0
        index, noise = camera.read(math.inf).index, 0.0
        for _ in range(8):
            frame = camera.wait(index, timeout=5.0)
            index, noise = frame.index, max(noise, float(frame.rgb[:90].std()))
            assert np.isfinite(frame.depth).all()
        assert noise > 50.0  # the scene is even there
        bus.troubles["A1"].garbage = 0.0
        end = time.monotonic() + 10.0
        while camera.wait(camera.read(math.inf).index, timeout=5.0).rgb[:90].std() > 1.0:
            assert time.monotonic() < end


def test_it_is_reached_from_a_cell_file_with_its_troubles(recordings):
    settings = {"recording": str(recordings["A1"]), "serial": "A1", "drop": 0.5}
    cell = Cell(
        "emulated", {"arm": ArmEntry("fr3", "franky", {"address": "127.0.0.1"})},
        {"wrist": CameraEntry("emulated_realsense", 64, 64, settings)},
    )  # fmt: skip
    camera = open_camera(cell, "wrist")
    frame = camera.read(math.inf)
    assert frame.rgb.shape == (64, 64, 3)
    gaps, index = [], frame.index
    for _ in range(10):
        gaps.append(camera.wait(index, timeout=5.0).index - index)
        index += gaps[-1]
    assert max(gaps) > 1
    camera.close()
    wrong = replace(cell.cameras["wrist"], settings={**settings, "drop": 1.5})
    with pytest.raises(UserError, match=r"cameras\.wrist\.settings: drop is 1\.5; it must be from 0 to 1"):
        open_camera(replace(cell, cameras={"wrist": wrong}), "wrist")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (RealSenseSettings(320, 240, preset="sharp"), "unknown preset 'sharp'"),
        (RealSenseSettings(320, 240, preset="high_accuracy"), "visual_preset: the Stereo Module .* leave it out"),
        (RealSenseSettings(320, 240, exposure=100.0), "enable_auto_exposure: the RGB Camera"),
        (RealSenseSettings(320, 240, laser=True), "emitter_enabled: the Stereo Module"),
    ],
)
def test_a_setting_that_it_lacks_is_named(bus, settings, says):
    with pytest.raises(UserError, match=says):
        realsense_camera("wrist", "A1", settings=settings, bus=bus)


def test_an_option_is_set_within_its_range():
    rs = sdk()
    sensor = rs.software_device().add_sensor("RGB Camera")
    span = rs.option_range()
    span.min, span.max, span.step, span.default = 1, 10000, 1, 156
    sensor.add_option(rs.option.exposure, span, True)
    set_option(sensor, "exposure", 200.0)
    assert sensor.get_option(rs.option.exposure) == 200.0
    with pytest.raises(UserError, match="exposure is 20000; the RGB Camera of this camera takes 1 to 10000"):
        set_option(sensor, "exposure", 20000.0)
    with pytest.raises(UserError, match=r"gain: .* has no such setting; .*Exposure"):
        set_option(sensor, "gain", 1.0)


def test_the_real_bus_is_asked_without_a_camera():
    connected = Bus().connected()
    with pytest.raises(UserError, match="connected"):
        realsense_camera("wrist", "no such serial")
    assert "no such serial" not in connected


def internet_sockets():
    """Inodes of this process's sockets other than those of the machine itself."""
    links = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            links.add(os.readlink(f"/proc/self/fd/{name}"))
    tables = [Path(f"/proc/net/{kind}").read_text() for kind in ("tcp", "udp", "tcp6", "udp6")]
    lines = [line.split() for table in tables for line in table.splitlines()]
    return {line[9] for line in lines if f"socket:[{line[9]}]" in links}


def test_nothing_listens_on_the_network(recordings):
    before = internet_sockets()
    with realsense_camera("wrist", "A1", settings=SMALL, bus=EmulatedBus(recordings)):
        assert internet_sockets() <= before
        Bus().connected()
        assert internet_sockets() <= before
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:  # one would be seen
        other.bind(("127.0.0.1", 0))
        assert not internet_sockets() <= before


def test_recordings_that_cannot_be(tmp_path):
    with pytest.raises(UserError, match=r"ends in \.db3"):
        record(tmp_path / "a.bag", "A1")
    with pytest.raises(UserError, match="needs depth"):
        record(tmp_path / "a.db3", "A1", lambda number: (scene(number)[0], None), width=320, height=240)
    with pytest.raises(UserError, match="there is no recording"):
        EmulatedBus({"A1": tmp_path / "none.db3"})
