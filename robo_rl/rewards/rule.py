"""When frames that look like success are one: several in a row, with hysteresis."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robo_rl.errors import UserError


@dataclass(frozen=True)
class RuleSettings:
    """When success is declared."""

    consecutive: int = 3
    """Frames in a row at or above the threshold that make a success."""

    release: float = 0.5
    """Share of the threshold below which the count begins anew; a frame in between neither counts nor breaks it."""

    def __post_init__(self) -> None:
        if self.consecutive < 1:
            raise UserError(f"consecutive: must be at least 1, got {self.consecutive}")
        if not 0.0 < self.release <= 1.0:
            raise UserError(f"release: must lie in (0, 1], got {self.release}")


class SuccessRule:
    """Turns the probabilities of frames, as they come, into verdicts on B environments.

    With the threshold h, the count c of an environment goes to c + 1 at p >= h, stays at ``release h <= p < h`` and
    falls to 0 below. There is success as long as c >= k; one frame that is mistaken for it is none, and one that is
    mistaken for a failure within it does not end it.

    Args:
        settings: k and the share ``release``.
        threshold: h, a probability.
        num_envs: B.

    Example:
        >>> rule = SuccessRule(RuleSettings(consecutive=2, release=0.5), 0.8, num_envs=1)
        >>> [bool(rule.update(torch.tensor([p]))) for p in (0.9, 0.5, 0.9, 0.3, 0.9)]
        [False, False, True, False, False]
    """

    def __init__(self, settings: RuleSettings, threshold: float, num_envs: int) -> None:
        self.settings, self.threshold = settings, threshold
        self._count = torch.zeros(num_envs, dtype=torch.long)

    def reset(self, mask: Tensor | None = None) -> None:
        """Forget what was seen, of the environments in ``mask`` (B,) or of all."""
        self._count = torch.zeros_like(self._count) if mask is None else torch.where(mask.cpu(), 0, self._count)

    def update(self, probability: Tensor) -> Tensor:
        """Take up the newest probabilities (B,) and return the verdicts (B,) bool."""
        p = probability.detach().to("cpu", torch.float64)
        held = torch.where(p < self.settings.release * self.threshold, 0, self._count)
        self._count = torch.where(p >= self.threshold, held + 1, held)
        return (self._count >= self.settings.consecutive).to(probability.device)
