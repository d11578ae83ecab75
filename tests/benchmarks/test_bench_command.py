"""``robo-rl bench``: its parts are programs that know the options that they are started with."""

from __future__ import annotations

import subprocess
import sys

import pytest
import tyro

from benchmarks import learner, throughput
from robo_rl.commands import bench
from robo_rl.errors import UserError

PROGRAMS = {"benchmarks.learner": learner.Options, "benchmarks.throughput": throughput.Options}


@pytest.mark.parametrize("part", bench._PARTS)
def test_every_part_is_a_program_with_these_options(part):
    _, (program, *words) = bench._PARTS[part]
    parsed = tyro.cli(PROGRAMS[program], args=[*words, "--rounds", "1"])
    assert parsed.rounds == 1


def test_options_of_a_person_win_over_those_of_the_part():
    _, (_, *words) = bench._PARTS["learner"]
    assert tyro.cli(learner.Options, args=[*words, "--only", "scaling"]).only == ("scaling",)


def test_options_are_handed_on_and_the_exit_code_comes_back(monkeypatch):
    started = []

    def run(command, **settings):
        started.append(command)
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(bench.subprocess, "run", run)
    assert bench.main(["replay", "--rounds", "1"]) == 3
    assert started[0][:3] == [sys.executable, "-m", "benchmarks.learner"]
    assert started[0][-2:] == ["--rounds", "1"]


def test_an_unknown_part_is_refused_by_name(capsys):
    with pytest.raises(UserError, match="learner"):
        bench.main(["learners"])
    assert bench.main([]) == 2
    assert bench.main(["--help"]) == 0
    assert "replay" in capsys.readouterr().out
