"""One round of the endurance run, in a process of its own, which is frozen among other things."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.endurance import withstood
from hardware.emulation import franka_sim
from robo_rl.errors import UserError

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("franky", "pylibfranka", "franky_sim")),
    reason="needs the extras franka and emulation",
)


def _endure(simulator: str, drive: str, out: Path) -> dict:
    words = ["--simulator", simulator, "--drive", drive, "--minutes", "0.1", "--out", str(out)]
    command = [sys.executable, "-m", "benchmarks.franka_endurance", *words]
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=300)
    assert out.exists(), done.stderr[-4000:]
    return json.loads(out.read_text())


def _judge(result: dict) -> None:
    """No fault that was injected goes unnoticed; ``stale_state`` of its own accord is the machine's doing."""
    assert result["commands"] > 20
    assert result["malformed_refused"] > 0
    assert result["malformed_accepted"] == 0
    assert [each["injected"] for each in result["injected"]][:4] == ["stop", "stall", "freeze", "kill"]
    for each in result["injected"]:
        assert withstood(each), each


SOUND = {
    "injected": "stop", "latched": True, "refused": True, "holds": True, "held_within_mm": 1.0, "recovered": True,
    "moves_again": True,
}  # fmt: skip


@pytest.mark.parametrize("what", ["latched", "refused", "holds", "recovered", "moves_again"])
def test_an_arm_that_fails_in_one_thing_has_not_withstood(what):
    assert withstood(SOUND)
    assert not withstood({**SOUND, what: False})
    assert not withstood({**SOUND, "held_within_mm": 25.0})


def test_a_policy_at_its_worst_gets_no_reflex_out_of_the_default_drive(tmp_path):
    result = _endure("franky-sim", "franky", tmp_path / "result.json")
    _judge(result)
    assert result["uninvited_reflexes"] == {}


@pytest.mark.slow
@pytest.mark.parametrize("drive", ["franky", "pylibfranka"])
def test_faults_where_limits_are_enforced(drive, tmp_path):
    """Whether reflexes come uninvited says more of the machine than of us here; the run of minutes counts them."""
    try:
        franka_sim.isolated(["true"])
        franka_sim.prepare(franka_sim.default_folder())
    except UserError as error:
        pytest.skip(str(error))
    _judge(_endure("franka-sim", drive, tmp_path / "result.json"))
