import json
import signal
import time

import pytest

pytest.importorskip("rliable")

from robo_rl.cli import main


def runs(terminal):
    return sorted(terminal.folder.glob("runs/ablate-*/*/seed-*/*/config.json"))


def test_compares_and_does_not_repeat_what_is_done(terminal):
    words = ["ablate", terminal.task, *terminal.small, "--steps", "60", "--eval-every", "30", "--video-episodes", "0"]
    words += ["--switches", "agent.critics=3", "--seeds", "1"]
    code, out, err = terminal.run(*words)
    assert code == 0, err
    line = json.loads(out)
    assert set(line["arms"]) == {"base", "agent.critics=3"}
    for arm in line["arms"].values():
        assert arm["seeds"] == [0]
        assert 0.0 <= arm["final_success"]["interquartile_mean"] <= 1.0
    report = json.loads((terminal.folder / line["report"]).read_text())
    assert report["complete"]
    assert report["env_steps"] == 60
    assert report["arms"]["base"]["runs"][0]["env_steps"] == 60
    assert (terminal.folder / line["plot"]).read_bytes().startswith(b"\x89PNG")
    assert "agent.critics=3" in err
    configs = [json.loads(path.read_text())["agent"]["critics"] for path in runs(terminal)]
    assert sorted(configs) == [2, 3]

    code, again, err = terminal.run(*words)
    assert code == 0
    assert json.loads(again) == line
    assert "2 of 2 jobs are done already" in err
    assert len(runs(terminal)) == 2


@pytest.mark.slow
def test_what_is_stopped_goes_on(terminal):
    words = ["ablate", terminal.task, *terminal.small, "--steps", "4000", "--checkpoint-every", "20", "--eval-every"]
    words += ["2000", "--video-episodes", "0", "--switches", "agent.critics=3", "--seeds", "1"]
    process = terminal.start(*words)
    end = time.monotonic() + 200
    while not list(terminal.folder.glob("runs/ablate-*/base/seed-0/*/checkpoints/latest-*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    (only,) = runs(terminal)
    assert json.loads((only.parent / "summary.json").read_text())["interrupted"]
    code, out, err = terminal.run(*words)
    assert code == 0, err
    assert f"--resume {only.parent.relative_to(terminal.folder)}" in " ".join(err.split())
    assert len(runs(terminal)) == 2
    report = json.loads((terminal.folder / json.loads(out)["report"]).read_text())
    assert [run["env_steps"] for run in report["arms"]["base"]["runs"]] == [4000]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["reach"], "nothing to compare"),
        (["reach", "--switches", "agent.critc=2"], "did you mean 'agent.critics'"),
        (["reach", "--switches", "utd=2", "--seeds", "0"], "seeds and jobs must be at least 1"),
        (["reach", "--switches", "utd=2", "--seed", "4"], "give the number of seeds with --seeds"),
        (["reach", "--switches", "utd=2", "--seeds", "2", "--stepz", "4"], "unknown option --stepz"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(words, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["ablate", *words]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert len(err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_help_tells_its_options(capsys):
    assert main(["ablate", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(option in out for option in ("--switches", "--seeds", "--jobs"))
