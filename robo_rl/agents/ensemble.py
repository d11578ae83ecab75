"""Ensembles of multi-layer perceptrons with stacked weights: what critics and experts are made of."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from robo_rl.agents.ensemble_kernel import MemberwiseMLP, evaluate
from robo_rl.agents.ensemble_kernel import regress as memberwise
from robo_rl.agents.ensemble_stack import Stack, backward, forward

if TYPE_CHECKING:
    from robo_rl.agents.heads import Head

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

    All members see the same input. In float32 on a CPU they are computed one after the other, so that a member's
    activations stay in the second-level cache; otherwise as batched matrix products. Both ways give the same numbers
    (to rounding).

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
        masks = self.draw_masks(len(x), noise, self.members if members is None else len(members))
        return self.compute(x, members, masks)

    def compute(self, x: Tensor, members: Tensor | None = None, masks: Sequence[Tensor] | None = None) -> Tensor:
        """:meth:`forward` with hidden units scaled by ``masks``, each (E, B, width)."""
        return self.one_by_one(x, members, masks) if self._memberwise(x) else self.batched(x, members, masks)

    def regress(self, x: Tensor, target: Tensor, head: Head, masks: Sequence[Tensor] | None = None) -> Tensor:
        """Give all parameters the gradient of ``sum_e mean_b head.loss``, and return the outputs (E, B, outputs).

        Without autograd, unless weights are normalised. Where x was computed from something, its gradient goes there.

        Args:
            x: (B, inputs).
            target: (B,), of all members.
            head: says what the outputs are.
            masks: scale the hidden units, each (E, B, width).
        """
        parameters = list(self.parameters())
        if self.gains:
            outputs = self.compute(x, None, masks)
            for parameter in parameters:
                parameter.grad = None
            head.loss(outputs, target).mean(dim=1).sum().backward()
            return outputs.detach()
        with torch.no_grad():
            outputs, x_gradient = self._regress(x.detach(), target, head, masks, follows=x.requires_grad)
        if x_gradient is not None:
            x.backward(x_gradient)
        return outputs

    def _regress(
        self, x: Tensor, target: Tensor, head: Head, masks: Sequence[Tensor] | None, *, follows: bool
    ) -> tuple[Tensor, Tensor | None]:
        parameters = list(self.parameters())
        if not self._memberwise(x):
            outputs, gradients, x_gradient = self.gradients(x, target, head, masks, follows=follows)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if parameter.grad is None or gradient.dtype == parameter.dtype:
                    parameter.grad = gradient.to(parameter.dtype)
                else:
                    parameter.grad.copy_(gradient)
            return outputs, x_gradient
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.empty_like(parameter)
        return memberwise(
            x, lambda outputs: head.gradient(outputs, target).div_(len(x)), masks, self.precision, bool(self.scales),
            [parameter.detach() for parameter in parameters],
            [parameter.grad for parameter in parameters if parameter.grad is not None], follows=follows,
        )  # fmt: skip

    def gradients(
        self, x: Tensor, target: Tensor, head: Head, masks: Sequence[Tensor] | None, *, follows: bool
    ) -> tuple[Tensor, list[Tensor], Tensor | None]:
        """Return outputs, the gradients that :meth:`regress` sets, and that of x: plain operations on whole stacks."""
        stack = self._stack()
        outputs, layers = forward(x, stack, masks, self.precision)
        found, x_gradient = backward(head.gradient(outputs, target) / len(x), stack, layers, masks, follows=follows)
        return outputs, found.all(), x_gradient

    def one_by_one(self, x: Tensor, members: Tensor | None = None, masks: Sequence[Tensor] | None = None) -> Tensor:
        """:meth:`forward`, member after member; ``masks`` scale the hidden units, each (E, B, width)."""
        chosen = range(self.members) if members is None else members.tolist()
        parameters = [*self._weights(), *self.biases, *self.scales, *self.shifts]
        if not torch.is_grad_enabled():
            return evaluate(x, chosen, masks, self.precision, bool(self.scales), parameters)
        output: Tensor = MemberwiseMLP.apply(x, chosen, masks, self.precision, bool(self.scales), *parameters)
        return output

    def batched(self, x: Tensor, members: Tensor | None = None, masks: Sequence[Tensor] | None = None) -> Tensor:
        """:meth:`forward`, all members at once; ``masks`` scale the hidden units, each (E, B, width)."""
        return forward(x, self._stack(members), masks, self.precision)[0]

    def _memberwise(self, x: Tensor) -> bool:
        """Whether members are computed one after the other."""
        return x.device.type == "cpu" and self.precision != torch.bfloat16 and not torch.compiler.is_compiling()

    def _stack(self, members: Tensor | None = None) -> Stack:
        parts = (self._weights(), list(self.biases), list(self.scales), list(self.shifts))
        return Stack(*parts) if members is None else Stack(*([each[members] for each in part] for part in parts))

    def _weights(self) -> Sequence[Tensor]:
        """The weights that are multiplied with, each (E, inputs, outputs)."""
        if not self.gains:
            return list(self.weights)
        return [weight * (gain / _length(weight)) for weight, gain in zip(self.weights, self.gains, strict=True)]

    def draw_masks(self, rows: int, noise: torch.Generator | None, members: int) -> list[Tensor] | None:
        """Return what scales the hidden units of ``members`` members, each (members, rows, width); None: nothing."""
        if noise is None or not self.dropout:
            return None
        kept = 1.0 - self.dropout
        shapes = [(members, rows, width) for width in self.hidden]
        where = self.biases[0].device
        return [torch.empty(s, device=where).bernoulli_(kept, generator=noise).div_(kept) for s in shapes]


def _length(weight: Tensor) -> Tensor:
    """Euclidean length (E, 1, outputs) of the weights of each unit."""
    return torch.linalg.vector_norm(weight, dim=1, keepdim=True)
