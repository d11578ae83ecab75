"""The ensemble of critics on a CPU: one member after the other, the backward pass written out.

Autograd stacks the gradients of the members anew in each update and runs a dozen nodes for each layer of each member.
Written out, each gradient goes straight to its place, and a member's activations stay in the second-level cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

_EPS = 1e-5  # as torch.nn.LayerNorm

Layers = list[tuple[Tensor, Tensor, Tensor | None, Tensor | None]]
"""Weight, bias, scale and shift of each layer of one member; the last two are None without layer norm."""


class MemberwiseMLP(torch.autograd.Function):
    """Outputs (E, B, O) of E multi-layer perceptrons for one input (B, I); ReLU, optional layer norm before it.

    With ``h_0 = x`` and, for every layer but the last, ``z = (h W + b) m`` (m: which units are left out) and
    ``n = norm(z) * scale + shift``,
    ``h' = max(n, 0)``, the backward pass is, from the gradient ``g`` of a layer's output::

        g_n = g [h' > 0],   (g_z, g_scale, g_shift) = d norm(g_n),   g_W = h^T g_z,   g_b = sum g_z,   g_h = g_z W^T

    Example:
        >>> everything = *weights, *biases, *scales, *shifts                                # doctest: +SKIP
        >>> q = MemberwiseMLP.apply(x, range(E), None, torch.float32, layer_norm, *everything)    # doctest: +SKIP
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        members: Sequence[int],
        masks: Sequence[Tensor] | None,
        precision: torch.dtype,
        normed: bool,
        *parameters: Tensor,
    ) -> Tensor:
        """Return outputs.

        Args:
            ctx: of autograd.
            x: (B, I) float32.
            members: which are computed, in this order; E above is their number.
            masks: (E, B, width) of each hidden layer, multiplied with ``z``; None for none.
            precision: of the hidden layers' matrix products; sums, norms and weights stay float32.
            normed: whether there are scales and shifts.
            *parameters: stacked (E, ...): weights of all layers, biases, then scales and shifts of the hidden ones.
        """
        outputs, kept = [], []
        for i, e in enumerate(members):
            own = None if masks is None else [mask[i] for mask in masks]
            output, held = _forward(x, _layers(parameters, e, normed), own, precision)
            outputs.append(output)
            kept += held
        ctx.save_for_backward(x, *parameters, *kept)
        ctx.members, ctx.masks, ctx.precision, ctx.normed, ctx.count = (
            members,
            masks,
            precision,
            normed,
            len(parameters),
        )
        return torch.stack(outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of ``x`` and of all parameters; only those that are asked for are computed."""
        (gradient,) = gradients
        x, *saved = ctx.saved_tensors
        parameters, kept = saved[: ctx.count], saved[ctx.count :]
        learns, follows = any(ctx.needs_input_grad[5:]), ctx.needs_input_grad[0]
        make = torch.empty_like if len(ctx.members) == len(parameters[0]) else torch.zeros_like
        found = [make(parameter) for parameter in parameters] if learns else []
        x_gradient = torch.zeros_like(x) if follows else None
        each = len(kept) // len(gradient)
        for i, (e, upstream) in enumerate(zip(ctx.members, gradient, strict=True)):
            down = _backward(
                x, upstream, _layers(parameters, e, ctx.normed), list(kept[i * each : (i + 1) * each]),
                None if ctx.masks is None else [mask[i] for mask in ctx.masks],
                _layers(found, e, ctx.normed) if learns else None, ctx.precision, follows,
            )  # fmt: skip
            if x_gradient is not None:
                x_gradient += down
        return x_gradient, None, None, None, None, *(found if learns else [None] * ctx.count)


def evaluate(
    x: Tensor,
    members: Sequence[int],
    masks: Sequence[Tensor] | None,
    precision: torch.dtype,
    normed: bool,
    parameters: Sequence[Tensor],
) -> Tensor:
    """Outputs of :class:`MemberwiseMLP`, nothing kept for a backward pass."""
    own = [parameter.unbind() for parameter in parameters]
    outputs = []
    for i, e in enumerate(members):
        mine = None if masks is None else [mask[i] for mask in masks]
        outputs.append(_forward(x, _layers(own, e, normed), mine, precision)[0])
    return torch.stack(outputs)


def regress(
    x: Tensor,
    gradient: Callable[[Tensor], Tensor],
    masks: Sequence[Tensor] | None,
    precision: torch.dtype,
    normed: bool,
    parameters: Sequence[Tensor],
    found: Sequence[Tensor],
    *,
    follows: bool,
) -> tuple[Tensor, Tensor | None]:
    """Forward and backward pass of one member, then of the next: what it computes is in the cache on the way back.

    Args:
        x: (B, I) float32.
        gradient: that of a member's outputs (B, O).
        masks: as in :class:`MemberwiseMLP`.
        precision: likewise.
        normed: likewise.
        parameters: likewise.
        found: that the gradients of ``parameters`` are written to.
        follows: whether that of x is wanted too.

    Returns:
        Outputs (E, B, O), and the gradient of x (B, I).
    """
    outputs, x_gradient = [], torch.zeros_like(x) if follows else None
    own, to = ([tensor.unbind() for tensor in tensors] for tensors in (parameters, found))
    for e in range(len(parameters[0])):
        layers, mine = _layers(own, e, normed), None if masks is None else [mask[e] for mask in masks]
        output, held = _forward(x, layers, mine, precision)
        outputs.append(output)
        down = _backward(x, gradient(output), layers, held, mine, _layers(to, e, normed), precision, follows)
        if x_gradient is not None:
            x_gradient += down
    return torch.stack(outputs), x_gradient


def _layers(parameters: Sequence[Any], e: int, normed: bool) -> Layers:
    """The parameters of member ``e``, layer by layer, of stacks or of what they are unbound to."""
    count = (len(parameters) + 2) // 4 if normed else len(parameters) // 2
    weights, biases = parameters[:count], parameters[count : 2 * count]
    scales, shifts = parameters[2 * count : 3 * count - 1], parameters[3 * count - 1 :]
    return [
        (weights[i][e], biases[i][e], scales[i][e], shifts[i][e])
        if normed and i < count - 1
        else (weights[i][e], biases[i][e], None, None)
        for i in range(count)
    ]


def _forward(
    x: Tensor, layers: Layers, masks: Sequence[Tensor] | None, precision: torch.dtype
) -> tuple[Tensor, list[Tensor]]:
    """Outputs (B, O) of one member; for its backward pass, of each hidden layer: ``h'``, ``z``, mean, 1/std."""
    h, kept = x.to(precision), []
    for i, (weight, bias, scale, shift) in enumerate(layers[:-1]):
        z = torch.addmm(bias.to(precision), h, weight.to(precision))
        if masks is not None:
            z *= masks[i]
        if scale is not None:
            h, mean, rstd = torch.native_layer_norm(z, z.shape[-1:], scale, shift, _EPS)
            kept += [h.relu_(), z, mean, rstd]
        else:
            h = z.relu_()
            kept.append(h)
    weight, bias, _, _ = layers[-1]
    return torch.addmm(bias, h.to(weight.dtype), weight), kept


def _backward(
    x: Tensor,
    g: Tensor,
    layers: Layers,
    kept: list[Tensor],
    masks: Sequence[Tensor] | None,
    found: Layers | None,
    precision: torch.dtype,
    follows: bool,
) -> Tensor:
    """Write one member's gradients into ``found``, and return that of ``x`` (B, I) if ``follows``.

    ``kept`` is emptied: what is needed no longer makes room, still in the cache, for what comes next.
    """
    per_layer = len(kept) // max(len(layers) - 1, 1)
    first, weight = x.to(precision), layers[-1][0]
    h = kept[-per_layer] if kept else first
    if found is not None:
        torch.mm(h.to(weight.dtype).t(), g, out=found[-1][0])
        torch.sum(g, 0, out=found[-1][1])
    g = (g @ weight.t()).to(precision)
    for i in range(len(layers) - 2, -1, -1):
        weight, _, scale, shift = layers[i]
        h, *before_norm = kept[-per_layer:]
        del kept[-per_layer:]
        torch.ops.aten.threshold_backward.grad_input(g, h, 0, grad_input=g)
        h = kept[-per_layer] if i else first  # its input; its outputs are let go, and g moves in where they were
        if scale is not None:
            z, mean, rstd = before_norm
            g, g_scale, g_shift = torch.ops.aten.native_layer_norm_backward(
                g, z, z.shape[-1:], mean, rstd, scale, shift, [True, found is not None, found is not None]
            )
            if found is not None:
                _, _, scale_out, shift_out = found[i]
                assert scale_out is not None
                assert shift_out is not None
                scale_out.copy_(g_scale)
                shift_out.copy_(g_shift)
            del z, before_norm
        if masks is not None:
            g = g * masks[i].to(precision)
        if found is not None:
            _product(h.t(), g, found[i][0])
            torch.sum(g, 0, dtype=weight.dtype, out=found[i][1])
        if i or follows:
            g = g @ weight.to(precision).t()
    return g.to(x.dtype)


def _product(a: Tensor, b: Tensor, out: Tensor) -> None:
    if a.dtype == out.dtype:
        torch.mm(a, b, out=out)
    else:
        out.copy_(a @ b)
