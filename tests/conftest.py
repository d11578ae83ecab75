"""What all tests share."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

if os.environ.get("CI"):  # the same examples each time, so that a failure there is one that can be looked at here
    settings.register_profile("ci", derandomize=True)
    settings.load_profile("ci")

_TESTS = Path(__file__).parent
_HARDWARE = _TESTS / "hardware"
_CELLS = ("tests/robo_rl/commands/", "tests/contracts/test_cell_world.py", "tests/hardware/emulation/test_cell.py")
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path not in _IN_NO_TIME and any(item.path.is_relative_to(place) for place in _IN_REAL_TIME):
            item.add_marker("realtime")
    items.sort(key=lambda item: not _has_a_cell(item.nodeid))  # what takes longest comes first


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """By ``--dist loadscope``, files go to the workers whole, and all tests with a simulated cell to the same one.

    A cell needs most of two cores: there is never more than one at a time. Not by marks of ``loadgroup``: pytest 9
    does not take the names that xdist 3.8 gives tests with such marks, and they would go anywhere.
    """
    if config.getvalue("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "cell" if _has_a_cell(nodeid) else nodeid.split("::", 1)[0]

    return Scheduling(config, log)


def _has_a_cell(nodeid: str) -> bool:
    return nodeid.startswith(_CELLS) or "[simulated cell" in nodeid


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts a file system of so many kB, where this machine lets us."""
    folder = tmp_path / "small"

    def mount(size: int) -> Path:
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"cannot mount a small file system here: {error}")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", "-l", str(folder)], check=True)
