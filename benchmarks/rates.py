"""Interleaved timing: on a machine whose speed drifts, only what is measured in turns can be compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median
from typing import Any


def interleave(measures: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Take each measure once a round, in an order that turns by one each round, after a round that does not count.

    Args:
        measures: by name; each returns a rate.
        rounds: how many count.

    Returns:
        The rates of each, round by round.
    """
    names = list(measures)
    rates: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        measures[name]()
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            rates[name].append(measures[name]())
    return rates


def compare(rates: Mapping[str, list[float]], ours: str, reference: str) -> dict[str, Any]:
    """Return the medians of two rates and the median of their ratios, each ratio taken within one round."""
    ratios = sorted(a / b for a, b in zip(rates[ours], rates[reference], strict=True))
    return {
        "ours_per_second": round(median(rates[ours]), 2),
        "reference_per_second": round(median(rates[reference]), 2),
        "ratio": round(median(ratios), 4),
        "ratio_lowest": round(ratios[0], 4),
        "ratio_highest": round(ratios[-1], 4),
        "rounds": len(ratios),
    }
