"""What a discrete gripper is worth: `pick_cube` with the hybrid action space against a continuous gripper.

Arms, each with every seed, each on one core, from the same 20 scripted demonstrations: the gripper as a choice among
close, stay and open with a critic of its own (`--agent.gripper discrete`), and as one more continuous action, of which
the task makes a switch. What counts is the environment steps until 90 % of 100 episodes succeed.

    python -m benchmarks.gripper --seeds 0 1 2 --jobs 2

It may be stopped and started again: what is done is kept in runs/benchmarks and merged into
benchmarks/results/gripper.json and gripper.png.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Literal

import tyro

from benchmarks.report import target
from benchmarks.study import Study, StudyOptions, carry_out
from robo_rl.training.jobs import Job
from robo_rl.training.outcomes import train_outcome

Arm = Literal["hybrid", "continuous"]
ARMS: dict[str, str] = {"hybrid": "pick_cube, discrete gripper", "continuous": "pick_cube, continuous gripper"}
"""Arms and their titles."""

WANTED = 0.9
"""Success rate whose steps are counted."""


@dataclass(frozen=True)
class Options(StudyOptions):
    """What to run."""

    only: tuple[Arm, ...] = ()
    """Arms; both if empty."""
    minutes: float = 20.0
    """Minutes of training a run, evaluations included, set-up and final evaluation not."""
    demos: int = 20
    """Demonstrations."""
    work: Path = Path("runs/benchmarks/gripper")
    """Folder of run folders, logs and outcomes."""


def make_job(options: Options, arm: str, seed: int) -> Job:
    """Return what is run for an arm and a seed."""
    words = f"robo-rl train pick_cube --seed {seed} --demos {options.demos} --threads 1 --steps 1000000"
    gripper = f"--agent.gripper {'discrete' if arm == 'hybrid' else 'continuous'} --eval-every 500 --video-episodes 0"
    budget = f"--max-minutes {options.minutes:g} --target-success {WANTED} --final-episodes {options.episodes}"
    out = options.work / arm / f"seed-{seed}"
    command = (*words.split(), *gripper.split(), *budget.split(), "--out", str(out))
    return Job(arm, seed, command, partial(train_outcome, wanted=WANTED))


def find_targets(results: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the targets that the summaries of the arms have something to say about."""
    steps = {arm: [run["steps_to_target"] for run in found["runs"]] for arm, found in results.items()}
    targets = [
        target(f"{ARMS[arm]}: steps to 90 % of each seed, - for never", "reported", found, None)
        for arm, found in steps.items()
    ]
    if {"hybrid", "continuous"} <= steps.keys():
        ours, other = (median(_or_never(each) for each in steps[arm]) for arm in ("hybrid", "continuous"))
        whole = all(len(results[arm]["seeds"]) >= 3 for arm in ARMS)
        what = "discrete gripper: median steps to 90 %, against a continuous one's"
        wanted = "any" if other == float("inf") else f"< {other:.0f}"
        measured = None if ours == float("inf") else ours
        targets.append(target(what, wanted, measured, whole and ours < other))
    return targets


def _or_never(steps: int | None) -> float:
    return float("inf") if steps is None else float(steps)


def main(options: Options) -> int:
    """Run what is missing, merge what there is, and return the exit code."""
    study = Study(
        name="gripper",
        compares="pick_cube from 20 demonstrations with a discrete and with a continuous gripper",
        arms=ARMS,
        job=lambda arm, seed: make_job(options, arm, seed),
        targets=find_targets,
        budget=f"--minutes {options.minutes:g} --demos {options.demos} --episodes {options.episodes}",
        wanted=WANTED,
    )
    return carry_out(study, options, only=options.only)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
