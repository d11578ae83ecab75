from __future__ import annotations

import math
import threading
import time

import numpy as np
import pytest

from hardware.cameras.capture import CaptureSettings, ThreadedCamera
from hardware.cameras.source import Ended, Format, Shot
from hardware.emulation.camera import EmulatedSource
from robo_rl.errors import Stale, UserError

FAST = CaptureSettings(silence=0.5, backoff=0.01, max_backoff=0.05, start_timeout=5.0)


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to pass"
        time.sleep(0.005)


class Scripted:
    """A source that gives what a list says; an exception in it is raised, None is silence."""

    what = "scripted"

    def __init__(self, *script, width=4, height=3):
        self.script, self.opened, self.closed = list(script), 0, 0
        self.format = Format(width, height)

    def open(self):
        self.opened += 1
        return self.format

    def grab(self, timeout):
        time.sleep(0.002)
        if not self.script:
            time.sleep(min(timeout, 0.02))
            return None
        given = self.script.pop(0)
        if isinstance(given, Exception):
            raise given
        return given

    def close(self):
        self.closed += 1


def shot(number, value=None, time=None):
    return Shot(np.full((3, 4, 3), number if value is None else value, np.uint8), None, time, number)


def test_lost_repeated_and_damaged_pictures_are_counted():
    source = Scripted(shot(1), shot(2), shot(2), shot(5), Shot(np.zeros((1, 1, 3), np.uint8), number=6), shot(7))
    with ThreadedCamera("c", source, settings=FAST) as camera:
        until(lambda: camera.counters()["frames"] == 4)
        counters = camera.counters()
        assert (counters["lost"], counters["repeated"], counters["garbage"]) == (2, 1, 1)
        assert camera.read(math.inf).index == 7  # 1 2 5 7, and the damaged 6


@pytest.mark.parametrize(
    "bad",
    [
        Shot(np.zeros((3, 4), np.uint8)),
        Shot(np.zeros((3, 4, 3), np.float32)),
        Shot(np.zeros((3, 4, 3), np.uint8), np.full((3, 4), np.nan, np.float32)),
        Shot(np.zeros((3, 4, 3), np.uint8), np.full((3, 4), -1.0, np.float32)),
        Shot(np.zeros((3, 4, 3), np.uint8), np.zeros((2, 2), np.float32)),
        Shot(np.zeros((3, 4, 3), np.uint8), time=math.nan),
        Shot("no picture"),  # type: ignore[arg-type]
    ],
)
def test_garbage_is_refused(bad):
    with ThreadedCamera("c", Scripted(shot(1), bad, shot(3)), settings=FAST) as camera:
        until(lambda: camera.counters()["garbage"] == 1 and camera.counters()["frames"] == 2)


def test_pictures_equal_to_the_last_bit_mean_a_frozen_device():
    source = Scripted(*(shot(number, value=9) for number in range(1, 200)))
    settings = CaptureSettings(silence=0.2, backoff=0.01, frozen_after=0.1)
    with ThreadedCamera("c", source, settings=settings) as camera:
        until(lambda: camera.counters()["repeated"] > 5)
        until(lambda: source.opened > 1)  # and it is opened anew


def test_a_still_scene_is_no_fault_where_pictures_have_no_noise():
    with ThreadedCamera("c", Scripted(*(shot(number, value=9) for number in range(1, 50))), settings=FAST) as camera:
        until(lambda: camera.counters()["frames"] == 49)


def test_an_exception_of_a_driver_does_not_end_it():
    source = Scripted(shot(1), ZeroDivisionError("in a driver"), shot(1), OSError("device gone"), shot(1))
    with ThreadedCamera("c", source, settings=FAST) as camera:
        until(lambda: camera.counters()["frames"] == 3)
        assert camera.counters()["reconnects"] == 2
        assert camera.read(math.inf).index == 3
    assert source.closed == source.opened


def test_the_reason_is_said_while_it_is_gone():
    source = EmulatedSource()
    with ThreadedCamera("wrist", source, settings=FAST) as camera:
        source.unplugged = True
        until(lambda: camera.counters()["reconnects"] > 1)
        with pytest.raises(
            Stale, match=r"'wrist' \(emulated camera\).*not connected; connected: nothing; trying again"
        ):
            camera.read(0.0)


def test_the_end_is_final_and_said():
    source = Scripted(shot(1), Ended("the film is over"))
    with ThreadedCamera("c", source, settings=FAST) as camera:
        with pytest.raises(Stale, match="the film is over"):
            camera.wait(after=1, timeout=10.0)
        assert source.opened == 1


def test_what_cannot_be_opened_is_refused_with_its_reason():
    source = EmulatedSource()
    source.unplugged = True
    with pytest.raises(UserError, match="not connected"):
        ThreadedCamera("c", source, settings=FAST)


def test_a_device_without_a_picture_is_refused():
    source = EmulatedSource()
    source.silent = True
    with pytest.raises(UserError, match=r"'c' .* does not start: .*in use elsewhere"):
        ThreadedCamera("c", source, settings=CaptureSettings(first_picture=0.1, start_timeout=0.4))
    assert not [thread for thread in threading.enumerate() if thread.name == "camera-c"]


def test_late_pictures_are_as_old_as_they_are():
    source = EmulatedSource()
    with ThreadedCamera("c", source, settings=FAST) as camera:
        until(lambda: camera.counters()["frames"] > 5)
        source.delay = 0.15
        until(lambda: camera.counters()["age_ms"] > 140)
        index = camera.read(math.inf).index
        frame = camera.wait(index + 3, timeout=10.0)
        assert time.monotonic() - frame.stamp >= 0.14


def test_stamps_follow_a_device_whose_clock_is_set_back():
    shots = [shot(number, time=1000.0 + number) for number in range(1, 4)]
    shots += [shot(number, time=5.0 + number) for number in range(4, 7)]
    with ThreadedCamera("c", Scripted(*shots), settings=FAST) as camera:
        until(lambda: camera.counters()["frames"] == 6)
        assert camera.counters()["age_ms"] < 1e4


def test_latency_sets_stamps_back():
    settings = CaptureSettings(latency=3.0)
    with ThreadedCamera("c", Scripted(shot(1)), settings=settings) as camera:
        assert time.monotonic() - camera.read(math.inf).stamp >= 3.0


def test_one_side_is_enough():
    with ThreadedCamera("c", EmulatedSource(64, 48), width=32) as camera:
        assert (camera.width, camera.height) == (32, 24)
    with ThreadedCamera("c", EmulatedSource(64, 48), height=24) as camera:
        assert (camera.width, camera.height) == (32, 24)


def test_no_size_in_between_is_handed_out_when_the_device_comes_back_different():
    source = Scripted(shot(1), OSError("gone"), Shot(np.zeros((6, 8, 3), np.uint8)))
    with ThreadedCamera("c", source, settings=FAST) as camera:
        source.format = Format(8, 6)
        until(lambda: source.opened > 1)
        until(lambda: camera.counters()["reconnects"] > 1)
        with pytest.raises(Stale, match="8x6, not 4x3"):
            camera.read(-1.0)
