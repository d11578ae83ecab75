"""The reward source: what judges transitions where a task's own reward cannot be had, or is not to be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch

    from robo_rl.contracts.learning import Obs


@dataclass(frozen=True)
class Transitions:
    """N transitions to be judged.

    Attributes:
        obs: before the step, each (N, ...).
        action: (N, A), the executed one.
        next_obs: after the step, each (N, ...).
    """

    obs: Obs
    action: torch.Tensor
    next_obs: Obs


@runtime_checkable
class RewardSource(Protocol):
    """Judges transitions, one by one.

    What it says of a transition depends on nothing but that transition and :attr:`version`: not on the others of the
    batch, not on what was judged before. So a whole replay buffer can be labelled anew by a newer version.

    Example:
        >>> reward = source.label(Transitions(obs, action, step.obs))      # doctest: +SKIP

    Attributes:
        version: 1 for the first one, higher for each that replaces it.
        observes: keys of the observations that it looks at; it needs no others.
    """

    version: int
    observes: tuple[str, ...]

    def label(self, transitions: Transitions) -> torch.Tensor:
        """Return the reward (N,) float32 of each transition, finite, where the observations live.

        Raises:
            UserError: if an observation that it needs is not there, or of another shape; names it.
        """
        ...
