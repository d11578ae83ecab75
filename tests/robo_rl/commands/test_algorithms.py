"""Discrete grippers and HG-DAgger from the command line: trained, resumed, evaluated, not exported."""

import json
import os

import pytest
import torch

from envs.registry import make_env, make_task
from robo_rl.cli import main
from robo_rl.training.checkpoint import load_checkpoint
from robo_rl.training.run_folder import RunFolder

SMALL = [
    "--agent.hidden", "16", "16", "--batch-size", "32", "--utd", "0.1", "--eval-episodes", "2", "--eval-envs", "2",
    "--final-episodes", "2", "--video-episodes", "0", "--log-every", "40", "--eval-every", "1000",
    "--target-success", "None", "--demos", "1", "--threads", "1",
]  # fmt: skip


@pytest.mark.parametrize(("obs", "key"), [("state", "state"), ("pixels", "proprio")])
def test_observations_tell_the_commanded_opening(obs, key):
    task = make_task("pick_cube", "panda", {})
    env = make_env(task, world="mujoco", num_envs=1, seed=0, obs=obs)
    try:
        seen = env.reset()
        for entry in (0.0, -1.0, 0.0, 1.0):
            action = torch.zeros(1, 5)
            action[0, -1] = entry
            command = 2.0 * env.reading["gripper_target"][0, 0] / task.robot.gripper.max_width - 1.0
            assert seen[key][0, task.observed_gripper[key]] == pytest.approx(float(command))
            seen = env.step(action).obs
            if entry:
                assert seen[key][0, task.observed_gripper[key]] == pytest.approx(entry)
    finally:
        env.close()


def test_a_discrete_gripper_is_trained_resumed_and_used(tmp_path, capsys):
    words = ["train", "pick_cube", "--agent.gripper", "discrete", "--steps", "120", "--warmup-steps", "40", *SMALL]
    assert main([*words, "--agent.grasp.epsilon", "0.5", "--no-sync", "--out", str(tmp_path)]) == 0
    run = RunFolder.open(tmp_path / os.listdir(tmp_path)[0])
    assert main(["train", "--resume", str(run.path), "--steps", "160"]) == 0
    checkpoint = load_checkpoint(run.checkpoints, "latest")
    assert checkpoint.env_steps == 160
    assert any(name.startswith("grasp.") for name in checkpoint.tensors("policy"))
    capsys.readouterr()
    assert main(["eval", str(run.path), "--episodes", "2"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])
    assert main(["export", str(run.path)]) != 0
    assert "discrete gripper" in capsys.readouterr().err


def test_there_has_to_be_a_gripper(tmp_path, capsys):
    assert main(["train", "reach", "--agent.gripper", "discrete", *SMALL, "--out", str(tmp_path)]) != 0
    assert "move no gripper" in capsys.readouterr().err
    assert not os.listdir(tmp_path)


def test_hg_dagger_is_trained_evaluated_and_exported(tmp_path, capsys):
    words = ["train", "reach", "--human", "simulated", "--algorithm", "hg-dagger", "--cloning-updates", "50"]
    more = ["--steps", "120", "--simulated.patience", "0.3", "--task.horizon", "20", *SMALL, "--out", str(tmp_path)]
    assert main([*words, *more]) == 0
    run = RunFolder.open(tmp_path / os.listdir(tmp_path)[0])
    assert run.summary["supervision"]["human_steps"] > 0
    capsys.readouterr()
    assert main(["eval", str(run.path), "--episodes", "2"]) == 0
    assert main(["export", str(run.path)]) == 0


def test_hg_dagger_refuses_what_it_has_no_use_for(tmp_path, capsys):
    words = ["train", "reach", "--human", "simulated", "--algorithm", "hg-dagger", "--out", str(tmp_path)]
    assert main([*words, "--agent.tau", "0.01"]) != 0
    assert "agent.tau: hg-dagger imitates and has no use for 0.01" in capsys.readouterr().err
    assert not os.listdir(tmp_path)
