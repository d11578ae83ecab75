from __future__ import annotations

import copy
from importlib.util import find_spec

import pytest

from benchmarks.report import RESULTS, check, load, make_report, save, target

STORED = sorted(RESULTS.glob("*.json"))


@pytest.fixture
def report():
    return make_report(
        "learning",
        compares="one thing with another",
        command="python -m benchmarks.learning --seeds 0",
        seeds=[2, 0, 0],
        targets=[target("success", ">= 0.95", 0.97, True)],
        results={"arm": {"success_rate": 0.97}},
        packages=("pytest", "surely-not-installed"),
        versions={"mujoco (of a peer)": "3.8.1"},
    )


def test_a_report_survives_being_stored(report, tmp_path):
    path = save(report, tmp_path)
    assert path == tmp_path / "learning.json"
    assert load(path) == report


def test_a_report_says_what_was_measured_with(report):
    assert report["seeds"] == [0, 2]
    assert report["versions"]["pytest"] == pytest.__version__
    assert report["versions"]["mujoco (of a peer)"] == "3.8.1"
    assert "surely-not-installed" not in report["versions"]
    assert report["machine"]["cores"] >= 1
    assert report["machine"]["memory_gb"] > 0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda r: r.pop("machine"), "machine"),
        (lambda r: r.update(extra=1), "extra"),
        (lambda r: r.update(command=""), "command"),
        (lambda r: r.update(command="python -m benchmarks.fetch"), "command"),
        (lambda r: r["machine"].pop("cores"), "machine"),
        (lambda r: r["versions"].update(torch=2), "versions"),
        (lambda r: r.update(seeds=["0"]), "seeds"),
        (lambda r: r.update(results={}), "results"),
        (lambda r: r["targets"].append({"what": "success"}), r"targets\[1\]"),
        (lambda r: r["targets"][0].update(met="yes"), r"targets\[0\]"),
        (lambda r: r["results"].update(run="runs/reach-20261122-101500-seed0"), "date"),
        (lambda r: r["results"].update(started="2026-11-22T10:15:00"), "date"),
    ],
)
def test_what_is_not_a_report_is_refused_by_field(report, change, field):
    broken = copy.deepcopy(report)
    change(broken)
    with pytest.raises(ValueError, match=field):
        check(broken)


def test_what_was_refused_is_not_stored(report, tmp_path):
    with pytest.raises(ValueError, match="seeds"):
        save({**report, "seeds": ["0"]}, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_every_stored_result_names_the_command_that_reproduces_it(path):
    report = load(path)
    assert report["benchmark"] == path.stem
    assert report["command"].startswith(f"python -m benchmarks.{path.stem}")
    assert find_spec(f"benchmarks.{path.stem}") is not None
    for arm in report["results"].values():
        for run in arm.get("runs", ()):
            assert run["command"].startswith(("robo-rl ", "python -m benchmarks."))
            assert run["seed"] in report["seeds"]
