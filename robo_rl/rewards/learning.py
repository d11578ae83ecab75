"""Learns a success classifier from labelled frames, calibrates it, and measures it: each on other episodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from robo_rl.agents.augmentation import Augmentation
from robo_rl.agents.backbones import Backbone, BackboneSpec
from robo_rl.agents.encoder_weights import EncoderWeights
from robo_rl.errors import UserError
from robo_rl.rewards.calibration import Platt, calibrate_threshold, fit_platt
from robo_rl.rewards.classifier import SuccessClassifier, SuccessNet
from robo_rl.rewards.frames import LabelledFrames, Split, thin
from robo_rl.rewards.measures import measure
from robo_rl.rewards.rule import RuleSettings


@dataclass(frozen=True)
class ClassifierSettings:
    """How a success classifier is learned."""

    architecture: Literal["conv", "keypoints", "resnet10"] = "conv"
    """Backbone of each camera, where no weights are given; see docs/pixels.md."""

    updates: int = 800
    """Gradient steps."""

    batch_size: int = 64
    """Frames in one of them, half of them successes."""

    learning_rate: float = 1e-3
    """Of AdamW at its highest; it follows one cosine cycle."""

    random_shift: int = 2
    """Largest random shift of an image, pixels. More hides where things are."""

    colour_jitter: float = 0.1
    """Largest relative change of contrast and of each colour."""

    stride: int = 2
    """Of the frames to learn from, every so many are taken, and all near a change of the label."""

    precision: float = 0.99
    """Wanted share of true successes among the frames that count as success."""

    confidence: float = 0.8
    """Share of draws of the held-out episodes in which the threshold has that precision; the rest may have less. The
    surer, the fewer successes are seen; more episodes make up for it."""

    least_recall: float = 0.5
    """Share of the successes that must then count as one; if fewer do, nothing is stored."""

    seed: int = 0
    """Seed of weights, draws and augmentation."""

    device: str = "cpu"
    """Where it learns: cpu or cuda."""

    def __post_init__(self) -> None:
        for name in ("updates", "batch_size", "stride"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}: must be at least 1, got {getattr(self, name)}")
        for name, low, high in (("random_shift", 0, 64), ("colour_jitter", 0, 1)):
            if not low <= getattr(self, name) <= high:
                raise UserError(f"{name}: must lie in [{low}, {high}], got {getattr(self, name)}")
        for name in ("learning_rate", "precision", "confidence", "least_recall"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise UserError(f"{name}: must lie in (0, 1), got {getattr(self, name)}")


def learn_classifier(
    parts: Split,
    settings: ClassifierSettings,
    rule: RuleSettings,
    *,
    weights: EncoderWeights | None = None,
    before: SuccessClassifier | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    on_update: Callable[[int, float], None] = lambda update, loss: None,
) -> SuccessClassifier:
    """Learn a classifier from ``parts.train``, calibrate it on ``parts.calibrate`` and measure it on ``parts.test``.

    Args:
        parts: frames, divided by episodes.
        settings: how.
        rule: kept with the classifier; measured with it.
        weights: of backbones, which stay as they are then; None to learn them too.
        before: the version that this one replaces; what it takes for the contrary is learned from most often.
        should_stop: asked before every update; once true, learning ends.
        on_update: told the number of updates and the loss.

    Raises:
        UserError: if one kind of frame is missing, too few episodes are held out, or the precision cannot be had.
    """
    frames = parts.frames
    rows = thin(frames, parts.train, settings.stride)
    if not bool(frames.success[rows].any()) or bool(frames.success[rows].all()):
        raise UserError(
            f"data: of {len(rows)} frames to learn from, {int(frames.success[rows].sum())} are successes; both kinds "
            "are needed, record some more"
        )
    net = _network(frames, rows, settings, weights).to(settings.device)
    chances = _chances(frames, rows, before)
    generator = torch.Generator().manual_seed(settings.seed + 1)
    augment = Augmentation(settings.random_shift, settings.colour_jitter)
    optimiser = torch.optim.AdamW(
        [each for each in net.parameters() if each.requires_grad], settings.learning_rate, weight_decay=1e-3
    )
    total = max(settings.updates, 2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.learning_rate, total_steps=total, pct_start=0.1)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)  # of dropout
        for update in range(1, settings.updates + 1):
            if should_stop():
                break
            batch = rows[torch.multinomial(chances, settings.batch_size, replacement=True, generator=generator)]
            images = {key: augment.images(value[batch], generator) for key, value in frames.images.items()}
            logits = net({key: value.to(settings.device) for key, value in images.items()})
            loss = binary_cross_entropy_with_logits(logits, frames.success[batch].to(logits))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            on_update(update, loss.item())
    net.eval()
    return _calibrated(net.cpu(), parts, settings, rule, 1 if before is None else before.version + 1)


def _network(
    frames: LabelledFrames, rows: Tensor, settings: ClassifierSettings, weights: EncoderWeights | None
) -> SuccessNet:
    generator = torch.Generator().manual_seed(settings.seed)
    backbones = {}
    for key, images in frames.images.items():
        size = (images.shape[1], images.shape[2])
        if weights is not None:
            backbones[key] = weights.backbone(key, size)
            continue
        some = images[rows[:: max(1, len(rows) // 200)]].flatten(0, 2).float() / 255.0
        mean, std = some.mean(0), some.std(0).clamp_min(0.05)
        spec = BackboneSpec(settings.architecture, size, tuple(mean.tolist()), tuple(std.tolist()))
        backbones[key] = Backbone(spec, generator)
    return SuccessNet(backbones, frozen=weights is not None, generator=generator)


def _chances(frames: LabelledFrames, rows: Tensor, before: SuccessClassifier | None) -> Tensor:
    """How often each of ``rows`` is drawn: successes half of the time, hard frames more often than others."""
    emphasis = frames.emphasis[rows].clone()
    if before is not None:
        seen = {key: value[rows] for key, value in frames.images.items()}
        wrong = (before.logits(seen) >= before.threshold) != frames.success[rows]
        emphasis[wrong] *= 3.0
    success = frames.success[rows]
    for kind in (success, ~success):
        emphasis[kind] /= emphasis[kind].sum()
    return emphasis


def _calibrated(
    net: SuccessNet, parts: Split, settings: ClassifierSettings, rule: RuleSettings, version: int
) -> SuccessClassifier:
    frames, rows = parts.frames, parts.calibrate
    raw = net.logits({key: value[rows] for key, value in frames.images.items()})
    success, episode = frames.success[rows], frames.episode[rows]
    platt = fit_platt(raw, success) if len(rows) else Platt()
    threshold = calibrate_threshold(
        platt(raw), success, episode,
        precision=settings.precision, least_recall=settings.least_recall, confidence=settings.confidence,
    )  # fmt: skip
    classifier = SuccessClassifier(net, platt, threshold, rule, version)
    counts: Mapping[str, Any] = {
        name: {"frames": len(each), "episodes": len(frames.episode[each].unique())}
        for name, each in (("train", parts.train), ("calibrate", parts.calibrate), ("test", parts.test))
    }
    return classifier.noted(
        digest=frames.digest,
        wanted_precision=settings.precision,
        dataset=counts,
        corrected_episodes=len(frames.corrected),
        calibrated=measure(classifier, frames, parts.calibrate).to_json(),
        test=measure(classifier, frames, parts.test).to_json() if len(parts.test) else None,
    )
