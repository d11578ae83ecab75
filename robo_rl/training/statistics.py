"""How sure a measured success rate is, and a mean over runs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import NormalDist

from robo_rl.errors import MissingExtra


def wilson_interval(successes: int, episodes: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval that holds the true success rate with probability ``confidence``.

    With p = successes / n and z the normal quantile of (1 + confidence) / 2 (E. B. Wilson, 1927, "Probable inference,
    the law of succession, and statistical inference", J. Am. Stat. Assoc. 22):

        (p + z²/2n ± z sqrt(p (1 - p) / n + z²/4n²)) / (1 + z²/n)

    It stays within [0, 1] and is of use at 0 % and 100 % too, where the normal approximation has no width.

    Args:
        successes: number of episodes that succeeded.
        episodes: n, number of independent episodes; with none, nothing is known and the interval is (0, 1).
        confidence: in (0, 1).

    Returns:
        Lower and upper end.

    Raises:
        ValueError: if ``successes`` is not in [0, episodes] or ``confidence`` not in (0, 1).

    Example:
        >>> [round(end, 4) for end in wilson_interval(95, 100)]
        [0.8882, 0.9785]
    """
    if not 0 <= successes <= episodes:
        raise ValueError(f"successes must lie in [0, episodes], got {successes} of {episodes}")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}")
    if episodes == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + 0.5 * confidence)
    p, n = successes / episodes, episodes
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At 0 and n successes one end is exactly 0 or 1; rounding must not push it past.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == episodes else min(1.0, centre + half)
    return low, high


def interquartile_means(
    scores: Mapping[str, Sequence[float]], *, repetitions: int = 10_000, seed: int = 0
) -> dict[str, tuple[float, float, float]]:
    """Interquartile mean of the runs of each arm, with a 95 % interval.

    Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice": the mean of the middle
    half of the runs, and the percentile interval of a bootstrap stratified by task; with one task, over its runs.

    Args:
        scores: one number a run, by arm.
        repetitions: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        By arm: mean, lower and upper end.

    Raises:
        MissingExtra: if rliable is not installed.
        ValueError: if an arm has no run.
    """
    try:
        from rliable import library, metrics
    except ImportError:
        raise MissingExtra("interquartile means with intervals", "study") from None
    import numpy as np

    found = {}
    for arm, runs in scores.items():
        if not len(runs):
            raise ValueError(f"arm {arm!r} has no runs")
        table = {arm: np.asarray(runs, dtype=float)[:, None]}  # (runs, tasks)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # rliable tells arch its seed by an older name.
            means, intervals = library.get_interval_estimates(
                table,
                lambda values: np.array([metrics.aggregate_iqm(values)]),
                reps=repetitions,
                random_state=np.random.RandomState(seed),
            )
        low, high = intervals[arm][:, 0]
        found[arm] = (float(means[arm][0]), float(low), float(high))
    return found
