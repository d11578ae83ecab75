"""The contract suite of robots over one Franka drive and franky-sim: run by ``test_franka_drives.py``, in a process of
its own, since the SDKs of the two drives cannot share one. Which drive, and where, the environment says.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from franka_scenarios import LIMITS, make

from hardware.arm import Arm
from hardware.realtime import prioritise
from robo_rl.contracts import Robot

_spec = importlib.util.spec_from_file_location("robot_suite", Path(__file__).parents[2] / "contracts" / "test_robot.py")
assert _spec is not None
assert _spec.loader is not None
suite = importlib.util.module_from_spec(_spec)
sys.modules["robot_suite"] = suite
_spec.loader.exec_module(suite)

suite.NEAR = 0.025  # the simulated joints have friction, which an arm compensates; at the tool that is 2 cm
suite.NEAR_ANGLE = 0.15


@contextmanager
def _franka() -> Iterator[Robot]:
    prioritise(5)
    limits = replace(LIMITS, max_state_age=2.0)
    with Arm(make(os.environ["FRANKA_DRIVE"], os.environ["FRANKA_ADDRESS"]), limits) as arm:
        yield arm


suite.CASES[:] = [suite.Case(f"{os.environ.get('FRANKA_DRIVE')} fr3", _franka)]
globals().update({name: each for name, each in vars(suite).items() if name.startswith("test_")})
arm, case = suite.arm, suite.case


@pytest.fixture(scope="module", params=suite.CASES, ids=lambda case: case.name)
def opened(request) -> Iterator[tuple[Robot, object]]:
    with request.param.make() as robot:
        yield robot, request.param
