"""Demonstrations by a task's scripted expert: recorded, and put where the learner draws from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from robo_rl.contracts.learning import Step
from robo_rl.errors import UserError
from robo_rl.replay.buffer import ReplayBuffer

_TRIES_PER_SUCCESS = 10  # an expert that needs more is no expert


@dataclass(frozen=True)
class Try:
    """One episode of the expert.

    Attributes:
        transitions: observation, executed action and what came of it, each with a batch dimension of one.
        success: whether its last step succeeded.
    """

    transitions: list[tuple[dict[str, torch.Tensor], torch.Tensor, Step]]
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
        rounds: list[list[tuple[dict[str, torch.Tensor], torch.Tensor, Step]]] = [[] for _ in range(env.num_envs)]
        under_way = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
        while bool(under_way.any()):
            if should_stop():
                return
            step = env.step(env.expert_action())
            for i in under_way.nonzero()[:, 0].tolist():
                row = slice(i, i + 1)
                before = {key: value[row].clone() for key, value in obs.items()}
                rounds[i].append((before, step.info["executed_action"][row].clone(), _row(step, row)))
            under_way = under_way & ~step.done
            obs = step.obs
        for transitions in rounds:
            yield Try(transitions, success=bool(transitions[-1][2].info["success"][0]))


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


def provide_demonstrations(config, run, make_env, progress, should_stop) -> Demonstrations:
    if config.demos == 0:
        return Demonstrations()
    env = make_env(config.eval_envs, config.seed + 1)
    eps = []
    for tried, e in successes(expert_tries(env, should_stop), config.demos):
        eps.append(e)
    n = sum(len(e.transitions) for e in eps)
    buffer = ReplayBuffer(env.observation_space, env.action_space, capacity=n, n_step=config.n_step, discount=config.discount, seed=config.seed + 1)
    for e in eps:
        for obs, action, step in e.transitions:
            buffer.add(obs, action, step)
    env.close()
    return Demonstrations(buffer, len(eps), tried)
