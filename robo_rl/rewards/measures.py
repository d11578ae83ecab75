"""How good a success classifier is on frames that nothing was learned from: frame by frame, and by its rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from torch import Tensor

from robo_rl.errors import UserError
from robo_rl.rewards.calibration import PrecisionRecall, calibration_error, confusion, precision_recall
from robo_rl.rewards.classifier import SuccessClassifier
from robo_rl.rewards.frames import LabelledFrames
from robo_rl.rewards.rule import SuccessRule
from robo_rl.training.statistics import wilson_interval


@dataclass(frozen=True)
class RuleOutcome:
    """What the rule said about one episode.

    Attributes:
        episode: its number.
        claimed: step at which success was declared first, None if never.
        true: whether that frame is a success; False without one.
        reached: step of the first true success, None if there is none.
        lasting: whether there are as many true successes in a row as the rule wants.
    """

    episode: int
    claimed: int | None
    true: bool
    reached: int | None
    lasting: bool


@dataclass(frozen=True)
class Measures:
    """A classifier against N labelled frames.

    Attributes:
        episodes: how many they are of.
        probability: (N,).
        success: (N,) bool.
        rows: (N,) of the frames measured.
        by_frame: counts, precision and recall at the threshold.
        curve: precision and recall at all thresholds.
        calibration_error: expected calibration error.
        by_episode: what the rule said.
    """

    episodes: int
    probability: Tensor
    success: Tensor
    rows: Tensor
    by_frame: Mapping[str, float | int]
    curve: PrecisionRecall
    calibration_error: float
    by_episode: tuple[RuleOutcome, ...]

    @property
    def rule_precision(self) -> tuple[int, int]:
        """Episodes in which success was declared truly, of those in which it was declared."""
        claims = [each for each in self.by_episode if each.claimed is not None]
        return sum(each.true for each in claims), len(claims)

    @property
    def rule_recall(self) -> tuple[int, int]:
        """Episodes in which success was declared truly, of those in which there was success for long enough."""
        lasting = [each for each in self.by_episode if each.lasting]
        return sum(each.true for each in lasting), len(lasting)

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        (right, claims), (found, there) = self.rule_precision, self.rule_recall
        late = [
            each.claimed - each.reached
            for each in self.by_episode
            if each.true and each.claimed is not None and each.reached is not None
        ]
        return {
            "frames": len(self.probability),
            "episodes": self.episodes,
            "by_frame": {name: _rounded(value) for name, value in self.by_frame.items()},
            "recall_at_precision_99": _rounded(self.curve.recall_at(0.99)),
            "average_precision": _rounded(self.curve.average_precision),
            "calibration_error": _rounded(self.calibration_error),
            "rule": {
                "claimed": claims,
                "truly": right,
                "precision": _rounded(right / claims) if claims else None,
                "precision_interval_95": [_rounded(end) for end in wilson_interval(right, claims)],
                "recall": _rounded(found / there) if there else None,
                "recall_interval_95": [_rounded(end) for end in wilson_interval(found, there)],
                "steps_late": _rounded(fmean(late)) if late else None,
            },
        }


def measure(classifier: SuccessClassifier, frames: LabelledFrames, rows: Tensor) -> Measures:
    """Measure ``classifier`` on the frames ``rows``; they should be of episodes that it has not learned from.

    Raises:
        UserError: if there are none, or their images do not fit.
    """
    if not len(rows):
        raise UserError("data: there are no frames to measure on; record more episodes")
    logits = classifier.logits({key: value[rows] for key, value in frames.images.items()})
    success, probability = frames.success[rows], logits.sigmoid()
    return Measures(
        episodes=len(frames.episode[rows].unique()),
        probability=probability,
        success=success,
        rows=rows,
        by_frame=confusion(logits >= classifier.threshold, success),
        curve=precision_recall(logits, success),
        calibration_error=calibration_error(probability, success),
        by_episode=rule_outcomes(classifier, probability, success, frames.episode[rows], frames.step[rows]),
    )


def rule_outcomes(
    classifier: SuccessClassifier, probability: Tensor, success: Tensor, episode: Tensor, step: Tensor
) -> tuple[RuleOutcome, ...]:
    """Play the rule over each episode, as an environment would.

    Args:
        classifier: has rule and threshold.
        probability: (N,).
        success: (N,) bool.
        episode: (N,).
        step: (N,).
    """
    found = []
    for number in episode.unique().tolist():
        rows = (episode == number).nonzero()[:, 0]
        rows = rows[step[rows].argsort()]
        rule = SuccessRule(classifier.rule, classifier.threshold_probability, 1)
        claimed = next((at for at in rows.tolist() if bool(rule.update(probability[at : at + 1]))), None)
        truth = success[rows]
        wanted = classifier.rule.consecutive
        lasting = len(truth) >= wanted and bool(truth.unfold(0, wanted, 1).all(-1).any())
        reached = int(step[rows[truth][0]]) if bool(truth.any()) else None
        found.append(
            RuleOutcome(
                number,
                None if claimed is None else int(step[claimed]),
                claimed is not None and bool(success[claimed]),
                reached,
                lasting,
            )
        )
    return tuple(found)


def _rounded(value: float) -> float | int:
    return value if isinstance(value, int) else round(float(value), 6)
