"""The statistics that LeRobot normalises by: of each episode, and of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

_QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)
_MAX_IMAGES = 100  # of an episode; statistics of more do not differ

Statistics = Mapping[str, np.ndarray]
"""min, max, mean, std, q01 to q99, each of the shape of a row, and count, (1,)."""


def statistics_of(values: np.ndarray) -> Statistics:
    """Return the statistics over the rows of (T, ...).

    Images, uint8 (T, H, W, C), are scaled to [0, 1], taken over all pixels, and given as (C, 1, 1); of a long
    episode 100 images are looked at, spread evenly.
    """
    count = len(values)
    picture = values.ndim == 4 and values.dtype == np.uint8
    if picture:
        chosen = np.linspace(0, count - 1, min(count, _MAX_IMAGES)).round().astype(int)
        values, count = values[chosen], len(chosen)
        values = values.reshape(-1, values.shape[-1]) / 255.0
    rows = values.astype(np.float64)
    if rows.ndim == 1:
        rows = rows[:, None]
    found = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
    found |= {
        f"q{round(100 * q):02d}": value for q, value in zip(_QUANTILES, np.quantile(rows, _QUANTILES, 0), strict=True)
    }
    if picture:
        found = {name: value[:, None, None] for name, value in found.items()}
    return found | {"count": np.array([count])}


def together(parts: Sequence[Statistics]) -> Statistics:
    """Return the statistics of several episodes together.

    Quantiles of all are not known from those of the parts; as in LeRobot, they are the mean of the parts', weighted by
    their counts.
    """
    counts = np.array([part["count"][0] for part in parts], np.float64)
    weights = counts / counts.sum()

    def mean(values: Sequence[np.ndarray]) -> np.ndarray:
        return np.tensordot(weights, np.stack(values), 1)

    centre = mean([part["mean"] for part in parts])
    spread = mean([part["std"] ** 2 + (part["mean"] - centre) ** 2 for part in parts])
    return {
        "min": np.min([part["min"] for part in parts], 0),
        "max": np.max([part["max"] for part in parts], 0),
        "mean": centre,
        "std": np.sqrt(spread),
        **{name: mean([part[name] for part in parts]) for name in parts[0] if name.startswith("q")},
        "count": np.array([int(counts.sum())]),
    }
