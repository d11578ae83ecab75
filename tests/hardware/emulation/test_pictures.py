from __future__ import annotations

import threading

import numpy as np
import pytest

from hardware.cameras.emulated import EmulatedCamera
from hardware.emulation.client import CellClient
from hardware.emulation.faults import Fault
from hardware.emulation.mailbox import Outbox
from hardware.emulation.pictures import PictureServer
from hardware.emulation.wire import CAMERAS, SNAPSHOT
from robo_rl.errors import Stale, UserError


class GreyPainter:
    """Paints everything in the grey that a snapshot is."""

    sizes = {"front": (6, 4), "wrist": (5, 3)}  # noqa: RUF012

    def draw(self, snapshot, camera):
        width, height = self.sizes[camera]
        return np.full((height, width, 3), int(snapshot[0]), np.uint8)

    def close(self):
        """Holds nothing."""


@pytest.fixture
def snapshots(folder):
    outbox = Outbox(folder / SNAPSHOT, 8, "float64")
    yield outbox
    outbox.close()


@pytest.fixture
def server(folder):
    with PictureServer(GreyPainter(), folder, fps=200.0) as made:
        thread = threading.Thread(target=made.run)
        thread.start()
        yield made
        made.stop()
        thread.join()


def test_each_camera_shows_the_snapshot_and_has_its_stamp(folder, snapshots, server):
    snapshots.put(1, 12.5, np.array([77.0]).tobytes())
    for name, shape in (("front", (4, 6, 3)), ("wrist", (3, 5, 3))):
        camera = EmulatedCamera(name, folder)
        frame = camera.read(float("inf"))
        assert (camera.height, camera.width) == shape[:2]
        assert frame.rgb.shape == shape
        assert (frame.rgb == 77).all()
        assert frame.stamp == 12.5
        camera.close()


def test_the_same_snapshot_is_not_drawn_again(folder, snapshots, server):
    snapshots.put(1, 12.5, np.array([77.0]).tobytes())
    camera = EmulatedCamera("front", folder)
    index = camera.read(float("inf")).index
    drawn = CellClient(folder).figures(CAMERAS)["drawn"]
    assert camera.read(float("inf")).index == index
    assert CellClient(folder).figures(CAMERAS)["drawn"] == drawn == 2.0
    with pytest.raises(Stale, match="no news from the physics"):
        camera.read(0.1)


def test_a_camera_that_is_not_there_is_refused(folder, server):
    with pytest.raises(UserError, match="back"):
        EmulatedCamera("back", folder, timeout=0.1)
    with pytest.raises(UserError, match=r"no camera 'back' here \(known: front, wrist\)"):
        CellClient(folder).inject(Fault("drop", "back"))
