"""The environment whose success is what a classifier sees, beside the truth."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import gymnasium
import torch

from robo_rl.contracts.learning import Step
from robo_rl.errors import UserError
from robo_rl.rewards.rule import SuccessRule

if TYPE_CHECKING:
    from robo_rl.contracts.learning import BatchedEnv, Obs
    from robo_rl.rewards.classifier import SuccessClassifier


class ClassifiedEnv:
    """A ``BatchedEnv`` around another, rewarded and ended by a success classifier; the rest is the one inside.

    ``reward`` has the classifier's success in the place of the task's, and ``terminated`` is true where the classifier
    says so by its rule. So the true success ends nothing: an episode goes on until the classifier notices, or is cut.
    ``Step.info["success_classified"]`` is the verdict, ``Step.info["success"]`` stays what the task says: in a
    simulator the truth, by which exploitation of the classifier is measured. ``Step.info["success_probability"]`` is
    of this frame.

    Args:
        env: whose observations hold the classifier's cameras.
        classifier: judges the frame after each step.
        hidden: keys of observations that are for the classifier only; nobody else gets to see them.

    Raises:
        UserError: if the environment does not observe the classifier's cameras, or in another size.

    Attributes:
        env: the one inside.
        classifier: that judges.
    """

    def __init__(self, env: BatchedEnv, classifier: SuccessClassifier, *, hidden: Iterable[str] = ()) -> None:
        spaces = env.observation_space.spaces
        if missing := [key for key in classifier.observes if key not in spaces]:
            raise UserError(
                f"classifier: it looks at {', '.join(missing)}, which this environment does not observe; there are "
                f"{', '.join(key for key in spaces if key.startswith('camera.')) or 'no cameras'}"
            )
        for key, spec in zip(classifier.observes, classifier.net.specs, strict=True):
            if spaces[key].shape != (*spec.size, 3):
                raise UserError(
                    f"classifier: it takes images {(*spec.size, 3)} of {key!r}, here they are {spaces[key].shape}; "
                    "train one for this camera"
                )
        self.env, self.classifier = env, classifier
        self.num_envs, self.device, self.horizon = env.num_envs, env.device, env.horizon
        self.action_space = env.action_space
        self._hidden = frozenset(hidden)
        shown = {key: space for key, space in spaces.items() if key not in self._hidden}
        self.observation_space = gymnasium.spaces.Dict(shown)
        self._rule = SuccessRule(classifier.rule, classifier.threshold_probability, env.num_envs)
        self._steps = torch.zeros(env.num_envs, dtype=torch.long, device=env.device)

    def __getattr__(self, name: str) -> Any:
        if name == "env":  # not there yet
            raise AttributeError(name)
        return getattr(self.env, name)

    def seed(self, seed: int) -> None:
        """Make the starts to come a function of ``seed``."""
        self.env.seed(seed)

    def reset(self, mask: torch.Tensor | None = None, *, start: Any = None) -> Obs:
        """Begin new episodes where ``mask`` is true, everywhere if None."""
        obs = self.env.reset(mask) if start is None else self.env.reset(mask, start=start)  # type: ignore[call-arg]
        self._rule.reset(mask)
        self._steps = torch.zeros_like(self._steps) if mask is None else torch.where(mask, 0, self._steps)
        return self._shown(obs)

    def step(self, action: torch.Tensor) -> Step:
        """Take one action (B, A) in each environment and let the classifier judge what came of it."""
        step = self.env.step(action)
        probability = self.classifier.probability(step.obs)
        claimed = self._rule.update(probability)
        self._steps = self._steps + 1
        true = step.info["success"]
        failed = step.terminated & ~true
        cut = step.truncated | (self._steps >= self.horizon)
        reading = getattr(self.env, "reading", {})
        if "interrupted" in reading:  # which the environment does not call a cut where the task calls it a success
            cut = cut | reading["interrupted"]
        terminated = claimed | failed
        reward = step.reward - true.to(step.reward) + claimed.to(step.reward)
        info = {**step.info, "success_classified": claimed, "success_probability": probability}
        return Step(self._shown(step.obs), reward, terminated, cut & ~terminated, info)

    def close(self) -> None:
        """Free what the environment inside holds."""
        self.env.close()

    def _shown(self, obs: Obs) -> Obs:
        return {key: value for key, value in obs.items() if key not in self._hidden}
