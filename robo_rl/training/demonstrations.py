"""Demonstrations by a task's scripted expert: recorded, and put where the learner draws from."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from robo_rl.contracts.learning import Obs, Step
from robo_rl.data.episode_writer import EpisodeWriter
from robo_rl.data.episodes import Episode, check_episodes, fill_replay, load_episodes
from robo_rl.errors import UserError
from robo_rl.replay.buffer import ReplayBuffer
from robo_rl.replay.storage import Storage
from robo_rl.training.config import TrainConfig
from robo_rl.training.durable import write_json
from robo_rl.training.evaluation import control_period
from robo_rl.training.feature_env import FeatureEnv, with_features
from robo_rl.training.progress import TrainingProgress, Voice
from robo_rl.training.run_folder import RunFolder, read_json

if TYPE_CHECKING:
    from robo_rl.contracts.learning import BatchedEnv

_TRIES_PER_SUCCESS = 10  # an expert that needs more is no expert
_SEED_OFFSET = 104_729  # the starts of demonstrations are not those of training

Transition = tuple[Obs, torch.Tensor, Step]


@dataclass(frozen=True)
class Try:
    """One episode of the expert.

    Attributes:
        transitions: observation, action and what came of it, each with a batch dimension of one.
        success: whether its last step succeeded.
    """

    transitions: list[Transition]
    success: bool


def expert_tries(env: Any, should_stop: Callable[[], bool] = lambda: False) -> Iterator[Try]:
    """Let the scripted expert try, for as long as somebody asks.

    ``env.num_envs`` episodes run side by side and each round of them is finished before any is handed out, in the order
    of the environments, so that short ones are not favoured.

    Args:
        env: a ``BatchedEnv`` with ``expert_action()``.
        should_stop: asked at every step; once true, no more episodes come.

    Raises:
        UserError: if the environment has no scripted expert.
    """
    if not hasattr(env, "expert_action"):
        raise UserError("this environment has no scripted expert; train with --demos 0, or give --demo-path")
    while True:
        obs = env.reset()
        rounds: list[list[Transition]] = [[] for _ in range(env.num_envs)]
        under_way = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
        while bool(under_way.any()):
            if should_stop():
                return
            action = env.expert_action()
            step = env.step(action)
            for i in under_way.nonzero()[:, 0].tolist():
                row = slice(i, i + 1)
                before = {key: value[row].clone() for key, value in obs.items()}
                rounds[i].append((before, action[row].clone(), _row(step, row)))
            under_way = under_way & ~step.done
            obs = step.obs
        for transitions in rounds:
            told = transitions[-1][2].info
            success = bool(told["success"][0])
            if "success_classified" in told:  # One that a classifier has missed brings no reward.
                success = success and bool(told["success_classified"][0])
            yield Try(transitions, success=success)


def successes(tries: Iterator[Try], episodes: int) -> Iterator[tuple[int, Try]]:
    """Pick the successful ones until there are ``episodes``; with each, the number of tries so far.

    Raises:
        UserError: if the expert fails nearly always.
    """
    kept = 0
    for tried, episode in enumerate(tries, start=1):
        if episode.success:
            kept += 1
            yield tried, episode
        if kept == episodes:
            return
        if tried >= _TRIES_PER_SUCCESS * (kept + 2):
            raise UserError(f"the scripted expert succeeded in {kept} of {tried} tries only; is the task solvable so?")


def _row(step: Step, row: slice) -> Step:
    return Step(
        {key: value[row].clone() for key, value in step.obs.items()},
        step.reward[row].clone(),
        step.terminated[row].clone(),
        step.truncated[row].clone(),
        {key: value[row].clone() for key, value in step.info.items()},
    )


@dataclass(frozen=True)
class Demonstrations:
    """Demonstrations in memory.

    Attributes:
        buffer: to draw from, None if there are none.
        episodes: how many.
        tries: episodes that the expert took for them; None if they were recorded elsewhere.
    """

    buffer: ReplayBuffer | None = None
    episodes: int = 0
    tries: int | None = None

    @property
    def bytes_used(self) -> int:
        """Bytes that they take."""
        return 0 if self.buffer is None else self.buffer.bytes_used


def provide_demonstrations(
    config: TrainConfig,
    run: RunFolder,
    make_env: Callable[[int, int], BatchedEnv],
    progress: TrainingProgress | Voice,
    should_stop: Callable[[], bool] = lambda: False,
) -> Demonstrations:
    """Read the demonstrations that a run starts from, or let the scripted expert record them into the run folder.

    A run that is resumed takes the ones it recorded; recording that was cut short is taken up again. Where feature maps
    are learned from, the images on disk are encoded here.

    Raises:
        UserError: if there are too few, they are of another task, there is no expert, or it fails nearly always.
    """
    if config.demos == 0 and config.human is None:
        return Demonstrations()
    copies = 1 if config.cell is not None else max(1, min(config.demos, config.eval_envs))
    env = make_env(copies, config.seed + _SEED_OFFSET)
    try:
        tries = None
        episodes: list[Episode] = []
        if config.demos == 0:
            folder = run.path
        elif config.demo_path is None:
            folder = run.path / "demonstrations"
            tries = _recorded(folder, env, config, progress, should_stop)
        else:
            folder = config.demo_path
        if should_stop():
            return Demonstrations()
        if config.demos:
            episodes = [episode for episode in load_episodes(folder) if bool(episode.success[-1])][: config.demos]
        check_episodes(episodes, env.observation_space, env.action_space)
        if len(episodes) < config.demos:
            raise UserError(
                f"demos: {config.demos} wanted, but {folder} holds {len(episodes)} successful ones; "
                f"record more, or give --demos {len(episodes)}"
            )
        if episodes and (task := episodes[0].metadata.get("task")) != config.task:
            raise UserError(f"demo_path: {folder} was recorded for task {task!r}, not {config.task!r}")
        seen = with_features(env, config.agent, seed=config.seed + _SEED_OFFSET, device=config.device)
        buffer = ReplayBuffer(
            seen.observation_space,
            env.action_space,
            # Room for what a person will do; once it is used up, the oldest go.
            capacity=sum(len(episode) + 1 for episode in episodes)
            + (min(config.replay_capacity, config.steps) if config.human else 0),
            n_step=config.n_step,
            discount=config.discount,
            device=config.device,
            memory_budget=round(config.memory_budget_gb * 1e9),
            seed=config.seed + _SEED_OFFSET,
            storage=Storage("ram" if config.replay_storage == "file" else config.replay_storage, config.device),
        )
        fill_replay(buffer, map(seen.encoded, episodes) if isinstance(seen, FeatureEnv) else episodes)
    finally:
        env.close()
    return Demonstrations(buffer, len(episodes), tries)


def record_expert(
    env: BatchedEnv,
    folder: Path,
    episodes: int,
    *,
    task: str,
    robot: str,
    seed: int,
    should_stop: Callable[[], bool] = lambda: False,
    on_kept: Callable[[int, int], None] = lambda kept, tried: None,
) -> tuple[int, int]:
    """Record the scripted expert's successful episodes.

    Args:
        env: a ``BatchedEnv`` with ``expert_action()``.
        folder: where the episodes are stored, beside those that are there.
        episodes: how many to record.
        task: name of the task, kept with them.
        robot: name of the robot, likewise.
        seed: that the starts are drawn with, likewise.
        should_stop: asked at every step; once true, recording ends. What was recorded stays.
        on_kept: told the numbers of episodes kept and tried.

    Returns:
        Episodes recorded, and tries that it took.

    Raises:
        UserError: if there is no expert or it fails nearly always.
        StorageError: if an episode could not be stored.
    """
    kept = tried = 0
    about: dict[str, Any] = {"task": task, "robot": robot, "seed": seed, "source": "scripted"}
    about["control_dt"] = control_period(env)
    with EpisodeWriter(folder, env.observation_space, env.action_space, **about) as writer:
        for tried, episode in successes(expert_tries(env, should_stop), episodes):
            for obs, action, step in episode.transitions:
                writer.add(obs, action, step, env_ids=[0])
            kept += 1
            on_kept(kept, tried)
    return kept, tried


def _recorded(
    folder: Path,
    env: BatchedEnv,
    config: TrainConfig,
    progress: TrainingProgress | Voice,
    should_stop: Callable[[], bool],
) -> int | None:
    """Let the expert record what is still missing in ``folder``; return how many tries all of it took."""
    notes = folder / "recording.json"
    if notes.exists():
        return read_json(notes)["tries"]
    # A recording that was cut short begins anew, so that it is the same as if it had not been.
    shutil.rmtree(folder, ignore_errors=True)
    progress.say(f"recording {config.demos} demonstrations")
    seed = config.seed + _SEED_OFFSET
    kept, tried = record_expert(
        env, folder, config.demos, task=config.task, robot=config.robot, seed=seed, should_stop=should_stop
    )
    if kept < config.demos:
        return None
    write_json(notes, {"episodes": kept, "tries": tried})
    progress.say(f"{kept} demonstrations from {tried} tries")
    return tried
