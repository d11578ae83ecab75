"""Imitation-bootstrapped reinforcement learning: a cloned policy proposes, the critics choose (IBRL).

Hu et al. 2023 (arXiv 2311.02198), algorithm 1 and section IV.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import gymnasium
import numpy as np
import torch
from torch import Tensor

from robo_rl.agents.behaviour_cloning import BehaviourCloning, BehaviourCloningConfig
from robo_rl.agents.networks import ActingModule
from robo_rl.agents.switches import refuse_idle
from robo_rl.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from robo_rl.agents.critic_step import Ahead
    from robo_rl.agents.ensemble import EnsembleMLP
    from robo_rl.agents.heads import Head
    from robo_rl.agents.networks import Policy
    from robo_rl.agents.sac_config import SACConfig
    from robo_rl.contracts.learning import Batch, Metrics


@dataclass(frozen=True)
class IBRLConfig:
    """How a cloned policy takes part."""

    choice: Literal["off", "greedy", "soft"] = "off"
    """Who acts, and whose action is bootstrapped from: of the policy's and the cloned one's, the one that is worth more
    (greedy), or either, the likelier the more it is worth (soft)."""
    temperature: float = 0.1
    """Of the soft choice, in units of value."""

    def __post_init__(self) -> None:
        refuse_idle("ibrl", self, "choice")
        if not self.temperature > 0.0:
            raise UserError(f"ibrl.temperature must be above 0, not {self.temperature}")
        if self.choice == "greedy" and self.temperature != IBRLConfig.temperature:
            raise UserError("ibrl.temperature does nothing with ibrl.choice greedy: leave it out")


class ProposedPolicy(ActingModule):
    """Acts with the policy's action or the cloned policy's, as the target critics value them.

    Args:
        policy: that learns.
        cloned: that does not any more.
        critic: the target critics.
        head: says what their outputs mean.
        config: how it chooses.
        reduction: what counts of the critics' values, their mean or their minimum.
    """

    def __init__(
        self,
        policy: Policy,
        cloned: Policy,
        critic: EnsembleMLP,
        head: Head,
        config: IBRLConfig,
        reduction: Literal["mean", "min"],
    ) -> None:
        super().__init__()
        self.encoder = policy.encoder
        self.policy, self.cloned, self.critic = policy, cloned, critic
        self._head, self._config, self._reduction = head, config, reduction

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.policy.device

    def act_on(
        self, features: Tensor, generator: torch.Generator | None = None, least_std: Tensor | None = None
    ) -> Tensor:
        """Return actions (B, A) for features (B, width); without a generator the choice is greedy."""
        own = self.policy.act_on(features, generator, least_std)
        proposed = self.cloned.act_on(features)
        values = []
        for action in (own, proposed):
            value = self._head.value(self.critic.compute(torch.cat([features, action], dim=1)))
            values.append(value.mean(dim=0) if self._reduction == "mean" else value.amin(dim=0))
        return torch.where(self._prefers(values[0], values[1], generator)[:, None], proposed, own)

    @torch.no_grad()
    def look_ahead(self, ahead: Ahead, generator: torch.Generator) -> Ahead:
        """Put the cloned policy's next action where it is chosen: ``a' = argmax_{a in {pi, mu}} min_M Q'(s', a)``.

        Args:
            ahead: what the policy would do next.
            generator: draws the soft choice.
        """
        features = ahead.inputs[:, : self.encoder.width]
        proposed = torch.cat([features, self.cloned.act_on(features)], dim=1)
        own, other = (
            self._head.value(self.critic.compute(inputs, ahead.critics)).amin(dim=0)
            for inputs in (ahead.inputs, proposed)
        )
        chosen = self._prefers(own, other, generator)
        return replace(ahead, inputs=torch.where(chosen[:, None], proposed, ahead.inputs))

    def _prefers(self, own: Tensor, proposed: Tensor, generator: torch.Generator | None) -> Tensor:
        """Whether the cloned policy's action is taken, (B,) bool, from what both are worth, each (B,)."""
        if self._config.choice == "greedy" or generator is None:
            return proposed > own
        chance = torch.sigmoid((proposed - own) / self._config.temperature)  # the softmax of two
        return torch.rand(own.shape, generator=generator, device=own.device) < chance


class Imitation:
    """Clones demonstrations, and lets a policy act with what comes of it; both on vectors.

    Where the gripper is discrete, the arm's part of the actions is cloned.

    Args:
        observation_space: of one environment, a dictionary of vectors.
        policy: that learns.
        critic: the target critics.
        head: says what their outputs mean.
        config: of the learner.
        seed: of the initial weights.

    Attributes:
        proposed: what acts.

    Raises:
        UserError: if images are observed.
    """

    def __init__(
        self,
        observation_space: gymnasium.Space,
        policy: Policy,
        critic: EnsembleMLP,
        head: Head,
        config: SACConfig,
        *,
        seed: int,
    ) -> None:
        if policy.encoder.learns:
            raise UserError("agent.ibrl: policies are cloned on vectors only; leave it out where images are observed")
        self._cloning = BehaviourCloning(
            observation_space,
            gymnasium.spaces.Box(-1.0, 1.0, (policy.actions,), np.float32),
            BehaviourCloningConfig(
                hidden=config.hidden,
                layer_norm=config.actor_layer_norm,
                learning_rate=config.actor_lr,
                observation_keys=config.observation_keys,
            ),
            seed=seed,
            device=policy.device,
        )
        cloned = self._cloning.policy
        self.proposed = ProposedPolicy(policy, cloned, critic, head, config.ibrl, config.actor_q)

    def fit(self, sample: Callable[[int], Batch], steps: int) -> Metrics:
        """Take ``steps`` gradient steps of behaviour cloning on ``sample(batch_size)``."""
        arm = self._cloning.policy.actions

        def of_arm(rows: int) -> Batch:
            batch = sample(rows)
            return replace(batch, action=batch.action[:, :arm])

        return self._cloning.fit(of_arm, steps)
