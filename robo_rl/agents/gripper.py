"""Hybrid actions: the arm's continuous ones by soft actor-critic, the gripper's few by a critic of their values.

Luo et al. 2024 (HIL-SERL, arXiv 2410.21845, section III-B); van Hasselt et al. 2016 (double DQN).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from robo_rl.agents.ensemble import start
from robo_rl.agents.networks import ActingModule
from robo_rl.agents.optimisers import make_optimiser
from robo_rl.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robo_rl.agents.auxiliary import Features
    from robo_rl.agents.encoders import Encoder, PixelEncoder
    from robo_rl.agents.sac_config import SACConfig
    from robo_rl.contracts.learning import Batch, Metrics, Obs


@dataclass(frozen=True)
class GraspConfig:
    """What the critic of a discrete gripper can be told."""

    penalty: float = 0.02
    """Taken off the reward for each change of the gripper, in the grasp critic only; keeps it from chattering."""
    exploration: Literal["epsilon", "boltzmann"] = "epsilon"
    """What explores: a random choice now and then, or choices the likelier the more they are worth."""
    epsilon: float = 0.05
    """Chance of a random choice."""
    temperature: float = 0.02
    """Of Boltzmann's distribution, in units of value."""

    def __post_init__(self) -> None:
        if not self.penalty >= 0.0:
            raise UserError(f"grasp.penalty must be 0 or more, not {self.penalty}")
        if not 0.0 <= self.epsilon <= 1.0:
            raise UserError(f"grasp.epsilon must lie in [0, 1], not {self.epsilon}")
        if not self.temperature > 0.0:
            raise UserError(f"grasp.temperature must be above 0, not {self.temperature}")
        if self.exploration == "boltzmann" and self.epsilon != GraspConfig.epsilon:
            raise UserError("grasp.epsilon does nothing with grasp.exploration boltzmann: leave it out")
        if self.exploration == "epsilon" and self.temperature != GraspConfig.temperature:
            raise UserError("grasp.temperature does nothing with grasp.exploration epsilon: leave it out")


@dataclass(frozen=True)
class GripperEntry:
    """The last entry of a task's actions, which is the gripper's.

    Attributes:
        switch: whether it is a switch, with a rest between closing and opening; otherwise an absolute opening.
        observed: name and place of the number of an observation that tells which opening was commanded last, -1 closed
            to 1 open; None where nothing tells.
    """

    switch: bool
    observed: tuple[str, int] | None = None

    @property
    def values(self) -> tuple[float, ...]:
        """The entries to choose from: close, stay, open; without a rest close, open."""
        return (-1.0, 0.0, 1.0) if self.switch else (-1.0, 1.0)

    @staticmethod
    def of(env: Any) -> GripperEntry | None:
        """Return that of an environment, None if its actions move no gripper, or nobody knows."""
        task = getattr(env, "task", None)
        delta = getattr(task, "tool_delta", None)
        if delta is None or not delta.gripper:
            return None
        places = getattr(task, "observed_gripper", {})
        observed = next(((key, places[key]) for key in env.observation_space.spaces if key in places), None)
        return GripperEntry(delta.switch, observed)

    def choice(self, entry: Tensor) -> Tensor:
        """Return which of :attr:`values` (N,) int64 entries (N,) in [-1, 1] were, as ``ToolDelta.switch`` has it."""
        if not self.switch:
            return (entry > 0.0).long()
        return (entry > 0.5).long() - (entry < -0.5).long() + 1

    def changes(self, choice: Tensor, command: Tensor) -> Tensor:
        """Return (N,) bool: whether a choice changes what was commanded before.

        Args:
            choice: (N,) int64.
            command: (N,), the opening that was commanded, -1 closed to 1 open.
        """
        wanted = torch.tensor(self.values, device=choice.device)[choice]
        moves = (wanted - command).abs() > 0.5
        return moves & (wanted != 0.0) if self.switch else moves


class GraspNetwork(nn.Module):
    """Values of all choices of the gripper: a multi-layer perceptron with layer norm before each ReLU.

    Args:
        inputs: width of the features.
        hidden: widths of the hidden layers.
        entries: what the choices are as entries of an action.
        generator: draws the initial weights.
    """

    entries: Tensor

    def __init__(
        self, inputs: int, hidden: Sequence[int], entries: Sequence[float], *, generator: torch.Generator
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(inputs, width), nn.LayerNorm(width), nn.ReLU()]
            inputs = width
        self.layers = nn.Sequential(*layers, nn.Linear(inputs, len(entries)))
        start(self.layers, generator)
        self.register_buffer("entries", torch.tensor(entries), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return values (N, C) of features (N, width)."""
        return self.layers(features)

    def explore(self, values: Tensor, config: GraspConfig, generator: torch.Generator) -> Tensor:
        """Draw choices (N,) by their values (N, C)."""
        if config.exploration == "boltzmann":
            # Gumbel's trick: the largest of value / temperature + noise is a draw from the softmax.
            noise = torch.empty_like(values).exponential_(generator=generator).log_().neg_()
            return (values / config.temperature + noise).argmax(dim=1)
        rows, choices = values.shape
        chance = torch.rand(rows, generator=generator, device=values.device)
        anything = torch.randint(choices, (rows,), generator=generator, device=values.device)
        return torch.where(chance < config.epsilon, anything, values.argmax(dim=1))


class HybridPolicy(ActingModule):
    """Acts with the arm's policy, and with the choice of the gripper that is worth most.

    Args:
        arm: gives all entries of an action but the last.
        grasp: values the choices of the last.
        config: how it explores.
    """

    def __init__(self, arm: ActingModule, grasp: GraspNetwork, config: GraspConfig) -> None:
        super().__init__()
        self.encoder: Encoder | PixelEncoder | Features = arm.encoder
        self.arm, self.grasp, self._config = arm, grasp, config

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.arm.device

    def act_on(
        self, features: Tensor, generator: torch.Generator | None = None, least_std: Tensor | None = None
    ) -> Tensor:
        """Return actions (B, A) for features (B, width); see :meth:`ActingModule.act`."""
        arm = self.arm.act_on(features, generator, least_std)
        values = self.grasp(features)
        choice = values.argmax(dim=1) if generator is None else self.grasp.explore(values, self._config, generator)
        return torch.cat([arm, self.grasp.entries[choice, None]], dim=1)


class GraspCritic:
    """Learns what each choice of the gripper is worth, from the gripper's entry of the executed actions.

    Features are taken as they are: its loss moves no encoder. Of an n-step return, the first step's penalty counts.

    Args:
        entry: the gripper's.
        inputs: width of the features.
        config: of the learner: ``grasp``, widths and step size of the critics, ``tau``, ``q_bounds``.
        generator: draws the initial weights.
        device: where it learns.

    Raises:
        UserError: if changes are to cost something and nothing tells of them.
    """

    def __init__(
        self,
        entry: GripperEntry,
        inputs: int,
        config: SACConfig,
        *,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        if config.grasp.penalty and entry.observed is None:
            raise UserError(
                "agent.grasp.penalty: no observation tells whether the gripper changes; set it to 0, or give the task "
                "observed_gripper"
            )
        self.entry, self.config = entry, config.grasp
        self._tau, self._bounds = config.tau, config.q_bounds
        hidden = config.hidden if config.critic_hidden is None else config.critic_hidden
        self.network = GraspNetwork(inputs, hidden, entry.values, generator=generator).to(device)
        self.target_network = copy.deepcopy(self.network).requires_grad_(False)
        self.optimiser = make_optimiser(
            config.optimiser, self.network.parameters(), config.critic_lr, adam_beta1=config.adam_beta1
        )

    def command(self, obs: Obs) -> Tensor:
        """Return the commanded opening (N,) that observations (N, ...) tell; zeros where none does."""
        if self.entry.observed is None:
            return torch.zeros(len(next(iter(obs.values()))), device=next(self.network.parameters()).device)
        key, place = self.entry.observed
        return obs[key][:, place]

    @torch.no_grad()
    def target(self, reward: Tensor, discount: Tensor, next_features: Tensor, changed: Tensor) -> Tensor:
        """``y = (r - penalty * changed) + discount * Q'(s', argmax_g Q(s', g))``, (N,)."""
        best = self.network(next_features).argmax(dim=1, keepdim=True)
        following = self.target_network(next_features).gather(1, best)[:, 0]
        target = reward - self.config.penalty * changed + discount * following
        # Penalties make returns smaller than the reward alone, so only the upper bound holds.
        return target if self._bounds is None else target.clamp(max=self._bounds[1])

    def update(self, batch: Batch) -> Metrics:
        """Take one step towards :meth:`target`.

        Args:
            batch: (N, ...), observations as ``features`` and ``command`` (see :meth:`command`), next ones as
                ``features``; the last entry of its actions is the gripper's.
        """
        features = batch.obs["features"].detach()
        choice = self.entry.choice(batch.action[:, -1])
        changed = self.entry.changes(choice, batch.obs["command"])
        target = self.target(batch.reward, batch.discount, batch.next_obs["features"], changed)
        value = self.network(features).gather(1, choice[:, None])[:, 0]
        loss = (value - target).square().mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(self.target_network.parameters()), list(self.network.parameters()), self._tau)
        return {
            "grasp_loss": loss.detach(),
            "grasp_q_mean": value.detach().mean(),
            "grasp_changes": changed.float().mean(),
        }
