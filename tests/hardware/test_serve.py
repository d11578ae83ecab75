"""The process of one device, as a cell starts it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hardware.cell import CameraEntry, Cell, RosEntry
from hardware.cell_file import load_cell, save_cell

ROOT = Path(__file__).resolve().parents[2]
DOMAIN = 1 + (os.getpid() * 13 + 70) % 100


def serve(file, device):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "hardware.serve", str(file), device]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.mark.realtime
@pytest.mark.parametrize("source", ["settings", "calibration"])
def test_the_lens_of_a_camera_is_published_with_its_pictures(tmp_path, source):
    pytest.importorskip("rclpy")
    cv2 = pytest.importorskip("cv2")
    from sensor_msgs.msg import CameraInfo

    from hardware.ros import Session, qos

    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number:04d}.png"), np.full((48, 64, 3), 40 * number, np.uint8))
    lens = {"width": 64, "height": 48, "fx": 60.0, "fy": 61.0, "cx": 31.0, "cy": 23.0}
    settings = {"path": str(tmp_path / "%04d.png"), "loop": True, "fps": 10.0}
    settings |= {"lens": lens} if source == "settings" else {}
    found = {"cameras": {"top": {"intrinsics": lens}}} if source == "calibration" else {}
    cameras = {"top": CameraEntry("video_file", 32, 24, settings)}
    cell = Cell("mine", load_cell("widowx250s").arms, cameras, ros=RosEntry(domain=DOMAIN), calibration=found)
    save_cell(cell, tmp_path / "cell.yaml")
    heard = []
    node = serve(tmp_path / "cell.yaml", "top")
    try:
        with Session("test_serve", domain=DOMAIN) as session:
            session.node.create_subscription(CameraInfo, "top/camera_info", heard.append, qos.image_in())
            deadline = time.monotonic() + 40.0
            while not heard and time.monotonic() < deadline:
                time.sleep(0.05)
    finally:
        node.terminate()
        _, said = node.communicate(timeout=30)
    assert heard, said
    assert (heard[0].width, heard[0].height) == (32, 24)
    np.testing.assert_allclose(np.reshape(heard[0].k, (3, 3)), [[30.0, 0, 15.25], [0, 30.5, 11.25], [0, 0, 1]])


def test_a_device_that_cannot_start_is_told_in_one_line_with_code_2(tmp_path):
    pytest.importorskip("rclpy")
    cameras = {"top": CameraEntry("webcam", settings={"address": "/dev/no-such-camera"})}
    save_cell(Cell("mine", load_cell("widowx250s").arms, cameras), tmp_path / "cell.yaml")
    node = serve(tmp_path / "cell.yaml", "top")
    _, said = node.communicate(timeout=60)
    assert node.returncode == 2
    line = "top: error: cameras.top: there is no device /dev/no-such-camera; connected: "
    assert said.strip().splitlines()[-1].startswith(line)
