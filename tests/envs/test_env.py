"""The one loop: what it refuses, what it reports, and what it never does."""

from __future__ import annotations

import pytest
import torch

from envs.env import Env
from envs.registry import make_env, make_task
from envs.tasks.reach import Reach
from robo_rl.contracts import Reading, World
from robo_rl.errors import InvalidAction, MissingReading, UserError
from robo_rl.robots import robot


@pytest.fixture
def env():
    env = make_env(make_task("reach"), num_envs=2, seed=5, threads=1)
    env.reset()
    yield env
    env.close()


def test_a_world_that_lacks_a_reading_is_refused_by_name(env):
    class Blind:
        provides = env.world.provides - {"fixture.goal.pos"}
        num_envs, device, control_dt, robot = 2, env.device, 0.1, env.world.robot

    with pytest.raises(MissingReading, match=r"fixture\.goal\.pos.*Blind"):
        Env(Blind(), env.task)


def test_a_reading_says_what_there_is():
    with pytest.raises(MissingReading, match=r"'b' is not given here.*a"):
        Reading({"a": torch.zeros(1)})["b"]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_an_action_that_is_not_finite_is_refused_and_nothing_moves(env, bad):
    before = [data.qpos.copy() for data in env.world.datas]
    action = torch.zeros(2, 3)
    action[1, 2] = bad
    with pytest.raises(InvalidAction, match=r"action\[1, 2\]"):
        env.step(action)
    assert all((data.qpos == was).all() for data, was in zip(env.world.datas, before, strict=True))
    assert env.reading["time"].max() == 0.0


def test_an_action_of_the_wrong_shape_is_refused(env):
    with pytest.raises(InvalidAction, match=r"shape \(2, 4\), expected \(2, 3\)"):
        env.step(torch.zeros(2, 4))


def test_stepping_before_the_first_reset_is_refused():
    env = make_env(make_task("reach"), threads=1)
    with pytest.raises(UserError, match="reset"):
        env.step(torch.zeros(1, 3))


def test_actions_are_clipped_to_their_box(env):
    twin = make_env(env.task, num_envs=2, seed=5, threads=1)
    twin.reset()
    far, edge = env.step(torch.full((2, 3), 7.0)), twin.step(torch.ones(2, 3))
    assert torch.equal(far.obs["state"], edge.obs["state"])
    assert torch.equal(far.info["executed_action"], torch.ones(2, 3))


def test_the_executed_action_is_what_the_workspace_left_of_it(env):
    ceiling = env.world.robot.workspace_high[2]
    cut = False
    for _ in range(45):
        before = env.reading
        step = env.step(torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]))
        command = env.task.command(torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]), before)
        assert torch.equal(step.info["executed_action"][1], torch.zeros(3))
        if command.pos[0, 2] > ceiling:
            cut = True
            assert env.reading["target_pos"][0, 2] == pytest.approx(ceiling)
            expected = (ceiling - before["target_pos"][0, 2]) / env.task.tool_delta.translation
            assert step.info["executed_action"][0, 2] == pytest.approx(expected.clamp(-1, 1).item(), abs=1e-4)
        else:
            assert step.info["executed_action"][0, 2] == 1.0
    assert cut


def test_the_horizon_truncates_and_nothing_resets_by_itself(env):
    away = -torch.sign(env.reading["object.goal.pos"] - env.reading["tcp_pos"])
    for k in range(1, env.horizon + 3):
        step = env.step(away)
        assert not (step.terminated & step.truncated).any()
        assert step.truncated.all() == (k >= env.horizon)
    assert env.reading["time"].min() == pytest.approx((env.horizon + 2) * env.world.control_dt, abs=1e-4)


def test_success_ends_the_episode_and_is_worth_one(env):
    for _ in range(env.horizon):
        step = env.step(env.expert_action())
        assert torch.equal(step.reward, step.info["success"].float())
        assert torch.equal(step.terminated, step.info["success"])
        if step.terminated.any():
            return
    pytest.fail("the expert never reached the goal")


def test_a_dense_reward_adds_scaled_terms(env):
    dense = make_env(env.task, num_envs=2, seed=5, threads=1, reward="dense")
    dense.reset()
    step = dense.step(torch.zeros(2, 3))
    distance = (dense.reading["object.goal.pos"] - dense.reading["tcp_pos"]).norm(dim=-1)
    assert torch.allclose(step.reward, -10.0 * distance * env.task.reward_scales["distance"])


def test_observations_are_made_of_declared_readings_only():
    class Peeking(Reach):
        def observe(self, reading):
            return {"state": reading["object.goal.pos"].repeat(1, 3)}

    env = make_env(Peeking(robot("panda")), threads=1)
    with pytest.raises(MissingReading, match=r"object\.goal\.pos"):
        env.reset()


def test_a_masked_reset_changes_only_what_it_is_told_to(env):
    env.step(torch.ones(2, 3))
    before = env.reading
    env.reset(torch.tensor([True, False]))
    after = env.reading
    assert after["time"].flatten().tolist() == [0.0, pytest.approx(0.1)]
    assert torch.equal(before["joint_pos"][1], after["joint_pos"][1])
    assert not torch.equal(before["joint_pos"][0], after["joint_pos"][0])


def test_given_starts_are_used_and_seeds_repeat_them(env):
    starts = env.task.start(torch.Generator().manual_seed(3), 2)
    env.reset(start=starts)
    assert torch.allclose(env.reading["tcp_pos"], starts.tool.pos, atol=2e-4)
    env.seed(11)
    first = env.reset()["state"]
    env.seed(11)
    assert torch.equal(env.reset()["state"], first)
    assert not torch.equal(env.reset()["state"], first)


def test_our_worlds_satisfy_the_protocol(env):
    assert isinstance(env.world, World)
