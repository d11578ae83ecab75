"""Optimisers of the learners."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

OptimiserName = Literal["adam", "adan"]


Moments = tuple[list[Tensor], list[Tensor], list[Tensor]]
"""What Adam remembers of parameters: the means of gradients and of their squares, and step counts."""


def make_optimiser(
    name: OptimiserName, parameters: Iterable[Tensor], learning_rate: float, *, adam_beta1: float = 0.9
) -> Optimizer:
    """Return an optimiser that moves ``parameters`` and nothing else."""
    if name == "adan":
        return Adan(parameters, learning_rate)
    return Adam(parameters, learning_rate, betas=(adam_beta1, 0.999))


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015, algorithm 1), with the state and, fused, the kernel of ``torch.optim.Adam``.

    That one spends as long on looking over its tensors as on moving those of a small network.

    Args:
        parameters: to move, all float32 and on one device.
        lr: step size.
        betas: shares that the means of gradients and of their squares keep.
        eps: keeps the division finite.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps})

    def moments(self, parameters: Sequence[Tensor]) -> Moments:
        """Return the means of gradients, of their squares and the step counts of ``parameters``; 0 before the first."""
        for p in parameters:
            if not self.state[p]:
                step = torch.zeros((), device=p.device)
                self.state[p] = {"step": step, "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
        means, squares, steps = ([self.state[p][key] for p in parameters] for key in ("exp_avg", "exp_avg_sq", "step"))
        return means, squares, steps

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; return what ``closure`` gives, which is asked for gradients first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                means, squares, steps = self.moments(parameters)
                torch._foreach_add_(steps, 1.0)
                torch._fused_adam_(
                    parameters, [p.grad for p in parameters], means, squares, [], steps, lr=group["lr"],
                    beta1=group["betas"][0], beta2=group["betas"][1], weight_decay=0.0, eps=group["eps"],
                    amsgrad=False, maximize=False,
                )  # fmt: skip
        return loss


def corrections(step: Tensor, lr: float, betas: tuple[float, float], eps: float) -> tuple[Tensor, Tensor]:
    """Return a and e of the step number ``step`` (a 0-d tensor), with which Adam's is ``-a mean / (sqrt(square) + e)``.

    That is algorithm 1 with the correction of the squares taken out of the fraction: no power and one division less.
    """
    root = (1.0 - betas[1] ** step).sqrt()
    return lr * root / (1.0 - betas[0] ** step), eps * root


def adam_(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    means: Sequence[Tensor],
    squares: Sequence[Tensor],
    corrected: tuple[Tensor, Tensor],
    betas: tuple[float, float],
) -> None:
    """One step of Adam in plain operations, in place, for a graph that is compiled: there they become one loop.

    Args:
        parameters: to move.
        gradients: of them; read as float32.
        means: of gradients.
        squares: means of their squares.
        corrected: as :func:`corrections` gives them. In the graph, they would be computed anew for every few numbers.
        betas: see :class:`Adam`.
    """
    size, eps = corrected
    for p, g, mean, square in zip(parameters, gradients, means, squares, strict=True):
        g = g.to(p.dtype)
        mean.lerp_(g, 1.0 - betas[0])
        square.mul_(betas[1]).addcmul_(g, g, value=1.0 - betas[1])
        p.sub_(size * mean / (square.sqrt() + eps))


class Adan(Optimizer):
    """Adaptive Nesterov momentum (Xie et al. 2022, "Adan", algorithm 1).

    With the gradient g of step k, all element by element::

        m_k = (1 - b1) m_{k-1} + b1 g_k
        v_k = (1 - b2) v_{k-1} + b2 (g_k - g_{k-1})
        n_k = (1 - b3) n_{k-1} + b3 (g_k + (1 - b2) (g_k - g_{k-1}))^2
        x_{k+1} = (x_k - lr / (sqrt(n_k) + eps) (m_k + (1 - b2) v_k)) / (1 + lr decay)

    from ``m_0 = g_0``, ``v_0 = 0``, ``n_0 = g_0^2``: the first step is ``lr`` against the gradient's sign. Clearing the
    state is the paper's restart. (The paper has eps under the root; the authors' program, as here, beside it.)

    Args:
        parameters: to move.
        lr: step size.
        betas: b1, b2, b3, the shares that a new gradient has.
        eps: keeps the division finite.
        weight_decay: decay.

    Raises:
        ValueError: if a number is out of range.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        *,
        betas: tuple[float, float, float] = (0.02, 0.08, 0.01),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        if lr < 0.0 or eps < 0.0 or weight_decay < 0.0 or not all(0.0 < beta <= 1.0 for beta in betas):
            raise ValueError(f"lr, eps and weight_decay must not be negative, betas in (0, 1]: {lr=}, {eps=}, {betas=}")
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; return what ``closure`` gives, which is asked for gradients first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                self._step(parameters, **{key: group[key] for key in ("lr", "betas", "eps", "weight_decay")})
        return loss

    def _step(
        self, parameters: list[Tensor], lr: float, betas: tuple[float, float, float], eps: float, weight_decay: float
    ) -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
        b1, b2, b3 = betas
        for p, g in zip(parameters, gradients, strict=True):
            if not self.state[p]:
                self.state[p] = {"m": g.clone(), "v": torch.zeros_like(g), "n": g.square(), "before": g.clone()}
        m, v, n, before = ([self.state[p][key] for p in parameters] for key in ("m", "v", "n", "before"))
        change = torch._foreach_sub(gradients, before)
        torch._foreach_lerp_(m, gradients, b1)
        torch._foreach_lerp_(v, change, b2)
        torch._foreach_mul_(change, 1.0 - b2)
        torch._foreach_add_(change, gradients)
        torch._foreach_mul_(n, 1.0 - b3)
        torch._foreach_addcmul_(n, change, change, b3)
        torch._foreach_copy_(before, gradients)
        ahead = torch._foreach_add(m, v, alpha=1.0 - b2)
        size = torch._foreach_sqrt(n)
        torch._foreach_add_(size, eps)
        torch._foreach_addcdiv_(parameters, ahead, size, -lr)
        if weight_decay:
            torch._foreach_div_(parameters, 1.0 + lr * weight_decay)
