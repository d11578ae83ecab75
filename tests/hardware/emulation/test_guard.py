from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from hardware.emulation.guard import Guard

_found = importlib.util.spec_from_file_location("point_plant", Path(__file__).with_name("point_plant.py"))
point_plant = importlib.util.module_from_spec(_found)
_found.loader.exec_module(point_plant)
PUSH = np.full(7, 2.0)


@pytest.fixture
def plant():
    return point_plant.PointPlant()


def run(plant, guard, torques):
    for torque in torques:
        plant.step(guard.act(torque, plant.measure()))


def test_it_holds_until_somebody_drives_and_then_does_what_it_is_told(plant):
    plant.load = 1.0
    guard, home = Guard(plant, 0.02), plant.q.copy()
    run(plant, guard, [None] * 500)
    assert np.abs(plant.q - home).max() < 1e-3  # 1 N·m against 3600 N·m/rad
    assert guard.error == ""
    run(plant, guard, [PUSH])
    assert np.array_equal(plant.applied[-1], PUSH)


def test_without_torques_it_brakes_after_its_patience_and_says_so(plant):
    guard = Guard(plant, 0.02)
    run(plant, guard, [PUSH] * 200 + [None] * 19)
    assert guard.error == ""
    assert np.array_equal(plant.applied[-1], PUSH)  # one lost message is no reason to brake
    fast = np.abs(plant.dq).max()
    run(plant, guard, [None])
    assert "communication_constraints_violation" in guard.error
    stopped_at = plant.q.copy()
    run(plant, guard, [None] * 200)
    assert np.abs(plant.dq).max() < 0.01 < fast
    assert np.abs(plant.q - stopped_at).max() < 0.02
    assert (plant.q >= stopped_at - 1e-6).all()  # it does not swing back
    assert guard.trips == 1


def test_after_an_error_torques_are_ignored_until_recovery(plant):
    guard = Guard(plant, 0.02)
    run(plant, guard, [PUSH] + [None] * 100 + [PUSH] * 50)
    assert guard.error
    assert not np.array_equal(plant.applied[-1], PUSH)
    guard.recover()
    assert guard.error == ""
    run(plant, guard, [None] * 100)  # held, and nobody has to drive at once
    assert guard.error == ""
    run(plant, guard, [PUSH])
    assert np.array_equal(plant.applied[-1], PUSH)


def test_it_does_not_recover_while_it_moves(plant):
    guard = Guard(plant, 0.02)
    run(plant, guard, [PUSH] * 300 + [None] * 20)
    assert guard.error
    guard.recover()
    assert guard.error


def test_too_fast_a_joint_brakes(plant):
    guard = Guard(plant, 0.02)
    run(plant, guard, [np.array([0.0, 80.0, 0.0, 0.0, 0.0, 0.0, 0.0])] * 60)
    assert "joint_velocity_violation: joint 2" in guard.error


def test_releasing_is_no_error(plant):
    guard = Guard(plant, 0.02)
    run(plant, guard, [PUSH])
    guard.release()
    run(plant, guard, [None] * 100)
    assert guard.error == ""
    assert np.abs(plant.dq).max() < 1e-3


def test_the_brake_is_within_the_joints_torque(plant):
    guard = Guard(plant, 0.02)
    plant.dq[:] = 2.0
    run(plant, guard, [None])
    assert (np.abs(plant.applied[-1]) <= [link.max_torque for link in plant.spec.links]).all()
