"""What a critic's outputs mean: the value itself, or a histogram over values."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn


class Head(Protocol):
    """Reads values from a critic's outputs (E, B, ``outputs``) and says how far they are from a target."""

    outputs: int

    def value(self, outputs: Tensor) -> Tensor:
        """Return values (E, B)."""
        ...

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the loss (E, B) of each member against the same target values (B,)."""
        ...

    def gradient(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the derivative (E, B, ``outputs``) of each entry of :meth:`loss` by its outputs."""
        ...

    def initial_bias(self) -> Tensor | None:
        """Return the bias (outputs,) of the last layer to start with; None leaves it as it is."""
        ...


class ScalarHead(nn.Module):
    """One output, the value; squared error."""

    outputs = 1

    def value(self, outputs: Tensor) -> Tensor:
        """Return values (E, B) of outputs (E, B, 1)."""
        return outputs.squeeze(-1)

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the squared error (E, B)."""
        return (outputs.squeeze(-1) - target).square()

    def gradient(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return twice the error (E, B, 1)."""
        return (outputs - target.unsqueeze(-1)).mul_(2.0)

    def initial_bias(self) -> Tensor | None:
        """Leave the bias as it is."""
        return None


class HLGaussHead(nn.Module):
    """Logits of a histogram, trained by cross-entropy against a Gaussian around the target.

    "Stop Regressing: Training Value Functions via Classification" (Farebrother et al. 2024): bin i with edges
    ``e_i, e_{i+1}`` has target probability ``[Phi((e_{i+1} - y)/s) - Phi((e_i - y)/s)] / Z``, and the value is the mean
    of the bin centres. Within 3 s of an end of the support the truncated Gaussian's mean is pulled inwards, so the
    support reaches 3 s beyond the values it is for.

    Args:
        low: smallest value that can occur.
        high: largest value that can occur.
        bins: number of bins of the widened support.
        sigma_ratio: standard deviation of the Gaussian in bin widths.
    """

    def __init__(self, low: float, high: float, bins: int = 101, sigma_ratio: float = 0.75) -> None:
        super().__init__()
        self.low, self.high, self.outputs = low, high, bins
        width = (high - low) / (bins - 6.0 * sigma_ratio)
        self.sigma = sigma_ratio * width
        edges = low - 3.0 * self.sigma + width * torch.arange(bins + 1, dtype=torch.float64)
        self.edges: Tensor
        self.centers: Tensor
        self.register_buffer("edges", edges.float(), persistent=False)
        self.register_buffer("centers", (0.5 * (edges[1:] + edges[:-1])).float(), persistent=False)

    def project(self, values: Tensor) -> Tensor:
        """Return the histograms (..., bins) of values (...), which are first clamped to [low, high]."""
        values = values.clamp(self.low, self.high).unsqueeze(-1)
        cdf = 0.5 * (1.0 + torch.erf((self.edges - values) / (math.sqrt(2.0) * self.sigma)))
        return (cdf[..., 1:] - cdf[..., :-1]) / (cdf[..., -1:] - cdf[..., :1])

    def value(self, outputs: Tensor) -> Tensor:
        """Return values (E, B) of logits (E, B, bins)."""
        return outputs.softmax(-1) @ self.centers

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the cross-entropy (E, B)."""
        return -(self.project(target) * outputs.log_softmax(-1)).sum(-1)

    def gradient(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return how much too likely each bin is, (E, B, bins)."""
        return outputs.softmax(-1) - self.project(target)

    def initial_bias(self) -> Tensor:
        """Return logits whose value is near 0 (in a sparse task almost every return is), 1 % of them spread evenly."""
        return torch.log(0.99 * self.project(self.centers.new_zeros(())) + 0.01 / self.outputs)
