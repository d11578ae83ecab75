"""What `--algorithm` and `--agent.ibrl` make of a run: where batches come from, what is learned first and refused."""

from types import SimpleNamespace

import pytest
import torch

from robo_rl.agents.behaviour_cloning import BehaviourCloning
from robo_rl.agents.imitation import IBRLConfig
from robo_rl.agents.sac import SAC, SACConfig
from robo_rl.contracts.human import HumanInput
from robo_rl.errors import UserError
from robo_rl.human.intervention import InterventionEnv
from robo_rl.replay.buffer import ReplayBuffer
from robo_rl.settings import to_json
from robo_rl.training.algorithms import imitate_first, make_agent, refuse_unused
from robo_rl.training.checkpoint import load_checkpoint
from robo_rl.training.config import TrainConfig
from robo_rl.training.learner import Learner
from robo_rl.training.run_folder import RunFolder
from robo_rl.training.session import train


def small(**changes) -> TrainConfig:
    settings = {
        "task": "point", "steps": 300, "demos": 2, "agent": SACConfig(critics=2, hidden=(16, 16), actor_lr=3e-3),
        "batch_size": 32, "utd": 0.2, "warmup_steps": 50, "eval_every": 1000, "eval_episodes": 5, "eval_envs": 5,
        "final_episodes": 20, "target_success": None, "checkpoint_every": 100, "log_every": 50, "video_episodes": 0,
        "algorithm": "hg-dagger", "human": "simulated", "cloning_updates": 60,
    }  # fmt: skip
    return TrainConfig(**{**settings, **changes})


@pytest.fixture(autouse=True)
def quick_picture(monkeypatch):
    monkeypatch.setattr("robo_rl.training.outcome.plot_learning_curve", lambda *args, **kwargs: None)


class Teacher:
    """Pushes towards the origin wherever the policy would go the other way."""

    device = "scripted"

    def begin(self):
        pass

    def read(self, view):
        right = -view.obs["state"][:1].sign()
        return HumanInput(right if float(right * view.policy_action) < 0 else None, device=self.device)

    def close(self):
        pass


def supervised(env):
    return InterventionEnv(env, {row: Teacher() for row in range(env.num_envs)})


def run(config, point_env, root):
    folder = RunFolder.create(root, config.task, to_json(config), seed=config.seed)
    made = train(config, folder, lambda n, seed: point_env(n, seed=seed), supervise=supervised)
    return folder, made


def test_hg_dagger_learns_from_demonstrations_and_corrections_alone(point_env) -> None:
    env, config = point_env(1), small()
    agent = make_agent(config, env, seed=0)
    assert isinstance(agent, BehaviourCloning)
    buffers = [ReplayBuffer(env.observation_space, env.action_space, capacity=100, seed=0) for _ in range(2)]
    for buffer, push in zip(buffers, (0.0, 1.0), strict=True):
        obs = env.reset()
        for _ in range(20):
            step = env.step(torch.zeros(1, 1))
            buffer.add(obs, torch.full((1, 1), push), step)
            obs = step.obs
    learner = Learner(config, agent, *buffers)
    assert (learner.source.sample(32).action == 1.0).all()  # none of the online ones
    before = buffers[1].sample(20)
    for _ in range(50):
        learner.allow(5)
    assert agent.updates == 50
    assert agent.act(before.obs, explore=False).mean() > 0.5
    mixed = Learner(small(algorithm="sac", cloning_updates=10_000), make_agent(small(), env, seed=0), *buffers)
    assert (mixed.source.sample(32).action == 1.0).float().mean() == 0.5


def test_corrections_are_aggregated_and_the_run_can_be_resumed(point_env, tmp_path) -> None:
    folder, summary = run(small(), point_env, tmp_path)
    assert summary["updates"] == 50
    told = summary["supervision"]
    assert told["demonstrated"] > 0
    checkpoint = load_checkpoint(folder.checkpoints, "latest")
    assert int(checkpoint.tensors("agent")["updates"]) == 50  # those before training are not counted
    again = train(
        small(steps=400), RunFolder.open(folder.path), lambda n, seed: point_env(n, seed=seed), supervise=supervised
    )
    assert (again["env_steps"], again["updates"]) == (400, 70)


@pytest.mark.parametrize("sync", [True, False])
def test_its_own_policy_acts_from_the_first_step_on(point_env, tmp_path, sync) -> None:
    """No random actions: a policy cloned from experts needs few corrections, one that was cloned not at all many."""
    rates = []
    for updates in (600, 1):
        config = small(cloning_updates=updates, utd=0.01, steps=200, sync=sync)
        _, summary = run(config, point_env, tmp_path / str(updates))
        rates.append(summary["supervision"]["human_steps"] / 200)
    assert rates[0] < 0.2
    assert rates[0] < rates[1]


def test_ibrl_clones_before_it_trains(point_env, tmp_path) -> None:
    agent = SACConfig(critics=2, hidden=(16, 16), actor_lr=3e-3, ibrl=IBRLConfig(choice="greedy"))
    config = small(algorithm="sac", human=None, agent=agent, cloning_updates=300)
    folder = RunFolder.create(tmp_path, config.task, to_json(config), seed=config.seed)
    train(config, folder, lambda n, seed: point_env(n, seed=seed))
    made = make_agent(config, point_env(1), seed=5)
    assert isinstance(made, SAC)
    made.load_policy_state(load_checkpoint(folder.checkpoints, "latest").tensors("policy"))
    obs = {"state": torch.tensor([[-0.8, 0.0], [0.8, 0.0]])}
    cloned = made.imitation.proposed.cloned.act(obs)[:, 0]
    assert cloned[0] > 0.5 > -0.5 > cloned[1]
    assert imitate_first(small(algorithm="sac", cloning_updates=10_000), made, None) == {}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"human": None}, "give --human"),
        ({"demos": 0}, "nothing to imitate"),
        ({"algorithm": "sac"}, "cloning_updates"),
        ({"agent": SACConfig(gripper="discrete")}, "no critics"),
        ({"cloning_updates": 0}, "cloning_updates: must be at least 1"),
        ({"human": None, "algorithm": "sac", "demos": 0, "agent": SACConfig(ibrl=IBRLConfig(choice="soft"))}, "demos"),
    ],
)
def test_what_does_not_fit_is_refused(changes, said) -> None:
    with pytest.raises(UserError, match=said):
        small(**changes)


def test_images_are_not_imitated() -> None:
    nowhere = SimpleNamespace(observation_space=None, action_space=None)
    with pytest.raises(UserError, match="vectors only"):
        make_agent(small(obs="pixels", task="reach"), nowhere, seed=0)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"agent": SACConfig(critics=4)}, "agent.critics: hg-dagger .* no use for 4; leave it at 10"),
        ({"agent": SACConfig(random_shift=1)}, "agent.random_shift"),
        ({"agent": SACConfig(q_bounds=(0.0, 1.0))}, "agent.q_bounds"),
        ({"agent": SACConfig(critic_norm="none")}, "agent.critic_norm"),
        ({"demo_ratio": 0.7}, "demo_ratio"),
        ({"n_step": 3}, "n_step"),
    ],
)
def test_a_setting_that_imitation_has_no_use_for_is_refused(changes, named) -> None:
    usual = TrainConfig("point")
    with pytest.raises(UserError, match=named):
        refuse_unused(small(**{"agent": SACConfig(), **changes}), usual)
    refuse_unused(small(algorithm="sac", cloning_updates=10_000, **changes), usual)


def test_what_imitation_takes_and_what_the_task_suggests_is_not_refused() -> None:
    agent = SACConfig(hidden=(8, 8), actor_layer_norm=True, actor_lr=1e-3, observation_keys=("state",))
    refuse_unused(small(agent=agent), TrainConfig("point"))
    suggested = TrainConfig("point", agent=SACConfig(critics=2, q_bounds=(0.0, 1.0)), n_step=3)
    refuse_unused(small(agent=suggested.agent, n_step=3), suggested)
