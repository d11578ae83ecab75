"""Networks of the learners: tanh-Gaussian policy, ensemble of critics with stacked weights."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm as normalize
from torch.nn.functional import softplus

from robo_rl.errors import UserError

if TYPE_CHECKING:
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


def _uniform(shape: tuple[int, ...], fan_in: int, generator: torch.Generator) -> nn.Parameter:
    """Uniform in +-1/sqrt(fan_in), as ``torch.nn.Linear`` starts its weights and biases."""
    bound = 1.0 / math.sqrt(fan_in)
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound, generator=generator))


class EnsembleMLP(nn.Module):
    """E independent multi-layer perceptrons (ReLU, optional layer norm) with stacked parameters ``[E, ...]``.

    All members see the same input. On a CPU they are computed one after the other, so that a member's activations stay
    in the second-level cache; elsewhere as batched matrix products. Both ways give the same numbers (to rounding).

    Args:
        members: E.
        inputs: width of the input.
        hidden: widths of the hidden layers.
        outputs: width of the output.
        layer_norm: whether each hidden layer is normalised before its ReLU (RLPD, Ball et al. 2023, section 4.2).
        generator: draws the initial weights.
    """

    def __init__(
        self,
        members: int,
        inputs: int,
        hidden: Sequence[int],
        outputs: int,
        *,
        layer_norm: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.members = members
        self.layer_norm = layer_norm
        widths = [inputs, *hidden, outputs]
        pairs = list(itertools.pairwise(widths))
        self.weights = nn.ParameterList(_uniform((members, i, o), i, generator) for i, o in pairs)
        self.biases = nn.ParameterList(_uniform((members, o), i, generator) for i, o in pairs)
        normed = hidden if layer_norm else ()
        self.scales = nn.ParameterList(torch.ones(members, width) for width in normed)
        self.shifts = nn.ParameterList(torch.zeros(members, width) for width in normed)

    def forward(self, x: Tensor, members: Tensor | None = None) -> Tensor:
        """Return outputs (E, B, outputs) of inputs (B, inputs).

        Args:
            x: (B, inputs).
            members: (M,) indices; only these are computed, and E above becomes M. None means all.
        """
        if x.device.type == "cpu":
            return self.one_by_one(x, members)
        return self.batched(x, members)

    def one_by_one(self, x: Tensor, members: Tensor | None = None) -> Tensor:
        """:meth:`forward`, member after member."""
        groups = (self.weights, self.biases, self.scales, self.shifts)
        weights, biases, scales, shifts = ([p.unbind(0) for p in group] for group in groups)
        last = len(weights) - 1
        outputs = []
        for e in range(self.members) if members is None else members.tolist():
            h = x
            for i in range(last):
                h = torch.addmm(biases[i][e], h, weights[i][e])
                if self.layer_norm:
                    h = normalize(h, h.shape[-1:], scales[i][e], shifts[i][e])
                h = h.relu_()
            outputs.append(torch.addmm(biases[last][e], h, weights[last][e]))
        return torch.stack(outputs)

    def batched(self, x: Tensor, members: Tensor | None = None) -> Tensor:
        """:meth:`forward`, all members at once."""

        def pick(parameter: Tensor) -> Tensor:
            return parameter if members is None else parameter[members]

        x = x.expand(self.members if members is None else len(members), *x.shape)
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(pick(bias).unsqueeze(1), x, pick(weight))
            if i < last:
                if self.layer_norm:
                    scale, shift = pick(self.scales[i]).unsqueeze(1), pick(self.shifts[i]).unsqueeze(1)
                    x = torch.addcmul(shift, normalize(x, x.shape[-1:]), scale)
                x = x.relu_()
        return x


class Policy(nn.Module):
    """Gaussian policy squashed by tanh: ``a = tanh(u)``, ``u ~ N(mean(obs), std(obs)^2)`` (Haarnoja et al. 2018).

    Args:
        encoder: of the observations.
        actions: A.
        hidden: widths of the hidden layers.
        layer_norm: whether each hidden layer is normalised before its ReLU.
        generator: draws the initial weights.
    """

    def __init__(
        self,
        encoder: Encoder | PixelEncoder,
        actions: int,
        hidden: Sequence[int],
        *,
        layer_norm: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.actions = actions
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in itertools.pairwise([encoder.width, *hidden]))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in hidden if layer_norm)
        self.output = nn.Linear([encoder.width, *hidden][-1], 2 * actions)
        for layer in (*self.layers, self.output):
            for parameter in layer.parameters():
                parameter.data = _uniform(parameter.shape, layer.in_features, generator).data

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation (B, A) of ``u`` for features (B, encoder.width)."""
        x = features
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if self.norms:
                x = self.norms[i](x)
            x = x.relu_()
        mean, log_std = self.output(x).chunk(2, dim=-1)
        return mean, log_std.clamp(*LOG_STD_RANGE)

    def sample(self, features: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw actions by the reparameterisation trick.

        Returns:
            Actions (B, A), their log-density (B,), and the standard deviations (B, A) of ``u``.
        """
        mean, log_std = self(features)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        std = log_std.exp()
        u = mean + std * noise
        return torch.tanh(u), tanh_gaussian_log_prob(u, noise, log_std), std

    def act(self, obs: Obs, generator: torch.Generator | None = None) -> Tensor:
        """Return actions (B, A) where ``obs`` is: drawn with ``generator``, or the mode of ``u`` squashed if None."""
        where = next(iter(obs.values())).device
        with torch.inference_mode():
            features = self.encoder(obs).to(self.output.weight.device)
            mean, log_std = self(features)
            if generator is not None:
                mean = mean + log_std.exp() * torch.randn(mean.shape, generator=generator, device=mean.device)
            action = torch.tanh(mean)
        # Tensors born in inference mode refuse in-place use outside; a copy made here does not.
        return action.to(where, copy=True)


def tanh_gaussian_log_prob(u: Tensor, noise: Tensor, log_std: Tensor) -> Tensor:
    """Log-density (B,) of ``tanh(u)`` for ``u = mean + std * noise``, each (B, A).

    ``log(1 - tanh(u)^2)`` is written ``2 (log 2 - u - softplus(-2u))``, which neither overflows nor cancels.
    """
    gaussian = -0.5 * noise.square() - log_std - 0.5 * math.log(2.0 * math.pi)
    squash = 2.0 * (math.log(2.0) - u - softplus(-2.0 * u))
    return (gaussian - squash).sum(-1)
