"""What is promised of the learner's speed, and whether the measured figures keep it."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from benchmarks.report import target

Figures = Mapping[str, Any]
"""What was measured on one device: ``cases`` by case and learner, ``bytes`` by store and learner."""

RATIOS: tuple[tuple[str, str, str, float], ...] = (
    ("block_10", "ours", "sb3", 4.0),
    ("block_10", "ours", "lerobot", 4.0),
    ("block_10", "ours", "rlpd_jax", 1.1),
    ("block_10", "ours_compiled", "rlpd_jax", 1.1),
    ("block_10", "ours_bf16", "rlpd_jax", 1.5),
    ("block_10", "ours_compiled_bf16", "rlpd_jax", 1.5),
    ("sac", "ours", "sb3", 1.35),
    ("sac", "ours_compiled", "sb3", 1.75),
    ("sac", "ours_bf16", "sb3", 1.9),
    ("sac", "ours_compiled_bf16", "sb3", 1.9),
    ("replay", "ours", "sb3", 6.0),
    ("replay_images", "ours", "lerobot", 40.0),
)
"""Case, which of ours, a peer, and how many times as long the peer is to take at least."""

SHARES: tuple[tuple[str, str, str, float], ...] = (
    ("block_10", "ours", "floor", 0.65),
    ("block_10", "ours_compiled", "floor", 0.78),
    ("block_10", "ours_bf16", "floor_bf16", 0.75),
    ("block_10", "ours_compiled_bf16", "floor_bf16", 0.75),
    ("replay_images", "ours", "floor", 1 / 1.5),
)
"""Case, which of ours, a floor, and the share of it that is to be reached."""

BOUNDS: tuple[tuple[str, str, float], ...] = (
    ("block_2", "ours_bf16", 120.0),
    ("block_2", "ours_compiled_bf16", 120.0),
    ("act", "ours", 0.1),
    ("act_exported", "ours", 0.02),
    ("act_pixels", "ours", 100.0),
    ("act_features", "ours", 100.0),
    ("cached_keypoints", "ours", 100.0),
    ("cached_resnet10", "ours", 100.0),
)
"""Case, which of ours, and the milliseconds that it is to stay below. The control period is 100 ms."""


def ratios(figures: Figures, case: str, ours: str, other: str, clock: str = "wall") -> list[float]:
    """How many times as long ``other`` took as ``ours``, in each round, sorted; empty if one was not timed.

    Both take their turn within a round, so that a machine whose speed drifts slows both.
    """
    found = figures.get("cases", {}).get(case, {})
    if ours not in found or other not in found:
        return []
    pairs = zip(found[other][f"{clock}_ms"], found[ours][f"{clock}_ms"], strict=True)
    return sorted(theirs / own for theirs, own in pairs if own > 0.0)


def find_targets(figures: Figures, device: str) -> list[dict[str, Any]]:
    """Return the targets that the figures of one device have something to say about.

    On a GPU there is nothing promised: its ratios are reported.
    """
    judged = device.startswith("cpu")
    targets = []
    for case, ours, peer, wanted in RATIOS:
        for clock in ("wall", "cpu") if judged else ("wall",):
            if found := ratios(figures, case, ours, peer, clock):
                measured = round(median(found), 2)
                what = f"{case}, {ours}: {clock} time of {peer}, as a multiple"
                targets.append(_target(f"{device}, {what}", f">= {wanted:g}", measured, measured >= wanted, judged))
    for case, ours, floor, wanted in SHARES if judged else ():
        if found := ratios(figures, case, ours, floor):
            measured = round(median(found), 3)
            what = f"{device}, {case}, {ours}: share of {floor}"
            targets.append(_target(what, f">= {wanted:.3g}", measured, measured >= wanted, judged))
    for case, ours, bound in BOUNDS:
        if rounds := figures.get("cases", {}).get(case, {}).get(ours):
            measured = round(median(rounds["wall_ms"]), 4)
            targets.append(_target(f"{device}, {case}, {ours}: ms", f"< {bound:g}", measured, measured < bound, judged))
    for kind in ("state", "images"):
        weights = _weights(figures, kind)
        if len(weights) > 1 and "ours" in weights:
            least, name = min((weight, name) for name, weight in weights.items() if name != "ours")
            what = f"{device}, bytes a transition, {kind}, against the best of the others ({name})"
            targets.append(_target(what, f"<= {least:.0f}", round(weights["ours"]), weights["ours"] <= least, judged))
    return targets


def _weights(figures: Figures, kind: str) -> dict[str, float]:
    """The least that each takes, its frugal mode included."""
    least: dict[str, float] = {}
    for store, found in figures.get("bytes", {}).items():
        if store.removesuffix("_shared") == kind:
            for name, weight in found.items():
                least[name] = min(weight, least.get(name, weight))
    return least


def _target(what: str, wanted: str, measured: float, met: bool, judged: bool) -> dict[str, Any]:
    return target(what, wanted if judged else "reported", measured, met if judged else None)
