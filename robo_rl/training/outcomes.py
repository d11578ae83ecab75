"""What a training run came to, in the same words for every learner, and what several seeds come to together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from robo_rl.training.durable import read_json_lines
from robo_rl.training.statistics import wilson_interval

Outcome = Mapping[str, Any]
"""One seed of one arm: ``successes``, ``episodes``, ``success_rate``, ``success_interval_95``, ``train_seconds``,
``env_steps``, ``updates``, ``stopped_by``, ``seconds_to_target``, ``steps_to_target``, ``curve``."""

WANTED = 0.95
"""Success rate that ``seconds_to_target`` is about."""


def final_figures(success_rate: float, episodes: int) -> dict[str, Any]:
    """Return the figures of a final evaluation."""
    successes = round(success_rate * episodes)
    return {
        "successes": successes,
        "episodes": episodes,
        "success_rate": round(successes / episodes, 6),
        "success_interval_95": [round(end, 4) for end in wilson_interval(successes, episodes)],
    }


def curve_figures(rows: Iterable[Mapping[str, Any]], wanted: float = WANTED) -> dict[str, Any]:
    """Return the learning curve and when the wanted rate was reached.

    It counts as reached at the first ``confirmation`` (an evaluation of many episodes that follows a good one of few)
    at or above it, since a small evaluation exceeds it by luck now and then.

    Args:
        rows: metric lines with ``kind``, ``env_steps``, ``updates``, ``wall_seconds``, ``success_rate``, ``episodes``;
            of other kinds than ``evaluation`` and ``confirmation``, anything.
        wanted: success rate.
    """
    curve, reached = [], None
    for row in rows:
        if row["kind"] == "evaluation":
            curve.append(
                {
                    "seconds": round(row["wall_seconds"], 1),
                    "env_steps": row["env_steps"],
                    "updates": row["updates"],
                    "success_rate": row["success_rate"],
                    "episodes": row["episodes"],
                }
            )
        elif row["kind"] == "confirmation" and reached is None and row["success_rate"] >= wanted:
            reached = row
    return {
        "seconds_to_target": None if reached is None else round(reached["wall_seconds"], 1),
        "steps_to_target": None if reached is None else reached["env_steps"],
        "curve": curve,
    }


def train_outcome(summary: Mapping[str, Any], wanted: float = WANTED) -> dict[str, Any]:
    """Return the outcome of ``robo-rl train`` from the JSON line that it ends with and the run folder named there."""
    return {
        **final_figures(summary["success_rate"], summary["episodes"]),
        "train_seconds": round(summary["train_seconds"], 1),
        "wall_seconds": round(summary["wall_seconds"], 1),
        "env_steps": summary["env_steps"],
        "updates": summary["updates"],
        "demos": summary["demos"],
        "stopped_by": summary["stopped_by"],
        **curve_figures(read_json_lines(Path(summary["run"]) / "metrics.jsonl"), wanted),
    }


def together(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return what several seeds of one arm come to.

    The interval is Wilson's over all episodes of all seeds; it takes them as independent, so the rates of the single
    seeds stand beside it.

    Raises:
        ValueError: if there are none.
    """
    if not outcomes:
        raise ValueError("no outcomes")
    successes, episodes = (sum(outcome[key] for outcome in outcomes) for key in ("successes", "episodes"))
    times = [outcome["seconds_to_target"] for outcome in outcomes]
    reached = [time for time in times if time is not None]
    return {
        "seeds": [outcome["seed"] for outcome in outcomes],
        **final_figures(successes / episodes, episodes),
        "worst_seed": min(outcome["success_rate"] for outcome in outcomes),
        "best_seed": max(outcome["success_rate"] for outcome in outcomes),
        "highest_upper_end": max(outcome["success_interval_95"][1] for outcome in outcomes),
        "mean_train_seconds": round(fmean(outcome["train_seconds"] for outcome in outcomes), 1),
        "longest_train_seconds": max(outcome["train_seconds"] for outcome in outcomes),
        "mean_env_steps": round(fmean(outcome["env_steps"] for outcome in outcomes)),
        "mean_updates": round(fmean(outcome["updates"] for outcome in outcomes)),
        "seeds_at_target": len(reached),
        "median_seconds_to_target": round(median(reached), 1) if len(reached) == len(times) else None,
    }


def rate_at(outcome: Outcome, *, env_steps: int) -> float | None:
    """Success rate of the newest evaluation after at most ``env_steps`` steps; None before the first one."""
    rates = [point["success_rate"] for point in outcome["curve"] if point["env_steps"] <= env_steps]
    return rates[-1] if rates else None
