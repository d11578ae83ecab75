"""Acting on observations of any device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

    from robo_rl.contracts.learning import Obs


class Actor(Protocol):
    """What acts: an agent, or a learner with the weights that it hands out."""

    device: torch.device

    def act(self, obs: Obs, *, explore: bool) -> torch.Tensor:
        """Return actions (B, A) in [-1, 1]."""
        ...


def act_on(agent: Actor, obs: Obs, *, explore: bool, device: torch.device) -> torch.Tensor:
    """Let ``agent`` act on observations that live on ``device``; the actions live there too."""
    if agent.device == device:
        return agent.act(obs, explore=explore)
    return agent.act({key: value.to(agent.device) for key, value in obs.items()}, explore=explore).to(device)
