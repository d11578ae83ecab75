"""How well `robo-rl train --obs pixels` learns from two cameras, and whether cached features learn as well.

Arms, each with every seed, each on one core, `peg_insertion` from 20 scripted demonstrations with a frozen encoder made
by `robo-rl pretrain-encoder` (made first if it is not there):

* `cached`: features cached, for `--minutes`; its runs tell how rendering, encoding and learning shared the time.
* `equal-cached`, `equal-augmented`: features cached, or images augmented and encoded anew at each update, both for the
  same environment steps and updates. Without a cache an update encodes 4 images for each transition in its batch, some
  hundred times the work: `--equal-steps` and `--equal-batch` keep it within a night.

    python -m benchmarks.pixels --seeds 0 1 2 --jobs 2

It may be stopped and started again, in parts too (`--seeds 1 --only cached`): a run goes on from its newest checkpoint,
and what is done is kept in runs/benchmarks and merged into benchmarks/results/pixels.json and pixels.png.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from benchmarks.report import ROOT, target
from benchmarks.setups import choose_egl, resolved_config
from benchmarks.study import Study, StudyOptions, carry_out
from robo_rl.training.ablation import make_job as make_resumable
from robo_rl.training.config import TrainConfig
from robo_rl.training.encoder_files import default_file
from robo_rl.training.jobs import Job
from robo_rl.training.outcomes import train_outcome

Arm = Literal["cached", "equal-cached", "equal-augmented"]
ARMS: dict[str, str] = {
    "cached": "peg_insertion from two cameras, 20 demos, cached features",
    "equal-cached": "the same, cached features, equal steps",
    "equal-augmented": "the same, augmented and encoded at each update, equal steps",
}
"""Arms and their titles."""


@dataclass(frozen=True)
class Options(StudyOptions):
    """What to run."""

    only: tuple[Arm, ...] = ()
    """Arms; all of them if empty."""
    minutes: float = 60.0
    """Minutes of training of `cached`, evaluations included, set-up and final evaluation not."""
    target: float = 0.95
    """Success rate at which `cached` stops; above the wanted 90 %, since the final evaluation has other starts."""
    equal_steps: int = 6_000
    """Environment steps of the two arms that are compared."""
    equal_batch: int = 64
    """Batch of these two."""
    encoder: Path | None = None
    """Weights of the encoder; None: those of `robo-rl pretrain-encoder`."""
    work: Path = Path("runs/benchmarks/pixels")
    """Folder of run folders, logs and outcomes."""


def make_config(options: Options, arm: str) -> TrainConfig:
    """Return the configuration of an arm."""
    base = resolved_config(
        "peg_insertion", obs="pixels", demos=20, threads=1, video_episodes=0, final_episodes=options.episodes
    )
    weights = options.encoder or default_file(base.task, base.robot, Path("runs"))
    agent = dataclasses.replace(
        base.agent, encoder="frozen", encoder_weights=str(weights), cache_features=arm != "equal-augmented"
    )
    if arm == "cached":
        return dataclasses.replace(
            base, agent=agent, steps=1_000_000, max_minutes=options.minutes, target_success=options.target
        )
    return dataclasses.replace(
        base, agent=agent, steps=options.equal_steps, batch_size=options.equal_batch, target_success=None
    )


def make_job(options: Options, arm: str, seed: int) -> Job:
    """Return what is run for an arm and a seed; it goes on where an earlier start was stopped."""
    job = make_resumable(arm, make_config(options, arm), seed, options.work)
    return dataclasses.replace(job, arm=arm, read=_outcome)


def _outcome(summary: Mapping[str, Any]) -> dict[str, Any]:
    return {**train_outcome(summary), "seconds": summary["seconds"]}


def find_targets(results: Mapping[str, Mapping[str, Any]], minutes: float) -> list[dict[str, Any]]:
    """Return the targets that the summaries of the arms have something to say about."""
    targets = []
    if (found := results.get("cached")) is not None:
        worst, longest = found["worst_seed"], found["longest_train_seconds"]
        met = len(found["seeds"]) >= 3 and worst >= 0.9
        targets.append(target(f"{found['title']}: success of the worst of 3 seeds", ">= 0.9", worst, met))
        # The clock is looked at between steps, and a last evaluation follows it.
        met = minutes <= 60.0 and longest <= 60.0 * minutes + 180.0
        targets.append(target(f"{found['title']}: longest training, s", "<= 3600", longest, met))
        shares = [share(run["seconds"], run["train_seconds"]) for run in found["runs"]]
        targets.append(target(f"{found['title']}: share of the training time", "reported", shares, None))
    cached, augmented = results.get("equal-cached"), results.get("equal-augmented")
    if cached is not None and augmented is not None:
        ours, other = cached["success_interval_95"], augmented["success_interval_95"]
        what = "equal steps: 95 % interval of cached features, against that of augmentation at each update"
        learned = augmented["success_rate"] > 0.0  # where nothing was learned, nothing was compared
        targets.append(target(what, f"upper end >= {other[0]}", ours, ours[1] >= other[0] if learned else None))
    return targets


def share(seconds: Mapping[str, float], whole: float) -> dict[str, float]:
    """Parts of a run as shares of its training time."""
    return {name: round(took / whole, 3) for name, took in seconds.items()}


def main(options: Options) -> int:
    """Run what is missing, merge what there is, and return the exit code."""
    choose_egl()
    weights = options.encoder or default_file("peg_insertion", "panda", Path("runs"))
    if not (ROOT / weights).exists():
        if options.encoder is not None:
            print(f"encoder: there is no {options.encoder}; leave it out to have one made", file=sys.stderr)
            return 2
        command = [sys.executable, "-m", "robo_rl.cli", "pretrain-encoder", "peg_insertion"]
        if code := subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False).returncode:
            return code
    study = Study(
        name="pixels",
        compares="Training from two cameras with cached features, and against augmentation at each update",
        arms=ARMS,
        job=lambda arm, seed: make_job(options, arm, seed),
        targets=lambda results: find_targets(results, options.minutes),
        budget=f"--minutes {options.minutes:g} --target {options.target:g} --episodes {options.episodes} "
        f"--equal-steps {options.equal_steps} --equal-batch {options.equal_batch}",
    )
    return carry_out(study, options, only=options.only)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
