"""The two commands of the README, without the network: what is installed when, what is reused, what comes back."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "bootstrap.py"


@pytest.fixture
def bootstrap(tmp_path, monkeypatch):
    """The script as a module at home in an empty folder, with a pip that only notes what it is asked for."""
    spec = importlib.util.spec_from_file_location("bootstrap", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    module.asked = []
    monkeypatch.setattr(module, "pip", lambda python, *what: module.asked.append(what))

    def create(folder, python):
        made = [sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", str(folder)]
        subprocess.run(made, check=True)
        # This environment's packages stand for installed ones: pip, pytest.
        (next(folder.glob("lib/python*/site-packages")) / "parent.pth").write_text("\n".join(sys.path))

    monkeypatch.setattr(module, "create", create)
    return module


def prepare(bootstrap, extra=""):
    bootstrap.asked.clear()
    python = bootstrap.prepare(bootstrap.ROOT, extra)
    return python, list(bootstrap.asked)


def test_pytorch_comes_first_and_then_the_project(bootstrap):
    python, asked = prepare(bootstrap)
    assert asked == [("torch==2.13.0",), ("-e", f"{bootstrap.ROOT}")]
    assert python == bootstrap.ROOT / ".venv/bin/python"
    assert prepare(bootstrap, "[dev]")[1][-1] == ("-e", f"{bootstrap.ROOT}[dev]")


def test_nothing_is_done_twice(bootstrap):
    prepare(bootstrap, "[dev]")
    assert prepare(bootstrap, "[dev]")[1] == []
    assert prepare(bootstrap)[1] == []  # what the demo needs is there as well
    (bootstrap.ROOT / "pyproject.toml").write_text("[project]\nname = 'other'\n")
    assert len(prepare(bootstrap)[1]) == 2
    assert len(prepare(bootstrap, "[dev]")[1]) == 2  # only the demo's part was brought up to date


def test_an_interrupted_installation_goes_on(bootstrap, monkeypatch):
    def interrupted(python, *what):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(bootstrap, "pip", interrupted)
        assert bootstrap.main(["test"]) == 130
    (bootstrap.ROOT / ".venv/kept").touch()
    assert len(prepare(bootstrap)[1]) == 2
    assert (bootstrap.ROOT / ".venv/kept").exists()


@pytest.mark.parametrize("leave", ["nothing", "python"])
def test_a_half_made_environment_is_made_anew(bootstrap, leave):
    prepare(bootstrap)
    (bootstrap.ROOT / ".venv/debris").touch()
    broken = bootstrap.ROOT / ".venv/bin/python"
    broken.unlink()
    if leave == "python":
        broken.write_text("#!/bin/false\n")
        broken.chmod(0o755)
    assert len(prepare(bootstrap)[1]) == 2
    assert not (bootstrap.ROOT / ".venv/debris").exists()


def test_one_for_another_python_is_made_anew(bootstrap, monkeypatch):
    prepare(bootstrap)
    (bootstrap.ROOT / ".venv/debris").touch()
    stamp = bootstrap.ROOT / ".venv" / bootstrap.STAMP
    stamp.write_text(json.dumps({**json.loads(stamp.read_text()), "python": "3.11.0"}))
    assert len(prepare(bootstrap)[1]) == 2
    monkeypatch.setattr(bootstrap, "works", lambda python, code="": False)
    monkeypatch.setattr(bootstrap.sys, "version_info", (3, 12, 1))
    assert len(prepare(bootstrap)[1]) == 2
    assert not (bootstrap.ROOT / ".venv/debris").exists()


def test_somebody_else_s_environment_is_never_deleted(bootstrap, capsys):
    theirs = bootstrap.ROOT / ".venv"
    theirs.mkdir()
    (theirs / "precious").touch()
    assert bootstrap.main(["test"]) == 1
    assert (theirs / "precious").exists()
    assert "move it away" in capsys.readouterr().err


def test_a_wrong_python_is_told_in_one_line(bootstrap, monkeypatch, capsys):
    monkeypatch.setattr(bootstrap.sys, "version_info", (3, 9, 2))
    assert bootstrap.main(["test"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(("arguments", "code"), [([], 2), (["tset"], 2), (["--help"], 0)])
def test_help(bootstrap, capsys, arguments, code):
    assert bootstrap.main(arguments) == code
    assert "python3 bootstrap.py test" in capsys.readouterr().out


@pytest.mark.parametrize(("lint", "tests", "code"), [(0, 0, 0), (1, 0, 1), (0, 1, 1), (0, 5, 1), (1, 3, 1)])
def test_style_types_and_tests_all_count(bootstrap, monkeypatch, lint, tests, code):
    ran = []

    def wait(command, environment):
        ran.append(command[2])
        return {"ruff": lint, "mypy": 0, "pytest": tests}[command[2]]

    monkeypatch.setattr(bootstrap, "wait", wait)
    assert bootstrap.test(Path("python"), []) == code
    assert ran == ["ruff", "ruff", "mypy", "pytest", "pytest"]  # the tests' summary is the last word
    ran.clear()
    assert bootstrap.test(Path("python"), ["-k", "one"]) == tests
    assert ran == ["pytest"]


def test_the_last_line_is_pytest_s_and_its_exit_code_is_ours(bootstrap, tmp_path):
    (tmp_path / "test_two.py").write_text("def test_good(): pass\ndef test_bad(): assert False\n")
    code = (
        f"import importlib.util, sys; s = importlib.util.spec_from_file_location('b', {str(SCRIPT)!r});"
        "b = importlib.util.module_from_spec(s); s.loader.exec_module(b); from pathlib import Path;"
        f"b.ROOT = Path({str(tmp_path)!r});"
        "sys.exit(b.test(sys.executable, ['-q', 'test_two.py', '-p', 'no:cacheprovider']))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert ran.returncode == 1
    assert ran.stdout.strip().splitlines()[-1].startswith("1 failed, 1 passed in")


def test_a_signal_s_exit_code_is_the_shell_s(bootstrap):
    assert bootstrap.wait([sys.executable, "-c", "import os; os.kill(os.getpid(), 15)"], dict(os.environ)) == 143


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_being_stopped_is_left_to_the_command(sent):
    program = (
        "import signal, sys, time\n"
        "for number in (2, 15): signal.signal(number, lambda *_: sys.exit(7))\n"
        "print('on', flush=True)\ntime.sleep(30)\n"
    )
    code = (
        f"import importlib.util, os, sys; s = importlib.util.spec_from_file_location('b', {str(SCRIPT)!r});"
        "b = importlib.util.module_from_spec(s); s.loader.exec_module(b);"
        f"sys.exit(b.wait([sys.executable, '-c', {program!r}], dict(os.environ)))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True) as running:
        assert running.stdout.readline() == b"on\n"
        time.sleep(0.2)
        # A terminal interrupts both, a supervisor terminates the one it knows.
        (os.killpg if sent == signal.SIGINT else os.kill)(running.pid, sent)
        assert running.wait(20) == 7


def test_the_demo_trains_and_says_where_the_pictures_are(bootstrap, monkeypatch, capsys):
    def wait(command, environment):
        assert command[1:] == ["-m", "robo_rl.cli", "train", "peg_insertion", "--seed", "1"]
        run = bootstrap.ROOT / "runs/peg_insertion-1"
        run.mkdir(parents=True)
        for name in ("learning_curve.png", "evaluation.mp4", "metrics.jsonl"):
            (run / name).touch()
        return 0

    old = bootstrap.ROOT / "runs/old/evaluation.mp4"
    old.parent.mkdir(parents=True)
    old.touch()
    os.utime(old, (0, 0))
    monkeypatch.setattr(bootstrap, "wait", wait)
    assert bootstrap.demo(Path("python"), ["--seed", "1"]) == 0
    said = capsys.readouterr().err
    assert "plot: " in said
    assert "learning_curve.png" in said
    assert "video: " in said
    assert str(old) not in said


def test_pictures_without_a_screen(bootstrap, monkeypatch):
    monkeypatch.setattr(bootstrap.ctypes, "CDLL", lambda name: None)
    assert bootstrap.display({})["MUJOCO_GL"] == "egl"
    assert bootstrap.display({"MUJOCO_GL": "osmesa"})["MUJOCO_GL"] == "osmesa"
    assert "MUJOCO_GL" not in bootstrap.display({"DISPLAY": ":0"})

    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(bootstrap.ctypes, "CDLL", missing)
    monkeypatch.setattr(bootstrap.sys, "platform", "linux")
    assert bootstrap.display({})["MUJOCO_GL"] == "disable"
    monkeypatch.setattr(bootstrap.sys, "platform", "darwin")
    assert "MUJOCO_GL" not in bootstrap.display({})


def test_the_script_needs_the_standard_library_only():
    ran = subprocess.run([sys.executable, "-S", "-I", str(SCRIPT), "--help"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_ci_runs_the_readme_s_test_command():
    script = SCRIPT.parent / ".ci/run"
    assert os.access(script, os.X_OK)
    assert "exec python3 bootstrap.py test" in script.read_text()
    subprocess.run(["bash", "-n", str(script)], check=True)
