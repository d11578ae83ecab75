"""Learning from pictures by the command line, end to end, with tiny sizes."""

import json
from pathlib import Path

import pytest

from robo_rl.cli import main
from robo_rl.commands.environments import make_environment
from robo_rl.commands.train import read_request
from robo_rl.training.config import TrainConfig
from robo_rl.training.feature_env import FeatureEnv
from robo_rl.training.run_folder import RunFolder

SMALL = [
    "--demos", "1", "--steps", "6", "--warmup-steps", "2", "--batch-size", "4", "--utd", "0.5", "--eval-every", "100",
    "--eval-episodes", "1", "--eval-envs", "1", "--final-episodes", "1", "--video-episodes", "0", "--log-every", "2",
    "--agent.hidden", "8", "--agent.critics", "2", "--replay-capacity", "20", "--task.horizon", "40", "--threads", "1",
]  # fmt: skip
FROZEN = ["--agent.encoder", "frozen", "--agent.cache-features", "--agent.feature-variants", "2"]


def run(capsys, *words):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out.splitlines()[-1]), err


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pixels")


def test_from_pictures_to_a_policy(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    words = ["--images", "24", "--updates", "2", "--num-envs", "2", "--batch-size", "4", "--threads", "1"]
    made, err = run(capsys, "pretrain-encoder", "peg_insertion", *words)
    assert made["out"] == "runs/encoders/peg_insertion-panda.safetensors"
    assert set(made["error_mm"]) == {"camera.front.rgb", "camera.wrist.rgb"}
    assert set(made["error_mm"]["camera.front.rgb"]) == {"tool", "hole", "peg"}
    assert "mean error of positions on pictures held out: hole" in err

    summary, _ = run(capsys, "train", "peg_insertion", "--obs", "pixels", *FROZEN, *SMALL)
    assert summary["obs"] == "pixels"
    assert summary["env_steps"] == 6
    assert summary["demos"] == 1
    spent = summary["seconds"]
    assert all(spent[part] > 0 for part in ("rendering", "encoding", "learning", "all"))
    assert spent["rendering"] + spent["encoding"] + spent["learning"] < spent["all"]
    kept = Path(summary["run"])
    rows = [row for row in RunFolder(kept).metrics() if row["kind"] == "train"]
    assert rows[-1]["seconds_encoding"] > rows[0]["seconds_encoding"]

    # Everything that it takes to use it is in the run.
    Path(made["out"]).unlink()
    told, _ = run(capsys, "eval", kept, "--episodes", 1, "--num-envs", 1, "--policy", "deterministic")
    assert told["length"] == summary["length"]
    resumed, err = run(capsys, "train", "--resume", kept, "--steps", 8)
    assert "at 6 steps" in err
    assert resumed["env_steps"] == 8


def test_from_pictures_with_an_encoder_of_its_own(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    summary, _ = run(capsys, "train", "pick_cube", "--obs", "pixels", "--agent.share-encoder", *SMALL)
    assert summary["seconds"]["encoding"] == 0.0  # it is part of learning
    assert not (Path(summary["run"]) / "encoder.safetensors").exists()
    told, _ = run(capsys, "eval", summary["run"], "--episodes", 1, "--num-envs", 1, "--policy", "deterministic")
    assert told["length"] == summary["length"]


def test_pictures_are_recorded(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    run(capsys, "record", "peg_insertion", "--obs", "pixels", "--episodes", "1", "--out", "shown")
    described = json.loads((folder / "shown" / "dataset.json").read_text())
    assert set(described["observations"]) == {"proprio", "camera.front.rgb", "camera.wrist.rgb"}


def test_what_suits_pixels_is_recommended_for_pixels_only():
    pixels, _ = read_request(["peg_insertion", "--obs", "pixels"])
    state, _ = read_request(["peg_insertion"])
    assert pixels.obs == "pixels"
    assert (pixels.batch_size, state.batch_size) == (128, 256)
    assert read_request(["peg_insertion", "--obs=pixels", "--batch-size", "64"])[0].batch_size == 64


def test_an_environment_without_a_frozen_encoder_shows_pictures():
    config = TrainConfig("peg_insertion", obs="pixels", threads=1)
    env = make_environment(config, 1, 0)
    assert not isinstance(env, FeatureEnv)
    assert env.observation_space["camera.wrist.rgb"].shape == (128, 128, 3)
    env.close()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train", "reach", "--obs", "pixels"], "obs: task 'reach' has no camera"),
        (["train", "reach", "--agent.encoder", "resnet10"], "agent.encoder: there is no image to encode"),
        (["train", "gym:Pendulum-v1", "--obs", "pixels"], "obs: gym:Pendulum-v1 brings its own; leave it out"),
        (["train", "peg_insertion", "--obs", "pixels", "--agent.encoder", "frozen"],
         "make them with: robo-rl pretrain-encoder peg_insertion, or give --agent.encoder-weights"),
        (["train", "peg_insertion", "--obs", "pixels", "--agent.cache-features"], "give --agent.encoder frozen"),
        (["train", "peg_insertion", "--obs", "pixels", "--memory-budget-gb", "1"], "lower capacity to"),
        (["train", "peg_insertion", "--obs", "pixels", "--agent.encoder-weights", "nowhere"], "there is no nowhere"),
        (["pretrain-encoder"], "name the task first: robo-rl pretrain-encoder TASK"),
        (["pretrain-encoder", "reach"], "task 'reach' has no camera"),
        (["pretrain-encoder", "gym:Pendulum-v1"], "does not tell where its objects are"),
        (["pretrain-encoder", "peg_insertion", "--images", "0"], "images: must be at least 1, got 0"),
        (["pretrain-encoder", "peg_insertion", "--architecture", "resnet9"], "architecture"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_told_in_one_line(words, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert err.splitlines()[-1].startswith("robo-rl: error: ")
    assert not list(tmp_path.glob("runs/*/config.json"))
