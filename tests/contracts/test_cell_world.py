"""What every world promises, held to by a simulated robot cell, all of its processes and topics real.

``test_world.py`` holds simulators to the same. What they promise beyond is no cell's to keep: that a reset is the same
to the bit, that time stands still between steps, and where things truly are.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("rclpy")

from envs.registry import make_task
from hardware.cell_file import load_cell
from hardware.ros import Session
from hardware.world import CellWorld
from robo_rl import geometry
from robo_rl.commands.cells import make_cell_world, running
from robo_rl.contracts import Command, Pose, Start, World
from robo_rl.errors import InvalidAction, UserError
from robo_rl.robots import robot

ROBOT = robot("panda")
TASK = make_task("peg_insertion", ROBOT)
SHAPES = {
    "time": (1,), "joint_pos": (7,), "joint_vel": (7,), "tcp_pos": (3,), "tcp_rot": (3, 3), "tcp_linvel": (3,),
    "tcp_angvel": (3,), "tcp_force": (3,), "tcp_torque": (3,), "target_pos": (3,), "target_rot": (3, 3),
    "gripper_width": (1,), "gripper_target": (1,), "fixture.hole.pos": (3,), "fixture.hole.rot": (3, 3),
}  # fmt: skip
NEAR = 0.012  # m: how well an arm with friction goes where it is told


@pytest.fixture(scope="module")
def world() -> Iterator[CellWorld]:
    shipped = load_cell("sim")
    cell = replace(
        shipped, name=f"world_{os.getpid()}", ros=replace(shipped.ros, domain=100 + os.getpid() % 100, max_age=1.0),
        cameras={}, simulation=replace(shipped.simulation, delay=0.0, plant={"patience": 0.2}),
    )  # fmt: skip
    with running(cell, TASK.name) as up, Session("worlds", domain=cell.ros.domain) as session:
        made = make_cell_world(up, TASK, session)
        yield made
        made.close()


def start(seed: int = 0) -> Start:
    return TASK.start(torch.Generator().manual_seed(seed), 1)


def begin(world: CellWorld, given: Start | None = None):
    return world.reset(torch.tensor([True]), given or start())


def hold(reading, *, pos=None, width=None) -> Command:
    gripper = reading["gripper_target"] if width is None else torch.full_like(reading["gripper_target"], width)
    return Command(reading["target_pos"] if pos is None else pos, reading["target_rot"], gripper)


def run(world, command, steps):
    for _ in range(steps):
        reading = world.step(command)
    return reading


def test_is_a_world(world):
    assert isinstance(world, World)
    assert world.num_envs == 1
    assert world.robot.name == ROBOT.name
    assert world.control_dt == pytest.approx(1.0 / ROBOT.control_rate)


def test_reads_exactly_what_it_says_it_provides(world):
    first = begin(world)
    for reading in (first, world.step(hold(first))):
        assert set(reading) == world.provides
        assert set(SHAPES) <= world.provides
        for name, shape in SHAPES.items():
            assert tuple(reading[name].shape) == (1, *shape), name
            assert reading[name].dtype == torch.float32, name
            assert torch.isfinite(reading[name]).all(), name
        assert not bool(reading["interrupted"])


def test_starts_where_it_is_told_at_rest_and_aims_there(world):
    for seed in (1, 2):
        given = start(seed)
        reading = begin(world, given)
        assert (reading["tcp_pos"] - given.tool.pos).norm() < NEAR
        assert geometry.distance(reading["tcp_rot"], given.tool.rot).max() < 0.06
        assert (reading["target_pos"] - reading["tcp_pos"]).norm() < 1e-4
        assert reading["joint_vel"].abs().max() < 0.1


def test_a_step_is_one_control_period(world):
    reading = begin(world)
    overruns, began = world.overruns, time.monotonic()
    for k in range(1, 8):
        reading = world.step(hold(reading))
        assert float(reading["time"]) == pytest.approx(k * world.control_dt, abs=0.04)
    late = world.overruns - overruns  # a busy machine
    assert 7 * world.control_dt <= time.monotonic() - began + 1e-3 < (7 + 2 * late) * world.control_dt + 0.1


def test_the_tool_goes_where_it_is_told(world):
    reading = begin(world)
    goal = reading["target_pos"] + torch.tensor([[0.0, 0.04, 0.05]])
    reading = run(world, hold(reading, pos=goal), 20)
    assert (reading["tcp_pos"] - goal).norm() < NEAR
    assert (reading["target_pos"] - goal).norm() < 1e-3


def test_the_workspace_limits_the_target(world):
    reading = begin(world)
    low, high = torch.tensor(ROBOT.workspace_low), torch.tensor(ROBOT.workspace_high)
    reading = run(world, hold(reading, pos=torch.tensor([[0.5, 9.0, 9.0]])), 5)
    assert (reading["target_pos"] >= low - 1e-4).all()
    assert (reading["target_pos"] <= high + 1e-4).all()


@pytest.mark.parametrize("field", ["pos", "rot", "gripper"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_command_that_is_not_finite_is_refused_and_nothing_moves(world, field, value):
    reading = begin(world) if world._last is None else world._last
    command = hold(reading)
    spoilt = getattr(command, field).clone()
    spoilt[0].view(-1)[0] = value
    before = world.arm.state(1.0).tcp_pos
    with pytest.raises(InvalidAction, match=r"env \[0\]"):
        world.step(dataclasses.replace(command, **{field: spoilt}))
    assert np.linalg.norm(world.arm.state(1.0).tcp_pos - before) < 0.005


def test_a_start_out_of_reach_or_of_many_is_refused(world):
    given = start()
    far = Pose(torch.tensor([[2.0, 0.0, 0.2]]), given.tool.rot)
    with pytest.raises(UserError, match=r"start\.tool: panda cannot reach \[2\.0, 0\.0, 0\.2\]"):
        begin(world, dataclasses.replace(given, tool=far))
    with pytest.raises(UserError, match="has 2 rows"):
        begin(world, TASK.start(torch.Generator().manual_seed(0), 2))


def test_a_mask_that_is_false_resets_nothing(world):
    reading = begin(world)
    again = world.reset(torch.tensor([False]), start())
    assert all(torch.equal(reading[name], again[name]) for name in reading)


def test_a_fixture_is_read_where_the_start_claims_it(world):
    given = start(3)
    reading = begin(world, given)
    assert torch.allclose(reading["fixture.hole.pos"], given.fixtures["hole"].pos.float())


def test_a_reading_stays_what_it_was(world):
    reading = begin(world)
    kept = {name: value.clone() for name, value in reading.items()}
    run(world, hold(reading, pos=reading["target_pos"] + torch.tensor([[0.0, 0.02, 0.02]])), 3)
    assert all(torch.equal(kept[name], reading[name]) for name in kept)
