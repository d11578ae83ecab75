"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

if os.environ.get("CI"):  # the same examples each time, so that a failure there is one that can be looked at here
    settings.register_profile("ci", derandomize=True)
    settings.load_profile("ci")

_TESTS = Path(__file__).parent
_HARDWARE = _TESTS / "hardware"
_COMMANDS = _TESTS / "robo_rl" / "commands"
_CELLS = (_TESTS / "contracts" / "test_cell_world.py", _HARDWARE / "emulation" / "test_cell.py")
_IN_REAL_TIME = (
    _TESTS / "benchmarks" / "test_franka_endurance.py",
    *(_TESTS / "contracts" / name for name in ("test_robot.py", "test_camera.py", "test_cell_world.py")),
    *(_HARDWARE / name for name in ("arms", "cameras", "emulation", "inputs", "ros", "test_arm.py", "test_world.py")),
)
"""Where threads and processes have to keep time; most of it they wait, so that two of them run side by side."""
_IN_NO_TIME = tuple(
    _HARDWARE / name
    for name in (
        "arms/test_franka.py", "emulation/test_faults.py", "emulation/test_guard.py", "emulation/test_wire.py",
        "ros/test_clock.py", "ros/test_hostile_clients.py", "ros/test_messages.py", "cameras/test_view.py",
    )
)  # fmt: skip
"""Files of those folders that only calculate."""


@pytest.hookimpl(tryfirst=True)  # before xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path not in _IN_NO_TIME and any(item.path.is_relative_to(place) for place in _IN_REAL_TIME):
            item.add_marker("realtime")
        if item.get_closest_marker("realtime"):
            item.add_marker(pytest.mark.xdist_group(_group(item)))
    items.sort(key=lambda item: not _has_a_cell(item))  # what takes longest comes first


def _group(item: pytest.Item) -> str:
    """Tests that come one after another: those of a file, or of one implementation under a contract.

    A simulated cell needs most of two cores, so there is never more than one at a time.
    """
    if _has_a_cell(item):
        return "cell"
    case = _case(item)
    return str(item.path.relative_to(_TESTS)) + (f" {case}" if case else "")


def _has_a_cell(item: pytest.Item) -> bool:
    return item.path in _CELLS or item.path.is_relative_to(_COMMANDS) or _case(item).startswith("simulated cell")


def _case(item: pytest.Item) -> str:
    """Name of the implementation under a contract, which its tests share; empty where there is none."""
    params = getattr(item, "callspec", None) and item.callspec.params  # type: ignore[attr-defined]
    return getattr((params or {}).get("opened"), "name", "")
