"""Episodes to learn a success classifier from, played in a simulator: successes, near misses, aimless motion.

Near misses matter most: a policy that learns from a classifier finds what is mistaken for success. So most episodes
approach the goal by the scripted expert and then do something else: press beside the goal by a constant bias, stop
short of it, back out of it, wander about it. Every step keeps the success that the simulator knows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robo_rl.data.episode_writer import EpisodeWriter
from robo_rl.errors import UserError
from robo_rl.training.evaluation import control_period

STYLES = ("expert", "near miss", "random")
"""What an episode is: the expert's with some noise; one that changes its mind; aimless motion."""

_SHARES = (0.35, 0.5, 0.15)
_PHASES = ("expert", "biased", "still", "back", "wander")
_CHANCES = torch.tensor([0.35, 0.25, 0.12, 0.14, 0.14])  # of each phase to be the next one
_PHASE_STEPS = (4, 14)  # control steps that a phase lasts


class Performer:
    """Decides what B environments do, each in a style of its own.

    Args:
        num_envs: B.
        actions: A, size of an action.
        seed: of every draw.
    """

    def __init__(self, num_envs: int, actions: int, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._size = (num_envs, actions)
        self.style = torch.zeros(num_envs, dtype=torch.long)
        self._phase = torch.zeros(num_envs, dtype=torch.long)
        self._left = torch.zeros(num_envs, dtype=torch.long)
        self._noise = torch.zeros(num_envs, 1)
        self._bias, self._wander = torch.zeros(self._size), torch.zeros(self._size)

    def begin(self, rows: Tensor) -> None:
        """Draw new styles for the environments ``rows`` (B,) bool."""
        n = self._size[0]
        style = torch.multinomial(torch.tensor(_SHARES), n, replacement=True, generator=self._generator)
        self.style = torch.where(rows, style, self.style)
        self._noise = torch.where(rows[:, None], 0.3 * self._uniform(n, 1).square(), self._noise)
        self._draw_motion(rows)
        # The first phase is the expert's and longer, so that most of what follows happens near the goal.
        self._phase = torch.where(rows, 0, self._phase)
        first = torch.randint(8, 36, (n,), generator=self._generator)
        self._left = torch.where(rows, first, self._left)

    def actions(self, expert: Tensor) -> Tensor:
        """Return the actions (B, A) of this step; ``expert`` (B, A) is what would be right."""
        over = self._left <= 0
        if bool(over.any()):
            n = self._size[0]
            phase = torch.multinomial(_CHANCES, n, replacement=True, generator=self._generator)
            length = torch.randint(*_PHASE_STEPS, (n,), generator=self._generator)
            self._phase = torch.where(over, phase, self._phase)
            self._left = torch.where(over, length, self._left)
            self._draw_motion(over)
        self._left = self._left - 1
        noise = self._noise * (2.0 * self._uniform(*self._size) - 1.0)
        right = expert + noise
        motions = torch.stack(
            [right, right + self._bias, noise, -0.5 * expert + noise + 0.3 * self._wander, self._wander]
        )
        missing = motions[self._phase, torch.arange(self._size[0])]
        style = self.style[:, None]
        return torch.where(style == 0, right, torch.where(style == 1, missing, self._wander)).clamp(-1.0, 1.0)

    def _draw_motion(self, rows: Tensor) -> None:
        direction = 2.0 * self._uniform(*self._size) - 1.0
        self._bias = torch.where(rows[:, None], 0.8 * direction, self._bias)
        self._wander = torch.where(rows[:, None], 2.0 * self._uniform(*self._size) - 1.0, self._wander)

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self._generator)


def record_attempts(
    env: Any,
    folder: Path,
    episodes: int,
    *,
    task: str,
    robot: str,
    seed: int,
    steps: int = 60,
    linger: int = 8,
    should_stop: Callable[[], bool] = lambda: False,
    on_episode: Callable[[int, int], None] = lambda done, successes: None,
) -> tuple[int, int]:
    """Record ``episodes`` attempts at a task with camera images, labelled by the simulator.

    An episode goes on after success, as it will where a classifier has to notice: an expert's for ``linger`` steps, a
    near miss to its end.

    Args:
        env: of a simulator, observed with camera images, with a scripted expert.
        folder: where the episodes are stored.
        episodes: how many.
        task: name of the task, kept with them.
        robot: name of the robot, likewise.
        seed: of what is done; the starts are the environment's.
        steps: control steps of an episode at most; no more than the task's horizon.
        linger: control steps.
        should_stop: asked at every step; once true, recording ends. What was recorded stays.
        on_episode: told how many episodes are over, and in how many of them the goal was reached.

    Returns:
        Episodes recorded, and how many of them reached the goal.

    Raises:
        UserError: if the environment observes no camera or has no expert.
        StorageError: if an episode could not be stored.
    """
    if not any(key.startswith("camera.") for key in env.observation_space.spaces):
        raise UserError(f"task {task!r} observes no camera; a success classifier needs pictures")
    if not hasattr(env, "expert_action"):
        raise UserError(f"task {task!r} has no scripted expert; record episodes by hand and give them by --data")
    performer = Performer(env.num_envs, env.action_space.shape[0], seed)
    begun, over = env.num_envs, 0
    won = torch.zeros(env.num_envs, dtype=torch.bool)
    successes = 0
    steps = min(steps, env.horizon)
    about: dict[str, Any] = {"task": task, "robot": robot, "seed": seed, "source": "attempts"}
    about["control_dt"] = control_period(env)
    with EpisodeWriter(folder, env.observation_space, env.action_space, **about) as writer:
        obs = env.reset()
        performer.begin(torch.ones(env.num_envs, dtype=torch.bool))
        left = torch.full((env.num_envs,), steps)
        active = torch.arange(env.num_envs) < episodes
        while bool(active.any()) and not should_stop():
            action = performer.actions(env.expert_action().cpu()).to(env.device)
            step = env.step(action)
            success = step.info["success"].cpu()
            fresh, won = success & ~won, won | success
            left = left - 1
            left = torch.where(fresh & (performer.style == 0), left.clamp(max=linger), left)
            ends = left <= 0
            # Success ends nothing here; the end of the recording does, and is no state worth nothing.
            told = dataclasses.replace(
                step, terminated=torch.zeros_like(step.terminated), truncated=ends.to(step.terminated.device)
            )
            rows = active.nonzero()[:, 0]
            writer.add(
                {key: value[rows] for key, value in obs.items()}, action[rows], _rows(told, rows), env_ids=rows.tolist()
            )
            obs = step.obs
            ended = ends & active
            if not bool(ended.any()):
                continue
            for row in ended.nonzero()[:, 0].tolist():
                over += 1
                successes += bool(won[row])
                on_episode(over, successes)
                active[row] = begun < episodes
                begun += 1
            obs = env.reset(ends.to(env.device))
            performer.begin(ends)
            left, won = torch.where(ends, steps, left), won & ~ends
        if should_stop():
            writer.discard()
    return over, successes


def _rows(step: Any, rows: Tensor) -> Any:
    return type(step)(
        {key: value[rows] for key, value in step.obs.items()},
        step.reward[rows],
        step.terminated[rows],
        step.truncated[rows],
        {key: value[rows] for key, value in step.info.items()},
    )
