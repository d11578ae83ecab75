"""The tanh-Gaussian policy; encoders and ensembles stand in files of their own."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from robo_rl.agents.ensemble import start
from robo_rl.agents.experts import ExpertsConfig, MixtureOfExperts
from robo_rl.errors import UserError

if TYPE_CHECKING:
    from robo_rl.agents.auxiliary import Features
    from robo_rl.agents.encoders import Encoder, PixelEncoder
    from robo_rl.contracts.learning import Obs

LOG_STD_RANGE = (-10.0, 2.0)
"""Bounds of the policy's log standard deviation, before the tanh: wide enough never to bind, finite for safety."""


def action_width(space: gymnasium.Space) -> int:
    """Return the number of actions in ``space``.

    Raises:
        UserError: if it is not a box of [-1, 1] with one axis.
    """
    if isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1:
        if not (np.all(space.low == -1.0) and np.all(space.high == 1.0)):
            raise UserError(f"action_space must reach from -1 to 1, not {space}; rescale it in the environment")
        return space.shape[0]
    raise UserError(f"action_space must be a Box with one axis, not {space}")


class ActingModule(nn.Module, ABC):
    """A network that acts: what :class:`robo_rl.agents.mailbox.PolicyMailbox` copies.

    Attributes:
        encoder: of the observations.
    """

    encoder: Encoder | PixelEncoder | Features

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where its weights are."""

    @abstractmethod
    def act_on(
        self, features: Tensor, generator: torch.Generator | None = None, least_std: Tensor | None = None
    ) -> Tensor:
        """Return actions (B, A) for features (B, encoder.width); see :meth:`act`."""

    def act(self, obs: Obs, generator: torch.Generator | None = None, least_std: Tensor | None = None) -> Tensor:
        """Return actions (B, A) in [-1, 1] where ``obs`` is: drawn with ``generator``, or the best known if None.

        Args:
            obs: each (B, ...).
            generator: draws them.
            least_std: bounds the standard deviation of Gaussian noise from below.
        """
        where = next(iter(obs.values())).device
        with torch.inference_mode():
            action = self.act_on(self.encoder(obs).to(self.device), generator, least_std)
        # Tensors born in inference mode refuse in-place use outside; a copy made here does not.
        return action.to(where, copy=True)


class Policy(ActingModule):
    """Gaussian policy squashed by tanh: ``a = tanh(u)``, ``u ~ N(mean(obs), std(obs)^2)`` (Haarnoja et al. 2018).

    Args:
        encoder: of the observations.
        actions: A.
        hidden: widths of the hidden layers.
        layer_norm: whether each hidden layer is normalised before its ReLU.
        experts: a mixture of experts that takes the place of all hidden layers but the first, if its count is not 0.
        generator: draws the initial weights.
        precision: of the hidden layers' matrix products while it learns; it acts in float32.
    """

    def __init__(
        self,
        encoder: Encoder | PixelEncoder | Features,
        actions: int,
        hidden: Sequence[int],
        *,
        layer_norm: bool,
        experts: ExpertsConfig | None = None,
        generator: torch.Generator,
        precision: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.precision = precision
        self.encoder = encoder
        self.actions = actions
        mixes = experts is not None and experts.count > 0
        plain = hidden[:1] if mixes else hidden
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in itertools.pairwise([encoder.width, *plain]))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in plain if layer_norm)
        self.output = nn.Linear([encoder.width, *hidden][-1], 2 * actions)
        start(self.layers, generator)
        start(self.output, generator)
        self.experts: MixtureOfExperts | None = None
        if experts is not None and mixes:
            self.experts = MixtureOfExperts(hidden[0], hidden[-1], experts, generator=generator)

    def linear_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the linear maps: all but the encoder's and those of normalised layers."""
        parts = (self.layers, self.output, *([] if self.experts is None else [self.experts]))
        return [parameter for part in parts for parameter in part.parameters()]

    def forward(self, features: Tensor, precision: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation (B, A) of ``u`` for features (B, encoder.width).

        Args:
            features: to act on.
            precision: of the hidden layers' matrix products; None: the policy's own.
        """
        x = self._hidden(features, self.precision if precision is None else precision)
        if self.experts is not None:
            x = self.experts(x).relu_()
        mean, log_std = self.output(x).chunk(2, dim=-1)
        return mean, log_std.clamp(*LOG_STD_RANGE)

    def routing_loss(self, features: Tensor) -> Tensor:
        """Return the loss of sending features (B, encoder.width) to experts, without dimensions; 0 without experts."""
        if self.experts is None:
            return features.new_zeros(())
        return self.experts.routing_loss(self._hidden(features, self.precision))

    def _hidden(self, features: Tensor, precision: torch.dtype) -> Tensor:
        x = features
        # Entering a context costs as much as a layer of one row; most policies need none.
        lowered = precision != torch.float32
        with torch.autocast(x.device.type, precision) if lowered else nullcontext():
            for i, layer in enumerate(self.layers):
                x = layer(x)
                if self.norms:
                    x = self.norms[i](x)
                x = x.relu_()
        return x.to(torch.float32)

    def sample(self, features: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Draw actions by the reparameterisation trick.

        Args:
            features: (B, encoder.width).
            noise: (B, A), standard normal.

        Returns:
            Actions (B, A), their log-density (B,), and the standard deviations (B, A) of ``u``.
        """
        mean, log_std = self(features)
        std = log_std.exp()
        u = mean + std * noise
        return torch.tanh(u), tanh_gaussian_log_prob(u, noise, log_std), std

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.output.weight.device

    def act_on(
        self, features: Tensor, generator: torch.Generator | None = None, least_std: Tensor | None = None
    ) -> Tensor:
        """Return ``tanh(u)`` (B, A) for features (B, encoder.width), ``u`` its mode if there is no generator."""
        mean, log_std = self(features, torch.float32)
        if generator is not None:
            std = log_std.exp() if least_std is None else log_std.exp().maximum(least_std)
            mean = mean + std * torch.randn(mean.shape, generator=generator, device=mean.device)
        return torch.tanh(mean)


def tanh_gaussian_log_prob(u: Tensor, noise: Tensor, log_std: Tensor) -> Tensor:
    """Log-density (B,) of ``tanh(u)`` for ``u = mean + std * noise``, each (B, A).

    ``log(1 - tanh(u)^2)`` is written ``2 (log 2 - u - softplus(-2u))``, which neither overflows nor cancels.
    """
    gaussian = -0.5 * noise.square() - log_std - 0.5 * math.log(2.0 * math.pi)
    squash = 2.0 * (math.log(2.0) - u - softplus(-2.0 * u))
    return (gaussian - squash).sum(-1)
