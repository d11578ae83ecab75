"""An ablation: one configuration and variants of it, each with several seeds, compared with intervals."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robo_rl.errors import UserError
from robo_rl.settings import from_json, to_json, with_settings
from robo_rl.training.config import TrainConfig
from robo_rl.training.durable import write_json
from robo_rl.training.jobs import Job
from robo_rl.training.outcomes import Outcome, together, train_outcome
from robo_rl.training.run_folder import read_json
from robo_rl.training.statistics import interquartile_means

BASE = "base"
"""Name of the arm that nothing is changed in."""


def read_switches(text: str) -> dict[str, Any]:
    """Return the settings that a switch such as ``agent.critics=2,agent.hl_gauss=true`` names, by dotted path.

    Values are JSON (``[256, 256]``, ``null``); true, false and none may be written in any case, and what is no JSON is
    text.

    Raises:
        UserError: if a part is not ``name=value``, or a name comes twice.
    """
    settings: dict[str, Any] = {}
    for part in re.split(r",(?=\s*[A-Za-z_][\w.]*\s*=)", text):
        name, equals, value = (word.strip() for word in part.partition("="))
        if not name or not equals or not value:
            raise UserError(f"switches: {part!r} is not name=value, as in agent.critics=2,agent.critic_dropout=0.01")
        if name in settings:
            raise UserError(f"switches: {name} comes twice in {text!r}")
        plain = {"true": True, "false": False, "none": None, "null": None}
        try:
            settings[name] = plain[value.lower()] if value.lower() in plain else json.loads(value)
        except ValueError:
            settings[name] = value
    return settings


def make_arms(base: TrainConfig, switches: Sequence[str]) -> dict[str, TrainConfig]:
    """Return the configuration of each arm by its title, the base first.

    Raises:
        UserError: if a switch is unknown or refused, changes nothing, or comes twice.
    """
    arms = {BASE: base}
    for text in switches:
        title = ",".join(part.strip() for part in text.split(","))
        config = with_settings(base, read_switches(text), where=f"--switches {title!r}")
        for other, known in arms.items():
            if config == known:
                raise UserError(f"switches: {title!r} gives the same configuration as {other!r}; leave it out")
        arms[title] = config
    return arms


def arm_folder(title: str) -> str:
    """Return a name for the folder of an arm: its title, as far as file names like it, made unique."""
    if title == BASE:
        return title
    plain = "".join(c if c.isalnum() or c in "-_.=," else "_" for c in title)[:80]
    return f"{plain}-{_digest(title)}"


def make_job(title: str, config: TrainConfig, seed: int, work: Path) -> Job:
    """Return what runs one arm with one seed, and goes on where an earlier start of it was stopped.

    The configuration is stored beside the runs, in a file that is named by what it holds: another configuration is
    another command.
    """
    arm = arm_folder(title)
    values = to_json(config)
    file = work / arm / f"config-{_digest(json.dumps(values, sort_keys=True))}.json"
    if not file.exists():
        write_json(file, values)
    out = work / arm / f"seed-{seed}"
    command = ("robo-rl", "train", config.task, "--config", str(file), "--seed", str(seed), "--out", str(out))
    wanted = dataclasses.replace(config, seed=seed, out=out)
    return Job(arm, seed, command, train_outcome, lambda: _go_on(out, wanted))


def summarise(
    arms: Mapping[str, TrainConfig], found: Mapping[str, Sequence[Outcome]], horizon: int
) -> dict[str, dict[str, Any]]:
    """Return the figures of each arm that has any run, by its title.

    Args:
        arms: by title.
        found: outcomes by the arm's folder.
        horizon: environment steps that the area under the learning curve is taken over.
    """
    runs = {title: list(found[arm_folder(title)]) for title in arms if arm_folder(title) in found}
    areas = {title: [area_under_curve(run, horizon) for run in some] for title, some in runs.items()}
    success = interquartile_means({title: [run["success_rate"] for run in some] for title, some in runs.items()})
    area = interquartile_means(areas)
    return {
        title: {
            "title": title,
            "final_success": _figures(success[title]),
            "area_under_curve": {**_figures(area[title]), "each": [round(value, 4) for value in areas[title]]},
            **together(some),
            "runs": [dict(run) for run in some],
        }
        for title, some in runs.items()
    }


def area_under_curve(run: Outcome, horizon: int) -> float:
    """Return the mean success over the first ``horizon`` environment steps, from 0 to 1.

    Between two evaluations the older one holds; before the first, 0; after the end of a run, its final evaluation.
    """
    points = [(0, 0.0), *((point["env_steps"], point["success_rate"]) for point in run["curve"])]
    points = [(at, rate) for at, rate in points if at < run["env_steps"]] + [(run["env_steps"], run["success_rate"])]
    area = 0.0
    for (at, rate), (until, _) in zip(points, [*points[1:], (horizon, 0.0)], strict=True):
        area += rate * max(0, min(until, horizon) - min(at, horizon))
    return area / horizon


def _figures(estimate: tuple[float, float, float]) -> dict[str, Any]:
    mean, low, high = (round(value, 4) for value in estimate)
    return {"interquartile_mean": mean, "interval_95": [low, high]}


def _go_on(out: Path, wanted: TrainConfig) -> tuple[str, ...] | None:
    """The command that resumes the newest run in ``out`` of that very configuration, None if there is none."""
    for file in sorted(out.glob("*/config.json"), key=lambda file: file.stat().st_mtime, reverse=True):
        try:
            config = from_json(TrainConfig, read_json(file), where=str(file))
        except UserError:
            continue
        if config == wanted:
            return ("robo-rl", "train", "--resume", str(file.parent))
    return None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
