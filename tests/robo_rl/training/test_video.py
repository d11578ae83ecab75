"""What people look at: learning curve and video."""

import cv2
import numpy as np
import pytest

from robo_rl.errors import UserError
from robo_rl.training import video
from robo_rl.training.durable import StorageError
from robo_rl.training.plots import plot_learning_curve
from robo_rl.training.video import film, tile, write_video

EVALUATION = {
    "kind": "evaluation", "env_steps": 100, "wall_seconds": 60.0, "return": 0.5,
    "success_rate": 0.5, "success_interval_95": [0.3, 0.7],
}  # fmt: skip


def drawn(rows, tmp_path, **about):
    plot_learning_curve(rows, tmp_path / "curve.png", title="t", **about)
    return cv2.imread(str(tmp_path / "curve.png"))


def test_the_curve_shows_what_was_measured(tmp_path):
    later = EVALUATION | {
        "env_steps": 200,
        "wall_seconds": 120.0,
        "success_rate": 0.9,
        "success_interval_95": [0.8, 1.0],
    }
    train = {"kind": "train", "env_steps": 150, "wall_seconds": 90.0, "success": 0.4, "return": 0.4}
    empty = drawn([], tmp_path)
    one = drawn([EVALUATION, later, train], tmp_path, target=0.95)
    assert one.shape == empty.shape
    assert (one != empty).any()
    worse = drawn([EVALUATION, later | {"success_rate": 0.6}, train], tmp_path, target=0.95)
    assert (one != worse).any()


def test_without_success_the_return_is_drawn(tmp_path):
    rows = [EVALUATION | {"success_rate": 0.0, "return": r, "env_steps": n} for n, r in ((1, -300.0), (2, -100.0))]
    assert (drawn(rows, tmp_path) != drawn([rows[0], rows[1] | {"return": -200.0}], tmp_path)).any()


def test_frames_come_back(tmp_path):
    frames = [np.full((48, 64, 3), (level, 0, 0), np.uint8) for level in (20, 120, 220)]
    write_video(tmp_path / "film.mp4", frames, 10)
    reader = cv2.VideoCapture(str(tmp_path / "film.mp4"))
    for frame in frames:
        good, seen = reader.read()
        assert good
        assert abs(int(seen[..., 2].mean()) - int(frame[..., 0].mean())) < 12  # red, which OpenCV has last
        assert seen[..., 0].mean() < 12
    assert not reader.read()[0]


def test_nothing_to_show(tmp_path):
    with pytest.raises(UserError, match="no frame"):
        write_video(tmp_path / "film.mp4", [], 10)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_codec_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "_CODECS", ("none",))
    with pytest.raises(UserError, match="OpenCV has no codec"):
        write_video(tmp_path / "film.mp4", [np.zeros((48, 64, 3), np.uint8)], 10)


def test_a_full_disk_leaves_no_half_video(small_disk, monkeypatch):
    disk = small_disk(400)
    monkeypatch.setattr(video, "_CODECS", ("mp4v",))  # the quicker one
    noise = np.random.default_rng(0).integers(0, 255, (40, 240, 320, 3), dtype=np.uint8)
    with pytest.raises(StorageError):
        write_video(disk / "film.mp4", list(noise), 10)
    assert list(disk.iterdir()) == []


def test_tiles_lie_row_by_row():
    pictures = [np.full((2, 3, 3), i + 1, np.uint8) for i in range(3)]
    grid = tile(pictures)
    assert grid.shape == (4, 6, 3)
    assert (grid[0, 0, 0], grid[0, 3, 0], grid[2, 0, 0], grid[2, 3, 0]) == (1, 2, 3, 0)


def test_a_film_shows_every_episode_to_its_end(point_env):
    """Five episodes in rounds of two; each round is as long as its longest episode, plus the picture of the start."""
    lengths = []

    def away(obs, *, explore):
        return obs["state"][:, :1].sign()

    class Counting(point_env):
        def reset(self, mask=None, *, start=None):
            lengths.append(self.horizon)
            return super().reset(mask, start=start)

    frames = film(Counting(2, horizon=4), away, episodes=5, seed=3, size=(32, 16))
    assert len(lengths) == 3
    assert len(frames) == 3 * (1 + 4)
    assert {frame.shape for frame in frames} == {(16, 64, 3)}
    assert frames[-1][:, :32].any()
    assert not frames[-1][:, 32:].any()  # nobody is in the second place any more


def test_an_environment_without_pictures():
    with pytest.raises(UserError, match="cannot render"):
        film(object(), lambda obs, explore: obs)
