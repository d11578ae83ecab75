import subprocess
import sys

import pytest

from robo_rl.cli import COMMANDS, main


def refused(capsys, *words):
    """Run a command line that cannot work and return its one line."""
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("robo-rl: error: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trian", "reach"], "unknown command 'trian'; did you mean 'train'?"),
        (["train", "peg_insert"], "unknown task 'peg_insert'; did you mean 'peg_insertion'"),
        (["train", "reach", "--robot", "pands"], "unknown robot 'pands'; did you mean 'panda'?"),
        (["train", "reach", "--world", "mujocco"], "unknown world 'mujocco'; did you mean 'mujoco' or 'mujoco_law'?"),
        (["train", "reach", "--step", "5"], "unknown option --step; did you mean --steps"),
        (["train", "reach", "--clearance", "0.1"], "unknown option --clearance"),
        (["train", "peg_insertion", "--clearance", "0.1"], "unknown option --clearance; did you mean --task.clearance"),
        (["train", "reach", "--task.tolerence", "1"], "did you mean --task.tolerance"),
        (["train", "reach", "--critics", "2"], "did you mean --agent.critics"),
        (["train", "reach", "--steps", "many"], "--steps"),
        (["train", "reach", "--steps"], "Missing value for argument '--steps'"),
        (["train", "reach", "--steps", "0"], "steps: must be at least 1, got 0"),
        (["train", "reach", "--discount", "1.5"], "discount: must lie in [0, 1], got 1.5"),
        (["train", "reach", "--agent.critics", "1", "--agent.target-subset", "2"], "target_subset must lie in"),
        (["train", "reach", "pick_cube"], "Unrecognized options: pick_cube"),
        (["train", "gym:Pendlum-v1"], "did you mean 'Pendulum-v1'"),
        (["train", "gym:CartPole-v1"], "only boxes can be learned"),
        (["train", "gym:Pendulum-v1", "--demos", "5"], "demos: gym:Pendulum-v1 has no scripted expert; use --demos 0"),
        (["train", "gym:Pendulum-v1", "--robot", "fr3"], "robot: gym:Pendulum-v1 brings its own; leave it out"),
        (["train", "gym:Pendulum-v1", "--hindsight", "True"], "no goals to relabel"),
        (["train", "no_such_module:Task"], "task 'no_such_module:Task' cannot be imported"),
        (["train", "reach", "--demo-path", "nowhere"], "nowhere: no episodes there; record some with"),
        (["train"], "which task?"),
        (["train", "--steps", "3"], "which task?"),
        (["train", "--resume"], "--resume needs the path of a run folder"),
        (["train", "--resume", "nowhere/at_all"], "is not a run folder"),
        (["train", "--config", "nowhere.json"], "nowhere.json cannot be read"),
        (["eval", "nowhere"], "nowhere is not a run folder"),
        (["eval"], "RUN"),
        (["play", "nowhere"], "nowhere is not a run folder"),
        (["record", "raech"], "unknown task 'raech'; did you mean 'reach'?"),
        (["record", "reach", "--device", "telepathy"], "known: cockpit, gamepad, keyboard, scripted, spacemouse"),
        (["record", "reach", "--episodes", "-3"], "episodes: must be at least 1, got -3"),
        (["record", "--episodes", "3"], "name the task first"),
        (["tasks", "--jsn"], "unknown option --jsn; did you mean --json?"),
        (["doctor", "--verbose"], "unknown option --verbose"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_told_in_one_line(words, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert told in refused(capsys, *words)
    assert list(tmp_path.iterdir()) == []  # and nothing was begun


@pytest.mark.parametrize(
    "words", [["--help"], ["help"], ["train", "--help"], ["train", "reach", "--help"], ["eval", "-h"]]
)
def test_help(words, capsys):
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert "usage: robo-rl" in out
    assert err == ""


def test_help_of_a_task_lists_its_fields(capsys):
    main(["train", "peg_insertion", "--help"])
    out = capsys.readouterr().out
    assert "--task.clearance" in out
    assert "Width of the hole minus width of the peg, m" in " ".join(out.split())
    assert "--task.robot" not in out


def test_help_names_every_command(capsys):
    main(["--help"])
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)


def test_no_words_is_no_request(capsys):
    assert main([]) == 2
    assert "usage: robo-rl" in capsys.readouterr().err


def test_the_installed_command_has_no_traceback():
    done = subprocess.run(
        [sys.executable, "-m", "robo_rl.cli", "train", "reech"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("robo-rl: error: unknown task 'reech'; did you mean 'reach'?")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [["--help"], ["tasks"]])
def test_quick_answers_import_nothing_heavy(words):
    code = (
        "import sys; from robo_rl.cli import main; code = main(sys.argv[1:]); "
        "heavy = {'torch', 'mujoco', 'gymnasium', 'matplotlib', 'cv2'} & set(sys.modules); "
        "assert not heavy, heavy; sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_a_reader_that_leaves_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m robo_rl.cli tasks | true",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stderr == ""
