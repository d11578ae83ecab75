"""How well a control loop keeps its time."""

from __future__ import annotations

import math
import time

import numpy as np

_WINDOW = 2048  # cycles
_LASTING = 1.0  # s for which percentiles hold: working them out keeps the control thread waiting


class LoopFigures:
    """Periods and computing times of the last cycles; written by one thread, read by any."""

    def __init__(self, rate: float) -> None:
        """Count a cycle as missed if it comes half a period late, at ``rate`` Hz."""
        self._late = 1.5 / rate
        self._count, self._missed = 0, 0
        self._periods, self._costs = np.full(_WINDOW, np.nan), np.full(_WINDOW, np.nan)
        self._percentiles: dict[str, float] = {}
        self._worked_out = -math.inf

    def add(self, period: float, cost: float) -> None:
        """Count a cycle, ``period`` s after the one before, that took ``cost`` s to compute."""
        slot = self._count % _WINDOW
        if self._count:
            self._periods[slot] = period
            self._missed += period > self._late
        self._costs[slot] = cost
        self._count += 1

    def summary(self) -> dict[str, float]:
        """Cycles and missed ones since the beginning; rate and percentiles of the last ones, Hz and ms.

        Rate and percentiles are up to a second old.
        """
        now = time.monotonic()
        if not self._percentiles or now - self._worked_out > _LASTING:
            self._worked_out = now
            self._percentiles = self._work_out()
        return {"cycles": float(self._count), "missed": float(self._missed), **self._percentiles}

    def _work_out(self) -> dict[str, float]:
        # By sorting, which leaves the interpreter to other threads meanwhile; np.percentile hardly does.
        periods, costs = (np.sort(values[np.isfinite(values)]) * 1e3 for values in (self._periods, self._costs))
        if not len(periods):
            return {}
        return {
            "rate_hz": 1e3 / max(float(periods.mean()), 1e-6),  # no time passes while a device repeats itself
            "period_p50_ms": _share(periods, 0.5),
            "period_p99_ms": _share(periods, 0.99),
            "period_max_ms": _share(periods, 1.0),
            "compute_p50_ms": _share(costs, 0.5),
            "compute_p99_ms": _share(costs, 0.99),
        }


def _share(ascending: np.ndarray, share: float) -> float:
    """The value (n,) that ``share`` of all of them do not exceed, to within one of them."""
    return float(ascending[round(share * (len(ascending) - 1))])
