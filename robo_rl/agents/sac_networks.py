"""The networks of soft actor-critic, as its configuration asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from robo_rl.agents.crossq import CrossQCritic
from robo_rl.agents.ensemble import EnsembleMLP
from robo_rl.agents.heads import Head, HLGaussHead, ScalarHead
from robo_rl.agents.networks import Policy

if TYPE_CHECKING:
    from robo_rl.agents.auxiliary import Features
    from robo_rl.agents.encoders import Encoder, PixelEncoder
    from robo_rl.agents.sac_config import SACConfig


def make_head(config: SACConfig, device: torch.device) -> Head:
    """Return what says what the outputs of critics mean."""
    if config.hl_gauss and config.q_bounds is not None:
        return HLGaussHead(*config.q_bounds, config.hl_gauss_bins, config.hl_gauss_sigma).to(device)
    return ScalarHead()


def make_policy(
    config: SACConfig,
    encoder: Encoder | PixelEncoder | Features,
    actions: int,
    generator: torch.Generator,
    device: torch.device,
) -> Policy:
    """Return a policy of A actions, its weights drawn anew."""
    policy = Policy(
        encoder,
        actions,
        config.hidden,
        layer_norm=config.actor_layer_norm,
        experts=config.experts,
        generator=generator,
        precision=precision(config),
    )
    return policy.to(device)


def make_critic(
    config: SACConfig, features: int, actions: int, head: Head, generator: torch.Generator, device: torch.device
) -> EnsembleMLP:
    """Return an ensemble of critics of that many features and actions, their weights drawn anew."""
    hidden = config.hidden if config.critic_hidden is None else config.critic_hidden
    shape = (config.critics, features + actions, hidden, head.outputs)
    if config.critic_norm == "batch":
        critic: EnsembleMLP = CrossQCritic(*shape, generator=generator)
    else:
        critic = EnsembleMLP(
            *shape, norm=config.critic_norm, dropout=config.critic_dropout, generator=generator,
            precision=precision(config),
        )  # fmt: skip
    bias = head.initial_bias()
    if bias is not None:
        critic.biases[-1].data.copy_(bias)
    return critic.to(device)


def precision(config: SACConfig) -> torch.dtype:
    """Return the precision of the hidden layers' matrix products."""
    return torch.bfloat16 if config.bfloat16 else torch.float32
