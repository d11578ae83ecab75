"""The ensemble of critics as batched matrix products, forward and backward, both written out.

For GPUs, for ``torch.compile`` (without autograd, a whole update is one graph), and for bfloat16 on a CPU, where to set
up a product of this size takes as long as to compute it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_EPS = 1e-5  # as torch.nn.LayerNorm


@dataclass(frozen=True)
class Stack:
    """Parameters of E multi-layer perceptrons, or their gradients.

    Attributes:
        weights: of each layer, (E, inputs, outputs).
        biases: of each layer, (E, outputs).
        scales: of the norm of each hidden layer, (E, outputs); empty without.
        shifts: of these norms.
    """

    weights: Sequence[Tensor]
    biases: Sequence[Tensor]
    scales: Sequence[Tensor]
    shifts: Sequence[Tensor]

    def all(self) -> list[Tensor]:
        """Return them in the order of ``EnsembleMLP.parameters()``."""
        return [*self.weights, *self.biases, *self.scales, *self.shifts]


@dataclass(frozen=True)
class _Layer:
    """What the backward pass needs of a hidden layer."""

    inputs: Tensor
    weight: Tensor
    outputs: Tensor
    before_norm: Tensor
    mean: Tensor | None
    rstd: Tensor | None


def forward(
    x: Tensor, stack: Stack, masks: Sequence[Tensor] | None, precision: torch.dtype
) -> tuple[Tensor, list[_Layer]]:
    """Return outputs (E, B, O) of x (B, I), and what :func:`backward` needs.

    Args:
        x: float32.
        stack: parameters.
        masks: (E, B, width) of each hidden layer, multiplied with what comes before its norm; None for none.
        precision: of the hidden layers' matrix products.
    """
    h = x.to(precision).expand(len(stack.weights[0]), *x.shape)
    layers = []
    for i, (weight, bias) in enumerate(zip(stack.weights[:-1], stack.biases[:-1], strict=True)):
        weight, inputs = weight.to(precision), h
        z = _affine(h, weight, bias.to(precision))
        if masks is not None:
            z = z * masks[i].to(precision)
        mean = rstd = None
        if stack.scales:
            h, mean, rstd = _norm(z, stack.scales[i], stack.shifts[i])
            h = h.relu_()
        else:
            h = z = z.relu_()
        layers.append(_Layer(inputs, weight, h, z, mean, rstd))
    weight, bias = stack.weights[-1], stack.biases[-1]
    return torch.baddbmm(bias.unsqueeze(1), h.to(weight.dtype), weight), layers


def backward(
    g: Tensor,
    stack: Stack,
    layers: Sequence[_Layer],
    masks: Sequence[Tensor] | None,
    *,
    follows: bool,
) -> tuple[Stack, Tensor | None]:
    """Return the gradients of all parameters, and that of x (B, I) if ``follows``, from that of the outputs.

    Those of hidden layers' weights come in the precision of the products.
    """
    weight = stack.weights[-1]
    last = layers[-1].outputs.to(weight.dtype)
    weights, biases = [torch.bmm(last.transpose(1, 2), g)], [g.sum(1)]
    scales: list[Tensor] = []
    shifts: list[Tensor] = []
    # With one output this is no sum: in a graph that is compiled, part of the next loop.
    back = weight.transpose(1, 2)
    g = (g * back if g.shape[-1] == 1 else torch.bmm(g, back)).to(layers[-1].outputs.dtype)
    for i in range(len(layers) - 1, -1, -1):
        layer = layers[i]
        g = torch.ops.aten.threshold_backward(g, layer.outputs, 0)
        if layer.mean is not None and layer.rstd is not None:
            g, scale, shift = _norm_backward(
                g, layer.before_norm, layer.mean, layer.rstd, stack.scales[i], stack.shifts[i]
            )
            scales.append(scale)
            shifts.append(shift)
        if masks is not None:
            g = g * masks[i].to(g.dtype)
        weights.append(torch.bmm(layer.inputs.transpose(1, 2), g))
        biases.append(_column_sums(g, weight.dtype))
        if i or follows:
            g = torch.bmm(g, layer.weight.transpose(1, 2))
    found = Stack(weights[::-1], biases[::-1], scales[::-1], shifts[::-1])
    return found, g.to(weight.dtype).sum(0) if follows else None


def _at_once(x: Tensor) -> bool:
    """Whether all members are normalised in one go: in a graph that is compiled that is one loop, on a GPU one kernel.

    On a CPU, torch's kernels do a member's norm with its scale and shift in one pass.
    """
    return torch.compiler.is_compiling() or x.device.type != "cpu"


def _for_cpu(x: Tensor) -> bool:
    """Whether a graph is compiled for a CPU."""
    return x.device.type == "cpu" and torch.compiler.is_compiling()


def _affine(h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return ``h W + b`` (E, B, H)."""
    if _for_cpu(h):  # the next loop adds the bias; the product would copy it to all rows first
        return torch.bmm(h, weight) + bias.unsqueeze(1)
    return torch.baddbmm(bias.unsqueeze(1), h, weight)


def _column_sums(g: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the sums (E, H) over the rows of g (E, B, H), which are added up in float32."""
    if g.device.type != "cpu":
        return g.sum(1, dtype=dtype)
    if _for_cpu(g):  # its loops would go down the columns, each number on a cache line of its own
        return torch.bmm(g.new_ones((len(g), 1, g.shape[1])), g).squeeze(1).to(dtype)
    return g.sum(1).to(dtype)  # asked for a dtype, a CPU converts all of g


def _norm(z: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``norm(z) * scale + shift`` (E, B, H), mean and 1/std (E, B, 1)."""
    if _at_once(z):
        n, mean, rstd = torch.native_layer_norm(z.to(scale.dtype), z.shape[-1:], None, None, _EPS)
        return torch.addcmul(shift.unsqueeze(1), n, scale.unsqueeze(1)).to(z.dtype), mean, rstd
    each = [
        torch.native_layer_norm(one, one.shape[-1:], s, t, _EPS)
        for one, s, t in zip(z.unbind(), scale.unbind(), shift.unbind(), strict=True)
    ]
    n, mean, rstd = (torch.stack(parts) for parts in zip(*each, strict=True))
    return n, mean, rstd


def _norm_backward(
    g: Tensor, z: Tensor, mean: Tensor, rstd: Tensor, scale: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of z, scale and shift from that of :func:`_norm`."""
    if _at_once(z):
        g, n = g.to(scale.dtype), (z.to(scale.dtype) - mean) * rstd
        gn = g * scale.unsqueeze(1)
        gz = rstd * (gn - gn.mean(-1, keepdim=True) - n * (gn * n).mean(-1, keepdim=True))
        return gz.to(z.dtype), _column_sums(g * n, scale.dtype), _column_sums(g, scale.dtype)
    parts = (x.unbind() for x in (g, z, mean, rstd, scale, shift))
    each = [
        torch.ops.aten.native_layer_norm_backward(one, before, one.shape[-1:], m, r, s, t, [True] * 3)
        for one, before, m, r, s, t in zip(*parts, strict=True)
    ]
    gz, g_scale, g_shift = (torch.stack(parts) for parts in zip(*each, strict=True))
    return gz, g_scale, g_shift
