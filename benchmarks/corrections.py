"""What short corrections are worth: `peg_insertion_hard` with a simulated person, without, and against imitation.

Arms, each with every seed, each on one core, all from 20 scripted demonstrations:

1. `corrections`: reinforcement learning while a simulated person corrects (HIL-SERL); `demos-only`: the same alone.
2. `hg-dagger`: imitation while the same person corrects, until it has had as many steps of them as the run of
   `corrections` with the same seed; `behaviour-cloning`: as many steps of further demonstrations. Equal human data.

The second two are run once the first is done. Success and cycle times are the policy's alone.

    python -m benchmarks.corrections --seeds 0 1 2 --jobs 2

It may be stopped and started again: what is done is kept in runs/benchmarks and merged into
benchmarks/results/corrections.json and corrections.png.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import tyro

from benchmarks.report import target
from benchmarks.study import Study, StudyOptions, carry_out
from robo_rl.training.jobs import Job, find_outcome
from robo_rl.training.outcomes import WANTED, train_outcome

ARMS: dict[str, str] = {
    "corrections": "corrections by a simulated person",
    "demos-only": "demonstrations only",
    "hg-dagger": "HG-DAgger on equal human data",
    "behaviour-cloning": "behaviour cloning on equal human data",
}
"""Arms and their titles."""

IMITATION = ("hg-dagger", "behaviour-cloning")
"""Arms that are given what the first one used of its person."""


@dataclass(frozen=True)
class Options(StudyOptions):
    """What to run."""

    minutes: float = 20.0
    """Minutes of training a run, evaluations included, set-up and final evaluation not; all of them are used, so that
    the intervention rate at the end is that of a policy that has long succeeded."""
    demos: int = 20
    """Demonstrations."""
    cloning_updates: int = 20_000
    """Gradient steps of behaviour cloning."""
    work: Path = Path("runs/benchmarks/corrections")
    """Folder of run folders, logs and outcomes."""


def make_job(options: Options, arm: str, seed: int) -> Job:
    """Return what is run for an arm and a seed; what imitates is given the steps that ``corrections`` used."""
    final = f"--final-episodes {options.episodes}"
    human_steps = human_steps_of(options, seed) if arm in IMITATION else 0
    if arm == "behaviour-cloning":
        words = f"python -m benchmarks.behaviour_cloning peg_insertion_hard --seed {seed} --demos {options.demos}"
        more = f"--more-transitions {human_steps} --updates {options.cloning_updates} {final}"
        return Job(arm, seed, (*words.split(), *more.split()))
    words = f"robo-rl train peg_insertion_hard --seed {seed} --demos {options.demos} --threads 1 --steps 1000000"
    budget = f"--max-minutes {options.minutes:g} --target-success None {final} --video-episodes 0"
    people = "" if arm == "demos-only" else "--human simulated"
    if arm == "hg-dagger":
        people += f" --algorithm hg-dagger --authority.budget {human_steps}"
    out = options.work / arm / f"seed-{seed}"
    return Job(arm, seed, (*words.split(), *budget.split(), *people.split(), "--out", str(out)), outcome_of)


def human_steps_of(options: Options, seed: int) -> int:
    """Steps in which the person of ``corrections`` had a say; 0 while that has not been run."""
    found = find_outcome(make_job(options, "corrections", seed), options.work)
    return 0 if found is None else found["human_steps"]


def outcome_of(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the outcome of a run, how much its person had to help, and cycle times of what succeeded, s."""
    from robo_rl.data.episodes import load_episodes

    told = summary.get("supervision", {})
    period = summary["robot_seconds"] / summary["length"]
    shown = load_episodes(Path(summary["run"]) / "demonstrations")
    return {
        **train_outcome(summary),
        "intervention_rate": told.get("intervention_rate"),
        "human_steps": told.get("human_steps", 0),
        "cycle_seconds": summary["robot_seconds_to_success"],
        "demo_cycle_seconds": round(period * fmean(map(len, shown)), 4),
    }


def find_targets(results: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the targets that the summaries of the arms have something to say about."""
    targets = []
    ours = results.get("corrections")
    if ours is not None:
        whole, title = len(ours["seeds"]) >= 3, ARMS["corrections"]
        worst = ours["worst_seed"]
        targets.append(target(f"{title}: success of the worst of 3 seeds", ">= 0.95", worst, whole and worst >= WANTED))
        rates = [run["intervention_rate"] for run in ours["runs"]]
        met = whole and all(rate is not None and rate < 0.05 for rate in rates)
        targets.append(target(f"{title}: intervention rate over the last 20 episodes", "< 0.05", rates, met))
        cycles = [(run["cycle_seconds"], run["demo_cycle_seconds"]) for run in ours["runs"]]
        met = whole and all(policy is not None and policy < shown for policy, shown in cycles)
        targets.append(target(f"{title}: s to success, and of the demonstrations", "shorter", cycles, met))
        used = [run["human_steps"] for run in ours["runs"]]
        targets.append(target(f"{title}: control steps of the person", "reported", used, None))
    for arm in IMITATION:
        if (found := results.get(arm)) is not None and ours is not None:
            upper, lower = found["success_interval_95"][1], ours["success_interval_95"][0]
            what = f"{ARMS[arm]}: upper end of the interval over all seeds, against our lower end"
            targets.append(target(what, f"< {lower}", upper, upper < lower))
    if (found := results.get("demos-only")) is not None:
        what = f"{ARMS['demos-only']}: success of each seed within the same time"
        targets.append(target(what, "reported", [run["success_rate"] for run in found["runs"]], None))
    return targets


def main(options: Options) -> int:
    """Run what is missing, merge what there is, and return the exit code."""
    study = Study(
        name="corrections",
        compares="peg_insertion_hard with a person's corrections, without, and imitation on equal human data",
        arms=ARMS,
        job=lambda arm, seed: make_job(options, arm, seed),
        targets=find_targets,
        budget=f"--minutes {options.minutes:g} --demos {options.demos} "
        f"--episodes {options.episodes} --cloning-updates {options.cloning_updates}",
    )
    code = carry_out(study, options, only=("corrections", "demos-only"))
    there = [seed for seed in options.seeds if human_steps_of(options, seed)]
    return max(code, carry_out(study, options, only=IMITATION, seeds=there)) if there else code


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
