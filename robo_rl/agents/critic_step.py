"""One update of the critics: target, gradient, optimiser, target critics. Plainly, or as one compiled graph.

Chen et al. 2021 (REDQ), Ball et al. 2023 (RLPD); Bhatt et al. 2024 (CrossQ) for critics normalised by batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.optim import Optimizer

from robo_rl.agents.crossq import CrossQCritic
from robo_rl.agents.optimisers import Adam, adam_, corrections

if TYPE_CHECKING:
    from robo_rl.agents.compilation import Compiler
    from robo_rl.agents.ensemble import EnsembleMLP
    from robo_rl.agents.heads import Head
    from robo_rl.agents.sac_config import SACConfig
    from robo_rl.contracts.learning import Batch

Masks = Sequence[Tensor] | None


@dataclass(frozen=True)
class Ahead:
    """What the policy would do next, and who is asked what that is worth.

    Attributes:
        inputs: (N, features + A), what critics see of the next state and action.
        log_prob: (N,) of that action.
        critics: (M,), which of them.
    """

    inputs: Tensor
    log_prob: Tensor
    critics: Tensor


class CriticStep:
    """Moves critics, and what their inputs come from, towards one target for all.

    Args:
        critic: the ensemble.
        target_critic: of the same make, follows slowly; None with critics normalised by batch.
        head: says what outputs mean.
        optimiser: of the critics and their encoder.
        log_temperature: weighs the entropy, where targets have it.
        config: of the learner.
        compiler: of the step.
    """

    def __init__(
        self,
        critic: EnsembleMLP,
        target_critic: EnsembleMLP | None,
        head: Head,
        optimiser: Optimizer,
        log_temperature: Tensor,
        config: SACConfig,
        compiler: Compiler,
    ) -> None:
        self.critic, self.target_critic, self.head = critic, target_critic, head
        self.optimiser, self.log_temperature, self.config = optimiser, log_temperature, config
        self._own: list[Tensor] = list(critic.parameters())
        self._following: list[Tensor] = [] if target_critic is None else list(target_critic.parameters())
        own = {id(parameter) for parameter in self._own}
        everything = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        self._encoding = [parameter for parameter in everything if id(parameter) not in own]
        self._compiler = compiler
        self._quick = compiler.of(self._traced)

    def __call__(self, batch: Batch, ahead: Ahead, noise: torch.Generator) -> tuple[Tensor, Tensor]:
        """Make one update; return outputs (E, N, O) and the target (N,).

        Args:
            batch: (N, ...), observations as ``features``.
            ahead: of its next observations.
            noise: draws which hidden units are left out.
        """
        inputs = torch.cat([batch.obs["features"], batch.action], dim=-1)
        for parameter in self._encoding:
            parameter.grad = None
        if isinstance(self.critic, CrossQCritic):
            return self._joint(self.critic, inputs, batch, ahead)
        masks_ahead = self.critic.draw_masks(len(inputs), noise, len(ahead.critics))
        masks = self.critic.draw_masks(len(inputs), noise, self.critic.members)
        if self._compiler.works and isinstance(self.optimiser, Adam):
            done = self._compiled(self.optimiser, inputs, batch, ahead, masks, masks_ahead)
            if done is not None:
                return done
        target = self.target(batch.reward, batch.discount, ahead.inputs, ahead.log_prob, ahead.critics, masks_ahead)
        outputs = self.critic.regress(inputs, target, self.head, masks)
        self.optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(self._following, self._own, self.config.tau)
        return outputs, target

    @torch.no_grad()
    def target(
        self, reward: Tensor, discount: Tensor, inputs: Tensor, log_prob: Tensor, critics: Tensor, masks: Masks = None
    ) -> Tensor:
        """``y = r + discount * (min over M random target critics of Q(s', a') - [alpha * log pi(a'|s')])``, (N,).

        Args:
            reward: (N,).
            discount: (N,).
            inputs: see :class:`Ahead`.
            log_prob: likewise.
            critics: likewise.
            masks: scale the hidden units, each (M, N, width).
        """
        assert self.target_critic is not None
        return self._backup(reward, discount, self.target_critic.compute(inputs, critics, masks), log_prob)

    @torch.no_grad()
    def _backup(self, reward: Tensor, discount: Tensor, next_outputs: Tensor, next_log_prob: Tensor) -> Tensor:
        """Return the target (N,) that outputs (M, N, ...) for the next state and action make."""
        next_value = self.head.value(next_outputs).amin(dim=0)
        if self.config.entropy_backup:
            next_value = next_value - self.log_temperature.exp() * next_log_prob
        target = reward + discount * next_value
        return target if self.config.q_bounds is None else target.clamp(*self.config.q_bounds)

    def _joint(self, critic: CrossQCritic, inputs: Tensor, batch: Batch, ahead: Ahead) -> tuple[Tensor, Tensor]:
        """The update of critics that see this step and the next one in one batch."""
        outputs, next_outputs = critic.joint(inputs, ahead.inputs)
        target = self._backup(batch.reward, batch.discount, next_outputs.detach()[ahead.critics], ahead.log_prob)
        loss = self.head.loss(outputs, target).mean(dim=1).sum()  # a sum over members: each learns as if alone
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return outputs.detach(), target

    def _compiled(
        self, optimiser: Adam, inputs: Tensor, batch: Batch, ahead: Ahead, masks: Masks, masks_ahead: Masks
    ) -> tuple[Tensor, Tensor] | None:
        """The update by one graph, and what is left of it for the encoder; None, nothing done, if there is none."""
        means, squares, steps = optimiser.moments(self._own)
        self._compiler.stay([*self._own, *self._following, *means, *squares])
        group = optimiser.defaults
        with torch.no_grad():
            corrected = corrections(steps[0] + 1.0, group["lr"], group["betas"], group["eps"])
            found = self._quick(
                inputs.detach(), batch.reward, batch.discount, ahead.inputs, ahead.log_prob, ahead.critics,
                masks, masks_ahead, means, squares, corrected, inputs.requires_grad,
            )  # fmt: skip
            if not self._compiler.works:
                return None
            torch._foreach_add_(steps, 1.0)
        outputs, target, inputs_gradient = found
        if inputs_gradient is not None:
            inputs.backward(inputs_gradient)
            optimiser.step()  # of the encoder: the critics have no gradient and have moved already
        return outputs, target

    def _traced(
        self,
        inputs: Tensor,
        reward: Tensor,
        discount: Tensor,
        next_inputs: Tensor,
        next_log_prob: Tensor,
        critics: Tensor,
        masks: Masks,
        masks_ahead: Masks,
        means: Sequence[Tensor],
        squares: Sequence[Tensor],
        corrected: tuple[Tensor, Tensor],
        follows: bool,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        target = self.target(reward, discount, next_inputs, next_log_prob, critics, masks_ahead)
        outputs, gradients, inputs_gradient = self.critic.gradients(inputs, target, self.head, masks, follows=follows)
        adam_(self._own, gradients, means, squares, corrected, self.optimiser.defaults["betas"])
        for behind, parameter in zip(self._following, self._own, strict=True):
            behind.lerp_(parameter, self.config.tau)
        return outputs, target, inputs_gradient
