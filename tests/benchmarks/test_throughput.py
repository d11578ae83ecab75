from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import throughput
from benchmarks.peers import PeerError


def test_each_target_is_judged_by_its_own_figures():
    results = {
        "state": {"1": {"ratio": 0.1}, "64": {"ratio": 0.61}},
        "single": {"ratio": 9.9},
        "pixels": {"renderer": "egl", "1": {"ours_per_second": 120.0}, "16": {"ours_per_second": 170.0}},
    }
    targets = throughput.find_targets(results)
    assert [(entry["measured"], entry["met"]) for entry in targets] == [(0.61, True), (9.9, False), (170.0, True)]
    assert "16 environments" in targets[2]["what"]


def test_what_was_not_measured_is_not_judged():
    assert throughput.find_targets({"pixels": {"renderer": "egl", "unavailable": "no OpenGL"}}) == []


def test_without_the_peer_ours_is_measured_and_the_reason_kept(monkeypatch):
    def refuse(folder, packages):
        raise PeerError("no package registry here")

    monkeypatch.setattr(throughput, "make_venv", refuse)
    options = throughput.Options(rounds=1, seconds=0.05, venv=Path("nowhere"))
    found = throughput.measure_single(options)
    assert found["gym_hil"] == {"unavailable": "no package registry here"}
    assert found["gymnasium"] > 0
    assert found["env"] > 0
    assert "ratio" not in found
    assert (found["env_id"], found["substeps"]) == ("robo_rl/PegInsertion-v0", 50)


@pytest.mark.parametrize("part", throughput.PARTS)
def test_every_part_has_its_measure(part):
    assert part in throughput.MEASURES
