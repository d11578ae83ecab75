"""Critics without target critics: batch renormalisation, this step and the next one in one batch.

CrossQ (Bhatt et al. 2024). A target critic keeps values from chasing themselves; batch normalisation does so too, if
its statistics are those of the batch that both sides of the temporal difference come from.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from robo_rl.agents.ensemble import EnsembleMLP


class BatchRenorm(nn.Module):
    """Batch renormalisation (Ioffe 2017, algorithm 1) of E members, each with statistics of its own.

    With the batch's mean m and deviation s, and the running M and S, the batch is normalised to
    ``(x - m) / s * r + d`` with ``r = s / S`` in [1/3, 3] and ``d = (m - M) / S`` in [-5, 5], both taken as constants.
    In the first ``warmup`` batches r is 1 and d is 0, which is batch normalisation.

    Args:
        members: E.
        width: of the layer.
        momentum: share of the running statistics that a batch leaves as they are.
        warmup: batches.
    """

    def __init__(self, members: int, width: int, *, momentum: float = 0.99, warmup: int = 100_000) -> None:
        super().__init__()
        self.momentum, self.warmup, self.epsilon = momentum, warmup, 1e-3
        self.scale = nn.Parameter(torch.ones(members, 1, width))
        self.shift = nn.Parameter(torch.zeros(members, 1, width))
        self.mean: Tensor
        self.variance: Tensor
        self.batches: Tensor
        self.register_buffer("mean", torch.zeros(members, 1, width))
        self.register_buffer("variance", torch.ones(members, 1, width))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor, *, learn: bool) -> Tensor:
        """Return x (E, B, width), normalised.

        Args:
            x: (E, B, width).
            learn: by its own statistics, which also move the running ones; otherwise by the running ones.
        """
        running = (self.variance + self.epsilon).sqrt()
        if not learn:
            return torch.addcmul(self.shift, (x - self.mean) / running, self.scale)
        variance, mean = torch.var_mean(x, dim=1, correction=0, keepdim=True)
        std = (variance + self.epsilon).sqrt()
        with torch.no_grad():
            warm = self.batches >= self.warmup
            r = torch.where(warm, (std / running).clamp(1 / 3, 3.0), 1.0)
            d = torch.where(warm, ((mean - self.mean) / running).clamp(-5.0, 5.0), 0.0)
        x = (x - mean) / std * r + d
        with torch.no_grad():
            self.mean.lerp_(mean, 1.0 - self.momentum)
            self.variance.lerp_(variance, 1.0 - self.momentum)
            self.batches.add_(1)
        return torch.addcmul(self.shift, x, self.scale)


class CrossQCritic(EnsembleMLP):
    """Critics whose input and hidden layers are batch-renormalised after their ReLU.

    Args:
        members: E.
        inputs: width of the input.
        hidden: widths of the hidden layers.
        outputs: width of the output.
        generator: draws the initial weights.
    """

    def __init__(
        self, members: int, inputs: int, hidden: Sequence[int], outputs: int, *, generator: torch.Generator
    ) -> None:
        super().__init__(members, inputs, hidden, outputs, norm="none", generator=generator)
        self.renorms = nn.ModuleList(BatchRenorm(members, width) for width in (inputs, *hidden))

    def compute(self, x: Tensor, members: Tensor | None = None, masks: Sequence[Tensor] | None = None) -> Tensor:
        """Return outputs (E, B, outputs) of inputs (B, inputs), by the running statistics; see the base class."""
        outputs = self._compute(x, learn=False)
        return outputs if members is None else outputs[members]

    def joint(self, here: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs (E, B, outputs) of both inputs (B, inputs), normalised as one batch of 2 B.

        The running statistics move towards those of that batch.
        """
        one, other = self._compute(torch.cat([here, after]), learn=True).split([len(here), len(after)], dim=1)
        return one, other

    def _compute(self, x: Tensor, *, learn: bool) -> Tensor:
        x = self.renorms[0](x.expand(self.members, *x.shape), learn=learn)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias.unsqueeze(1), x, weight)
            if i < len(self.hidden):
                x = self.renorms[i + 1](x.relu_(), learn=learn)
        return x
