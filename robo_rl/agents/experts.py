"""A mixture of experts as the hidden part of a policy (MENTOR, Huang et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robo_rl.agents.ensemble import start, uniform
from robo_rl.agents.switches import refuse_idle
from robo_rl.errors import UserError


@dataclass(frozen=True)
class ExpertsConfig:
    """A mixture of experts in the policy, after its first hidden layer and in place of the others."""

    count: int = 0
    """Number of experts; 0 for a policy without. MENTOR takes 16."""
    active: int = 4
    """Experts that each observation is sent to."""
    width: int = 256
    """Width of the hidden layer of each expert and of the router."""
    balance: float = 0.01
    """Weight of the loss that spreads observations over all experts."""
    decision: float = 0.01
    """Weight of the router's entropy, which falls as it specialises the experts."""

    def __post_init__(self) -> None:
        refuse_idle("experts", self, "count")
        if self.count and not 1 <= self.active <= self.count:
            raise UserError(f"experts.active must lie in 1..count ({self.count}), not {self.active}")
        if self.count < 0 or self.width < 1:
            raise UserError(f"experts.count must be 0 or more and width at least 1, not {self.count} and {self.width}")
        if self.balance < 0.0 or self.decision < 0.0:
            raise UserError("experts.balance and experts.decision must not be negative; 0 leaves one out")


class StackedLinear(nn.Module):
    """E linear layers of one shape, side by side.

    Args:
        members: E.
        inputs: width of the input.
        outputs: width of the output.
        generator: draws the initial weights.
    """

    def __init__(self, members: int, inputs: int, outputs: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = uniform((members, inputs, outputs), inputs, generator)
        self.bias = uniform((members, 1, outputs), inputs, generator)

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs (E, B, outputs) of x (E, B, inputs), or (B, inputs) for all of them."""
        return torch.baddbmm(self.bias, x.expand(len(self.weight), *x.shape[-2:]), self.weight)


class MixtureOfExperts(nn.Module):
    """A router sends each row to its k likeliest experts and adds up what they say.

    The weights of the k are the router's probabilities, scaled to sum to 1; the other experts have no part in that row,
    nor in its gradient. All experts are computed: without a choice by the data nothing waits for the device.

    Args:
        inputs: width of the input.
        outputs: width of the output.
        config: how many, and how wide.
        generator: draws the initial weights.
    """

    def __init__(self, inputs: int, outputs: int, config: ExpertsConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.router = nn.Sequential(nn.Linear(inputs, config.width), nn.ReLU(), nn.Linear(config.width, config.count))
        start(self.router, generator)
        self.first = StackedLinear(config.count, inputs, config.width, generator=generator)
        self.second = StackedLinear(config.count, config.width, outputs, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs) of x (B, inputs)."""
        weights, _ = self.route(x)
        return torch.einsum("be,ebo->bo", weights, self.second(self.first(x).relu_()))

    def route(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights of the experts (B, E), 0 where not chosen, and the router's log-probabilities (B, E)."""
        log_probs = self.router(x).log_softmax(-1)
        best, chosen = log_probs.topk(self.config.active, dim=-1)
        return torch.zeros_like(log_probs).scatter(-1, chosen, best.softmax(-1)), log_probs

    def routing_loss(self, x: Tensor) -> Tensor:
        """Return the loss of the routing of x (B, inputs), without dimensions.

        The share of rows that an expert gets has no gradient. So its product with the expert's mean probability is
        what falls, ``E sum_e share_e p_e`` (Fedus et al. 2022, eq. 4), 1 where all get alike; the router's entropy is
        added.
        """
        weights, log_probs = self.route(x)
        shares = (weights > 0).float().mean(dim=0) / self.config.active
        probs = log_probs.exp()
        balance = self.config.count * (shares * probs.mean(dim=0)).sum()
        entropy = -(probs * log_probs).sum(-1).mean()
        return self.config.balance * balance + self.config.decision * entropy
