"""Learning in turns with the environment against a learner beside it: seconds and processor seconds to the same steps.

Each variant is a `robo-rl train` of its own with the same seed, so all make the same number of updates. Rounds are run
in turns, so that whatever else the machine does meets all of them.

    python -m benchmarks.overlap --cases state pixels --rounds 3

`pixels` caches features of a frozen encoder: `--encoder FILE`, from `robo-rl pretrain-encoder peg_insertion`.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import tyro

from benchmarks.report import RESULTS, make_report, save

Case = Literal["state", "pixels"]
VARIANTS = {
    "turns, 1 thread": ("--sync", "--threads", "1"),
    "turns, all cores": ("--sync",),
    "beside, 1 thread": ("--no-sync", "--threads", "1"),
    "beside, all cores": ("--no-sync",),
}
"""Variants and what they add to the command."""


@dataclass(frozen=True)
class Options:
    """What to run."""

    cases: tuple[Case, ...] = ("state",)
    """What the policy sees."""
    task: str = "peg_insertion"
    """Task."""
    steps: int = 1_000
    """Environment steps of each run, those with random actions among them."""
    rounds: int = 3
    """Runs of each variant."""
    seed: int = 0
    """Seed of all runs."""
    encoder: Path | None = None
    """Weights of the frozen encoder of ``pixels``."""
    extra: tuple[str, ...] = ()
    """Options of `robo-rl train` to add to all."""
    results: Path = RESULTS
    """Folder of the report."""


def make_command(options: Options, case: Case, variant: str, out: Path) -> list[str]:
    """Return the command of one run."""
    words = f"train {options.task} --steps {options.steps} --seed {options.seed} --target-success None"
    words += f" --video-episodes 0 --eval-every {options.steps} --eval-episodes 1 --final-episodes 1"
    if case == "pixels":
        words += " --obs pixels --agent.encoder frozen --agent.cache-features"
        words += "" if options.encoder is None else f" --agent.encoder-weights {options.encoder}"
    command = [sys.executable, "-m", "robo_rl.cli", *words.split(), "--out", str(out)]
    return [*command, *VARIANTS[variant], *options.extra]


def measure(command: list[str]) -> dict[str, float]:
    """Run a command; return its seconds of training, its processor seconds and its updates."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    summary = json.loads(said.splitlines()[-1])
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "train_seconds": summary["train_seconds"],
        "processor_seconds": round(processor, 3),
        "updates": summary["updates"],
    }


def summarise(rounds: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Return the median of each figure by variant, and the ratio of training times to turns on one thread."""
    found: dict[str, Any] = {}
    for variant in rounds[0]:
        figures = {name: round(median(each[variant][name] for each in rounds), 3) for name in rounds[0][variant]}
        base = next(iter(VARIANTS))
        if base in rounds[0]:
            ratios = [each[base]["train_seconds"] / each[variant]["train_seconds"] for each in rounds]
            figures["times_as_fast"] = round(median(ratios), 3)
        found[variant] = figures
    return found


def main(options: Options) -> int:
    """Measure, print and store."""
    results: dict[str, Any] = {}
    for case in options.cases:
        rounds = []
        for number in range(options.rounds):
            round_ = {}
            for variant in VARIANTS:
                with tempfile.TemporaryDirectory() as folder:
                    round_[variant] = measure(make_command(options, case, variant, Path(folder)))
                print(f"{case}, round {number + 1}, {variant}: {round_[variant]}", file=sys.stderr, flush=True)
            rounds.append(round_)
        results[case] = summarise(rounds)
    command = f"python -m benchmarks.overlap --steps {options.steps} --rounds {options.rounds} --cases "
    report = make_report(
        "overlap",
        compares="`robo-rl train` in turns with the environment against a learner in a thread of its own",
        command=command + " ".join(options.cases),
        seeds=[options.seed],
        targets=[],
        results=results,
    )
    print(json.dumps(results, indent=2))
    save(report, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
