"""How sure a measured success rate is."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist


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
