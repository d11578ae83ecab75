"""The same learner on somebody else's environments: Gymnasium-Robotics by `robo-rl train gym:ID`.

`FetchReach` until 20 000 steps at most; `FetchPush` with hindsight relabelling against Stable-Baselines3's SAC with its
HerReplayBuffer, both for the same number of steps, on the same start states, one thread each.

    python -m benchmarks.fetch --seeds 0 1 2 --jobs 2

It may be stopped and started again, in parts too (`--seeds 1 --only reach`): what is done is kept in runs/benchmarks
and merged into benchmarks/results/fetch.json and fetch.png.
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
from robo_rl.training.outcomes import WANTED, train_outcome

Arm = Literal["reach", "push", "push-sb3"]
ARMS: dict[str, str] = {
    "reach": "FetchReach-v4",
    "push": "FetchPush-v4, ours with hindsight",
    "push-sb3": "FetchPush-v4, SB3 SAC + HER",
}
"""Arms and their titles."""


@dataclass(frozen=True)
class Options(StudyOptions):
    """What to run."""

    only: tuple[Arm, ...] = ()
    """Arms; all of them if empty."""
    reach_steps: int = 20_000
    """Environment steps of FetchReach at most."""
    push_steps: int = 50_000
    """Environment steps of FetchPush, of both learners."""
    work: Path = Path("runs/benchmarks/fetch")
    """Folder of run folders, logs and outcomes."""


def make_job(options: Options, arm: str, seed: int) -> Job:
    """Return what is run for an arm and a seed."""
    out = ("--out", str(options.work / arm / f"seed-{seed}"))
    common = f"--seed {seed} --final-episodes {options.episodes}"
    ours = f"--threads 1 --video-episodes 0 {common}"
    if arm == "reach":
        words = f"robo-rl train gym:FetchReach-v4 --steps {options.reach_steps} --target-success 0.98"
        return Job(arm, seed, (*f"{words} --eval-every 1000 {ours}".split(), *out), train_outcome)
    steps = f"--steps {options.push_steps}"
    if arm == "push":
        # With a reward of -1 until success, no return is above 0 or below -1 / (1 - discount).
        words = f"robo-rl train gym:FetchPush-v4 {steps} --target-success None --hindsight True"
        learner = "--discount 0.95 --agent.q-bounds -20 0 --warmup-steps 1000"
        return Job(arm, seed, (*f"{words} {learner} {ours}".split(), *out), train_outcome)
    words = f"python -m benchmarks.sb3_sac FetchPush-v4 {steps} --settings her --target None {common}"
    return Job(arm, seed, tuple(words.split()))


def find_targets(results: Mapping[str, Mapping[str, Any]], reach_steps: int) -> list[dict[str, Any]]:
    """Return the targets that the summaries of the arms have something to say about."""
    targets = []
    if (reach := results.get("reach")) is not None:
        worst = reach["worst_seed"]
        met = len(reach["seeds"]) >= 3 and worst >= WANTED and reach_steps <= 20_000
        targets.append(
            target(f"{reach['title']} within 20 k steps: success of the worst of 3 seeds", ">= 0.95", worst, met)
        )
    for arm in ("push", "push-sb3"):
        if (push := results.get(arm)) is not None:
            low, high = push["success_interval_95"]
            measured = f"{push['success_rate']} [{low}, {high}] after {push['mean_env_steps']} steps"
            targets.append(target(f"{push['title']}: success, all seeds", "reported", measured, None))
    return targets


def main(options: Options) -> int:
    """Run what is missing, merge what there is, and return the exit code."""
    study = Study(
        name="fetch",
        compares="`robo-rl train gym:ID` on FetchReach, and on FetchPush against Stable-Baselines3's SAC with HER",
        arms=ARMS,
        job=lambda arm, seed: make_job(options, arm, seed),
        targets=lambda results: find_targets(results, options.reach_steps),
        budget=f"--reach-steps {options.reach_steps} --push-steps {options.push_steps} --episodes {options.episodes}",
        packages=("stable-baselines3", "gymnasium-robotics"),
    )
    return carry_out(study, options, only=options.only)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
