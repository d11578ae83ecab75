from __future__ import annotations

import cv2
import numpy as np
import pytest

from hardware.cameras import opencv
from hardware.cameras.capture import ThreadedCamera
from hardware.cameras.opencv import VideoFileSource, WebcamSettings, WebcamSource, video_file, webcam
from hardware.cameras.view import Intrinsics
from robo_rl.errors import Stale, UserError


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "scene.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 50.0, (32, 24))
    for number in range(5):
        writer.write(np.full((24, 32, 3), (0, 0, 40 * number + 40), np.uint8))  # BGR: ever redder
    writer.release()
    return path


def test_every_picture_of_a_file_comes_in_order_and_then_its_end(video):
    source, levels = VideoFileSource(video), []
    assert source.open().width == 32
    for _ in range(5):
        shot = source.grab(1.0)
        levels.append((shot.number, round(float(shot.rgb[..., 0].mean()) / 40)))
        assert shot.rgb[..., 2].mean() < 20
    with pytest.raises(opencv.Ended, match="at its end, after 5 pictures"):
        source.grab(1.0)
    assert levels == [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]
    source.close()


def test_a_camera_at_the_end_of_its_file_says_so(video):
    with ThreadedCamera("c", VideoFileSource(video, fps=200.0)) as camera, pytest.raises(Stale, match="at its end"):
        camera.wait(after=5, timeout=5.0)


def test_a_looped_file_goes_on_and_counts_on(video):
    with video_file("c", video, 16, 12, loop=True) as camera:
        frame = camera.wait(11, timeout=10.0)
        assert frame.rgb.shape == (12, 16, 3)
        assert camera.counters()["reconnects"] == 0


def test_numbered_pictures_are_a_video(tmp_path):
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number:04d}.png"), np.full((6, 8, 3), 50 * number, np.uint8))
    source = VideoFileSource(tmp_path / "%04d.png", fps=1000.0)
    made = source.open()
    assert (made.width, made.height) == (8, 6)
    shots = []
    while len(shots) < 3:
        shot = source.grab(1.0)
        if shot is not None:
            shots.append(int(shot.rgb.mean()))
    assert shots == [0, 50, 100]


def test_a_wrong_file_name_is_answered_with_the_nearest(video):
    with pytest.raises(UserError, match=r"no video .*scen\.avi; did you mean scene\.avi"):
        video_file("c", video.parent / "scen.avi")


def test_a_file_that_is_no_video_is_refused(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"not a film")
    with pytest.raises(UserError, match=r"a\.mp4 is no video"):
        video_file("c", tmp_path / "a.mp4")


@pytest.fixture
def computer(tmp_path, monkeypatch):
    """Two video devices that are there but cannot be opened."""
    monkeypatch.setattr(opencv, "DEVICES", tmp_path / "dev")
    monkeypatch.setattr(opencv, "NAMES", tmp_path / "sys")
    (tmp_path / "dev").mkdir()
    for number, name in enumerate(("HD Webcam", "Document camera")):
        (tmp_path / "dev" / f"video{number}").touch()
        (tmp_path / "sys" / f"video{number}").mkdir(parents=True)
        (tmp_path / "sys" / f"video{number}" / "name").write_text(name + "\n")
    return tmp_path


def test_a_wrong_path_names_what_is_connected(computer):
    with pytest.raises(UserError, match=r"no device /dev/none; connected: .*video0 \(HD Webcam\), .*video1 \(Document"):
        webcam("c", "/dev/none")


def test_a_wrong_index_names_what_is_connected(computer):
    for address in (97, "97"):
        with pytest.raises(UserError, match=r"webcam 97 does not open; connected: .*video0 \(HD Webcam\)"):
            webcam("c", address)


def test_an_address_where_nobody_answers_is_refused():
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:1/ does not open"):
        ThreadedCamera("c", WebcamSource("http://127.0.0.1:1/", timeout=0.5))


class Webcam:
    """A device of OpenCV's that remembers what it was set to."""

    def __init__(self, address):
        self.address, self.told = address, {}
        Webcam.last = self

    def isOpened(self):  # noqa: N802  (OpenCV's name)
        return True

    def set(self, option, value):
        self.told[option] = value
        return True

    def read(self):
        return True, np.random.default_rng(len(self.told)).integers(0, 255, (48, 64, 3)).astype(np.uint8)

    def release(self):
        pass


def test_exposure_size_and_lens_of_a_webcam_are_those_of_its_settings(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", Webcam)
    lens = Intrinsics(64, 48, 60.0, 60.0, 31.5, 23.5)
    settings = WebcamSettings(0, width=64, height=48, fps=20.0, exposure=120.0, lens=lens, fovy=30.0)
    with webcam("c", settings, 32, 32) as camera:
        told = Webcam.last.told
        assert (told[cv2.CAP_PROP_EXPOSURE], told[cv2.CAP_PROP_AUTO_EXPOSURE]) == (120.0, 1)
        assert (told[cv2.CAP_PROP_FRAME_WIDTH], told[cv2.CAP_PROP_FPS]) == (64, 20.0)
        assert camera.intrinsics.fovy == pytest.approx(30.0, abs=1.0)
        assert camera.intrinsics.cx == pytest.approx(15.5)


def test_a_lens_of_other_pictures_is_refused(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", Webcam)
    settings = WebcamSettings(0, lens=Intrinsics(640, 480, 600.0, 600.0, 320.0, 240.0))
    with pytest.raises(UserError, match="lens is of 640x480 pictures and webcam 0 gives 64x48"):
        webcam("c", settings)
