"""One action sequence, one trajectory: MuJoCo, MuJoCo Warp, and the law at 1 kHz instead of the engine's spring."""

from __future__ import annotations

import math

import pytest
import torch

from envs.env import Env
from envs.registry import make_task
from envs.worlds.mujoco_world import MujocoWorld
from robo_rl import geometry

COPIES = 4


def recorded_actions(task, kind, steps):
    """Actions (steps, B, A) of the scripted expert, which ends in contact, or random ones high in free space."""
    if kind == "random":
        generator = torch.Generator().manual_seed(0)
        actions = 2.0 * torch.rand(steps, COPIES, *task.action_space.shape, generator=generator) - 1.0
        actions[..., 2] = 0.0 if task.name == "peg_insertion" else actions[..., 2].abs()
        return actions
    env = Env(MujocoWorld(task.robot, task.scene(), num_envs=COPIES, threads=1), task)
    env.reset(start=task.start(torch.Generator().manual_seed(2), COPIES))
    actions = []
    for _ in range(steps):
        actions.append(env.expert_action())
        env.step(actions[-1])
    env.close()
    return torch.stack(actions)


def trajectory(world, task, actions):
    """Positions (T, B, 3), orientations (T, B, 3, 3) and forces (T, B, 3) of the tool."""
    env = Env(world, task)
    env.reset(start=task.start(torch.Generator().manual_seed(2), COPIES))
    readings = []
    for action in actions:
        env.step(action)
        readings.append(env.reading)
    env.close()
    return tuple(torch.stack([reading[key] for reading in readings]) for key in ("tcp_pos", "tcp_rot", "tcp_force"))


def apart(one, other):
    """Largest distance (m) and angle (rad) between two trajectories."""
    angle = geometry.distance(one[1].double(), other[1].double())
    return (one[0] - other[0]).norm(dim=-1).max().item(), angle.max().item()


@pytest.mark.parametrize(
    ("name", "kind", "metres", "radians"),
    [("reach", "random", 2e-5, 1e-4), ("peg_insertion", "random", 2e-5, 1e-4), ("peg_insertion", "expert", 5e-4, 5e-3)],
)
def test_warp_goes_where_mujoco_goes(name, kind, metres, radians):
    pytest.importorskip("mujoco_warp")
    from envs.worlds.warp_world import WarpWorld

    task = make_task(name)
    actions = recorded_actions(task, kind, 15)
    engine = trajectory(MujocoWorld(task.robot, task.scene(), num_envs=COPIES, threads=1), task, actions)
    warp = trajectory(WarpWorld(task.robot, task.scene(), num_envs=COPIES, device="cpu"), task, actions)
    distance, angle = apart(engine, warp)
    assert distance < metres
    assert angle < radians
    if kind == "expert":  # the sequence must have touched something, or it shows nothing about contact
        assert engine[2].norm(dim=-1).max() > 3.0


def followed(world, task, commands):
    """The trajectory of a world that is given the commands of another."""
    reading = world.reset(torch.ones(COPIES, dtype=torch.bool), task.start(torch.Generator().manual_seed(2), COPIES))
    readings = []
    for command in commands:
        reading = world.step(command)
        readings.append(reading)
    world.close()
    return tuple(torch.stack([reading[key] for reading in readings]) for key in ("tcp_pos", "tcp_rot", "tcp_force"))


def recorded_commands(task, actions):
    """What the actions command in the engine's fidelity; leashed there, so that both pursue the same targets."""
    env = Env(MujocoWorld(task.robot, task.scene(), num_envs=COPIES, threads=1), task)
    env.reset(start=task.start(torch.Generator().manual_seed(2), COPIES))
    commands = []
    for action in actions:
        commands.append(task.command(action, env.reading))
        env.step(action)
    env.close()
    return commands


def both_fidelities(task, actions):
    commands, scene = recorded_commands(task, actions), task.scene()
    return tuple(
        followed(MujocoWorld(task.robot, scene, num_envs=COPIES, threads=1, fidelity=fidelity), task, commands)
        for fidelity in ("engine", "law")
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    [("reach", "expert"), ("reach", "random"), ("peg_insertion", "random"), ("peg_insertion", "expert")],
)
def test_the_engine_s_spring_and_the_law_keep_together(name, kind):
    """Within 2 mm and 1 degree at every control step; what remains is the law's limit on the torque rate."""
    task = make_task(name)
    distance, angle = apart(*both_fidelities(task, recorded_actions(task, kind, 15)))
    assert distance < 0.002
    assert angle < math.radians(1.0)


def test_the_engine_s_spring_and_the_law_press_alike():
    task = make_task("reach")
    engine, law = both_fidelities(task, torch.tensor([0.0, 0.0, -1.0]).expand(60, COPIES, 3))
    assert (engine[2][-1, :, 2] > 5.0).all()
    assert torch.allclose(engine[2][-1, :, 2], law[2][-1, :, 2], rtol=0.1)
