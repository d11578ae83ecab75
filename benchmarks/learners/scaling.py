"""How the cost of one of our updates grows with the batch, the ensemble and the images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.learners.process import Learner
from benchmarks.peers import PeerError
from robo_rl.training.durable import write_file

AXES: dict[str, tuple[str, dict[str, int]]] = {
    "batch": ("batch, 10 critics", {"critics": 10}),
    "critics": ("critics, batch 256", {"batch": 256}),
    "image": ("image height and width [pixels], 2 cameras, 2 critics, batch 64", {"critics": 2, "batch": 64}),
}
"""What grows, its title, and what stays."""


def measure(
    learners: Mapping[str, Learner],
    points: Mapping[str, Sequence[int]],
    seconds: float,
    tell: Callable[[str], None],
) -> dict[str, dict[str, list[list[float]]]]:
    """Return by axis and learner the pairs (value, milliseconds of one update)."""
    found: dict[str, dict[str, list[list[float]]]] = {}
    for axis, values in points.items():
        fixed = AXES[axis][1]
        for value in values:
            for name, learner in learners.items():
                try:
                    took = learner.time("update", seconds, **{**fixed, axis: value})
                except PeerError as error:
                    tell(f"{axis} {value}: {error}")
                    continue
                curve = found.setdefault(axis, {}).setdefault(name, [])
                curve.append([value, round(1e3 * median(took["wall"]), 4)])
    return found


def plot(found: Mapping[str, Mapping[str, Sequence[Sequence[float]]]], path: Path, *, title: str) -> None:
    """Draw milliseconds over each axis."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4), layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(1, len(found), squeeze=False)[0]
    for panel, (axis, curves) in zip(panels, found.items(), strict=True):
        for name, curve in curves.items():
            panel.plot([x for x, _ in curve], [y for _, y in curve], "o-", ms=4, label=name)
        panel.set(xlabel=AXES[axis][0], xscale="log", yscale="log")
        ticks = sorted({x for curve in curves.values() for x, _ in curve})
        panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("one update [ms]")
    panels[0].legend(fontsize="small")
    figure.suptitle(title)
    write_file(path, lambda file: figure.savefig(file, dpi=120))
