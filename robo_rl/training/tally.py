"""Counts the episodes of training, and tells how the latest of them went."""

from __future__ import annotations

from collections import deque
from statistics import fmean
from typing import Any

import torch

from robo_rl.contracts.learning import Step

_SHOWN = 50  # episodes that success, return and length are taken over


class EpisodeTally:
    """What the steps of B environments come to, episode by episode.

    Args:
        num_envs: B.
        device: of the steps.

    Attributes:
        episodes: that are over.
    """

    def __init__(self, num_envs: int, device: torch.device) -> None:
        self.episodes = 0
        self._latest: deque[tuple[float, float, float]] = deque(maxlen=_SHOWN)  # success, return, length
        self._returns = torch.zeros(num_envs, device=device)
        self._lengths = torch.zeros(num_envs, device=device)

    def add(self, step: Step) -> float | None:
        """Count a step; of the episodes that it ended, return the largest return, None if it ended none."""
        self._returns += step.reward
        self._lengths += 1
        over = step.done
        if not bool(over.any()):
            return None
        ended = torch.stack([step.info["success"][over].float(), self._returns[over], self._lengths[over]], dim=1)
        self._latest.extend((success, total, length) for success, total, length in ended.tolist())
        self.episodes += len(ended)
        self._returns[over] = 0.0
        self._lengths[over] = 0.0
        return float(ended[:, 1].max())

    def figures(self) -> dict[str, float | None]:
        """Return success rate, mean return and mean length of the latest episodes, None before the first."""
        if not self._latest:
            return {"success": None, "return": None, "length": None}
        success, total, length = (fmean(column) for column in zip(*self._latest, strict=True))
        return {"success": success, "return": total, "length": length}

    def state(self) -> dict[str, Any]:
        """Return JSON values to go on from; episodes that are under way are not among them."""
        return {"episodes": self.episodes, "recent": list(self._latest)}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        self.episodes = state["episodes"]
        self._latest.extend((success, total, length) for success, total, length in state["recent"])
