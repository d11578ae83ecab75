"""What every world must do, run over each of them. A new world earns these tests by one more entry in WORLDS."""

from __future__ import annotations

import math

import pytest
import torch

from envs.tasks.peg_insertion import PegInsertion
from envs.tasks.pick_cube import PickCube
from robo_rl.contracts import Command, Pose, Start, World
from robo_rl.errors import InvalidAction, UserError
from robo_rl.robots import robot

PANDA = robot("panda")


def mujoco_engine(scene, num_envs):
    from envs.worlds.mujoco_world import MujocoWorld

    return MujocoWorld(PANDA, scene, num_envs=num_envs, threads=1)


def mujoco_law(scene, num_envs):
    from envs.worlds.mujoco_world import MujocoWorld

    return MujocoWorld(PANDA, scene, num_envs=num_envs, fidelity="law")


def warp(scene, num_envs):
    pytest.importorskip("mujoco_warp")
    from envs.worlds.warp_world import WarpWorld

    return WarpWorld(PANDA, scene, num_envs=num_envs, device="cpu")


WORLDS = [mujoco_engine, mujoco_law, warp]
TASKS = {"peg": PegInsertion(PANDA), "cube": PickCube(PANDA)}


@pytest.fixture(scope="module", params=WORLDS, ids=lambda make: make.__name__)
def worlds(request):
    made = {name: request.param(task.scene(), 2) for name, task in TASKS.items()}
    yield made
    for world in made.values():
        world.close()
        world.close()  # once more is no error


def begin(world, task, seed=0):
    start = task.start(torch.Generator().manual_seed(seed), world.num_envs)
    return start, world.reset(torch.ones(world.num_envs, dtype=torch.bool), start)


def hold(reading):
    return Command(reading["target_pos"], reading["target_rot"], reading["gripper_target"])


def test_it_is_a_world(worlds):
    assert all(isinstance(world, World) for world in worlds.values())


@pytest.mark.parametrize("name", TASKS)
def test_it_reads_exactly_what_it_says(worlds, name):
    world = worlds[name]
    _, reading = begin(world, TASKS[name])
    assert set(reading) == world.provides
    assert TASKS[name].readings | TASKS[name].privileged_readings <= world.provides
    for key, value in reading.items():
        assert value.shape[0] == world.num_envs, key
        assert value.dtype == torch.float32, key
        assert value.isfinite().all(), key
        if key.endswith(("rot",)):
            eye = value @ value.mT
            assert torch.allclose(eye, torch.eye(3).expand_as(eye), atol=1e-5), key


@pytest.mark.parametrize("name", TASKS)
def test_a_start_is_where_it_says_and_the_target_is_seeded_there(worlds, name):
    start, reading = begin(worlds[name], TASKS[name])
    assert torch.allclose(reading["tcp_pos"], start.tool.pos, atol=3e-4)
    assert torch.allclose(reading["tcp_rot"], start.tool.rot, atol=1e-3)
    assert torch.allclose(reading["target_pos"], reading["tcp_pos"], atol=1e-5)
    assert torch.allclose(reading["target_rot"], reading["tcp_rot"], atol=1e-5)
    assert torch.allclose(reading["gripper_width"], start.gripper_width, atol=1e-4)
    assert reading["time"].tolist() == [[0.0], [0.0]]
    for key, pose in start.objects.items():
        if key != "peg":  # which is given relative to the tool
            assert torch.allclose(reading[f"object.{key}.pos"], pose.pos, atol=1e-5)
            assert torch.allclose(reading[f"object.{key}.rot"], pose.rot, atol=1e-5)


def test_a_calibration_may_be_wrong_and_is_read_as_it_is(worlds):
    start, reading = begin(worlds["peg"], TASKS["peg"])
    assert torch.allclose(reading["fixture.hole.pos"], start.fixtures["hole"].pos)
    assert not torch.allclose(reading["fixture.hole.pos"], reading["object.hole.pos"], atol=1e-5)


def test_a_tool_is_held_as_the_start_says(worlds):
    start, reading = begin(worlds["peg"], TASKS["peg"])
    held = reading["tcp_pos"] + (reading["tcp_rot"] @ start.objects["peg"].pos[..., None])[..., 0]
    assert torch.allclose(reading["object.peg.pos"], held, atol=1e-5)


def test_a_command_takes_one_control_period_and_is_pursued(worlds):
    world = worlds["peg"]
    _, reading = begin(world, TASKS["peg"])
    goal = reading["tcp_pos"] + torch.tensor([0.01, 0.0, 0.01])
    for k in range(1, 9):
        reading = world.step(Command(goal, reading["target_rot"], reading["gripper_target"]))
        assert torch.allclose(reading["time"], torch.full((2, 1), k * world.control_dt))
    assert torch.allclose(reading["tcp_pos"], goal, atol=1.5e-3)
    assert torch.equal(reading["target_pos"], goal)
    assert reading["tcp_force"].abs().max() < 1.0  # free space


def test_holding_still_is_still_and_weightless(worlds):
    world = worlds["cube"]
    _, first = begin(world, TASKS["cube"])
    reading = first
    for _ in range(5):
        reading = world.step(hold(reading))
    assert torch.allclose(reading["tcp_pos"], first["tcp_pos"], atol=1e-3)
    assert reading["tcp_force"].abs().max() < 0.3
    assert reading["tcp_torque"].abs().max() < 0.1


def test_pressing_down_is_felt_as_a_force_up_within_the_bound(worlds):
    world, task = worlds["peg"], TASKS["peg"]
    start = task.start(torch.Generator().manual_seed(0), 2)
    beside = torch.tensor([[0.55, 0.15, 0.06], [0.45, -0.15, 0.06]])
    start = Start(Pose(beside, start.tool.rot), start.gripper_width, start.objects, start.fixtures)
    reading = world.reset(torch.ones(2, dtype=torch.bool), start)
    for _ in range(30):
        action = torch.tensor([[0.0, 0.0, 1.0, 0.0, 0.0, 0.0]]).expand(2, 6)
        reading = world.step(task.command(action, reading))
    limits = PANDA.impedance
    bound = min(limits.stiffness * limits.clip, limits.max_force)
    assert (reading["tcp_force"][:, 2] > 0.5 * bound).all()
    assert (reading["tcp_force"][:, 2] < 1.1 * bound).all()


def test_the_gripper_closes_and_opens(worlds):
    world = worlds["cube"]
    _, reading = begin(world, TASKS["cube"])
    for width in (0.0, PANDA.gripper.max_width):
        for _ in range(8):
            reading = world.step(Command(reading["target_pos"], reading["target_rot"], torch.full((2, 1), width)))
        assert torch.allclose(reading["gripper_width"], torch.full((2, 1), width), atol=2e-3)


def test_targets_are_kept_in_the_workspace_and_said_so(worlds):
    world = worlds["peg"]
    _, reading = begin(world, TASKS["peg"])
    beyond = reading["tcp_pos"] + torch.tensor([9.0, 0.0, -9.0])
    reading = world.step(Command(beyond, reading["target_rot"], reading["gripper_target"]))
    assert torch.allclose(reading["target_pos"][:, 0], torch.tensor(PANDA.workspace_high[0]))
    assert torch.allclose(reading["target_pos"][:, 2], torch.tensor(PANDA.workspace_low[2]))


@pytest.mark.parametrize("part", ["pos", "rot", "gripper"])
def test_a_command_that_is_not_finite_is_refused_and_nothing_moves(worlds, part):
    world = worlds["peg"]
    _, reading = begin(world, TASKS["peg"])
    parts = {"pos": reading["target_pos"], "rot": reading["target_rot"], "gripper": reading["gripper_target"]}
    parts[part] = parts[part].clone()
    parts[part][1] = math.nan
    with pytest.raises(InvalidAction, match="not finite"):
        world.step(Command(**parts))
    after = world.reset(torch.zeros(2, dtype=torch.bool), TASKS["peg"].start(torch.Generator(), 0))
    assert torch.equal(after["joint_pos"], reading["joint_pos"])
    assert torch.equal(after["time"], reading["time"])


def test_a_masked_reset_leaves_the_others_alone(worlds):
    world, task = worlds["peg"], TASKS["peg"]
    _, reading = begin(world, task)
    moved = world.step(Command(reading["target_pos"] + 0.005, reading["target_rot"], reading["gripper_target"]))
    after = world.reset(torch.tensor([False, True]), task.start(torch.Generator().manual_seed(9), 1))
    for key in world.provides:
        assert torch.equal(after[key][0], moved[key][0]), key
    assert not torch.equal(after["joint_pos"][1], moved["joint_pos"][1])
    assert after["time"].flatten().tolist() == [pytest.approx(world.control_dt), 0.0]


def test_the_same_start_and_commands_give_the_same_trajectory(worlds):
    world, task = worlds["cube"], TASKS["cube"]
    ends = []
    for _ in range(2):
        _, reading = begin(world, task, seed=3)
        for _ in range(5):
            pos = reading["target_pos"] + 0.01
            reading = world.step(Command(pos, reading["target_rot"], reading["gripper_target"]))
        ends.append(reading)
    for key in world.provides:
        assert torch.allclose(ends[0][key], ends[1][key], atol=1e-5), key


def test_a_start_out_of_reach_is_refused_by_name(worlds):
    world, task = worlds["peg"], TASKS["peg"]
    start = task.start(torch.Generator().manual_seed(0), 2)
    far = Start(Pose(start.tool.pos + 5.0, start.tool.rot), start.gripper_width, start.objects, start.fixtures)
    with pytest.raises(UserError, match=r"start\.tool.*cannot reach"):
        world.reset(torch.ones(2, dtype=torch.bool), far)
