"""`robo-rl train TASK --backward OTHER`, on the cube that is picked up and put back."""

import json
import os
from pathlib import Path

import pytest

from robo_rl.cli import main
from robo_rl.commands.backward import backward_config, sharing
from robo_rl.commands.train import read_request
from robo_rl.data.episodes import load_episodes
from robo_rl.errors import UserError
from robo_rl.training.run_folder import RunFolder

SMALL = [
    "--agent.hidden", "16", "16", "--batch-size", "16", "--utd", "0.1", "--warmup-steps", "20", "--eval-episodes", "2",
    "--eval-envs", "2", "--final-episodes", "2", "--video-episodes", "0", "--log-every", "20", "--eval-every", "1000",
    "--checkpoint-every", "30", "--target-success", "None", "--demos", "1", "--threads", "1", "--task.horizon", "10",
]  # fmt: skip
PAIR = ["pick_cube", "--backward", "place_cube"]


@pytest.fixture(autouse=True)
def quick_picture(monkeypatch):
    monkeypatch.setattr("robo_rl.training.outcome.plot_learning_curve", lambda *args, **kwargs: None)


def demonstrations(folder: Path) -> list[str]:
    """One demonstration of each task, and the options that name them."""
    for task in ("pick_cube", "place_cube"):
        words = ["record", task, "--device", "scripted", "--episodes", "1", "--out", str(folder / task)]
        assert main(words) == 0
    return ["--demo-path", str(folder / "pick_cube"), "--backward-demo-path", str(folder / "place_cube")]


def test_a_pair_is_trained_resumed_and_evaluated(tmp_path, capsys):
    shown = demonstrations(tmp_path)
    capsys.readouterr()
    words = ["train", *PAIR, *SMALL, *shown, "--human", "simulated", "--out", str(tmp_path / "runs")]
    assert main([*words, "--steps", "60"]) == 0
    summary = json.loads(capsys.readouterr().out)
    (run,) = (tmp_path / "runs").iterdir()
    assert summary == json.loads((run / "summary.json").read_text())
    second = summary["backward"]
    assert second == json.loads((run / "backward" / "summary.json").read_text())
    assert (summary["task"], second["task"]) == ("pick_cube", "place_cube")
    assert max(summary["env_steps"], second["env_steps"]) == 60
    assert min(summary["env_steps"], second["env_steps"]) >= 5  # of nothing picked, nothing has to be put back
    assert summary["real_resets"] == sum(summary["reset_reasons"].values()) >= 1
    assert second["supervision"]["human_steps"] >= 0
    for folder in (run, run / "backward"):
        episodes = load_episodes(folder / "episodes")
        assert {episode.metadata["task"] for episode in episodes} == {RunFolder(folder).config["task"]}
    assert main(["train", "--resume", str(run), "--steps", "90"]) == 0
    resumed = json.loads(capsys.readouterr().out)
    assert max(resumed["env_steps"], resumed["backward"]["env_steps"]) == 90
    assert resumed["real_resets"] > summary["real_resets"]
    for folder in (run, run / "backward"):
        assert main(["eval", str(folder), "--episodes", "2"]) == 0
        assert json.loads(capsys.readouterr().out)["task"] == RunFolder(folder).config["task"]


def test_the_backward_agent_learns_by_the_settings_of_the_run():
    words = [*PAIR, "--agent.critics", "3", "--task.cube-size", "0.03", "--reset-every", "7", "--demos", "5"]
    config, _ = read_request(words)
    second = backward_config(config)
    assert (second.task, second.backward, second.agent.critics, second.demos) == ("place_cube", None, 3, 5)
    assert second.task_options["cube_size"] == 0.03
    assert second.task_options["clearance"] == 0.08
    assert sharing(config, second) is not None
    # The name of the backward task is not taken for that of the task, wherever it stands.
    again, _ = read_request(["--backward", "place_cube", *words[:1], *words[3:]])
    assert again == config


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pick_cube", "--backward", "reach"], "different scenes"),
        (["pick_cube", "--backward", "place_cub"], "place_cube"),
        (["pick_cube", "--backward", "gym:Pendulum-v1"], "share no world"),
        (["pick_cube", "--backward", "place_cube", "--num-envs", "2"], "num_envs"),
        (["pick_cube", "--backward", "place_cube", "--classifier", "x"], "classifier"),
        (["pick_cube", "--backward", "place_cube", "--reset-every", "0"], "reset_every"),
        ([*PAIR, "--cell", "sim"], "backward_demo_path"),
        (["pick_cube", "--reset-every", "5"], "reset_every: there is no backward task"),
        (["pick_cube", "--backward-demo-path", "x"], "backward_demo_path: there is no backward task"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(tmp_path, words, said):
    def ask():
        config, _ = read_request([*words, "--out", str(tmp_path)])
        sharing(config, backward_config(config))

    with pytest.raises(UserError, match=said):
        ask()
    assert not os.listdir(tmp_path)
