"""The rule by which ``robo-rl train`` evaluates, keeps its best policy and stops, for learners that are not ours.

Same start states, same number of episodes, same clock: what is compared are learners, not their evaluations.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from robo_rl.training.evaluation import evaluate
from robo_rl.training.outcomes import curve_figures, final_figures
from robo_rl.training.trainer import CONFIRMATION_SEED, FINAL_SEED, PERIODIC_SEED

if TYPE_CHECKING:
    from robo_rl.contracts.learning import BatchedEnv
    from robo_rl.training.evaluation import Act

Weights = TypeVar("Weights")


class EvaluationRule(Generic[Weights]):
    """Evaluates a policy while something trains it.

    Args:
        env: to evaluate in.
        act: the policy.
        weights: returns a copy of what it acts with.
        target: success rate at which training may stop, confirmed by ``final_episodes`` episodes; None: never.
        episodes: of an evaluation while training.
        final_episodes: of a confirmation and of the final evaluation.
    """

    def __init__(
        self,
        env: BatchedEnv,
        act: Act,
        weights: Callable[[], Weights],
        *,
        target: float | None,
        episodes: int,
        final_episodes: int,
    ) -> None:
        self._env, self._act, self._weights = env, act, weights
        self._target, self._episodes, self._final_episodes = target, episodes, final_episodes
        self._rows: list[dict[str, Any]] = []
        self._best: tuple[list[float], Weights] | None = None
        self.target_reached = False
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds of training so far, evaluations included."""
        return time.monotonic() - self.started

    def start(self) -> None:
        """Start the clock: set-up is over."""
        self.started = time.monotonic()

    def evaluate(self, env_steps: int, updates: int) -> None:
        """Evaluate, keep the policy if none was better (of equals the newest), see whether the target is reached."""
        result = self._measure("evaluation", self._episodes, PERIODIC_SEED, env_steps, updates)
        if self._target is not None and result[0] >= self._target:
            confirmed = self._measure("confirmation", self._final_episodes, CONFIRMATION_SEED, env_steps, updates)
            self.target_reached = confirmed[0] >= self._target
        score = [float(self.target_reached), *result]
        if self._best is None or score >= self._best[0]:
            self._best = score, self._weights()

    def finish(self, restore: Callable[[Weights], object]) -> dict[str, Any]:
        """Evaluate the best policy on starts that nothing was chosen by.

        Args:
            restore: makes the policy act with the weights that it is given.

        Returns:
            The figures of an outcome, except for counters.
        """
        train_seconds = self.seconds
        if self._best is not None:
            restore(self._best[1])
        result = evaluate(self._env, self._act, self._final_episodes, seed=FINAL_SEED)
        assert result is not None  # It is given up only when somebody asks for it.
        return {
            **final_figures(result.success_rate, result.episodes),
            "train_seconds": round(train_seconds, 1),
            **curve_figures(self._rows),
        }

    def _measure(self, kind: str, episodes: int, seed: int, env_steps: int, updates: int) -> list[float]:
        result = evaluate(self._env, self._act, episodes, seed=seed)
        assert result is not None
        self._rows.append(
            {
                "kind": kind,
                "env_steps": env_steps,
                "updates": updates,
                "wall_seconds": self.seconds,
                "success_rate": result.success_rate,
                "episodes": episodes,
            }
        )
        return [result.success_rate, result.mean_return]
