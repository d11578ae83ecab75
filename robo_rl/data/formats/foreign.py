"""Episodes that others recorded, made into ours, and what has to be assumed for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from robo_rl.data.episodes import Episode
from robo_rl.data.store import Damage, Found


@dataclass(frozen=True)
class Assumptions:
    """What an import takes for granted where the source does not say.

    Attributes:
        task: name of the task, instead of the source's.
        robot: name of the robot, likewise.
        demonstrations: where the source has neither rewards nor successes, every episode is a success, worth 1 at its
            last step.
    """

    task: str | None = None
    robot: str | None = None
    demonstrations: bool = False


@dataclass(frozen=True)
class Recorded:
    """T steps as somebody else's dataset tells them; None where it does not.

    Attributes:
        where: which episode of which file.
        obs: each (T, ...), or (T+1, ...) with what came of the last step.
        action: (T, A).
        reward: (T,).
        terminated: (T,) bool.
        truncated: (T,) bool.
        done: (T,) bool, the end of the episode for either reason.
        success: (T,) bool.
        task: name.
        robot: name.
        control_dt: seconds of one control period.
    """

    where: str
    obs: Mapping[str, np.ndarray]
    action: np.ndarray
    reward: np.ndarray | None = None
    terminated: np.ndarray | None = None
    truncated: np.ndarray | None = None
    done: np.ndarray | None = None
    success: np.ndarray | None = None
    task: str = "unknown"
    robot: str = "unknown"
    control_dt: float | None = None


def adopt(recorded: Recorded, assume: Assumptions) -> Found:
    """Make an episode of it, with numbers as our learners take them: float32, images uint8.

    * Success: as told; else a reward of 1 where all rewards are 0 or 1; else none, unless they are demonstrations.
    * End: as told; else a success at the end is terminal, and any other end a truncation.
    * The last observation, where it is not there: nobody looks at it after a terminal step, so the one before is
      repeated. Otherwise the last step is left out, and the observation before it is what the episode leads to.
    """
    steps = len(recorded.action)
    if not steps or recorded.action.ndim != 2 or not recorded.obs:
        return Damage(recorded.where, "holds no steps with observations and vectors of actions")
    success, reward = recorded.success, recorded.reward
    if success is None and reward is not None and np.isin(reward, (0, 1)).all():
        success = reward == 1
    if success is None and assume.demonstrations:
        success = np.arange(steps) == steps - 1
    if success is None and reward is None:
        return Damage(recorded.where, "tells neither reward nor success; if all are successes, give --demonstrations")
    if success is None:
        success = np.zeros(steps, bool)
    if reward is None:
        reward = success.astype(np.float32)
    ends = recorded.done if recorded.done is not None else np.arange(steps) == steps - 1
    terminated = recorded.terminated if recorded.terminated is not None else ends & success
    truncated = recorded.truncated if recorded.truncated is not None else ends & ~terminated
    obs = {key: np.asarray(value) for key, value in recorded.obs.items()}
    if any(len(value) == steps for value in obs.values()):
        if terminated[-1]:
            obs = {key: np.concatenate([value[:steps], value[steps - 1 : steps]]) for key, value in obs.items()}
        else:
            steps -= 1
            obs = {key: value[: steps + 1] for key, value in obs.items()}
            if not steps:
                return Damage(recorded.where, "one step, and nobody knows what it led to")
            truncated = truncated.copy()
            truncated[steps - 1] = not terminated[steps - 1]
    try:
        tensors = {key: tensor(value, single=True) for key, value in obs.items()}
    except TypeError as error:
        return Damage(recorded.where, f"observations that are no numbers: {error}")
    action = tensor(recorded.action[:steps], single=True)
    metadata: dict[str, Any] = {
        "task": assume.task or recorded.task,
        "robot": assume.robot or recorded.robot,
        "source": "imported",
        "seed": 0,
        **described(tensors, action),
    }
    if recorded.control_dt is not None:
        metadata["control_dt"] = recorded.control_dt
    terminal, cut, succeeded = (tensor(flag[:steps].astype(bool)) for flag in (terminated, truncated, success))
    return Episode(
        tensors,
        action,
        action.clone(),
        tensor(reward[:steps], single=True),
        terminal,
        cut,
        succeeded,
        metadata=metadata,
    )


def described(obs: Mapping[str, torch.Tensor], action: torch.Tensor) -> dict[str, Any]:
    """Describe arrays of an episode as :func:`robo_rl.data.episodes.layout` describes spaces."""
    return {
        "observations": {
            key: {"shape": list(value.shape[1:]), "dtype": str(value.dtype).removeprefix("torch.")}
            for key, value in sorted(obs.items())
        },
        "action": list(action.shape[1:]),
    }


def named(metadata: Mapping[str, Any], assume: Assumptions) -> dict[str, Any]:
    """Return an episode's own metadata with the names that were given instead."""
    given = {"task": assume.task, "robot": assume.robot}
    return {**metadata, **{key: value for key, value in given.items() if value is not None}}


def tensor(value: np.ndarray, *, single: bool = False) -> torch.Tensor:
    """Return a copy of an array; ``single``: float32 instead of float64."""
    value = np.array(value, order="C")
    return torch.from_numpy(value.astype(np.float32) if single and value.dtype == np.float64 else value)
