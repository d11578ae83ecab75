"""How much of a network sleeps, and how much exploration that asks for (DrM, Xu et al. 2024).

DrM sets the standard deviation of a deterministic policy's noise by the dormant ratio. The policy of soft actor-critic
has a deviation of its own, so here the ratio bounds it from below while exploring; what is learned stays the same.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robo_rl.agents.experts import StackedLinear


@torch.no_grad()
def dormant_ratio(network: nn.Module, inputs: Tensor, threshold: float = 0.025) -> Tensor:
    """Return the share of dormant units among those of all linear layers, without dimensions (Xu et al. 2024).

    A unit of a layer is dormant if the mean size of its output over the batch is at most ``threshold`` times the mean
    of that over the layer. Outputs are taken before the activation; the last layer counts too.

    Args:
        network: called with ``inputs``; only the linear layers that this calls are looked at.
        inputs: (B, ...).
        threshold: tau.
    """
    dormant: list[Tensor] = []

    def look(_: nn.Module, __: object, outputs: Tensor) -> None:  # (B, units), or of several members (E, B, units)
        activity = outputs.abs().mean(dim=-2)
        dormant.append((activity <= threshold * activity.mean(dim=-1, keepdim=True)).flatten())

    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear | StackedLinear)]
    handles = [layer.register_forward_hook(look) for layer in layers]
    try:
        network(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return torch.cat(dormant).float().mean()


def exploration_floor(ratio: Tensor, largest: float = 1.0) -> Tensor:
    """Return the least standard deviation of exploration at a dormant ratio: half of ``largest`` at 0.2.

    ``largest / (1 + exp(-10 (ratio - 0.2)))``: DrM's awakening schedule, with 1; MENTOR takes 0.8.
    """
    return largest * torch.sigmoid(10.0 * (ratio - 0.2))
