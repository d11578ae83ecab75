from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from robo_rl.errors import UserError
from robo_rl.training.jobs import Job, find_outcome, find_outcomes, run_jobs

# Counts its runs in a file, tells what it was given, then prints the outcome as its last line.
SCRIPT = """
import json, os, sys
from pathlib import Path
with Path(sys.argv[1]).open("a") as log:
    log.write("x")
print("talk")
print(json.dumps({"success_rate": float(sys.argv[2]), "threads": os.environ["OMP_NUM_THREADS"],
                  "cores": len(os.sched_getaffinity(0))}))
"""


@pytest.fixture
def console():
    return Console(file=io.StringIO())


@pytest.fixture
def job(tmp_path):
    def make(arm="arm", seed=0, rate="0.5", script=SCRIPT, **rest):
        return Job(arm, seed, ("python", "-c", script, str(tmp_path / f"{arm}-{seed}.runs"), rate), **rest)

    return make


def runs(tmp_path, arm="arm", seed=0):
    return len((tmp_path / f"{arm}-{seed}.runs").read_text())


def test_a_job_runs_once_on_one_core_and_is_remembered(job, tmp_path, console):
    work = tmp_path / "work"
    assert run_jobs([job()], work, slots=1, console=console)
    found = find_outcome(job(), work)
    assert found is not None
    assert (found["success_rate"], found["threads"], found["cores"]) == (0.5, "1", 1)
    assert (found["arm"], found["seed"], found["command"]) == ("arm", 0, job().line)
    assert run_jobs([job()], work, slots=1, console=console)
    assert runs(tmp_path) == 1
    assert run_jobs([job()], work, slots=1, fresh=True, console=console)
    assert runs(tmp_path) == 2


def test_another_command_is_another_measurement(job, tmp_path, console):
    work = tmp_path / "work"
    run_jobs([job(rate="0.1")], work, slots=1, console=console)
    assert find_outcome(job(rate="0.9"), work) is None
    run_jobs([job(rate="0.9")], work, slots=1, console=console)
    assert find_outcome(job(rate="0.9"), work)["success_rate"] == 0.9
    assert runs(tmp_path) == 2


def test_a_job_that_fails_does_not_take_the_others_along(job, tmp_path, console):
    bad = job(seed=1, script="import sys; print('why it failed', file=sys.stderr); sys.exit(3)")
    jobs = [job(seed=0), bad, job(seed=2)]
    work = tmp_path / "work"
    assert not run_jobs(jobs, work, slots=2, console=console)
    assert [outcome["seed"] for outcome in find_outcomes(jobs, work)["arm"]] == [0, 2]
    assert "why it failed" in (work / "arm" / "seed-1" / "log.txt").read_text()
    assert "exit code 3" in console.file.getvalue()


def test_an_outcome_may_be_made_of_the_last_line(job, tmp_path, console):
    reading = job(read=lambda said: {"percent": 100 * said["success_rate"]})
    run_jobs([reading], tmp_path / "work", slots=1, console=console)
    assert find_outcome(reading, tmp_path / "work")["percent"] == 50.0


def test_a_torn_outcome_counts_as_none(job, tmp_path):
    folder = job().folder(tmp_path)
    folder.mkdir(parents=True)
    (folder / "outcome.json").write_text(json.dumps({"command": job().line})[:-3])
    assert find_outcome(job(), tmp_path) is None


def test_only_programs_of_this_python_are_run(tmp_path, console):
    with pytest.raises(UserError, match="'rm'"):
        run_jobs([Job("arm", 0, ("rm", "-r", "."))], tmp_path, slots=1, console=console)
