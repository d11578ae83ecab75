import dataclasses
import json
import threading
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from robo_rl.agents.auxiliary import AuxiliaryConfig
from robo_rl.agents.experts import ExpertsConfig
from robo_rl.agents.perturbation import PerturbationConfig
from robo_rl.agents.sac import SACConfig
from robo_rl.errors import UserError
from robo_rl.settings import from_json, to_json
from robo_rl.training.checkpoint import load_checkpoint
from robo_rl.training.config import TrainConfig
from robo_rl.training.durable import StorageError
from robo_rl.training.run_folder import RunFolder
from robo_rl.training.session import make_memory, train


def small(**changes) -> TrainConfig:
    settings = {
        "task": "point", "steps": 600, "demos": 0, "agent": SACConfig(critics=2, hidden=(16, 16)), "batch_size": 32,
        "utd": 0.1, "warmup_steps": 100, "eval_every": 200, "eval_episodes": 5, "eval_envs": 5, "final_episodes": 20,
        "target_success": None, "checkpoint_every": 200, "log_every": 50, "num_envs": 4, "video_episodes": 2,
    }  # fmt: skip
    return TrainConfig(**{**settings, **changes})


@pytest.fixture(autouse=True)
def quick_picture(request, monkeypatch):
    """Matplotlib takes longer than all the rest; one test draws, the others do not."""
    if "leaves_everything" not in request.node.name:
        monkeypatch.setattr("robo_rl.training.outcome.plot_learning_curve", lambda *args, **kwargs: None)


def new_run(config: TrainConfig, root: Path) -> RunFolder:
    return RunFolder.create(root, config.task, to_json(config), seed=config.seed)


def maker(point_env):
    return lambda num_envs, seed: point_env(num_envs, seed=seed)


def test_a_run_leaves_everything_behind(point_env, tmp_path):
    config = small()
    run = new_run(config, tmp_path)
    summary = train(config, run, maker(point_env))
    assert {p.name for p in run.path.iterdir()} == {
        "config.json", "system.json", "metrics.jsonl", "tensorboard", "checkpoints", "learning_curve.png",
        "evaluation.mp4", "summary.json",
    }  # fmt: skip
    assert run.summary == json.loads(json.dumps(summary))
    assert summary["env_steps"] == 600
    assert summary["updates"] == 50  # a tenth of the 500 steps after the random ones
    assert summary["episodes"] == 20
    assert summary["stopped_by"] == "steps"
    assert not summary["interrupted"]
    assert summary["wall_seconds"] >= summary["train_seconds"] > 0
    assert from_json(TrainConfig, run.config) == config
    rows = run.metrics()
    logged = [row["env_steps"] for row in rows if row["kind"] == "train"]
    assert logged == [-(-n // 4) * 4 for n in range(50, 601, 50)]  # the first step of all four at or after each 50
    assert [row["env_steps"] for row in rows if row["kind"] == "evaluation"] == [200, 400, 600]
    assert (run.path / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert list((run.path / "tensorboard").glob("events*"))


@pytest.mark.parametrize(("utd", "num_envs", "block"), [(2.0, 3, None), (0.75, 1, 3), (0.3, 2, None)])
def test_updates_keep_pace_with_environment_steps(point_env, tmp_path, utd, num_envs, block):
    config = small(utd=utd, num_envs=num_envs, steps=160, critic_updates_per_actor_update=block, video_episodes=0)
    config = dataclasses.replace(config, eval_every=10_000, final_episodes=1, eval_episodes=1)
    summary = train(config, new_run(config, tmp_path), maker(point_env))
    after_warmup = summary["env_steps"] - 100 // num_envs * num_envs
    owed = utd * after_warmup
    assert owed - config.block - utd * num_envs <= summary["updates"] <= owed


class StopAfter:
    """Asks to stop at the n-th time of being asked."""

    def __init__(self, times):
        self.left = times

    def __call__(self):
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("stop_after", [30, 58])  # while training, and in the middle of the first evaluation
def test_stopped_and_resumed_counts_as_one_run(point_env, tmp_path, stop_after):
    config = small(steps=400)
    run = new_run(config, tmp_path)
    stopped = train(config, run, maker(point_env), should_stop=StopAfter(stop_after))
    assert stopped["interrupted"]
    assert stopped["stopped_by"] == "interrupted"
    assert 0 < stopped["env_steps"] < 400
    assert run.summary == json.loads(json.dumps(stopped))
    checkpoint = load_checkpoint(run.checkpoints, "latest")
    assert checkpoint.env_steps == stopped["env_steps"]

    resumed = train(config, RunFolder.open(run.path), maker(point_env))
    straight = train(config, new_run(config, tmp_path), maker(point_env))
    assert resumed["env_steps"] == straight["env_steps"] == 400
    assert resumed["updates"] == straight["updates"]
    assert resumed["train_seconds"] > stopped["train_seconds"]
    counted = [(row["kind"], row["env_steps"]) for row in RunFolder.open(run.path).metrics()]
    assert len(counted) == len(set(counted))
    assert [c for c in counted if c[0] == "evaluation"] == [("evaluation", n) for n in (200, 400)]


def test_resuming_goes_back_to_the_checkpoint(point_env, tmp_path):
    """After a kill there are metric lines later than the checkpoint; their steps are taken again, and counted once."""
    config = small(steps=240)
    run = new_run(config, tmp_path)
    train(config, run, maker(point_env), should_stop=StopAfter(40))
    at = load_checkpoint(run.checkpoints, "latest").env_steps
    run = RunFolder.open(run.path)
    run.log({"kind": "train", "env_steps": at + 8, "wall_seconds": 1.0, "success": None, "from_the_future": 1})
    run.close()
    with run.metrics_path.open("ab") as torn:
        torn.write(b'{"kind": "tr')
    train(config, RunFolder.open(run.path), maker(point_env))
    rows = RunFolder.open(run.path).metrics()
    assert not any("from_the_future" in row for row in rows)
    steps = [row["env_steps"] for row in rows if row["kind"] == "train"]
    assert steps == sorted(set(steps))
    assert steps[-1] == 200
    assert json.loads((run.path / "metrics.discarded.jsonl").read_text())["from_the_future"] == 1


WITH_OPTIONS = SACConfig(
    critics=2, hidden=(16, 16), experts=ExpertsConfig(count=3, active=2, width=8), dormant_exploration=0.8,
    perturb=PerturbationConfig(every=5, towards="best"), auxiliary=AuxiliaryConfig(loss="taco", width=8, hidden=16),
)  # fmt: skip


@pytest.mark.parametrize("agent", [SACConfig(critics=2, hidden=(16, 16)), WITH_OPTIONS], ids=["plain", "options"])
def test_the_learner_comes_back_bit_for_bit(point_env, tmp_path, agent):
    config = small(steps=200, agent=agent)
    run = new_run(config, tmp_path)
    train(config, run, maker(point_env))
    before = load_checkpoint(run.checkpoints, "latest")
    saved = {part: before.tensors(part) for part in ("policy", "agent", "random", "replay")}
    # Nothing is left to do: what is stored again is what was read.
    train(config, RunFolder.open(run.path), maker(point_env))
    after = load_checkpoint(run.checkpoints, "latest")
    assert after.path != before.path
    assert not before.path.exists()
    for part, tensors in saved.items():
        again = after.tensors(part)
        assert again.keys() == tensors.keys()
        for name in tensors.keys() - {"last"}:  # the newest transitions have no successor now: new episodes began
            assert torch.equal(again[name], tensors[name]), (part, name)
    assert {k: after.state[k] for k in ("updates", "owed", "recent")} == {
        k: before.state[k] for k in ("updates", "owed", "recent")
    }


def test_a_run_without_a_checkpoint_begins_anew(point_env, tmp_path):
    config = small(steps=200)
    run = new_run(config, tmp_path)
    run.log({"kind": "train", "env_steps": 48, "wall_seconds": 0.1, "success": None})
    run.close()
    summary = train(config, RunFolder.open(run.path), maker(point_env))
    assert summary["env_steps"] == 200
    assert [row["env_steps"] for row in run.metrics() if row["kind"] == "train"].count(48) == 0


def test_stops_once_the_target_is_confirmed(point_env, tmp_path):
    config = small(steps=20_000, target_success=0.6, demos=5, utd=0.5, eval_every=100, discount=0.9)
    summary = train(config, new_run(config, tmp_path), maker(point_env))
    assert summary["target_reached"]
    assert summary["stopped_by"] == "target"
    assert summary["env_steps"] < 20_000
    assert summary["demos"] == 5
    rows = RunFolder(Path(summary["run"])).metrics()
    confirmed = [row for row in rows if row["kind"] == "confirmation"]
    assert confirmed[-1]["success_rate"] >= 0.6
    assert confirmed[-1]["episodes"] == 20
    assert len({row["seed"] for row in rows if "seed" in row} | {summary["evaluation_seed"]}) == 3


def test_the_time_budget_ends_training(point_env, tmp_path):
    config = small(steps=10**9, max_minutes=1.5 / 60, replay_capacity=1000)
    summary = train(config, new_run(config, tmp_path), maker(point_env))
    assert summary["stopped_by"] == "time"
    assert summary["train_seconds"] >= 1.5
    assert summary["episodes"] == 20


def test_no_rendering_costs_the_video_only(point_env, tmp_path, capsys):
    class Blind(point_env):
        def render(self, *args, **kwargs):
            raise UserError("cannot render here; install EGL")

    config = small(steps=100)
    summary = train(config, new_run(config, tmp_path), maker(Blind))
    assert summary["video"] is None
    assert summary["success_rate"] is not None
    assert "no video: cannot render here; install EGL" in capsys.readouterr().err


def test_environments_are_closed_when_training_fails(point_env, tmp_path):
    made = []

    class Broken(point_env):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(self)

        def step(self, action):
            raise UserError("the world ended")

    config = small()
    with pytest.raises(UserError, match="the world ended"):
        train(config, new_run(config, tmp_path), maker(Broken))
    assert made
    assert all(env.closed for env in made)


def test_memory_budget_is_enforced(point_env, tmp_path):
    config = small(memory_budget_gb=1e-6)
    with pytest.raises(UserError, match="memory_budget"):
        train(config, new_run(config, tmp_path), maker(point_env))


def test_hindsight_needs_goals(point_env):
    with pytest.raises(UserError, match="hindsight: the environment has no goals"):
        make_memory(small(hindsight=True), point_env(4), 10**9)


def test_a_checkpoint_of_another_task_is_refused(point_env, tmp_path):
    config = small(steps=200)
    run = new_run(config, tmp_path)
    train(config, run, maker(point_env))
    with pytest.raises(UserError, match="is of task 'point', but the run is of 'reach'"):
        train(dataclasses.replace(config, task="reach"), RunFolder.open(run.path), maker(point_env))


def test_a_full_disk_stops_with_one_line_and_keeps_what_was_finished(point_env, small_disk):
    disk = small_disk(400)
    config = small(steps=100_000, agent=SACConfig(critics=2, hidden=(32, 32)), log_every=20, utd=0.1)
    run = new_run(config, disk)
    with pytest.raises(StorageError) as refused:
        train(config, run, maker(point_env))
    assert str(refused.value).startswith("the disk is full: could not write ")
    assert "\n" not in str(refused.value)
    run = RunFolder.open(run.path)
    rows = run.metrics()
    assert rows
    checkpoint = load_checkpoint(run.checkpoints, "latest")
    assert checkpoint is not None
    assert all(bool(t.isfinite().all()) for t in checkpoint.tensors("policy").values())
    assert torch.is_tensor(checkpoint.tensors("replay")["rows"])


def test_the_best_episodes_are_remembered_once_the_policy_plays(point_env, tmp_path):
    config = small(steps=200, agent=WITH_OPTIONS, video_episodes=0)
    run = new_run(config, tmp_path)
    train(config, run, maker(point_env))
    returns = load_checkpoint(run.checkpoints, "latest").tensors("agent")["snapshots.returns"]
    assert returns.isfinite().any()
    config = small(steps=100, agent=WITH_OPTIONS, video_episodes=0)  # random actions only
    run = new_run(config, tmp_path)
    train(config, run, maker(point_env))
    assert not load_checkpoint(run.checkpoints, "latest").tensors("agent")["snapshots.returns"].isfinite().any()


def test_a_loss_that_looks_ahead_rules_out_hindsight(point_env):
    class WithGoals(point_env):
        vector = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
        observation_space = gymnasium.spaces.Dict(achieved_goal=vector, desired_goal=vector)

        def compute_reward(self, achieved, desired):
            return (achieved == desired).all(-1).float()

    env = WithGoals(1)
    make_memory(small(agent=SACConfig(auxiliary=AuxiliaryConfig(loss="curl"))), env, 10**9)
    with pytest.raises(UserError, match=r"agent\.auxiliary\.loss: prediction looks ahead"):
        make_memory(small(agent=SACConfig(auxiliary=AuxiliaryConfig(loss="prediction"))), env, 10**9)


def test_a_run_whose_replay_lies_in_a_file_goes_on_with_it(point_env, tmp_path):
    config = small(steps=200, replay_storage="file", replay_capacity=1000)
    run = new_run(config, tmp_path)
    train(config, run, maker(point_env))
    state = load_checkpoint(run.checkpoints, "latest").tensors("replay")
    assert "rows" not in state
    assert {path.name for path in (run.path / "replay").iterdir()} == {"rows.bin", "written.bin"}
    longer = dataclasses.replace(config, steps=300)
    train(longer, RunFolder.open(run.path), maker(point_env))
    after = load_checkpoint(run.checkpoints, "latest")
    assert after.env_steps == 300
    assert int(after.tensors("replay")["hop"].count_nonzero()) == 300
    (run.path / "replay" / "rows.bin").unlink()
    with pytest.raises(UserError, match="are gone, or of another size"):
        train(dataclasses.replace(config, steps=400), RunFolder.open(run.path), maker(point_env))


def test_a_run_that_draws_ahead_ends_its_thread_and_can_be_resumed(point_env, tmp_path):
    before = threading.active_count()
    config = small(steps=200, sync=False, prefetch=2)
    run = new_run(config, tmp_path)
    train(config, run, maker(point_env))
    first = load_checkpoint(run.checkpoints, "latest").state["updates"]
    train(dataclasses.replace(config, steps=300), RunFolder.open(run.path), maker(point_env))
    assert load_checkpoint(run.checkpoints, "latest").state["updates"] > first > 0
    assert threading.active_count() == before


def test_drawing_ahead_in_turns_is_refused():
    with pytest.raises(UserError, match=r"prefetch: .* give --no-sync too"):
        small(prefetch=1)
