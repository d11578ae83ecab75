"""``robo-rl export``: a trained policy as one file that acts without torch."""

import json

import numpy as np
import pytest

from robo_rl.agents.exported import ExportedPolicy


def test_a_trained_policy_is_written_and_acts_alike(finished):
    terminal, run, _ = finished
    code, out, err = terminal.run("export", str(run))
    assert code == 0, err
    told = json.loads(out)
    assert told["largest_difference"] < 1e-5
    policy = ExportedPolicy.load(run / "policy.safetensors")
    assert policy.about["task"] == terminal.task
    obs = {key: np.zeros(width, np.float32) for key, width in policy.widths.items()}
    assert np.abs(policy.act(obs)).max() <= 1.0


def test_eval_takes_the_file_and_finds_what_it_finds_of_the_run(finished):
    terminal, run, _ = finished
    code, out, err = terminal.run("export", str(run), "--out", str(run / "alone" / "mine.safetensors"))
    assert code == 0, err
    few = ("--episodes", "4", "--num-envs", "2", "--policy", "deterministic")
    found = []
    for what in (run, run / "alone" / "mine.safetensors"):
        code, out, err = terminal.run("eval", str(what), *few)
        assert code == 0, err
        found.append(json.loads(out))
    of_run, of_file = found
    assert of_file["checkpoint"] == "mine.safetensors"
    for key in ("task", "success_rate", "length", "env_steps", "updates"):
        assert of_file[key] == of_run[key], key
    assert of_file["return"] == pytest.approx(of_run["return"], abs=1e-3)
    assert (run / "alone" / "evaluations.jsonl").is_file()


def test_what_a_file_cannot_give_is_told(finished, tmp_path):
    terminal, run, _ = finished
    file = tmp_path / "mine.safetensors"
    assert terminal.run("export", str(run), "--out", str(file))[0] == 0
    for words, says in (
        (("--policy", "stochastic"), "draws no actions"),
        (("--checkpoint", "latest"), "holds one policy"),
    ):
        code, _, err = terminal.run("eval", str(file), "--episodes", "1", *words)
        assert (code, err.count("\n")) == (2, 1)
        assert says in err
    (tmp_path / "other.txt").write_text("no policy")
    code, _, err = terminal.run("eval", str(tmp_path / "other.txt"))
    assert (code, err.count("\n")) == (2, 1)
    assert "no exported policy" in err


def test_a_folder_that_is_no_run_is_told(terminal, tmp_path):
    code, _, err = terminal.run("export", str(tmp_path / "nothing"))
    assert (code, err.count("\n")) == (2, 1)
    assert "robo-rl: error:" in err
