"""Learning curves of several arms in one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robo_rl.training.durable import write_file


def step_curves(runs: Sequence[Mapping[str, Any]], axis: str, points: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Bring the curves of several runs onto one axis.

    Between two evaluations the older one holds; before the first, 0; after the end of a run, its final evaluation,
    since a run that stops early has reached its target.

    Args:
        runs: outcomes with a ``curve``.
        axis: ``seconds`` or ``env_steps``.
        points: on the axis.

    Returns:
        The axis (points,) and the success rates (runs, points).
    """
    ends = {"seconds": "train_seconds", "env_steps": "env_steps"}
    longest = max(run[ends[axis]] for run in runs)
    grid = np.linspace(0.0, longest, points)
    rates = np.zeros((len(runs), points))
    for i, run in enumerate(runs):
        places = [point[axis] for point in run["curve"]]
        values = [0.0, *(point["success_rate"] for point in run["curve"])]
        rates[i] = np.asarray(values)[np.searchsorted(places, grid, side="right")]
        rates[i, grid >= run[ends[axis]]] = run["success_rate"]
    return grid, rates


def plot_arms(results: Mapping[str, Mapping[str, Any]], path: Path, *, wanted: float | None = None) -> None:
    """Draw success over minutes and over environment steps: the mean of the seeds, and from the worst to the best.

    An arm that takes no steps in the environment is a dashed line.

    Args:
        results: by arm: ``title``, ``success_rate`` and ``runs``.
        path: of the PNG.
        wanted: success rate to mark.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2, sharey=True)
    for panel, axis, scale, label in zip(
        axes,
        ("seconds", "env_steps"),
        (60.0, 1000.0),
        ("minutes of training", "thousand environment steps"),
        strict=True,
    ):
        for number, found in enumerate(results.values()):
            colour = f"C{number}"
            if not any(run["env_steps"] for run in found["runs"]):
                panel.axhline(found["success_rate"], color=colour, linestyle="--", label=found["title"])
                continue
            grid, rates = step_curves(found["runs"], axis)
            panel.plot(grid / scale, rates.mean(axis=0), color=colour, label=found["title"])
            panel.fill_between(
                grid / scale, rates.min(axis=0), rates.max(axis=0), color=colour, alpha=0.15, linewidth=0
            )
        if wanted is not None:
            panel.axhline(wanted, color="grey", linewidth=0.8, linestyle=":")
        panel.set(xlabel=label, ylim=(-0.03, 1.03))
        panel.set_xlim(left=0.0)
        panel.grid(alpha=0.3)
    axes[0].set_ylabel("success rate (mean, worst and best seed)")
    axes[1].legend(fontsize="small", loc="center right")
    write_file(path, lambda file: figure.savefig(file, dpi=120))
