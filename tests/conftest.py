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
_IN_REAL_TIME = (
    _TESTS / "benchmarks" / "test_franka_endurance.py",
    *(_TESTS / "contracts" / name for name in ("test_robot.py", "test_camera.py", "test_cell_world.py")),
    *(_HARDWARE / name for name in ("arms", "cameras", "emulation", "inputs", "ros", "test_arm.py", "test_world.py")),
)
"""Where threads and processes have to keep time; alone on the machine they do."""
_IN_NO_TIME = tuple(
    _HARDWARE / name
    for name in (
        "arms/test_franka.py", "emulation/test_faults.py", "emulation/test_guard.py", "emulation/test_wire.py",
        "ros/test_clock.py", "ros/test_hostile_clients.py", "ros/test_messages.py", "cameras/test_view.py",
    )
)  # fmt: skip
"""Files of those folders that only calculate."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path not in _IN_NO_TIME and any(item.path.is_relative_to(place) for place in _IN_REAL_TIME):
            item.add_marker("realtime")
