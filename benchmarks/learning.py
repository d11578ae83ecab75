"""How well and how fast `robo-rl train` learns from 20 demonstrations, and what the same budget gives without them.

Arms, each with every seed, each on one core: `peg_insertion` from 20 scripted demonstrations; the same without;
behaviour cloning on the same 20; Stable-Baselines3's SAC with its defaults, with our updates per step, discount and
warm-up, and with the latter and the same 20 demonstrations in its memory; LeRobot's SAC with the same 20 (installed
into runs/benchmarks/lerobot_sac); `pick_cube` from 20 demonstrations. All are evaluated on the same start states by the
same rule.

    python -m benchmarks.learning --seeds 0 1 2 --jobs 2

It may be stopped and started again, in parts too (`--seeds 1 --only no-demos`): what is done is kept in runs/benchmarks
and merged into benchmarks/results/learning.json and learning.png. Takes about 2 hours with two seeds side by side.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from benchmarks.report import target
from benchmarks.study import Study, StudyOptions, carry_out
from robo_rl.training.jobs import Job
from robo_rl.training.outcomes import WANTED, rate_at, train_outcome

Arm = Literal[
    "peg_insertion", "no-demos", "behaviour-cloning", "sb3-sac", "sb3-sac-like-ours", "sb3-sac-demos", "lerobot-sac",
    "pick_cube",
]  # fmt: skip
ARMS: dict[str, str] = {
    "peg_insertion": "peg_insertion, 20 demos",
    "no-demos": "peg_insertion, no demos",
    "behaviour-cloning": "peg_insertion, behaviour cloning on 20 demos",
    "sb3-sac": "peg_insertion, SB3 SAC, its defaults",
    "sb3-sac-like-ours": "peg_insertion, SB3 SAC, our updates per step",
    "sb3-sac-demos": "peg_insertion, SB3 SAC, our updates per step, 20 demos in its memory",
    "lerobot-sac": "peg_insertion, LeRobot SAC, our updates per step, 20 demos",
    "pick_cube": "pick_cube, 20 demos",
}
"""Arms and their titles."""


@dataclass(frozen=True)
class Options(StudyOptions):
    """What to run."""

    only: tuple[Arm, ...] = ()
    """Arms; all of them if empty."""
    minutes: float = 15.0
    """Minutes of training a run, evaluations included, set-up and final evaluation not."""
    target: float = 0.98
    """Success rate at which training stops; above the wanted 95 %, since the final evaluation has other starts."""
    cloning_updates: int = 20_000
    """Gradient steps of behaviour cloning."""
    work: Path = Path("runs/benchmarks/learning")
    """Folder of run folders, logs and outcomes."""


def make_job(options: Options, arm: str, seed: int) -> Job:
    """Return what is run for an arm and a seed."""
    final = f"--final-episodes {options.episodes}"
    if arm == "behaviour-cloning":
        words = f"python -m benchmarks.behaviour_cloning peg_insertion --seed {seed} --demos 20"
        return Job(arm, seed, (*words.split(), *f"--updates {options.cloning_updates} {final}".split()))
    if arm.startswith("sb3-sac"):
        settings = "default" if arm == "sb3-sac" else "like-ours"
        words = f"python -m benchmarks.sb3_sac robo_rl/PegInsertion-v0 --seed {seed} --settings {settings}"
        budget = f"--minutes {options.minutes:g} --target {options.target:g} {final}"
        demos = ("--demos", "20") if arm == "sb3-sac-demos" else ()
        return Job(arm, seed, (*words.split(), *budget.split(), *demos))
    if arm == "lerobot-sac":
        words = f"python -m benchmarks.lerobot_sac peg_insertion --seed {seed} --demos 20"
        budget = f"--minutes {options.minutes:g} --target {options.target:g} {final}"
        return Job(arm, seed, (*words.split(), *budget.split()))
    task, demos = ("pick_cube" if arm == "pick_cube" else "peg_insertion"), (0 if arm == "no-demos" else 20)
    words = f"robo-rl train {task} --seed {seed} --demos {demos} --threads 1 --steps 1000000 --video-episodes 0"
    budget = f"--max-minutes {options.minutes:g} --target-success {options.target:g} {final}"
    out = options.work / arm / f"seed-{seed}"
    return Job(arm, seed, (*words.split(), *budget.split(), "--out", str(out)), train_outcome)


def find_targets(results: Mapping[str, Mapping[str, Any]], minutes: float) -> list[dict[str, Any]]:
    """Return the targets that the summaries of the arms have something to say about."""
    targets = []
    main = results.get("peg_insertion")
    for arm in ("peg_insertion", "pick_cube"):
        if (found := results.get(arm)) is not None:
            met = len(found["seeds"]) >= 3 and found["worst_seed"] >= WANTED
            targets.append(target(f"{ARMS[arm]}: success of the worst of 3 seeds", ">= 0.95", found["worst_seed"], met))
    if main is not None:
        longest = main["longest_train_seconds"]
        # The clock is looked at between steps, and a last evaluation follows it.
        met = minutes <= 15.0 and longest <= 60.0 * minutes + 30.0
        targets.append(target(f"{main['title']}: longest training, s on one core", "<= 900", longest, met))
    if (found := results.get("no-demos")) is not None:
        upper = found["highest_upper_end"]
        what = f"{found['title']}, same time: highest upper end of a seed's 95 % interval"
        targets.append(target(what, "< 0.2", upper, upper < 0.2))
        if main is not None:
            equal = at_equal_steps(main["runs"], found["runs"])
            targets.append(target(f"{found['title']}: success of each seed at our steps", "reported", equal, None))
    if (found := results.get("behaviour-cloning")) is not None and main is not None:
        upper, lower = found["success_interval_95"][1], main["success_interval_95"][0]
        what = f"{found['title']}: upper end of the interval over all seeds, against our lower end"
        targets.append(target(what, f"< {lower}", upper, upper < lower))
    targets += [
        target(f"{found['title']}: success, all seeds", "reported", found["success_rate"], None)
        for arm in ("sb3-sac", "sb3-sac-like-ours", "sb3-sac-demos", "lerobot-sac")
        if (found := results.get(arm)) is not None
    ]
    targets += [
        target(f"{found['title']}: env steps of each seed to 95 %", "reported", steps_to_target(found["runs"]), None)
        for arm in ("peg_insertion", "sb3-sac-demos", "lerobot-sac")
        if (found := results.get(arm)) is not None
    ]
    return targets


def steps_to_target(runs: list[Mapping[str, Any]]) -> list[int | None]:
    """Environment steps after which each run was confirmed to be at 95 %; None where it never was."""
    return [run.get("steps_to_target") for run in runs]


def at_equal_steps(ours: list[Mapping[str, Any]], others: list[Mapping[str, Any]]) -> list[float | None]:
    """Success rate of each other run when it had taken as many environment steps as our whole run of the same seed."""
    steps = {run["seed"]: run["env_steps"] for run in ours}
    return [rate_at(run, env_steps=steps[run["seed"]]) for run in others if run["seed"] in steps]


def main(options: Options) -> int:
    """Run what is missing, merge what there is, and return the exit code."""
    study = Study(
        name="learning",
        compares="Training from 20 demonstrations against none, behaviour cloning and Stable-Baselines3's SAC",
        arms=ARMS,
        job=lambda arm, seed: make_job(options, arm, seed),
        targets=lambda results: find_targets(results, options.minutes),
        budget=f"--minutes {options.minutes:g} --target {options.target:g} --episodes {options.episodes}",
        packages=("stable-baselines3",),
    )
    return carry_out(study, options, only=options.only)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
