"""Demonstrations by a person at a device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from robo_rl.contracts.human import LABELS
from robo_rl.data.episode_writer import EpisodeWriter
from robo_rl.errors import UserError
from robo_rl.human.intervention import InterventionEnv


def record_person(
    env: InterventionEnv,
    folder: Path,
    episodes: int,
    *,
    task: str,
    robot: str,
    seed: int,
    should_stop: Callable[[], bool] = lambda: False,
    on_episode: Callable[[int, int], None] = lambda kept, tried: None,
) -> tuple[int, int]:
    """Record episodes in which a person does the task; nothing moves but by their hand.

    An episode begins with their first push. Each step is on disk as it comes. Every episode is stored, those that
    failed too (training takes the successful ones); those that they discard are not.

    Args:
        env: of one environment, in which they override.
        folder: where the episodes are stored, beside those that are there.
        episodes: successful ones to record.
        task: name of the task, kept with them.
        robot: name of the robot, likewise.
        seed: that the starts are drawn with, likewise.
        should_stop: asked at every step; once true, recording ends. What was recorded stays.
        on_episode: told the numbers of successful and of all episodes.

    Returns:
        Successful episodes recorded, and all that were begun and not discarded.

    Raises:
        UserError: if there are several environments.
        StorageError: if an episode could not be stored.
    """
    if env.num_envs != 1:
        raise UserError(f"num_envs: a person records in one environment, not in {env.num_envs}")
    kept = tried = 0
    about: dict[str, Any] = {
        "task": task,
        "robot": robot,
        "seed": seed,
        "source": "human",
        "control_dt": env.control_dt,
    }
    with EpisodeWriter(folder, env.observation_space, env.action_space, **about) as writer:
        while kept < episodes:
            obs = env.reset()
            if not env.await_push():
                break
            over = False
            while not over:
                if should_stop() or env.stop_requested:
                    return kept, tried
                waiting = env.neutral()
                step = env.step(waiting)
                writer.add(obs, torch.where(step.info["active"][:, None], step.info["human_action"], waiting), step)
                obs, over = step.obs, bool(step.done[0])
            if LABELS[int(step.info["label"][0])] != "discard":
                tried += 1
                kept += bool(step.info["success"][0])
            on_episode(kept, tried)
    return kept, tried
