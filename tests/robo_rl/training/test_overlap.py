"""Whole runs, in turns and with the learner beside the environment."""

import itertools
import shutil
import threading
from pathlib import Path

import pytest
import torch

from robo_rl.agents.perturbation import PerturbationConfig
from robo_rl.agents.sac import SAC, SACConfig
from robo_rl.settings import to_json
from robo_rl.training import trainer
from robo_rl.training.checkpoint import load_checkpoint
from robo_rl.training.config import TrainConfig
from robo_rl.training.run_folder import RunFolder
from robo_rl.training.session import train


def stored_transitions(checkpoint) -> int:
    """How many its replay holds; a row that nothing follows is the last observation of an episode."""
    return int(checkpoint.tensors("replay")["hop"].count_nonzero())


def small(**changes) -> TrainConfig:
    settings = {
        "task": "point", "steps": 120, "demos": 3, "agent": SACConfig(critics=2, hidden=(16, 16)), "batch_size": 16,
        "utd": 0.5, "warmup_steps": 20, "eval_every": 60, "eval_episodes": 2, "eval_envs": 2, "final_episodes": 2,
        "target_success": None, "checkpoint_every": 50, "log_every": 20, "num_envs": 2, "video_episodes": 0,
        "sync": False,
    }  # fmt: skip
    return TrainConfig(**{**settings, **changes})


@pytest.fixture(autouse=True)
def no_picture(monkeypatch):
    monkeypatch.setattr("robo_rl.training.outcome.plot_learning_curve", lambda *args, **kwargs: None)


def new_run(config: TrainConfig, root: Path) -> RunFolder:
    return RunFolder.create(root, config.task, to_json(config), seed=config.seed)


def maker(point_env):
    return lambda num_envs, seed: point_env(num_envs, seed=seed)


def everything(run: RunFolder) -> dict[str, torch.Tensor]:
    checkpoint = load_checkpoint(run.checkpoints, "latest")
    parts = ("policy", "agent", "replay", "demonstrations", "random")
    return {f"{part}.{name}": value for part in parts for name, value in checkpoint.tensors(part).items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


AGENTS = {
    "plain": SACConfig(critics=2, hidden=(16, 16)),
    "perturbed": SACConfig(critics=2, hidden=(16, 16), perturb=PerturbationConfig(every=5, towards="best")),
}


@pytest.mark.parametrize("agent", AGENTS.values(), ids=AGENTS.keys())
def test_in_turns_a_run_comes_out_the_same_bit_for_bit(point_env, tmp_path, agent):
    config = small(sync=True, agent=agent)
    runs = [new_run(config, tmp_path / name) for name in ("first", "second")]
    for run in runs:
        train(config, run, maker(point_env))
    first, second = (everything(run) for run in runs)
    assert same(first, second)
    other = new_run(small(sync=True, agent=agent, seed=1), tmp_path / "other")
    train(small(sync=True, agent=agent, seed=1), other, maker(point_env))
    assert not same(first, everything(other))


def test_in_turns_going_on_from_a_checkpoint_comes_out_the_same_bit_for_bit(point_env, tmp_path):
    config = small(sync=True)
    run = new_run(config, tmp_path / "one")
    asked = iter(range(10_000))
    train(config, run, maker(point_env), should_stop=lambda: next(asked) > 40)
    assert load_checkpoint(run.checkpoints, "latest").env_steps < 120
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    ends = []
    for name in ("one", "two"):
        again = RunFolder.open(tmp_path / name / run.path.name)
        assert train(config, again, maker(point_env))["env_steps"] == 120
        ends.append(everything(again))
    assert same(*ends)


def test_beside_the_environment_all_updates_are_made_and_the_pace_is_logged(point_env, tmp_path):
    config = small(sync=False, max_lag=6, utd=0.75)
    run = new_run(config, tmp_path)
    assert train(config, run, maker(point_env))["updates"] == 75
    rows = [row for row in run.metrics() if row["kind"] == "train"]
    assert len(rows) == 6
    for row in rows:
        assert row["utd"] <= 0.75
        assert 0 <= row["learner_lag_steps"] <= 6 + 2
        assert row["policy_age_steps"] >= 0
        assert row["policy_age_s"] >= 0
        assert row["updates_forgone"] == 0
        assert row["updates"] <= 0.75 * max(0, row["env_steps"] - 20)
    assert any(row["policy_age_steps"] > 0 for row in rows)


def breaks_after(monkeypatch, updates):
    """From then on, every update changes weights and then fails."""
    update = SAC.update

    def broken(self, batch, utd):
        metrics = update(self, batch, utd)
        if int(self.updates) > updates:
            raise MemoryError("no memory left")
        return metrics

    monkeypatch.setattr(SAC, "update", broken)


@pytest.mark.parametrize("sync", [True, False])
def test_a_dead_learner_ends_the_run_and_no_experience_is_lost(point_env, tmp_path, monkeypatch, sync, capsys):
    config = small(sync=sync, max_lag=4)
    run = new_run(config, tmp_path)
    with monkeypatch.context() as patch:
        breaks_after(patch, 30)  # after 80 steps; the checkpoint before was at 50
        with pytest.raises(MemoryError, match="no memory left"):
            train(config, run, maker(point_env))
    assert not any(thread.name == "learner" for thread in threading.enumerate())
    assert "stored a checkpoint at" in capsys.readouterr().err
    checkpoint = load_checkpoint(run.checkpoints, "latest")
    assert 82 <= checkpoint.env_steps <= 90
    assert stored_transitions(checkpoint) == checkpoint.env_steps
    # The weights are whole: those of the checkpoint before, of as many updates as it says.
    assert int(checkpoint.tensors("agent")["updates"]) == checkpoint.state["updates"] <= 15
    resumed = train(config, RunFolder.open(run.path), maker(point_env))
    assert resumed["env_steps"] == 120


def test_a_dead_learner_without_a_checkpoint_is_told_of(point_env, tmp_path, monkeypatch):
    config = small(checkpoint_every=10_000, eval_every=10_000)
    run = new_run(config, tmp_path)
    breaks_after(monkeypatch, 0)
    with pytest.raises(MemoryError):
        train(config, run, maker(point_env))
    assert load_checkpoint(run.checkpoints, "latest") is None  # nothing whole to go on from


def test_an_environment_that_fails_takes_no_experience_with_it(point_env, tmp_path):
    class Fails(point_env):
        def step(self, action):
            if self.num_envs == 1 and float(self.t) == 7:
                raise ConnectionError("the robot is gone")
            return super().step(action)

    config = small(num_envs=1, demos=0, steps=100, warmup_steps=1)
    run = new_run(config, tmp_path)
    with pytest.raises(ConnectionError):
        train(config, run, maker(Fails))
    checkpoint = load_checkpoint(run.checkpoints, "latest")
    assert stored_transitions(checkpoint) == checkpoint.env_steps > 0
    assert not any(thread.name == "learner" for thread in threading.enumerate())


@pytest.mark.parametrize("after", [8, 25, 34, 60])  # random actions, learning, an evaluation, after it
def test_a_stop_in_any_phase_ends_the_thread_and_stores_what_is_whole(point_env, tmp_path, after):
    config = small()
    run = new_run(config, tmp_path)
    asked = iter(range(10_000))
    stopped = train(config, run, maker(point_env), should_stop=lambda: next(asked) > after)
    assert stopped["interrupted"]
    assert not any(thread.name == "learner" for thread in threading.enumerate())
    checkpoint = load_checkpoint(run.checkpoints, "latest")
    assert stored_transitions(checkpoint) == checkpoint.env_steps == stopped["env_steps"]
    assert int(checkpoint.tensors("agent")["updates"]) == checkpoint.state["updates"] == stopped["updates"]
    resumed = train(config, RunFolder.open(run.path), maker(point_env))
    assert (resumed["env_steps"], resumed["updates"]) == (120, 50)


def test_on_a_robot_whatever_takes_long_waits_for_the_end_of_an_episode(point_env, tmp_path, monkeypatch):
    cells, moves = [], []

    class Robot(point_env):
        def step(self, action):
            moves.append("step")
            return super().step(action)

        def reset(self, mask=None, *, start=None):
            moves.append("reset")
            return super().reset(mask, start=start)

    def the_cell(num_envs, seed):
        cells.append(cells[0] if cells else Robot(1, horizon=6, seed=seed))
        return cells[0]

    def noted(name, function):
        def call(*args, **kwargs):
            moves.append(name)
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(RunFolder, "log", noted("log", RunFolder.log))
    monkeypatch.setattr(trainer, "save_checkpoint", noted("save", trainer.save_checkpoint))
    config = small(
        cell="sim", num_envs=1, demos=0, steps=60, warmup_steps=8, log_every=10, checkpoint_every=20, eval_every=40,
        keep_episodes=False, sync=True,
    )  # fmt: skip
    summary = train(config, new_run(config, tmp_path), the_cell)
    assert summary["updates_forgone"] >= 0
    assert moves.count("log") >= 6
    assert moves.count("save") >= 3
    for before, after in itertools.pairwise(moves):
        assert not (before in ("log", "save") and after == "step")  # the arm is reset first
    rows = RunFolder(Path(summary["run"])).metrics()
    assert any(row["kind"] == "evaluation" for row in rows)
