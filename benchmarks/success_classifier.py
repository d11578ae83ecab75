"""Is a success classifier precise on episodes that it has not seen, and does a policy that learns from it exploit it?

For each task and seed: attempts are recorded and a classifier is learned (`robo-rl reward train`), measured on held-out
episodes; then a policy is trained by its success alone (`robo-rl train --classifier`), and evaluated by both.

    python -m benchmarks.success_classifier --tasks peg_insertion pick_cube --seeds 0 1 2

It may be stopped and started again: what is done is kept in runs/benchmarks/success_classifier and merged into
benchmarks/results/success_classifier.json. Takes about half an hour a task and seed on one core.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks.report import RESULTS, make_report, save, target
from robo_rl.training.durable import write_json
from robo_rl.training.statistics import wilson_interval

PRECISION, RECALL, POINTS = 0.99, 0.95, 0.03
"""Wanted of the frames of held-out episodes; and by how much the classified success may exceed the true one."""


@dataclass(frozen=True)
class Options:
    """What to run."""

    tasks: tuple[str, ...] = ("peg_insertion",)
    """Tasks."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds, of attempts, classifier and policy."""
    attempts: int = 300
    """Attempts to record for a classifier."""
    updates: int = 1000
    """Gradient steps of a classifier."""
    minutes: float = 20.0
    """Minutes of training a policy, evaluations included."""
    episodes: int = 100
    """Episodes of the final evaluation."""
    policy: bool = True
    """Whether a policy is trained too."""
    work: Path = Path("runs/benchmarks/success_classifier")
    """Folder of frames, classifiers, run folders and logs."""
    results: Path = RESULTS
    """Folder of the result."""


def main(options: Options) -> int:
    """Run what is not there yet, and judge; the exit code is 0 if everything that was asked for is reached."""
    rows = []
    for task in options.tasks:
        for seed in options.seeds:
            folder = options.work / f"{task}-{seed}"
            classifier = _once(folder / "classifier.json", classifier_command(options, task, seed, folder))
            policy = None
            if options.policy:
                command = policy_command(options, task, seed, folder, classifier["out"])
                policy = _once(folder / "policy.json", command)
            rows.append({"task": task, "seed": seed, "classifier": classifier, "policy": policy})
    judged = {task: judge([row for row in rows if row["task"] == task]) for task in options.tasks}
    report = make_report(
        "success_classifier",
        compares="a success classifier on frames of held-out episodes, and the policies that learn from it, with the "
        "simulator's truth",
        command=f"python -m benchmarks.success_classifier --tasks {' '.join(options.tasks)} --seeds "
        f"{' '.join(map(str, options.seeds))} --attempts {options.attempts} --minutes {options.minutes:g}",
        seeds=options.seeds,
        targets=[line for task, found in judged.items() for line in targets(task, found)],
        results={"tasks": judged, "runs": rows},
        packages=("mujoco", "torch"),
    )
    print(save(report, options.results))
    return 0 if all(line["met"] for line in report["targets"]) else 1


def targets(task: str, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what is wanted of a task, and whether it is met."""
    reached = found["reached"]
    lines = [
        target(
            f"{task}: frames of held-out episodes",
            f"precision {PRECISION:.0%} at recall {RECALL:.0%}",
            {"precision": found["precision"], "recall": found["recall"]},
            reached["classifier"],
        )
    ]
    if "not_exploited" in reached:
        measured = {"true": found["true_success_rate"], "classified": found["classified_rate"]}
        wanted = f"true success within {100 * POINTS:.0f} points of classified"
        lines.append(target(f"{task}: a policy trained by it", wanted, measured, reached["not_exploited"]))
    return lines


def classifier_command(options: Options, task: str, seed: int, folder: Path) -> list[str]:
    """Return the command that makes a classifier."""
    return [
        "reward", "train", task, "--seed", str(seed), "--learn.seed", str(seed), "--attempts", str(options.attempts),
        "--learn.updates", str(options.updates), "--file", str(folder / "classifier.safetensors"),
        "--out", str(folder), "--threads", "1",
    ]  # fmt: skip


def policy_command(options: Options, task: str, seed: int, folder: Path, file: str) -> list[str]:
    """Return the command that trains a policy by it."""
    return [
        "train", task, "--seed", str(seed), "--classifier", file, "--max-minutes", str(options.minutes),
        "--final-episodes", str(options.episodes), "--video-episodes", "0", "--out", str(folder / "runs"),
        "--threads", "1",
    ]  # fmt: skip


def judge(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figures over all seeds of a task, and whether they are what is wanted."""
    counts = [row["classifier"]["test"]["by_frame"] for row in rows]
    true, false, missed = (
        sum(count[name] for count in counts) for name in ("true_positives", "false_positives", "false_negatives")
    )
    precision, recall = true / max(true + false, 1), true / max(true + missed, 1)
    rules = [row["classifier"]["test"]["rule"] for row in rows]
    claimed, truly = sum(rule["claimed"] for rule in rules), sum(rule["truly"] for rule in rules)
    found: dict[str, Any] = {
        "precision": round(precision, 6),
        "recall": round(recall, 6),
        "rule_precision": round(truly / max(claimed, 1), 6),
        "rule_precision_interval_95": [round(end, 6) for end in wilson_interval(truly, claimed)],
        "held_out_episodes": sum(row["classifier"]["test"]["episodes"] for row in rows),
        "reached": {"classifier": precision >= PRECISION and recall >= RECALL},
    }
    policies = [row["policy"] for row in rows if row["policy"] is not None]
    if policies:
        episodes = sum(policy["episodes"] for policy in policies)
        success = sum(round(policy["success_rate"] * policy["episodes"]) for policy in policies)
        classified = sum(round(policy["classified_rate"] * policy["episodes"]) for policy in policies)
        found |= {
            "true_success_rate": round(success / episodes, 6),
            "true_success_interval_95": [round(end, 6) for end in wilson_interval(success, episodes)],
            "classified_rate": round(classified / episodes, 6),
        }
        # A policy that succeeds at nothing exploits nothing either: it must be seen to succeed.
        learned = classified / episodes > 0.5
        found["reached"]["not_exploited"] = learned and (classified - success) / episodes <= POINTS
    return found


def _once(outcome: Path, command: list[str]) -> dict[str, Any]:
    """Return what a command ended with; it is run if that is not there yet."""
    if not outcome.exists():
        print(f"robo-rl {' '.join(command)}", file=sys.stderr, flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "robo_rl.cli", *command], stdout=subprocess.PIPE, text=True, check=True
        )
        write_json(outcome, json.loads(done.stdout.splitlines()[-1]))
    return json.loads(outcome.read_text())


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
