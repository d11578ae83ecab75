"""Weights that are moved part of the way to others now and then, so that a network stays able to learn.

Towards freshly drawn weights (DrM, Xu et al. 2024) or towards what the best episodes were played with
(MENTOR, Huang et al. 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.optim import Optimizer

from robo_rl.agents.switches import refuse_idle
from robo_rl.errors import UserError

if TYPE_CHECKING:
    from robo_rl.agents.snapshot import Part


@dataclass(frozen=True)
class PerturbationConfig:
    """Perturbation of the weights of policy, critics and target critics, by how much of the policy sleeps."""

    every: int = 0
    """Critic updates between perturbations; 0 for none. DrM takes 100 000, MENTOR 10 000 to 50 000."""
    towards: Literal["fresh", "best"] = "fresh"
    """New random weights (DrM), or weights like those that the best episodes were played with (MENTOR)."""
    least_kept: float = 0.2
    """Share of the old weights that is kept at least."""
    most_kept: float = 0.9
    """Share of the old weights that is kept at most; kept is 1 - 2 * dormant ratio, between the two."""
    snapshots: int = 10
    """Best episodes whose weights are remembered."""

    def __post_init__(self) -> None:
        refuse_idle("perturb", self, "every")
        if self.every < 0:
            raise UserError(f"perturb.every must be 0 or more, not {self.every}")
        if not 0.0 <= self.least_kept <= self.most_kept <= 1.0:
            raise UserError(
                f"perturb.least_kept and most_kept must rise within 0..1, not {self.least_kept}, {self.most_kept}"
            )
        if self.snapshots < 1:
            raise UserError(f"perturb.snapshots must be at least 1, not {self.snapshots}")
        if self.towards == "fresh" and self.snapshots != 10:
            raise UserError("perturb.snapshots does nothing while perturb.towards is 'fresh': set that to 'best' too")


class Perturbed(Protocol):
    """A network that can be perturbed."""

    def linear_parameters(self) -> list[nn.Parameter]:
        """Return what is moved: weights and biases of linear maps, not scales of normalised layers."""
        ...


@torch.no_grad()
def perturb(parameters: Iterable[Tensor], others: Iterable[Tensor], kept: Tensor | float) -> None:
    """Move parameters to ``kept * parameter + (1 - kept) * other``, in place."""
    for parameter, other in zip(parameters, others, strict=True):
        parameter.mul_(kept).add_(other * (1.0 - kept))


def kept_share(ratio: Tensor, config: PerturbationConfig) -> Tensor:
    """Return the share of the weights that is kept at a dormant ratio: ``1 - 2 ratio``, within the bounds."""
    return (1.0 - 2.0 * ratio).clamp(config.least_kept, config.most_kept)


class Snapshots(nn.Module):
    """The weights that the best episodes were played with.

    Args:
        size: episodes remembered at most.
        parameters: P, how many numbers the weights are.
    """

    def __init__(self, size: int, parameters: int) -> None:
        super().__init__()
        self.returns: Tensor
        self.weights: Tensor
        self.register_buffer("returns", torch.full((size,), -torch.inf))
        self.register_buffer("weights", torch.zeros(size, parameters))

    def __len__(self) -> int:
        return int(self.returns.isfinite().sum())

    def add(self, episode_return: float, weights: Tensor) -> None:
        """Remember ``weights`` (P,) in place of the worst, unless all that are there are better."""
        worst = int(self.returns.argmin())
        if episode_return >= self.returns[worst]:
            self.returns[worst] = episode_return
            self.weights[worst] = weights

    def draw(self, generator: torch.Generator) -> Tensor:
        """Return weights (P,), each from a normal distribution with the mean and deviation of those remembered.

        Raises:
            ValueError: if there are none.
        """
        kept = self.weights[self.returns.isfinite()]
        if not len(kept):
            raise ValueError("no episode is remembered yet")
        std, mean = torch.std_mean(kept, dim=0, correction=0)
        return mean + std.clamp_min(1e-7) * torch.randn(mean.shape, generator=generator).to(mean.device)


class Perturbation:
    """Perturbs networks at every so many updates.

    Towards the best there is nothing to move to until an episode has ended; such a perturbation is left out.

    Args:
        config: how often and how far.
        networks: that are perturbed.
        optimisers: of them, whose state is forgotten.
        make_fresh: gives networks of the same make, drawn from a generator.
        seed: of what is drawn.
    """

    def __init__(
        self,
        config: PerturbationConfig,
        networks: Sequence[Perturbed],
        optimisers: Sequence[Optimizer],
        make_fresh: Callable[[torch.Generator], Sequence[Perturbed]],
        *,
        seed: int,
    ) -> None:
        self.config = config
        self.optimisers = optimisers
        self._make_fresh = make_fresh
        self._parameters = _parameters(networks)
        self._generator = torch.Generator().manual_seed(seed)
        self._snapshots: Snapshots | None = None
        if config.towards == "best":
            size = sum(parameter.numel() for parameter in self._parameters)
            self._snapshots = Snapshots(config.snapshots, size).to(self._parameters[0].device)

    def parts(self) -> dict[str, Part]:
        """Return what it takes to go on."""
        parts: dict[str, Part] = {"perturbing": self._generator}
        return parts if self._snapshots is None else parts | {"snapshots": self._snapshots}

    def remember(self, episode_return: float) -> None:
        """Note that an episode came to ``episode_return`` with the weights as they are."""
        if self._snapshots is not None:
            self._snapshots.add(episode_return, parameters_to_vector(self._parameters).detach())

    def after_updates(self, before: int, now: int, ratio: Tensor) -> bool:
        """Perturb if a multiple of ``every`` lies in (before, now]; return whether it does.

        Args:
            before: updates made before the newest block of them.
            now: updates made.
            ratio: dormant ratio of the policy.
        """
        if now // self.config.every == before // self.config.every:
            return False
        if self._snapshots is None:
            others: list[Tensor] = list(_parameters(self._make_fresh(self._generator)))
        elif len(self._snapshots):
            others = [torch.empty_like(parameter) for parameter in self._parameters]
            vector_to_parameters(self._snapshots.draw(self._generator), others)
        else:
            return False
        perturb(self._parameters, others, kept_share(ratio, self.config))
        for optimiser in self.optimisers:
            optimiser.state.clear()
        return True


def _parameters(networks: Sequence[Perturbed]) -> list[nn.Parameter]:
    return [parameter for network in networks for parameter in network.linear_parameters()]
