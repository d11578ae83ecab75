import json

import torch

from robo_rl.cli import main
from robo_rl.data.episodes import load_episodes


def test_records_successes_and_says_how_many_tries(tmp_path, capsys):
    out = tmp_path / "demos"
    assert main(["record", "reach", "--episodes", "3", "--out", str(out), "--task.tolerance", "0.02"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["episodes"] == 3
    assert told["tries"] >= 3
    episodes = load_episodes(out)
    assert len(episodes) == 3
    assert all(bool(episode.success[-1]) and not bool(episode.success[:-1].any()) for episode in episodes)
    assert episodes[0].metadata["task"] == "reach"
    assert episodes[0].metadata["source"] == "scripted"
    # Other starts, other episodes.
    assert not torch.equal(episodes[0].obs["state"][0], episodes[1].obs["state"][0])


def test_demonstrations_of_another_task_are_refused(tmp_path, capsys):
    out = tmp_path / "demos"
    assert main(["record", "reach", "--episodes", "1", "--out", str(out)]) == 0
    capsys.readouterr()
    words = ["train", "pick_cube", "--demo-path", str(out), "--demos", "1", "--out", str(tmp_path / "runs")]
    assert main(words) == 2
    err = capsys.readouterr().err
    assert "recorded for" in err
    assert "Traceback" not in err


def test_an_environment_without_an_expert(tmp_path, capsys):
    assert main(["record", "gym:Pendulum-v1", "--out", str(tmp_path / "demos")]) == 2
    assert "no scripted expert" in capsys.readouterr().err
