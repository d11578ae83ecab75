"""The benchmark of learners: processes answer, figures are judged right, what cannot be had is told of."""

from __future__ import annotations

import json
import os
import sys
from types import SimpleNamespace

import pytest
import torch

from benchmarks import learner
from benchmarks.learners import scaling, tables, targets
from benchmarks.learners.catalogue import CASES, FLOORS, LEARNERS, OURS, Peer
from benchmarks.learners.process import Learner
from benchmarks.learners.timing import Setup
from benchmarks.peers import PeerError
from benchmarks.report import RESULTS, load
from robo_rl.errors import UserError

TINY = Setup(batch=8, utd=2, hidden=16, transitions=200, image=48, frames=16, episode=8)
"""Sizes with which everything is over at once."""

CORES = os.cpu_count() or 1
"""Threads of each: bound to fewer cores, a test would wait for whoever else is busy on just those."""
PLACE = f"cpu, {CORES} thread{'s' * (CORES > 1)}"


@pytest.fixture
def sb3_is_here(monkeypatch):
    """Stable-Baselines3 is one of our own requirements: its script needs no virtual environment of its own."""
    monkeypatch.setattr(Peer, "python", lambda self, venvs, cuda: sys.executable)


def options(tmp_path, **settings):
    places = {"venvs": tmp_path / "venvs", "results": tmp_path / "results"}
    return learner.Options(setup=TINY, rounds=2, seconds=0.0, threads=CORES, **places, **settings)


def rounds(*wall, cpu=None):
    return {"wall_ms": list(wall), "cpu_ms": list(cpu or wall), "first_seconds": 0.1}


def test_every_case_of_ours_runs(tmp_path):
    ours = Learner("ours", TINY, threads=CORES, venvs=tmp_path)
    try:
        assert set(ours.cases) == {*CASES, "update"}
        for case in CASES:
            took = ours.time(case, 0.0)
            assert len(took["wall"]) == len(took["cpu"]) >= 1
            assert took["first_seconds"] >= 0.0
        with pytest.raises(PeerError, match="no_such_setting"):
            ours.time("update", 0.0, no_such_setting=1)
        assert ours.time("sac", 0.0)["wall"]  # it goes on after what went wrong
    finally:
        ours.close()


def test_what_is_measured_is_stored_drawn_and_said(tmp_path, sb3_is_here, capsys):
    cases = ("block_2", "replay", "act_exported")
    names = ("ours", "floor", "sb3")
    assert learner.main(options(tmp_path, only=("speed",), learners=names, cases=cases)) == 0
    said = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    report = load(tmp_path / "results" / "learner.json")
    assert said["targets"] == report["targets"]
    found = report["results"][PLACE]["cases"]
    assert {case: set(each) for case, each in found.items()} == {
        "block_2": {"ours", "floor", "sb3"},
        "replay": {"ours", "sb3"},
        "act_exported": {"ours"},
    }
    assert all(len(each["wall_ms"]) == 2 for learners in found.values() for each in learners.values())
    assert (tmp_path / "results" / "learner.png").stat().st_size > 1000

    # Another part later keeps what there is.
    assert learner.main(options(tmp_path, only=("bytes",), learners=("ours",))) == 0
    figures = load(tmp_path / "results" / "learner.json")["results"][PLACE]
    assert set(figures["cases"]) == set(cases)
    assert set(figures["bytes"]) == {"state", "images"}


def test_variants_are_timed_where_they_make_a_difference():
    variant = SimpleNamespace(name="ours_bf16", cases=list(CASES))
    assert learner.can(variant, "block_10")
    assert not learner.can(variant, "replay")
    assert learner.can(SimpleNamespace(name="ours", cases=list(CASES)), "replay")
    assert not learner.can(SimpleNamespace(name="sb3", cases=["act"]), "replay")


def test_scaling_goes_over_each_axis(tmp_path):
    tiny = {"batches": (4, 8), "critics": (1, 2), "images": (48,)}
    assert learner.main(options(tmp_path, only=("scaling",), learners=("ours",), **tiny)) == 0
    figures = load(tmp_path / "results" / "learner.json")["results"][PLACE]["scaling"]
    assert {axis: [x for x, _ in curves["ours"]] for axis, curves in figures.items()} == {
        "batch": [4, 8], "critics": [1, 2], "image": [48],
    }  # fmt: skip
    assert (tmp_path / "results" / "learner_scaling_cpu.png").exists()
    assert set(figures) == set(scaling.AXES)


def test_who_cannot_be_had_is_told_of_and_left_out(tmp_path, monkeypatch):
    def refuse(self, venvs, cuda):
        raise PeerError("no package registry here")

    monkeypatch.setattr(Peer, "python", refuse)
    assert learner.main(options(tmp_path, only=("speed",), learners=("ours", "sb3"), cases=("replay",))) == 0
    figures = load(tmp_path / "results" / "learner.json")["results"][PLACE]
    assert figures["unavailable"] == {"sb3": "no package registry here"}
    assert set(figures["cases"]["replay"]) == {"ours"}


def test_rlpd_without_its_checkout_says_what_to_set(tmp_path, monkeypatch, sb3_is_here):
    monkeypatch.delenv("RLPD_ROOT", raising=False)
    with pytest.raises(PeerError, match="RLPD_ROOT"):
        Learner("rlpd_jax", TINY, threads=CORES, venvs=tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"learners": ("our",)}, "ours"), ({"cases": ("block",)}, "block_10"), ({"device": "cuda"}, "device")],
)
def test_bad_names_are_refused_before_anything_starts(settings, message, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match=message):
        learner.main(options(tmp_path, **settings))


def test_ratios_are_taken_within_rounds():
    # The machine halves its speed in the last round: both take longer, their ratio stays.
    figures = {"cases": {"block_10": {"ours": rounds(1.0, 1.0, 2.0), "sb3": rounds(5.0, 4.0, 10.0)}}}
    assert targets.ratios(figures, "block_10", "ours", "sb3") == [4.0, 5.0, 5.0]
    assert targets.ratios(figures, "block_10", "ours", "lerobot") == []


def test_wall_and_cpu_time_are_judged_each():
    found = {"ours": rounds(1.0, cpu=[2.0]), "sb3": rounds(5.0, cpu=[5.0]), "floor": rounds(0.6)}
    entries = targets.find_targets({"cases": {"block_10": found}}, "cpu, 1 thread")
    assert [(entry["measured"], entry["met"]) for entry in entries] == [(5.0, True), (2.5, False), (0.6, False)]
    on_gpu = targets.find_targets({"cases": {"block_10": found}}, "cuda")
    assert {entry["met"] for entry in on_gpu} == {None}


def test_bounds_are_milliseconds():
    cases = {"act": {"ours": rounds(0.09)}, "act_exported": {"ours": rounds(0.021)}}
    assert [entry["met"] for entry in targets.find_targets({"cases": cases}, "cpu, 1 thread")] == [True, False]


def test_the_frugal_mode_of_a_peer_counts():
    weights = {"state": {"ours": 140.0, "sb3": 232.0}, "state_shared": {"sb3": 132.0}}
    entry = targets.find_targets({"bytes": weights}, "cpu, 1 thread")[0]
    assert (entry["wanted"], entry["met"]) == ("<= 132", False)
    weights["state"]["ours"] = 130.0
    assert targets.find_targets({"bytes": weights}, "cpu, 1 thread")[0]["met"] is True


def test_targets_name_what_there_is():
    for case, ours, other, _ in (*targets.RATIOS, *targets.SHARES):
        assert case in CASES
        assert ours in OURS
        assert other in LEARNERS
    assert {other for _, _, other, _ in targets.SHARES} == set(FLOORS)
    assert all(case in CASES and ours in OURS for case, ours, _ in targets.BOUNDS)


def test_the_docs_say_what_was_measured():
    file = RESULTS / "learner.json"
    text = tables.PAGE.read_text()
    found = load(file) if file.exists() else None
    assert text == tables.page(text, found), "run python -m benchmarks.learners.tables"
    for name in (*CASES, *LEARNERS):
        assert f"`{name}`" in text


def test_a_page_with_other_figures_is_noticed():
    text = f"# Speed\n{tables.BEGIN}\nold\n{tables.END}\nafter\n"
    results = {
        "results": {"cpu, 1 thread": {"cases": {"act": {"ours": rounds(0.05)}}, "bytes": {"state": {"ours": 236.0}}}},
        "targets": [{"what": "act", "wanted": "< 0.1", "measured": 0.05, "met": True}],
    }
    new = tables.page(text, results)
    assert "| act | 0.05 |" in new
    assert "| state | 236 |" in new
    assert "| act | < 0.1 | 0.05 | met |" in new
    assert tables.page(new, results) == new != text
    assert "Not measured yet." in tables.page(new, None)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_ours_learns_on_a_gpu_with_and_without_cuda_graphs(tmp_path):
    from dataclasses import replace

    for name in ("ours", "ours_compiled", "ours_compiled_no_graphs"):
        ours = Learner(name, replace(TINY, device="cuda"), threads=CORES, venvs=tmp_path)
        try:
            assert ours.time("block_2", 0.0)["wall"]
        finally:
            ours.close()
