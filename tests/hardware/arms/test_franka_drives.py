"""Both Franka drives against franky-sim through the real SDKs; with ``-m slow`` against franka-sim, limits enforced."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hardware.emulation import franka_sim
from hardware.realtime import prioritise
from robo_rl.errors import UserError

sys.path.insert(0, str(Path(__file__).parent))
from franka_process import run_contract, run_scenario

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("franky", "pylibfranka", "franky_sim")),
    reason="needs the extras franka and emulation",
)

ENFORCED = (sys.executable, "-m", "hardware.emulation.franka_sim", "--")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    where = franka_sim.free_address()
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    prioritise(5)  # the simulator inherits it, or it would be late on a busy machine
    try:
        server = franka_sim.start_franky_sim(where, tmp_path_factory.mktemp("franky_sim") / "log")
    finally:
        os.sched_setscheduler(0, *before)
    yield where
    franka_sim.stop(server)


@pytest.mark.parametrize("drive", ["franky", "pylibfranka"])
@pytest.mark.parametrize(
    "scenario",
    ["holds", "pursues", "hand", "hand_dies", "external_torque", "wrong_robot", "wrong_tool", "absent", "silence"],
)
def test_drive(scenario: str, drive: str, address: str) -> None:
    code, said = run_scenario(scenario, drive, address)
    assert code == 0, said


@pytest.mark.parametrize("scenario", ["law_falls_silent", "torque_steps", "others_run_meanwhile"])
def test_torque_drive(scenario: str, address: str) -> None:
    code, said = run_scenario(scenario, "pylibfranka", address)
    assert code == 0, said


@pytest.mark.parametrize("drive", ["franky", pytest.param("pylibfranka", marks=pytest.mark.slow)])
def test_drive_makes_a_robot(drive: str, address: str) -> None:
    """The contract suite of robots, in a process of its own; a minute each, so only the default drive by default."""
    code, said = run_contract(drive, address)
    assert code == 0, said


@pytest.fixture(scope="module")
def enforced() -> None:
    """Prepare franka-sim once."""
    try:
        franka_sim.isolated(["true"])
        franka_sim.prepare(franka_sim.default_folder())
    except UserError as error:
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.parametrize("drive", ["franky", "pylibfranka"])
@pytest.mark.parametrize("scenario", ["holds", "pursues", "hand", "wrong_robot", "wrong_tool", "stall"])
def test_drive_where_limits_are_enforced(scenario: str, drive: str, enforced: None) -> None:
    code, said = run_scenario(scenario, drive, "127.0.0.1", ENFORCED)
    assert code == 0, said


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["law_falls_silent", "torque_steps"])
def test_torque_drive_where_limits_are_enforced(scenario: str, enforced: None) -> None:
    code, said = run_scenario(scenario, "pylibfranka", "127.0.0.1", ENFORCED)
    assert code == 0, said
