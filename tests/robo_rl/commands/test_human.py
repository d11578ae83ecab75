"""People on the command line: what they record, and what is learned with them."""

import json
import os
import pty
import threading
import time

import pytest

from robo_rl.cli import main
from robo_rl.data.episodes import load_episodes
from robo_rl.training.checkpoint import load_checkpoint
from robo_rl.training.run_folder import RunFolder

SMALL = [
    "--agent.critics", "2", "--agent.hidden", "16", "16", "--batch-size", "32", "--utd", "0.1", "--warmup-steps", "50",
    "--eval-episodes", "2", "--eval-envs", "2", "--final-episodes", "2", "--video-episodes", "0", "--log-every", "40",
    "--eval-every", "1000", "--target-success", "None", "--demos", "1", "--threads", "1",
    "--task.horizon", "20",
]  # fmt: skip


def transitions(checkpoint, part: str) -> int:
    """How many a stored memory holds; a row that nothing follows is the last observation of a stretch."""
    return int((checkpoint.tensors(part)["hop"] != 0).sum())


@pytest.fixture
def typist(monkeypatch):
    """Types into the terminal that is standard input."""
    ours, theirs = pty.openpty()
    stdin = os.fdopen(theirs)
    monkeypatch.setattr("sys.stdin", stdin)
    done = threading.Event()

    def start(keys):
        def type_all():
            for key in keys:
                if done.wait(0.15):
                    return
                os.write(ours, key.encode())

        thread = threading.Thread(target=type_all, daemon=True)
        thread.start()
        return thread

    yield start
    done.set()
    time.sleep(0.2)
    stdin.close()
    os.close(ours)


def test_a_person_records_at_the_keyboard(typist, tmp_path, capsys):
    typist(["p", "p", *["w"] * 300, "q"])
    words = [
        "record",
        "reach",
        "--device",
        "keyboard",
        "--episodes",
        "1",
        "--task.horizon",
        "5",
        "--task.tolerance",
        "9",
    ]
    assert main([*words, "--out", str(tmp_path / "demos")]) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert (told["episodes"], told["tries"]) == (1, 1)
    assert "w s away, back" in err
    (episode,) = load_episodes(tmp_path / "demos")
    assert episode.metadata["source"] == "human"
    assert bool(episode.provenance["active"][0])
    assert episode.action[0].tolist() == [1.0, 0.0, 0.0]  # away from the person, in the frame of the task's actions
    assert bool(episode.success[-1])


def test_a_policy_is_corrected_and_goes_on(tmp_path, capsys):
    words = ["train", "reach", "--human", "simulated", "--steps", "120", "--simulated.patience", "0.3", *SMALL]
    assert main([*words, "--out", str(tmp_path)]) == 0
    line = json.loads(capsys.readouterr().out)
    run = RunFolder.open(tmp_path / os.listdir(tmp_path)[0])
    figures = line["supervision"]
    assert 0.0 < figures["intervention_rate"] < 1.0
    assert 0 < figures["demonstrated"] <= figures["human_steps"]
    episodes = load_episodes(run.path / "episodes")
    assert sum(map(len, episodes)) == 120
    for episode in episodes:
        there = episode.provenance
        alone = there["authority"] == 0
        assert bool((episode.action == there["policy_action"]).all())
        assert bool((there["segment"][alone] == -1).all())
        assert int(there["onset"].sum()) == int(there["segment"].max()) + 1
    human = sum(int((episode.provenance["authority"] > 0).sum()) for episode in episodes)
    assert human == figures["human_steps"]
    latest = load_checkpoint(run.checkpoints, "latest")
    demonstrated = sum(map(len, load_episodes(run.path / "demonstrations")))
    assert transitions(latest, "replay") == 120
    assert transitions(latest, "demonstrations") == demonstrated + figures["demonstrated"]
    rows = [row for row in run.metrics() if row["kind"] == "episode"]
    assert sum(row["length"] for row in rows) <= 120
    assert {"intervention_rate", "cycle_seconds", "interventions"} <= set(rows[0])

    assert main(["train", "--resume", str(run.path), "--steps", "160"]) == 0
    resumed = json.loads(capsys.readouterr().out)["supervision"]
    assert resumed["human_steps"] >= figures["human_steps"]
    assert transitions(load_checkpoint(run.checkpoints, "latest"), "demonstrations") == (
        demonstrated + resumed["demonstrated"]
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train", "reach", "--human", "simulatd"], "did you mean 'simulated'"),
        (["train", "reach", "--human", "keyboard"], "the keyboard needs a terminal"),
        (["train", "reach", "--human", "keyboard", "--num-envs", "2"], "num_envs: a person at a keyboard"),
        (["train", "reach", "--frame", "tool"], "frame: there is nobody at a device"),
        (["train", "reach", "--human", "spacemouse:/dev/nonesuch"], "connected:"),
        (["train", "reach", "--human", "simulated", "--simulated.attention", "2"], "attention: must lie in [0, 1]"),
        (["record", "reach", "--device", "simulated"], "known: cockpit, gamepad, keyboard, scripted, spacemouse"),
        (["record", "reach", "--frame", "tool"], "frame: the scripted expert has no device"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(words, told, tmp_path, capsys, monkeypatch):
    if "spacemouse" in words[-1]:
        pytest.importorskip("pyspacemouse")
    with (tmp_path / "nothing").open("w+") as file:
        monkeypatch.setattr("sys.stdin", file)
        assert main([*words, "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert told in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_without_demonstrations_there_is_what_people_do(tmp_path, capsys):
    words = ["train", "reach", "--human", "simulated", "--steps", "60", "--simulated.patience", "0.3", *SMALL]
    assert main([*words, "--demos", "0", "--warmup-steps", "5", "--out", str(tmp_path)]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["updates"] > 0
    run = RunFolder.open(tmp_path / os.listdir(tmp_path)[0])
    admitted = transitions(load_checkpoint(run.checkpoints, "latest"), "demonstrations")
    assert admitted == line["supervision"]["demonstrated"] > 0
