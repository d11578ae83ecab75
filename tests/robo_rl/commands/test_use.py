"""What is done with a trained policy: eval and play."""

import json

import cv2
import pytest

from robo_rl.cli import main


@pytest.fixture(autouse=True)
def _beside_the_run(finished, monkeypatch):
    monkeypatch.syspath_prepend(finished[0].folder)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)


def run(capsys, *words):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    assert code == 0, err
    return out, err


def test_eval_measures_what_training_reported(finished, capsys):
    """The same starts, the same policy, the same processing: the same numbers, with any number of environments."""
    _, path, line = finished
    out, err = run(capsys, "eval", path, "--episodes", 6, "--num-envs", 4)
    told = json.loads(out)
    for key in ("success_rate", "success_interval_95", "episodes", "return", "length", "task", "evaluation_seed"):
        assert told[key] == line[key], key
    assert told["deterministic"]
    assert 0.0 <= told["stochastic_success_rate"] <= 1.0
    assert "95 % interval" in err
    lines = (path / "evaluations.jsonl").read_text().splitlines()
    assert json.loads(lines[-1]) == told


def test_eval_can_sample_and_take_other_starts(finished, capsys):
    _, path, _ = finished
    told = json.loads(
        run(capsys, "eval", path, "--episodes", 8, "--policy", "stochastic", "--seed", 5, "--checkpoint", "latest")[0]
    )
    assert not told["deterministic"]
    assert told["evaluation_seed"] == 5
    assert told["episodes"] == 8


def test_play_writes_a_video(finished, capsys, tmp_path):
    _, path, _ = finished
    out, _ = run(capsys, "play", path, "--episodes", 3, "--out", tmp_path / "film.mp4", "--width", 64, "--height", 48)
    assert out.strip() == str(tmp_path / "film.mp4")
    film = cv2.VideoCapture(out.strip())
    assert film.get(cv2.CAP_PROP_FRAME_WIDTH) == 128  # two by two
    assert film.get(cv2.CAP_PROP_FRAME_HEIGHT) == 96
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) >= 2


def test_play_without_a_display_cannot_open_a_window(finished, capsys):
    assert main(["play", str(finished[1]), "--viewer", "True"]) == 2
    assert "viewer: there is no display" in capsys.readouterr().err


def test_play_refuses_a_camera_that_is_not_there(finished, capsys):
    assert main(["play", str(finished[1]), "--camera", "wrist"]) == 2
    assert "has no camera 'wrist'" in capsys.readouterr().err
