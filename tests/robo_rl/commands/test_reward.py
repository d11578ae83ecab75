"""``robo-rl reward``, and training by what it made."""

import dataclasses
import json

import pytest
import torch

from robo_rl.agents.backbones import Backbone, BackboneSpec
from robo_rl.cli import main
from robo_rl.contracts.human import LABELS
from robo_rl.data.episodes import Episode
from robo_rl.rewards.calibration import Platt
from robo_rl.rewards.classifier import SuccessClassifier, SuccessNet
from robo_rl.rewards.rule import RuleSettings

CAMERA = "camera.wrist.rgb"
QUICK = ("--learn.updates", "40", "--learn.batch-size", "32", "--learn.learning-rate", "3e-3", "--learn.stride", "1")


def store(folder, count, *, label=None, shuffle=False, seed=0):
    """Episodes of which every other one ends bright, which is success; dark otherwise."""
    generator = torch.Generator().manual_seed(seed)
    folder.mkdir()
    for number in range(count):
        done = torch.zeros(9, dtype=torch.bool)
        done[-3:] = number % 2 == 0
        images = torch.randint(0, 50, (9, 24, 24, 3), generator=generator, dtype=torch.uint8)
        images[done] += 60
        truth = done[torch.randperm(9, generator=generator)] if shuffle else done
        over = torch.zeros(8, dtype=torch.bool)
        codes = torch.zeros(8, dtype=torch.uint8)
        codes[-1] = 0 if label is None else LABELS.index(label)
        action = torch.zeros(8, 2)
        Episode(
            {CAMERA: images}, action, action.clone(), truth[1:].float(), over, over.clone(), truth[1:],
            {"task": "peg_insertion", "robot": "panda"}, {"label": codes},
        ).save(folder / f"episode_{number:06d}.safetensors")  # fmt: skip
    return str(folder)


def call(capsys, *words):
    code = main(list(words))
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def data(tmp_path):
    return store(tmp_path / "data", 60)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_from_episodes_to_a_second_version(data, tmp_path, capsys):
    code, out, err = call(capsys, "reward", "train", "peg_insertion", "--data", data, *QUICK)
    assert code == 0, err
    first = json.loads(out)
    assert (first["version"], first["task"], first["cameras"]) == (1, "peg_insertion", [CAMERA])
    assert first["test"]["by_frame"]["precision"] >= 0.99
    assert first["test"]["by_frame"]["recall"] >= 0.95
    assert "record more to be sure" in err, "12 episodes do not show 99 %"
    for name in ("out", "precision_recall", "confusing"):
        assert (tmp_path / first[name]).stat().st_size > 1000

    vetoes = store(tmp_path / "vetoes", 10, label="failure", seed=1)
    code, out, err = call(
        capsys, "reward", "train", "peg_insertion", "--data", data, "--corrections", vetoes, *QUICK,
        "--learn.precision", "0.5", "--learn.least-recall", "0.1",
    )  # fmt: skip
    assert code == 0, err
    second = json.loads(out)
    assert (second["version"], second["corrected_episodes"]) == (2, 10)
    assert second["digest"] != first["digest"]
    assert SuccessClassifier.load(tmp_path / first["out"]).version == 1, "the first one is still there"

    code, out, err = call(capsys, "reward", "check", first["out"])
    assert code == 0
    assert json.loads(out)["test"] == first["test"]
    fresh = store(tmp_path / "fresh", 20, seed=2)
    code, out, err = call(capsys, "reward", "check", first["out"], "--data", fresh, "--pictures", "seen")
    assert code == 0, err
    checked = json.loads(out)
    assert checked["measured"]["by_frame"]["recall"] >= 0.95
    assert not checked["same_data"]
    assert (tmp_path / checked["confusing"]).exists()
    code, out, err = call(capsys, "reward", "check", first["out"], "--data", data)
    assert json.loads(out)["same_data"]
    assert "nothing about others" in err


def test_shuffled_labels_store_nothing(tmp_path, capsys):
    data = store(tmp_path / "shuffled", 60, shuffle=True)
    code, out, err = call(capsys, "reward", "train", "peg_insertion", "--data", data, *QUICK)
    assert (code, out) == (2, "")
    assert "cannot be had" in err.splitlines()[-1]
    assert not list(tmp_path.rglob("v*.safetensors"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("reward", "tarin"), "did you mean 'train'"),
        (("reward", "train"), "name the task first"),
        (("reward", "train", "gym:Pendulum-v1"), "no cameras"),
        (("reward", "train", "peg_insertion", "--held-out", "1.5"), "held_out"),
        (("reward", "train", "peg_insertion", "--learn.precision", "1"), "precision"),
        (("reward", "train", "peg_insertion", "--data", "nowhere"), "no episodes"),
        (("reward", "check", "nowhere.safetensors"), "there is no"),
        (("train", "peg_insertion", "--classifier", "nowhere.safetensors", "--demos", "0"), "there is no"),
        (("train", "gym:Pendulum-v1", "--classifier", "a.safetensors"), "classifier"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(capsys, tmp_path, words, said):
    code, out, err = call(capsys, *words)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert not list(tmp_path.glob("runs/*/config.json"))


def test_a_classifier_of_other_images_leaves_no_run(data, tmp_path, capsys):
    file = json.loads(call(capsys, "reward", "train", "peg_insertion", "--data", data, *QUICK)[1])["out"]
    code, _, err = call(capsys, "train", "peg_insertion", "--classifier", file, "--demos", "0")
    assert code == 2
    assert "(24, 24, 3)" in err
    assert not list(tmp_path.glob("runs/*/config.json"))


def test_training_goes_by_it_and_tells_exploitation(tmp_path, capsys):
    """One that takes everything for success: every episode is a false one."""
    generator = torch.Generator().manual_seed(0)
    net = SuccessNet({CAMERA: Backbone(BackboneSpec("conv", (128, 128)), generator)}, frozen=False, generator=generator)
    gullible = SuccessClassifier(net, Platt(), -100.0, RuleSettings(3, 0.5), 4)
    gullible.save(tmp_path / "gullible.safetensors")
    code, out, err = call(
        capsys, "train", "peg_insertion", "--classifier", "gullible.safetensors", "--demos", "0", "--steps", "12",
        "--eval-every", "12", "--eval-episodes", "2", "--eval-envs", "2", "--final-episodes", "2", "--video-episodes",
        "0", "--warmup-steps", "20", "--agent.hidden", "16", "16", "--agent.critics", "2", "--target-success", "None",
    )  # fmt: skip
    assert code == 0, err
    summary = json.loads(out)
    assert (summary["success_rate"], summary["classified_rate"], summary["classified_falsely"]) == (0.0, 1.0, 1.0)
    assert summary["length"] == 3.0, "the rule wants three frames"
    (tmp_path / "gullible.safetensors").unlink()
    code, out, err = call(capsys, "eval", summary["run"], "--episodes", "2", "--policy", "deterministic")
    assert code == 0, err
    assert json.loads(out)["classified_falsely"] == 1.0, "the run keeps its own"

    strict = dataclasses.replace(gullible, threshold=100.0, version=5)
    strict.save(tmp_path / "strict.safetensors")
    code, out, err = call(
        capsys, "train", "--resume", summary["run"], "--steps", "24", "--classifier", "strict.safetensors"
    )
    assert code == 0, err
    assert json.loads(out)["classified_rate"] == 0.0, "a resumed run goes by the version it is given"
    assert SuccessClassifier.load(tmp_path / summary["run"] / "classifier.safetensors").version == 5
