"""A training session from configuration to summary: demonstrations, memory, learner, training, outcome."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch

from robo_rl.data.episode_writer import EpisodeWriter
from robo_rl.errors import UserError
from robo_rl.human.supervision import Supervision
from robo_rl.replay.buffer import ReplayBuffer
from robo_rl.replay.storage import Storage
from robo_rl.training.acting import act_on
from robo_rl.training.algorithms import imitate_first, make_agent
from robo_rl.training.checkpoint import load_checkpoint
from robo_rl.training.config import TrainConfig
from robo_rl.training.demonstrations import Demonstrations, provide_demonstrations
from robo_rl.training.encoder_files import settled
from robo_rl.training.evaluation import control_period, evaluate
from robo_rl.training.feature_env import with_features
from robo_rl.training.learner import Learner, LearnerThread
from robo_rl.training.outcome import draw_curve, figures, make_film
from robo_rl.training.progress import TrainingProgress, Voice
from robo_rl.training.run_folder import RunFolder
from robo_rl.training.trainer import FINAL_SEED, Trainer

if TYPE_CHECKING:
    from pathlib import Path

    from robo_rl.contracts.learning import BatchedEnv
    from robo_rl.human.intervention import InterventionEnv

MakeEnv = Callable[[int, int], "BatchedEnv"]
"""Builds an environment from the number of copies and the seed of its starts."""


def train(
    config: TrainConfig,
    run: RunFolder,
    make_env: MakeEnv,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    supervise: Callable[[BatchedEnv], InterventionEnv] | None = None,
    told: Callable[[], dict[str, Any]] = dict,
) -> dict[str, Any]:
    """Train, from the newest checkpoint in ``run`` if there is one, and return what ``summary.json`` holds.

    Args:
        config: how to train.
        run: where everything goes.
        make_env: builds environments; the session closes them.
        should_stop: asked at every step; once true, a checkpoint and the summary are stored and the session ends.
        supervise: puts the people who correct the policy into the environment that it learns in, None for nobody.
        told: asked at the end; gives what the summary tells besides.

    Raises:
        UserError: if the configuration does not fit the environment, the checkpoint or this machine.
        StorageError: if something could not be stored; what was finished before is intact.
    """
    started = time.monotonic()
    with ExitStack() as opened:
        torch.manual_seed(config.seed)  # for whatever draws without a generator of its own
        env = make_env(config.num_envs, config.seed)
        supervised: InterventionEnv | None = None
        if supervise is not None:
            env = supervised = supervise(env)
            should_stop = either(should_stop, supervised)
        progress = opened.enter_context(TrainingProgress(config.steps))
        trainer, demos = prepare(opened, config, run, env, make_env, progress, should_stop)
        if supervised is not None and trainer.supervision is not None:
            supervised.human_steps = trainer.supervision.meter.human_steps
        setup_seconds = time.monotonic() - started
        reason = "interrupted" if should_stop() else trainer.train()
        summary = finish(trainer, demos, setup_seconds, reason, told)
        if summary["interrupted"]:
            progress.say(f"stopped; go on with: robo-rl train --resume {run.path}")
        return summary


def prepare(
    opened: ExitStack,
    config: TrainConfig,
    run: RunFolder,
    env: BatchedEnv,
    make_env: MakeEnv,
    progress: TrainingProgress | Voice,
    should_stop: Callable[[], bool],
    *,
    evaluates: bool = True,
) -> tuple[Trainer, Demonstrations]:
    """Set up a training, from the newest checkpoint in ``run`` if there is one.

    Args:
        opened: takes what has to be closed at the end, ``run`` and ``env`` among it.
        config: how to train.
        run: where everything goes.
        env: to learn in.
        make_env: builds others of its kind.
        progress: to show it with.
        should_stop: asked at every step.
        evaluates: whether ``env`` may be evaluated in, if there is no other of its kind.
    """
    opened.callback(run.close)
    config = settled(config, run.path)
    about_features: dict[str, Any] = {"seed": config.seed, "device": config.device}
    env = with_features(env, config.agent, **about_features)
    opened.callback(env.close)
    evaluation_env: BatchedEnv | None = env if evaluates else None
    if config.cell is None:  # which there is but one of
        bare = make_env(config.eval_envs, config.seed)
        evaluation_env = with_features(bare, config.agent, **about_features, variants=1)
        opened.callback(evaluation_env.close)
    progress.say(f"run folder: {run.path}")
    demos = provide_demonstrations(config, run, make_env, progress, should_stop)
    episodes = None
    irretrievable = config.cell is not None or config.human is not None
    if config.keep_episodes or (config.keep_episodes is None and irretrievable):
        about: dict[str, Any] = {
            "task": config.task,
            "robot": config.robot,
            "seed": config.seed,
            "source": "policy",
            "control_dt": control_period(env),
        }
        writer = EpisodeWriter(run.path / "episodes", env.observation_space, env.action_space, **about)
        episodes = opened.enter_context(writer)
    trainer = _make_trainer(config, run, env, evaluation_env, demos, progress, should_stop, episodes)
    checkpoint = load_checkpoint(run.checkpoints, "latest")
    run.rewind(0 if checkpoint is None else checkpoint.env_steps)
    if checkpoint is not None:
        trainer.resume(checkpoint)
        progress.say(f"resumed {run.path} at {checkpoint.env_steps} steps")
    elif config.imitates and not should_stop():
        progress.say(f"cloning the demonstrations: {config.cloning_updates} updates")
        imitate_first(config, trainer.agent, demos.buffer)
    return trainer, demos


def either(should_stop: Callable[[], bool], supervised: InterventionEnv) -> Callable[[], bool]:
    """Stop when somebody outside says so, or a person at a device does."""
    return lambda: should_stop() or supervised.stop_requested


def _make_trainer(
    config: TrainConfig,
    run: RunFolder,
    env: BatchedEnv,
    evaluation_env: BatchedEnv | None,
    demos: Demonstrations,
    progress: TrainingProgress | Voice,
    should_stop: Callable[[], bool],
    episodes: EpisodeWriter | None,
) -> Trainer:
    budget = round(config.memory_budget_gb * 1e9) - demos.bytes_used
    if budget <= 0:
        raise UserError(
            f"memory_budget_gb: {config.memory_budget_gb:g} GB is less than the demonstrations take; raise it"
        )
    memory = make_memory(config, env, budget, run.path / "replay")
    progress.say(f"memory: {memory.describe()}")
    agent = make_agent(config, env, seed=config.seed)
    learner = Learner(config, agent, memory, demos.buffer)
    if config.overlaps:
        waits = config.cell is None and config.human in (None, "simulated")  # a robot waits for nobody, nor a person
        learner = LearnerThread(config, agent, memory, demos.buffer, waits=waits, should_stop=should_stop)
    trainer = Trainer(config, run, env, evaluation_env, learner, progress, should_stop, episodes)
    if config.human is not None:
        assert demos.buffer is not None  # which takes what people do

        def note(episode: dict[str, Any]) -> None:
            run.log({"kind": "episode", "env_steps": trainer.env_steps, **episode})

        dt = control_period(env) or 0.1
        trainer.supervision = Supervision.of(
            memory, demos.buffer, config.num_envs, dt, deliver=learner.deliver, on_episode=note
        )
    return trainer


def make_memory(config: TrainConfig, env: Any, memory_budget: int, folder: Path | None = None) -> ReplayBuffer:
    """Return the memory of the learner's own experience, with hindsight relabelling where it is wanted.

    Args:
        config: how large, how many steps folded, whether goals are relabelled.
        env: the environment whose transitions it will hold; relabelling asks its ``compute_reward``.
        memory_budget: bytes that it may take in memory.
        folder: for its files, if that is where it shall lie; None to see only whether it could be made.

    Raises:
        UserError: if it does not fit the budget, or the environment has no goals to relabel.
    """
    in_file = config.replay_storage == "file"  # whose size stays when a run goes on for longer
    # The last observation of an episode takes a place too: a short run needs up to two for each of its steps.
    capacity = config.replay_capacity if in_file else min(config.replay_capacity, 2 * config.steps)
    shape: dict[str, Any] = {
        "capacity": max(capacity, 2 * config.num_envs),
        "num_envs": config.num_envs,
        "n_step": config.n_step,
        "discount": config.discount,
        "device": config.device,
        "memory_budget": round(config.disk_budget_gb * 1e9) if in_file else memory_budget,
        "seed": config.seed,
        "storage": Storage(config.replay_storage, config.device, folder),
    }
    has_goals = {"achieved_goal", "desired_goal"} <= set(env.observation_space.spaces)
    if not (has_goals if config.hindsight is None else config.hindsight):
        return ReplayBuffer(env.observation_space, env.action_space, **shape)
    if not has_goals or not hasattr(env, "compute_reward"):
        raise UserError("hindsight: the environment has no goals to relabel; switch it off with --hindsight False")
    if config.agent.auxiliary.following:
        raise UserError(
            f"agent.auxiliary.loss: {config.agent.auxiliary.loss} looks ahead, which goals in hindsight rule out; "
            "switch them off with --hindsight False, or take curl"
        )
    from robo_rl.replay.hindsight import HindsightReplay

    return HindsightReplay(
        env.observation_space,
        env.action_space,
        compute_reward=env.compute_reward,
        compute_terminated=getattr(env, "compute_terminated", None),
        k=config.hindsight_k,
        **shape,
    )


def finish(
    trainer: Trainer, demos: Demonstrations, setup_seconds: float, reason: str, told: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Evaluate the best policy on starts that nothing was chosen by, draw, film, and store the summary."""
    config, run, progress = trainer.config, trainer.run, trainer.progress
    env = trainer.evaluation_env
    train_seconds = trainer.seconds
    ended = time.monotonic()
    best = load_checkpoint(run.checkpoints, "best")
    evaluation: Any = trainer.last_evaluation
    if reason != "interrupted" and best is not None:
        trainer.agent.load_policy_state(best.tensors("policy"))

    def act(obs: Any, *, explore: bool) -> Any:
        return act_on(trainer.agent, obs, explore=explore, device=trainer.env.device if env is None else env.device)

    if reason != "interrupted" and env is not None:
        progress.say(f"final evaluation: {config.final_episodes} episodes")
        result = evaluate(env, act, config.final_episodes, seed=FINAL_SEED, should_stop=trainer.should_stop)
        evaluation, reason = (evaluation, "interrupted") if result is None else (result, reason)
    summary = figures(
        config,
        run.path,
        evaluation,
        env_steps=trainer.env_steps,
        updates=trainer.updates,
        train_seconds=round(train_seconds, 3),
        wall_seconds=round(setup_seconds + train_seconds + time.monotonic() - ended, 3),
        target_success=config.target_success,
        target_reached=trainer.target_reached,
        stopped_by=reason,
        interrupted=reason == "interrupted",
        demos=demos.episodes,
        demo_tries=demos.tries,
        **({} if trainer.supervision is None else {"supervision": trainer.supervision.figures()}),
        **({} if config.cell is None else {"updates_forgone": round(trainer.learner.forgone, 3)}),
        **({"seconds": trainer.spent()} if config.obs == "pixels" else {}),
        checkpoint_env_steps=best.env_steps if best is not None and reason != "interrupted" else trainer.env_steps,
        **told(),
        learning_curve=draw_curve(config, run),
        video=None,
    )
    run.write_summary(summary)  # Before the film: a graphics driver may take the process with it.
    if reason != "interrupted" and env is not None:
        summary["video"] = make_film(config, run, env, act, progress)
        run.write_summary(summary)
    return summary
