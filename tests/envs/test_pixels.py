"""What a policy that looks is shown: pictures, and what the arm knows of itself. Nothing tells it where things are."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from envs.env import Env
from envs.registry import make_env, make_task, task_names
from envs.tool_task import sines
from robo_rl import geometry
from robo_rl.contracts import Pose, Reading
from robo_rl.contracts.reading import PROPRIOCEPTIVE
from robo_rl.errors import MissingReading, UserError
from robo_rl.robots import robot_names


@pytest.fixture(scope="module")
def peg():
    env = make_env(make_task("peg_insertion"), num_envs=2, threads=1, obs="pixels")
    yield env
    env.close()


def test_the_state_is_replaced_by_pictures_and_proprioception(peg):
    obs = peg.reset()
    assert set(obs) == set(peg.observation_space.spaces) == {"proprio", "camera.front.rgb", "camera.wrist.rgb"}
    for key in ("camera.front.rgb", "camera.wrist.rgb"):
        assert obs[key].shape == (2, 128, 128, 3)
        assert obs[key].dtype == torch.uint8
        assert obs[key].float().std() > 5
    assert obs["proprio"].shape == (2, *peg.observation_space["proprio"].shape)
    assert peg.observation_space["proprio"].dtype == np.float32
    assert peg.render_seconds > 0


def test_another_hole_changes_the_pictures_and_nothing_else(peg):
    """The hole, true and believed, and the peg are elsewhere; the tool is where it was."""
    start = peg.task.start(torch.Generator().manual_seed(3), 1)[torch.tensor([0, 0])]
    shift = torch.tensor([[0.0, 0.0, 0.0], [0.03, -0.02, 0.0]])
    turn = geometry.yaw(torch.tensor([0.0, 0.1]))
    for group in (start.objects, start.fixtures):
        group["hole"] = Pose(group["hole"].pos + shift, turn @ group["hole"].rot)
    obs = peg.reset(start=start)
    torch.testing.assert_close(obs["proprio"][0], obs["proprio"][1], atol=1e-4, rtol=0)
    for key in ("camera.front.rgb", "camera.wrist.rgb"):
        changed = (obs[key][0].int() - obs[key][1].int()).abs().amax(-1) > 20
        assert changed.sum() > 20, key


def test_the_arm_is_told_of_itself(peg):
    obs = peg.reset()["proprio"]
    moved = peg.step(torch.tensor([[1.0, 0, 0, 0, 0, 0], [0.0, 0, 0, 0, 0, 0]])).obs["proprio"]
    place = slice(0, 3)
    assert (moved[0, place] - obs[0, place]).norm() > 5 * (moved[1, place] - obs[1, place]).norm()
    assert moved[0, -1] > obs[0, -1]  # time goes on


@pytest.mark.parametrize("name", task_names())
def test_proprioception_needs_nothing_but_the_arm(name):
    task = make_task(name)
    one = torch.eye(3).repeat(2, 1, 1)
    values = {key: torch.rand(2, 3) for key in PROPRIOCEPTIVE} | {"tcp_rot": one, "target_rot": one}
    values |= {key: torch.rand(2, 1) for key in ("time", "gripper_width", "gripper_target")}
    found = task.proprioception(Reading(values))
    assert found.shape == (2, *task.proprioception_space.shape)
    assert found.isfinite().all()
    assert not any(key.startswith(("object.", "fixture.", "tracked.", "camera.")) for key in PROPRIOCEPTIVE)


def test_a_task_cannot_slip_in_where_things_are(peg):
    class Sly(type(peg.task)):
        def proprioception(self, reading):
            return reading["fixture.hole.pos"]

    sly = Sly(**{f.name: getattr(peg.task, f.name) for f in dataclasses.fields(peg.task)})
    env = Env(peg.world, sly, obs="pixels")
    with pytest.raises(MissingReading, match=r"fixture\.hole\.pos"):
        env.reset()


def test_what_cannot_be_seen_is_refused_by_name(peg):
    with pytest.raises(UserError, match="obs: task 'reach' has no camera"):
        make_env(make_task("reach"), obs="pixels")
    with pytest.raises(UserError, match="obs: must be 'state' or 'pixels', not 'touch'"):
        make_env(make_task("reach"), obs="touch")


def test_sines_are_the_rotation_vector_of_small_turns():
    vector = torch.tensor([[0.01, -0.02, 0.005]])
    torch.testing.assert_close(sines(geometry.exp(vector)), vector, atol=1e-5, rtol=0)


@pytest.mark.parametrize("robot", robot_names())
def test_either_camera_of_the_peg_s_task_has_hole_and_peg_in_view(robot):
    """The hand stands in nobody's way: blue block and orange peg cover a good part of both pictures at every start."""
    env = make_env(make_task("peg_insertion", robot), num_envs=4, threads=1, obs="pixels")
    try:
        obs = env.reset()
    finally:
        env.close()
    for key in ("camera.front.rgb", "camera.wrist.rgb"):
        red, _, blue = obs[key].int().unbind(-1)
        for name, seen in (("block", blue - red > 15), ("peg", red - blue > 60)):
            share = seen.flatten(1).float().mean(1)
            assert share.min() > 0.015, (key, name, share)
