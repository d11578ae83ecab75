"""Every task on every arm: its expert solves it, its starts keep what they promise, its observation fits its space."""

from __future__ import annotations

from math import radians

import pytest
import torch

from envs.registry import make_env, make_task, robot_names, task_names
from robo_rl import geometry
from robo_rl.contracts import Pose, Reading

EPISODES = 40


@pytest.mark.parametrize("arm", robot_names())
@pytest.mark.parametrize("name", task_names())
def test_the_scripted_expert_solves_it(name, arm):
    task = make_task(name, arm)
    env = make_env(task, num_envs=EPISODES, seed=1)
    obs = env.reset()
    over, solved = torch.zeros(EPISODES, dtype=torch.bool), torch.zeros(EPISODES, dtype=torch.bool)
    for _ in range(task.horizon):
        assert obs["state"].shape == (EPISODES, *task.observation_space["state"].shape)
        assert obs["state"].isfinite().all()
        step = env.step(env.expert_action())
        obs = step.obs
        solved |= step.info["success"] & ~over
        over |= step.done
        if over.all():
            break
    env.close()
    assert solved.float().mean() >= (0.9 if name == "peg_insertion_hard" else 0.95)


@pytest.mark.parametrize("name", ["peg_insertion", "peg_insertion_hard"])
def test_the_hole_and_the_peg_are_off_by_no_more_than_stated(name):
    task = make_task(name)
    start = task.start(torch.Generator().manual_seed(0), 4000)
    hole, believed, peg = start.objects["hole"], start.fixtures["hole"], start.objects["peg"]
    for offset, bound in ((believed.pos - hole.pos, task.hole_error), (peg.pos, task.grasp_error)):
        assert offset[:, :2].norm(dim=-1).max() <= bound + 1e-6
        assert offset[:, :2].norm(dim=-1).max() > 0.95 * bound
        assert offset[:, 2].abs().max() <= bound + 1e-6
    turned = geometry.distance(hole.rot.double(), believed.rot.double())
    assert 0.9 * radians(task.hole_angle_error) < turned.max() <= radians(task.hole_angle_error) + 1e-4
    tilted = geometry.distance(torch.eye(3).double(), peg.rot.double())
    assert 0.9 * radians(task.grasp_angle_error) < tilted.max() <= radians(task.grasp_angle_error) + 1e-4
    # The hole is placed anew each time, and the tip begins above it.
    assert hole.pos[:, :2].std(dim=0).min() > 0.02
    assert (start.tool.pos[:, 2] - task.peg_length - believed.pos[:, 2]).min() > 0.009


def test_the_observation_does_not_tell_the_errors():
    """Two episodes that differ only in the true hole and the true peg look the same until something is touched."""
    task = make_task("peg_insertion")
    env = make_env(task, num_envs=2, threads=1)
    one = task.start(torch.Generator().manual_seed(4), 1)
    rows = torch.tensor([0, 0])
    start = one[rows]
    shifted = torch.tensor([[0.0, 0.0, 0.0], [0.001, -0.0005, 0.0005]])
    start.objects["hole"] = Pose(start.objects["hole"].pos + shifted, start.objects["hole"].rot)
    start.objects["peg"] = Pose(start.objects["peg"].pos + shifted, start.objects["peg"].rot)
    first = env.reset(start=start)["state"]
    assert torch.allclose(first[0], first[1], atol=2e-3)
    step = env.step(torch.zeros(2, 6))
    assert torch.allclose(step.obs["state"][0], step.obs["state"][1], atol=2e-3)


def peg_reading(task, tip):
    """A reading whose peg stands upright with its tip at ``tip`` (n, 3) in the hole's frame."""
    n = len(tip)
    hole = torch.tensor([0.5, 0.1, 0.02]).expand(n, 3)
    rot = geometry.yaw(torch.full((n,), 0.3))
    down = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    return Reading(
        {
            "object.hole.pos": hole,
            "object.hole.rot": rot,
            "object.peg.pos": hole + geometry.rotate(rot, tip) + torch.tensor([0.0, 0.0, task.peg_length]),
            "object.peg.rot": rot @ down,
        }
    )


def test_insertion_is_judged_by_geometry():
    task = make_task("peg_insertion")
    places = torch.tensor(
        [
            [0.0, 0.0, -0.019],  # in the hole
            [0.0, 0.0, -0.009],  # half way
            [0.0, 0.0, 0.001],  # over it
            [0.03, 0.0, -0.019],  # beside the block, as deep
            [0.0004, -0.0004, -0.0185],  # in it, touching two walls
        ]
    )
    reward = task.reward(peg_reading(task, places))
    assert reward.success.tolist() == [True, False, False, False, True]
    assert not reward.failure.any()
    insert = reward.terms()["insert"]
    assert insert[0] > insert[1] > insert[2] == 0.0
    assert insert[3] == 0.0
    align = task.reward(
        peg_reading(task, torch.tensor([[0.0, 0.0, 0.01], [0.005, 0.0, 0.01], [0.02, 0.0, 0.01]]))
    ).terms()
    assert align["align"][0] > align["align"][1] > align["align"][2]


def test_a_cube_counts_as_lifted_only_in_the_gripper():
    task = make_task("pick_cube")
    cube = torch.tensor([[0.5, 0.0, 0.12], [0.5, 0.0, 0.12], [0.5, 0.0, 0.05], [0.9, 0.0, 0.0]])
    tool = torch.tensor([[0.5, 0.0, 0.12], [0.5, 0.0, 0.30], [0.5, 0.0, 0.05], [0.5, 0.0, 0.30]])
    reward = task.reward(Reading({"object.cube.pos": cube, "tcp_pos": tool}))
    assert reward.success.tolist() == [True, False, False, False]
    assert reward.failure.tolist() == [False, False, False, True]
    lift = reward.terms()["lift"]
    assert lift[0] > lift[2] > lift[3]


def test_a_cube_counts_as_placed_only_where_it_may_lie_and_is_let_go():
    task = make_task("place_cube")
    half = task.cube_size / 2
    places = [[0, 0, half], [0, 0, half], [0, 0, half], [0, 0, 0.1], [0.15, 0, half], [0.4, 0, half]]
    cube = torch.tensor(places) + torch.tensor(task.robot.work_center) * torch.tensor([1.0, 1.0, 0.0])
    over = torch.tensor([0.1, 0.1, 0.0, 0.0, 0.1, 0.1])
    width = torch.tensor([0.08, 0.034, 0.08, 0.034, 0.08, 0.08])[:, None]
    tool = cube + torch.stack([torch.zeros(6), torch.zeros(6), over], dim=1)
    reward = task.reward(Reading({"object.cube.pos": cube, "tcp_pos": tool, "gripper_width": width}))
    assert reward.success.tolist() == [True, False, False, False, False, False]
    assert reward.failure.tolist() == [False, False, False, False, False, True]
    assert reward.terms()["lower"].tolist() == pytest.approx([1.0, 1.0, 1.0, 0.0, 1.0, 1.0], abs=1e-3)
    assert reward.terms()["withdraw"].tolist() == pytest.approx([1.0, 0.0, 0.0, 0.0, 1.0, 1.0], abs=1e-3)


def test_picking_and_placing_undo_each_other():
    """The experts of both carry on from each other's ends, in one world that is reset once."""
    from envs.env import GuestEnv

    forward = make_env(make_task("pick_cube"), num_envs=8, seed=3, threads=1)
    backward = GuestEnv(forward.world, make_task("place_cube"), seed=3)
    forward.reset()
    for turn in range(4):
        env = (forward, backward)[turn % 2]
        if turn:
            env.carry_on()
        solved = torch.zeros(8, dtype=torch.bool)
        for _ in range(env.horizon):
            step = env.step(env.expert_action())
            solved |= step.info["success"]
            if solved.all():
                break
        assert solved.float().mean() > 0.8, turn
    forward.close()
