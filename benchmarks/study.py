"""A study: several arms, each with several seeds, run, merged, stored, drawn and printed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.report import RESULTS, ROOT, make_report, revision, save
from robo_rl.training.jobs import Job, find_outcomes, run_jobs
from robo_rl.training.outcomes import WANTED, Outcome, together

Found = Mapping[str, Sequence[Outcome]]
"""Outcomes by arm."""


@dataclass(frozen=True)
class Study:
    """What is compared.

    Attributes:
        name: of the benchmark's module.
        compares: one sentence.
        arms: titles by arm.
        job: what is run for an arm and a seed.
        targets: the targets that the summaries of the arms have something to say about.
        budget: options of the command that the outcomes depend on.
        packages: whose versions matter.
        wanted: success rate that the time until then is told of.
    """

    name: str
    compares: str
    arms: Mapping[str, str]
    job: Callable[[str, int], Job]
    targets: Callable[[Mapping[str, Mapping[str, Any]]], list[dict[str, Any]]]
    budget: str
    packages: tuple[str, ...] = ()
    wanted: float = WANTED


@dataclass(frozen=True)
class StudyOptions:
    """What is asked of every study."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds."""
    jobs: int = 2
    """Runs side by side, one core each."""
    episodes: int = 100
    """Episodes of confirmations and of the final evaluation."""
    work: Path = Path("runs/benchmarks")
    """Folder of run folders, logs and outcomes."""
    results: Path = RESULTS
    """Folder of the report."""
    fresh: bool = False
    """Run anew what is done already."""


def carry_out(study: Study, options: StudyOptions, *, only: Sequence[str], seeds: Sequence[int] | None = None) -> int:
    """Run what is missing, merge it with what was done before, and return the exit code.

    Args:
        study: what.
        options: how.
        only: arms that are to be there; all of them if empty.
        seeds: that are to be there; those of the options if None.
    """
    console = make_console()
    seeds, jobs, work = options.seeds if seeds is None else seeds, options.jobs, options.work
    # Seed by seed, so that an early end leaves whole seeds.
    wanted = [study.job(arm, seed) for seed in seeds for arm in only or study.arms]
    whole = run_jobs(wanted, work, slots=jobs, fresh=options.fresh, folder=ROOT, about=lambda: {"revision": revision()})
    known = sorted({*seeds, *(int(folder.name.removeprefix("seed-")) for folder in work.glob("*/seed-*"))})
    found = find_outcomes([study.job(arm, seed) for arm in study.arms for seed in known], work)
    if not found:
        console.print("nothing to report")
        return 1
    summaries = summarise(study.arms, found)
    targets = study.targets(summaries)
    there = sorted({outcome["seed"] for outcomes in found.values() for outcome in outcomes})
    command = f"python -m benchmarks.{study.name} --seeds {' '.join(map(str, there))} --jobs {jobs} {study.budget}"
    report = make_report(
        study.name,
        compares=study.compares,
        command=command,
        seeds=there,
        targets=targets,
        results=summaries,
        packages=study.packages,
    )
    path = save(report, options.results)
    from robo_rl.training.curves import plot_arms

    plot_arms(summaries, path.with_suffix(".png"), wanted=study.wanted)
    show_arms(summaries, console, study.wanted)
    show_targets(targets, console)
    console.print(f"{path}, {path.with_suffix('.png').name}")
    return 0 if whole else 1


def summarise(arms: Mapping[str, str], found: Found) -> dict[str, dict[str, Any]]:
    """Return title, figures of all seeds together, and the single runs, of each arm that has any."""
    return {
        arm: {"title": title, **together(found[arm]), "runs": [dict(outcome) for outcome in found[arm]]}
        for arm, title in arms.items()
        if arm in found
    }


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that is wide enough for the tables where the output is no terminal."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(width=None if stream.isatty() else 160, stderr=stderr)


def show_arms(results: Mapping[str, Mapping[str, Any]], console: Console, wanted: float) -> None:
    """Print one row for each arm; ``wanted`` is the success rate that was waited for."""
    table = Table(title="Deterministic success, all seeds")
    reaching = f"to {100 * wanted:.0f} %, s"
    for column in ("arm", "success", "95 % interval", "each seed", "train s", reaching, "env steps", "updates"):
        table.add_column(column, justify="left" if column == "arm" else "right")
    for found in results.values():
        low, high = found["success_interval_95"]
        reached = found["median_seconds_to_target"]
        table.add_row(
            found["title"],
            f"{found['success_rate']:.1%}",
            f"{low:.1%} - {high:.1%}",
            " ".join(f"{run['success_rate']:.0%}" for run in found["runs"]),
            f"{found['mean_train_seconds']:.0f}",
            "-" if reached is None else f"{reached:.0f}",
            f"{found['mean_env_steps']:,}",
            f"{found['mean_updates']:,}",
        )
    console.print(table)


def show_targets(targets: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print each target with whether it is met."""
    for entry in targets:
        sign = {True: "[green]met[/]", False: "[red]not met[/]", None: "-"}[entry["met"]]
        console.print(f"{entry['what']}: {entry['measured']} (wanted {entry['wanted']}) {sign}", highlight=False)
