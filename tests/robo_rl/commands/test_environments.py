import json
import textwrap

import pytest
import torch

from robo_rl.cli import main
from robo_rl.commands.environments import make_environment
from robo_rl.commands.train import read_request
from robo_rl.errors import UserError
from robo_rl.training.config import TrainConfig
from robo_rl.training.evaluation import evaluate


def towards_goal(obs, *, explore):
    return obs["state"][:, :3].clamp(-1.0, 1.0)


def test_evaluation_does_not_depend_on_the_number_of_environments():
    found = []
    for num_envs in (1, 4):
        env = make_environment(TrainConfig("reach", threads=1), num_envs, seed=num_envs)
        found.append(evaluate(env, towards_goal, 6, seed=2))
        env.close()
    assert found[0].lengths == found[1].lengths
    assert found[0].successes == found[1].successes
    assert len(set(found[0].lengths)) > 1
    assert found[0].control_dt == pytest.approx(0.1)


def test_options_reach_the_task():
    config = TrainConfig("peg_insertion", robot="fr3", task_options={"clearance": 0.0005, "horizon": 7})
    env = make_environment(config, 1, 0)
    assert (env.task.clearance, env.horizon, env.task.robot.name) == (0.0005, 7, "fr3")
    env.close()
    env = make_environment(TrainConfig("gym:Pendulum-v1", task_options={"horizon": 9}), 2, 0)
    assert (env.horizon, env.num_envs) == (9, 2)
    env.close()
    with pytest.raises(UserError, match="unknown field of the task"):
        make_environment(TrainConfig("reach", task_options={"clearance": 1.0}), 1, 0)


def test_the_law_s_world_goes_by_its_name_in_commands(tmp_path, capsys):
    env = make_environment(TrainConfig("reach", world="mujoco_law", threads=1), 2, 0)
    assert env.world.model.opt.timestep == 0.001  # the law's millisecond
    env.reset()
    before = env.reading["tcp_pos"]
    for _ in range(5):
        env.step(env.expert_action())
    assert not torch.allclose(env.reading["tcp_pos"], before, atol=1e-3)
    env.close()
    words = ["record", "reach", "--world", "mujoco_law", "--episodes", "1", "--out", str(tmp_path)]
    assert main([*words, "--task.horizon", "30"]) == 0
    assert json.loads(capsys.readouterr().out)["episodes"] == 1


@pytest.fixture
def own_task(tmp_path, monkeypatch):
    """A task of one's own, outside the suite, in the working directory."""
    (tmp_path / "own_task.py").write_text(
        textwrap.dedent(
            '''
            from dataclasses import dataclass
            from typing import ClassVar
            from envs.tasks.reach import Reach

            @dataclass(frozen=True)
            class Near(Reach):
                """Reach, but nearly."""

                name: ClassVar[str] = "near"
                training_defaults: ClassVar = {"utd": 0.25, "agent.critics": 3, "steps": 77}
                tolerance: float = 0.05
                """Distance, m."""

            @dataclass(frozen=True)
            class Wrong(Near):
                training_defaults: ClassVar = {"agent.critix": 3}
            '''
        )
    )
    monkeypatch.syspath_prepend(tmp_path)
    return "own_task:Near"


def test_what_a_task_recommends_holds_below_what_is_asked_for(own_task):
    config, run = read_request([own_task, "--utd", "2", "--task.tolerance", "0.03"])
    assert run is None
    assert (config.utd, config.agent.critics, config.steps) == (2.0, 3, 77)
    assert config.batch_size == TrainConfig("reach").batch_size
    assert config.task_options["tolerance"] == 0.03
    env = make_environment(config, 1, 0)
    assert env.task.tolerance == 0.03
    env.close()


def test_a_recommendation_that_is_no_setting_is_told(own_task):
    with pytest.raises(UserError, match=r"unknown setting in training_defaults of own_task:Wrong: 'agent\.critix'"):
        read_request(["own_task:Wrong"])
