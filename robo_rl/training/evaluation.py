"""How good is a policy: fixed start states, every started episode counted, through the same processing as training."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, Protocol

import torch

from robo_rl.contracts.learning import BatchedEnv, Step
from robo_rl.training.statistics import wilson_interval

if TYPE_CHECKING:
    from robo_rl.contracts.learning import Obs


class Act(Protocol):
    """A policy: ``Agent.act``, a scripted expert, a constant."""

    def __call__(self, obs: Obs, *, explore: bool) -> torch.Tensor:
        """Return actions (B, A): sampled if ``explore``, otherwise the policy's mode."""
        ...


@dataclass(frozen=True)
class EvaluationResult:
    """What ``evaluate`` measured. Entry i of each tuple belongs to start state i.

    Attributes:
        successes: whether the episode ended in success.
        returns: undiscounted sum of rewards.
        lengths: control steps.
        deterministic: whether the policy's mode was taken, not a sample.
        seed: of the start states.
        control_dt: seconds of one control step, None where the environment has no clock.
        classified: whether a success classifier took it for a success, None where there is none.
    """

    successes: tuple[bool, ...]
    returns: tuple[float, ...]
    lengths: tuple[int, ...]
    deterministic: bool
    seed: int
    control_dt: float | None = None
    classified: tuple[bool, ...] | None = None

    @property
    def episodes(self) -> int:
        """Number of episodes."""
        return len(self.successes)

    @property
    def success_rate(self) -> float:
        """Fraction of episodes that succeeded."""
        return fmean(self.successes)

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson 95 % interval of the success rate."""
        return wilson_interval(sum(self.successes), self.episodes)

    @property
    def mean_return(self) -> float:
        """Mean return."""
        return fmean(self.returns)

    @property
    def mean_length(self) -> float:
        """Mean length in control steps."""
        return fmean(self.lengths)

    def to_json(self) -> dict[str, Any]:
        """Return the figures that go into ``metrics.jsonl`` and ``summary.json``."""
        solved = [n for n, ok in zip(self.lengths, self.successes, strict=True) if ok]
        dt = self.control_dt
        return {
            "success_rate": round(self.success_rate, 6),
            "success_interval_95": [round(end, 6) for end in self.interval],
            "episodes": self.episodes,
            "return": round(self.mean_return, 6),
            "length": round(self.mean_length, 3),
            "robot_seconds": None if dt is None else round(self.mean_length * dt, 4),
            "robot_seconds_to_success": None if dt is None or not solved else round(fmean(solved) * dt, 4),
            "deterministic": self.deterministic,
            "seed": self.seed,
            **self._exploitation(),
        }

    def _exploitation(self) -> dict[str, Any]:
        """Where a classifier judges: how often it saw a success, and how often there was none."""
        if self.classified is None:
            return {}
        false = sum(claimed and not true for claimed, true in zip(self.classified, self.successes, strict=True))
        return {
            "classified_rate": round(fmean(self.classified), 6),
            "classified_falsely": round(false / self.episodes, 6),
            "classified_falsely_interval_95": [round(end, 6) for end in wilson_interval(false, self.episodes)],
        }


def evaluate(
    env: BatchedEnv,
    act: Act,
    episodes: int,
    *,
    deterministic: bool = True,
    seed: int = 0,
    should_stop: Callable[[], bool] = lambda: False,
    on_step: Callable[[Step], None] | None = None,
) -> EvaluationResult | None:
    """Run ``episodes`` episodes and count every one of them.

    Start i is the same whatever ``env.num_envs`` is: starts are drawn up front from ``seed`` where the environment has
    a ``task`` that draws them, and are given by one seed per episode elsewhere. They are handed out in order, and an
    episode once begun is always finished, so that short episodes do not crowd out long ones. An episode succeeds if its
    last step does.

    Args:
        env: stepped and reset; whatever it was doing is abandoned. Where people could take over, they do not.
        act: the policy.
        episodes: how many, at least 1.
        deterministic: take the policy's mode; otherwise its samples. Torch's global generator is seeded with ``seed``
            meanwhile; a policy that draws from a generator of its own goes on with that.
        seed: of the start states.
        should_stop: asked before every step; once true the evaluation is given up.
        on_step: called with every step, for progress.

    Returns:
        The result, or None if it was given up.
    """
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {episodes}")
    hand_out = Starts(env, episodes, seed)
    batch, horizon, device = env.num_envs, env.horizon, env.device
    episode_of = torch.arange(batch, device=device)  # Which start each environment runs; from ``episodes`` on: idle.
    next_start = batch
    returns = torch.zeros(batch, device=device)
    lengths = torch.zeros(batch, dtype=torch.long, device=device)
    found: dict[int, tuple[bool, float, int]] = {}
    claims: dict[int, bool] = {}
    by_itself = getattr(env, "unattended", contextlib.nullcontext)  # where people could take over
    with torch.random.fork_rng(devices=[]), torch.no_grad(), by_itself():
        torch.manual_seed(seed)
        obs = hand_out.reset(torch.ones(batch, dtype=torch.bool, device=device), list(range(batch)))
        while len(found) < episodes:
            if should_stop():
                return None
            step = env.step(act(obs, explore=not deterministic))
            obs = step.obs
            returns += step.reward
            lengths += 1
            if on_step is not None:
                on_step(step)
            over = step.done | (lengths >= horizon)
            if not bool(over.any()):
                continue
            rows = over.nonzero()[:, 0]
            claimed = step.info.get("success_classified")
            if claimed is not None:
                claims.update(zip(episode_of[rows].tolist(), claimed[rows].tolist(), strict=True))
            ended = zip(
                rows.tolist(),
                episode_of[rows].tolist(),
                step.info["success"][rows].tolist(),
                returns[rows].tolist(),
                lengths[rows].tolist(),
                strict=True,
            )
            for row, episode, success, total, length in ended:
                if episode < episodes:
                    found[episode] = (bool(success), total, length)
                episode_of[row] = next_start
                next_start += 1
            returns[over] = 0.0
            lengths[over] = 0
            obs = hand_out.reset(over, episode_of[rows].tolist())
    results = [found[i] for i in range(episodes)]
    return EvaluationResult(
        successes=tuple(success for success, _, _ in results),
        returns=tuple(total for _, total, _ in results),
        lengths=tuple(length for _, _, length in results),
        deterministic=deterministic,
        seed=seed,
        control_dt=control_period(env),
        classified=tuple(claims[i] for i in range(episodes)) if claims else None,
    )


def control_period(env: Any) -> float | None:
    """Seconds of one control step of ``env``, None where it has no clock."""
    return getattr(getattr(env, "world", env), "control_dt", None)


class Starts:
    """Gives start i to whichever environment asks for it; an idle environment is kept busy with start 0."""

    def __init__(self, env: Any, episodes: int, seed: int) -> None:
        self._env, self._episodes, self._seed = env, episodes, seed
        self._by_seed = "seeds" in inspect.signature(env.reset).parameters
        task = getattr(env, "task", None)
        self._rows = None if task is None else task.start(torch.Generator().manual_seed(seed), episodes)
        if self._rows is None and not self._by_seed:
            env.seed(seed)

    def reset(self, mask: torch.Tensor, starts: list[int]) -> Obs:
        """Begin episodes where ``mask`` is true, from the starts named, in order; return all observations."""
        wanted = [i if i < self._episodes else 0 for i in starts]
        if self._rows is not None:
            return self._env.reset(mask, start=self._rows[torch.tensor(wanted)])
        if self._by_seed:
            return self._env.reset(mask, seeds=[self._seed * 1_000_003 + i for i in wanted])
        return self._env.reset(mask)
