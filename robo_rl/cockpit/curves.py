"""The curves of the page, from lines of figures."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

CURVES: dict[str, dict[str, tuple[str, ...]]] = {
    "train": {
        "success": ("success",),
        "intervention rate": ("intervention_rate",),
        "reward": ("return",),
        "Q": ("q_mean",),
        "policy age (s)": ("policy_age_s",),
    },
    "evaluation": {"success, evaluated": ("success_rate",)},
    "episode": {"intervention rate": ("intervention_rate",), "reward": ("return",), "success": ("success_recent",)},
}
"""By kind of line: for each curve, the figures it is drawn from, the first that is there."""

_MOST = 2000  # points of a curve; of more, every second one goes


class Curves:
    """Collects points.

    Attributes:
        points: of each curve, as rows [x, y].
    """

    def __init__(self) -> None:
        self.points: dict[str, list[list[float]]] = {}

    def add(self, row: Mapping[str, Any]) -> dict[str, list[float]]:
        """Take up a line of figures; return the points that came of it, by curve."""
        x = row.get("env_steps")
        new: dict[str, list[float]] = {}
        if not isinstance(x, int | float):
            return new
        for curve, names in CURVES.get(str(row.get("kind")), {}).items():
            value = next((row[name] for name in names if isinstance(row.get(name), int | float)), None)
            if value is not None and math.isfinite(value):
                new[curve] = [float(x), float(value)]
        for curve, point in new.items():
            points = self.points.setdefault(curve, [])
            points.append(point)
            if len(points) > _MOST:
                del points[:-1:2]
        return new


class Tail:
    """Reads the lines that a file gains.

    Args:
        path: of the file, which need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._at = path, 0

    def lines(self) -> Iterable[Mapping[str, Any]]:
        """Yield the new lines that are whole, as JSON; a line that is none is left out."""
        try:
            with open(self._path, "rb") as file:
                file.seek(self._at)
                text = file.read()
        except OSError:
            return
        whole = text[: text.rfind(b"\n") + 1]
        self._at += len(whole)
        for line in whole.splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                yield row
