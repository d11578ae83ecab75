import json
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from robo_rl.cli import main
from robo_rl.training.checkpoint import load_checkpoint
from robo_rl.training.run_folder import RunFolder


def wait_for(condition, process, seconds=200):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.05)


def checkpoints(folder: Path):
    return sorted(folder.glob("runs/*/checkpoints/latest-*"))


def test_ends_with_the_summary_as_one_line(finished):
    _, run, line = finished
    assert line == json.loads((run / "summary.json").read_text())
    for key in ("task", "robot", "world", "success_rate", "success_interval_95", "episodes", "env_steps", "updates",
                "wall_seconds", "seed", "run", "target_reached"):  # fmt: skip
        assert key in line
    assert line["env_steps"] == 120
    assert line["episodes"] == 6
    assert (run / "evaluation.mp4").stat().st_size > 0


def test_ctrl_c_then_resume_is_one_run(terminal, monkeypatch, capsys):
    process = terminal.start("train", terminal.task, *terminal.small, "--steps", "100000")
    wait_for(lambda: len(checkpoints(terminal.folder)) > 0, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    line = json.loads(out)
    run = terminal.only_run()
    assert line == json.loads((run / "summary.json").read_text())
    assert line["interrupted"]
    steps = load_checkpoint(run / "checkpoints", "latest").env_steps
    assert steps == line["env_steps"]

    monkeypatch.syspath_prepend(terminal.folder)
    assert main(["train", "--resume", str(run), "--steps", str(steps + 40)]) == 0
    out, err = capsys.readouterr()
    assert f"at {steps} steps" in err
    resumed = json.loads(out)
    assert resumed["env_steps"] == steps + 40
    assert not resumed["interrupted"]
    assert resumed["train_seconds"] > line["train_seconds"]
    counted = [(row["kind"], row["env_steps"]) for row in RunFolder(run).metrics()]
    assert len(counted) == len(set(counted))
    assert len(json.loads((run / "system.json").read_text())) == 2


def test_kill_leaves_everything_finished_readable_and_resumable(terminal, monkeypatch, capsys):
    process = terminal.start("train", terminal.task, *terminal.small, "--steps", "100000", "--checkpoint-every", "20")
    wait_for(lambda: len(checkpoints(terminal.folder)) > 0, process)
    first = checkpoints(terminal.folder)[0]
    wait_for(lambda: first not in checkpoints(terminal.folder), process)
    process.kill()
    process.communicate()
    run = RunFolder.open(terminal.only_run())
    rows = run.metrics()
    assert rows
    checkpoint = load_checkpoint(run.checkpoints, "latest")
    for part in ("policy", "agent", "replay", "random"):
        assert checkpoint.tensors(part)
    assert run.summary is None

    monkeypatch.syspath_prepend(terminal.folder)
    assert main(["train", "--resume", str(run.path), "--steps", str(checkpoint.env_steps + 30)]) == 0
    assert json.loads(capsys.readouterr().out)["env_steps"] == checkpoint.env_steps + 30
    counted = [(row["kind"], row["env_steps"]) for row in run.metrics()]
    assert len(counted) == len(set(counted))
    assert [row for row in rows if row["env_steps"] <= checkpoint.env_steps] == run.metrics()[
        : sum(row["env_steps"] <= checkpoint.env_steps for row in rows)
    ]


def test_a_run_can_be_started_again_from_its_config(finished, monkeypatch, capsys, tmp_path):
    terminal, run, line = finished
    monkeypatch.syspath_prepend(terminal.folder)
    words = ["--config", str(run / "config.json"), "--out", str(tmp_path), "--video-episodes", "0"]
    assert main(["train", *words]) == 0
    again = json.loads(capsys.readouterr().out)
    same = ("task", "success_rate", "return", "length", "env_steps", "updates", "seed")
    assert {key: again[key] for key in same} == {key: line[key] for key in same}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train", "reach", "--resume", "RUN"], "is of task 'gym:line_env:Line-v0', not 'reach'"),
        (["train", "--resume", "RUN", "--seed", "5"], "seed: a resumed run cannot change it from 0 to 5"),
        (["train", "--resume", "RUN", "--agent.critics", "3"], "agent.critics: a resumed run cannot change it"),
        (["train", "--resume", "RUNX"], "unknown run "),
        (["train", "--resume", "RUN", "--config", "RUN/config.json"], "give one of them"),
        (["eval", "RUN", "--checkpoint", "RUN/checkpoints/latest-9"], "there is no checkpoint"),
        (["eval", "RUN", "--checkpoint", "OTHER"], "is of task 'peg_insertion', but the run is of 'gym:line_env"),
        (["eval", "RUN", "--episodes", "0"], "episodes: must be at least 1"),
        (["eval", "BROKEN"], "unknown field in"),
    ],
)
def test_requests_that_do_not_fit_the_run(finished, words, told, capsys, tmp_path, monkeypatch):
    terminal, run, _ = finished
    monkeypatch.syspath_prepend(terminal.folder)
    other = tmp_path / "best-0000000001"
    shutil.copytree(load_checkpoint(run / "checkpoints").path, other)
    state = json.loads((other / "state.json").read_text())
    (other / "state.json").write_text(json.dumps(state | {"task": "peg_insertion"}))
    broken = tmp_path / "broken"
    broken.mkdir()
    config = json.loads((run / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"stepz": 3}))
    places = {"RUNX": f"{run}x", "RUN": str(run), "OTHER": str(other), "BROKEN": str(broken)}
    for name, place in places.items():
        words = [place if word == name else word.replace(f"{name}/", f"{place}/") for word in words]
    assert main(words) == 2
    err = capsys.readouterr().err
    assert told in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_in_turns_two_processes_come_to_the_same_weights(terminal):
    """A real task, physics on several threads, demonstrations, evaluations and checkpoints on the way."""
    words = ["train", "reach", *terminal.small, "--sync", "--steps", "150", "--demos", "2", "--video-episodes", "0"]
    runs = []
    for name in ("first", "second"):
        code, _, err = terminal.run(*words, "--out", name)
        assert code == 0, err
        (run,) = (terminal.folder / name).iterdir()
        runs.append(load_checkpoint(run / "checkpoints", "latest"))
    for part in ("policy", "agent", "replay", "demonstrations", "random"):
        first, second = (run.tensors(part) for run in runs)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)
