"""Ensembles of multi-layer perceptrons with stacked weights: what critics and experts are made of."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm as normalize

from robo_rl.agents.ensemble_kernel import MemberwiseMLP

Norm = Literal["layer", "weight", "none"]
"""How hidden layers are normalised."""


def uniform(shape: tuple[int, ...], fan_in: int, generator: torch.Generator) -> nn.Parameter:
    """Uniform in +-1/sqrt(fan_in), as ``torch.nn.Linear`` starts its weights and biases."""
    bound = 1.0 / math.sqrt(fan_in)
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound, generator=generator))


def start(network: nn.Module, generator: torch.Generator) -> None:
    """Draw weights and biases of every ``torch.nn.Linear`` in a network anew, from a generator of one's own."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            for parameter in layer.parameters():
                parameter.data = uniform(parameter.shape, layer.in_features, generator).data


class EnsembleMLP(nn.Module):
    """E independent multi-layer perceptrons (ReLU) with stacked parameters ``[E, ...]``.

    All members see the same input. On a CPU they are computed one after the other, so that a member's activations stay
    in the second-level cache; elsewhere as batched matrix products. Both ways give the same numbers (to rounding).

    Args:
        members: E.
        inputs: width of the input.
        hidden: widths of the hidden layers.
        outputs: width of the output.
        norm: ``layer`` normalises each hidden layer before its ReLU (RLPD, Ball et al. 2023, section 4.2); ``weight``
            writes the weights of each unit as ``g v / |v|`` (Salimans & Kingma 2016, eq. 2), g first being ``|v|``.
        dropout: chance of each hidden unit to be left out, the others scaled up by ``1 / (1 - dropout)``; between a
            linear map and its normalisation (DroQ, Hiraoka et al. 2022). Active where noise is given.
        generator: draws the initial weights.
        precision: of the hidden layers' matrix products; weights, sums and norms stay float32.
    """

    def __init__(
        self,
        members: int,
        inputs: int,
        hidden: Sequence[int],
        outputs: int,
        *,
        norm: Norm,
        dropout: float = 0.0,
        generator: torch.Generator,
        precision: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.precision = precision
        self.members = members
        self.norm = norm
        self.dropout = dropout
        self.hidden = tuple(hidden)
        widths = [inputs, *hidden, outputs]
        pairs = list(itertools.pairwise(widths))
        self.weights = nn.ParameterList(uniform((members, i, o), i, generator) for i, o in pairs)
        self.biases = nn.ParameterList(uniform((members, o), i, generator) for i, o in pairs)
        normed = hidden if norm == "layer" else ()
        self.scales = nn.ParameterList(torch.ones(members, width) for width in normed)
        self.shifts = nn.ParameterList(torch.zeros(members, width) for width in normed)
        self.gains = nn.ParameterList(_length(weight) for weight in self.weights if norm == "weight")

    def linear_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the linear maps: all but the scales and shifts of normalised layers."""
        return [*self.weights, *self.biases, *self.gains]

    def forward(self, x: Tensor, members: Tensor | None = None, *, noise: torch.Generator | None = None) -> Tensor:
        """Return outputs (E, B, outputs) of inputs (B, inputs).

        Args:
            x: (B, inputs).
            members: (M,) indices; only these are computed, and E above becomes M. None means all.
            noise: draws which units are left out, for each member and row anew; without it none are.
        """
        masks = self._masks(x, self.members if members is None else len(members), noise)
        if x.device.type == "cpu":
            return self.one_by_one(x, members, masks)
        return self.batched(x, members, masks)

    def one_by_one(self, x: Tensor, members: Tensor | None = None, masks: Sequence[Tensor] | None = None) -> Tensor:
        """:meth:`forward`, member after member; ``masks`` scale the hidden units, each (E, B, width)."""
        chosen = range(self.members) if members is None else members.tolist()
        output: Tensor = MemberwiseMLP.apply(
            x, chosen, masks, self.precision, bool(self.scales), *self._weights(), *self.biases, *self.scales,
            *self.shifts,
        )  # fmt: skip
        return output

    def batched(self, x: Tensor, members: Tensor | None = None, masks: Sequence[Tensor] | None = None) -> Tensor:
        """:meth:`forward`, all members at once; ``masks`` scale the hidden units, each (E, B, width)."""

        def pick(parameter: Tensor) -> Tensor:
            return parameter if members is None else parameter[members]

        x = x.expand(self.members if members is None else len(members), *x.shape)
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self._weights(), self.biases, strict=True)):
            if i < last and self.precision != torch.float32:
                x = torch.bmm(x.to(self.precision), pick(weight).to(self.precision)).float() + pick(bias).unsqueeze(1)
            else:
                x = torch.baddbmm(pick(bias).unsqueeze(1), x, pick(weight))
            if i < last:
                if masks is not None:
                    x = x * masks[i]
                if self.scales:
                    scale, shift = pick(self.scales[i]).unsqueeze(1), pick(self.shifts[i]).unsqueeze(1)
                    x = torch.addcmul(shift, normalize(x, x.shape[-1:]), scale)
                x = x.relu_()
        return x

    def _weights(self) -> Sequence[Tensor]:
        """The weights that are multiplied with, each (E, inputs, outputs)."""
        if not self.gains:
            return list(self.weights)
        return [weight * (gain / _length(weight)) for weight, gain in zip(self.weights, self.gains, strict=True)]

    def _masks(self, x: Tensor, members: int, noise: torch.Generator | None) -> list[Tensor] | None:
        if noise is None or not self.dropout:
            return None
        kept = 1.0 - self.dropout
        shapes = [(members, len(x), width) for width in self.hidden]
        return [torch.empty(s, device=x.device).bernoulli_(kept, generator=noise).div_(kept) for s in shapes]


def _length(weight: Tensor) -> Tensor:
    """Euclidean length (E, 1, outputs) of the weights of each unit."""
    return torch.linalg.vector_norm(weight, dim=1, keepdim=True)
