"""Honest probabilities, and the threshold that has a wanted precision: both from episodes that were held out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from robo_rl.errors import UserError

FEWEST_EPISODES = 5
"""Held-out episodes with success, and with frames without it, below which nothing is calibrated."""

_DRAWS = 200  # of the bootstrap


@dataclass(frozen=True)
class Platt:
    """Calibrated logits: ``scale * logit + offset`` (Platt 1999, "Probabilistic outputs for support vector machines").

    With ``offset`` 0 this is temperature scaling (Guo et al. 2017) by 1 / ``scale``.
    """

    scale: float = 1.0
    offset: float = 0.0

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the calibrated logits (N,) of logits (N,)."""
        return self.scale * logits + self.offset


def fit_platt(logits: Tensor, success: Tensor) -> Platt:
    """Fit scale and offset to held-out frames by maximum likelihood.

    Targets are (n+ + 1) / (n+ + 2) and 1 / (n- + 2) in place of 1 and 0, as in Platt 1999: frames that can be told
    apart without an error do not make the probabilities infinitely sure.

    Args:
        logits: (N,).
        success: (N,) bool.

    Raises:
        UserError: if there is only one kind of frame.
    """
    positive, negative = int(success.sum()), int((~success).sum())
    if not positive or not negative:
        raise UserError(f"calibration: {positive} frames of success and {negative} others; both are needed")
    target = torch.where(success, (positive + 1.0) / (positive + 2.0), 1.0 / (negative + 2.0)).double()
    z = logits.detach().double()
    spread = float(z.std().clamp_min(1e-6))
    logarithm = torch.zeros((), dtype=torch.float64, requires_grad=True)  # of the scale: it stays positive
    offset = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([logarithm, offset], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = binary_cross_entropy_with_logits(logarithm.exp() * z / spread + offset, target)
        value.backward()
        return value

    optimiser.step(loss)
    return Platt(float(logarithm.detach().exp()) / spread, float(offset.detach()))


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision and recall at every threshold that changes them, from the highest to the lowest.

    Attributes:
        threshold: (M,) calibrated logits, falling: frames at or above it count as success.
        precision: (M,).
        recall: (M,), rising.
    """

    threshold: Tensor
    precision: Tensor
    recall: Tensor

    @property
    def average_precision(self) -> float:
        """Sum of precision times the step of recall: the area under the curve."""
        steps = torch.diff(self.recall, prepend=torch.zeros(1, dtype=self.recall.dtype))
        return float((self.precision * steps).sum())

    def recall_at(self, precision: float) -> float:
        """Largest recall at which the precision is at least ``precision``; 0 if it never is."""
        enough = self.recall[self.precision >= precision]
        return float(enough.max()) if len(enough) else 0.0


def precision_recall(logits: Tensor, success: Tensor) -> PrecisionRecall:
    """Return the curve of frames with ``logits`` (N,) of which ``success`` (N,) bool are successes."""
    order = logits.double().argsort(descending=True, stable=True)
    z, hit = logits.double()[order], success[order].double()
    true, count = hit.cumsum(0), torch.arange(1, len(z) + 1, dtype=torch.float64)
    last = torch.ones(len(z), dtype=torch.bool)
    last[:-1] = z[:-1] != z[1:]  # frames that look alike are on the same side of every threshold
    total = true[-1].clamp_min(1.0)
    return PrecisionRecall(z[last], (true / count)[last], (true / total)[last])


def calibrate_threshold(
    logits: Tensor, success: Tensor, episode: Tensor, *, precision: float, least_recall: float, confidence: float = 0.8
) -> float:
    """Return the lowest threshold, a calibrated logit, at which held-out frames surely have the wanted precision.

    The lowest one that has it on these very episodes would be a lucky one. So the episodes are drawn anew with
    replacement (a bootstrap by episodes, since their frames are alike), and the threshold has the precision in a share
    ``confidence`` of the draws too, as far as the wanted recall allows. It lies midway between the lowest frame that
    counts as success and the next one below.

    Args:
        logits: (N,) calibrated, of frames that nothing was learned from.
        success: (N,) bool.
        episode: (N,) number of each frame's episode.
        precision: wanted share of true successes among those that count as one.
        least_recall: share of the successes that must then count as one. A precision that only a few lucky frames
            have is none.
        confidence: in (0, 1).

    Raises:
        UserError: if there are too few episodes, or the precision cannot be had.
    """
    with_success = len(episode[success].unique())
    without = len(episode[~success].unique())
    if min(with_success, without) < FEWEST_EPISODES:
        raise UserError(
            f"calibration: too few held-out episodes, {with_success} with success and {without} with frames without "
            f"it; {FEWEST_EPISODES} of each are the least, record more"
        )
    curve = precision_recall(logits, success)
    good = ((curve.precision >= precision) & (curve.recall >= least_recall)).nonzero()[:, 0]
    if not len(good):
        best = float(curve.precision[curve.recall >= least_recall].max())
        raise UserError(
            f"precision: {precision:.1%} at a recall of {least_recall:.0%} or more cannot be had, {best:.1%} at most; "
            "the labels may be wrong, or the cameras do not show success: look at the most confusing frames, record "
            "more episodes, or ask for less by --precision"
        )
    sure = _surely_precise(logits, success, episode, precision, confidence)
    kept = good[curve.threshold[good] >= sure]
    at = int(kept[-1] if len(kept) else good[0])
    if at + 1 == len(curve.threshold):
        return float(curve.threshold[at])
    return float((curve.threshold[at] + curve.threshold[at + 1]) / 2.0)


def _surely_precise(logits: Tensor, success: Tensor, episode: Tensor, precision: float, confidence: float) -> float:
    """The lowest threshold with the precision in a share ``confidence`` of bootstrap draws of the episodes."""
    generator = torch.Generator().manual_seed(0)
    order = logits.double().argsort(descending=True, stable=True)
    z, hit = logits.double()[order], success[order].double()
    numbers, of_row = episode[order].unique(return_inverse=True)
    drawn = torch.randint(len(numbers), (_DRAWS, len(numbers)), generator=generator)
    weights = torch.zeros(_DRAWS, len(numbers), dtype=torch.float64)
    weights.scatter_add_(1, drawn, torch.ones_like(weights))
    lowest = []
    for weight in weights:
        rows = weight[of_row]
        true, said = (rows * hit).cumsum(0), rows.cumsum(0)
        good = ((true >= precision * said) & (said > 0)).nonzero()[:, 0]
        lowest.append(float(z[good[-1]]) if len(good) else float("inf"))
    return float(torch.tensor(lowest, dtype=torch.float64).sort().values[round(confidence * (_DRAWS - 1))])


def calibration_error(probability: Tensor, success: Tensor, bins: int = 10) -> float:
    """Expected calibration error (Guo et al. 2017, eq. 5): mean gap of confidence and frequency over equal bins."""
    place = (probability.double() * bins).long().clamp(0, bins - 1)
    total = 0.0
    for each in range(bins):
        inside = place == each
        if bool(inside.any()):
            gap = success[inside].double().mean() - probability[inside].double().mean()
            total += float(gap.abs()) * float(inside.double().mean())
    return total


def confusion(claimed: Tensor, success: Tensor) -> Mapping[str, float | int]:
    """Return counts, precision and recall of verdicts ``claimed`` (N,) bool against ``success`` (N,) bool."""
    true = int((claimed & success).sum())
    said, there = int(claimed.sum()), int(success.sum())
    return {
        "true_positives": true,
        "false_positives": said - true,
        "false_negatives": there - true,
        "true_negatives": len(success) - said - there + true,
        "precision": true / said if said else float("nan"),
        "recall": true / there if there else float("nan"),
    }
