"""The learning curve as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robo_rl.training.durable import write_file


def plot_learning_curve(rows: Sequence[dict[str, Any]], path: Path, *, title: str, target: float | None = None) -> None:
    """Draw success with its interval over environment steps and over wall time.

    Args:
        rows: metric lines; of kind ``evaluation`` the points and their bands, of kind ``train`` the thin line.
        path: of the PNG.
        title: above it.
        target: success rate to mark, None for none.

    Raises:
        StorageError: if it could not be stored.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4))
    FigureCanvasAgg(figure)
    figure.subplots_adjust(left=0.07, right=0.98, bottom=0.13, top=0.9, wspace=0.06)
    evaluations = [row for row in rows if row["kind"] == "evaluation"]
    episodes = [row for row in rows if row["kind"] == "train" and row.get("success") is not None]
    # Success needs a scale of its own only where there is such a thing: elsewhere the return tells how learning goes.
    counts_success = any(row["success_rate"] for row in evaluations) or any(row["success"] for row in episodes)
    panels = zip(
        figure.subplots(1, 2, sharey=True),
        ("env_steps", "wall_seconds"),
        (1.0, 60.0),
        ("environment steps", "wall time [min]"),
        strict=True,
    )
    for axes, key, unit, label in panels:
        x = [row[key] / unit for row in evaluations]
        if counts_success or not evaluations:
            if episodes:
                seen = [row["success"] for row in episodes]
                axes.plot([row[key] / unit for row in episodes], seen, color="0.6", lw=1, label="training episodes")
            axes.plot(x, [row["success_rate"] for row in evaluations], "o-", ms=3, label="evaluation")
            low, high = ([row["success_interval_95"][end] for row in evaluations] for end in (0, 1))
            axes.fill_between(x, low, high, alpha=0.25, lw=0, label="95 % interval")
            axes.set_ylim(-0.02, 1.02)
            if target is not None:
                axes.axhline(target, color="0.3", ls=":", lw=1, label=f"target {target:g}")
        else:
            axes.plot(x, [row["return"] for row in evaluations], "o-", ms=3, label="evaluation")
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
        if key == "env_steps":
            axes.set_ylabel("success" if counts_success or not evaluations else "return")
            axes.legend(loc="best", fontsize=8)
    figure.suptitle(title)
    write_file(path, lambda unfinished: figure.savefig(unfinished, dpi=120))
