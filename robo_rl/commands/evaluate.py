"""``robo-rl eval``: measure the success of a trained policy."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from robo_rl.commands.arguments import parse
from robo_rl.errors import UserError


@dataclasses.dataclass(frozen=True)
class EvalArguments:
    """What to measure."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder, or a file of robo-rl export."""

    episodes: int = 100
    """Number of episodes; each is counted, whether short or long."""

    seed: int | None = None
    """Of the start states; None: those of the final evaluation of training."""

    policy: Literal["both", "deterministic", "stochastic"] = "both"
    """Take the policy's mode, draw actions as in training, or measure one after the other; of an exported file there is
    the mode alone."""

    checkpoint: str = "best"
    """best, latest, or the folder of a checkpoint."""

    num_envs: int = 10
    """Environments side by side; the result does not depend on it."""

    world: str | None = None
    """Another simulator than the one of the run: mujoco, mujoco_law (the control law of the real arm) or warp."""

    def __post_init__(self) -> None:
        for name in ("episodes", "num_envs"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}: must be at least 1, got {getattr(self, name)}")


def main(args: Sequence[str]) -> int:
    """Run the command; the exit code is 0, or 128 + n if signal n stopped it."""
    arguments = parse(
        EvalArguments,
        args,
        prog="robo-rl eval",
        description="Measure the success of a trained policy. Ends with one JSON line, also added to "
        "RUN/evaluations.jsonl (beside an exported file).",
    )
    from robo_rl.commands.runnable import load_runnable
    from robo_rl.training.durable import JsonLines, finite
    from robo_rl.training.evaluation import evaluate
    from robo_rl.training.interrupts import Interrupts
    from robo_rl.training.outcome import figures
    from robo_rl.training.trainer import FINAL_SEED

    seed = FINAL_SEED if arguments.seed is None else arguments.seed
    started = time.monotonic()
    runnable = load_runnable(
        arguments.run, arguments.checkpoint, num_envs=arguments.num_envs, seed=seed, world=arguments.world
    )
    try:
        results = []
        with Interrupts() as interrupts:
            both = ("deterministic",) if runnable.source.exported else ("deterministic", "stochastic")
            for way in both if arguments.policy == "both" else (arguments.policy,):
                result = evaluate(
                    runnable.env,
                    runnable.act,
                    arguments.episodes,
                    deterministic=way == "deterministic",
                    seed=seed,
                    should_stop=lambda: interrupts.requested,
                )
                if result is None:
                    print("robo-rl: interrupted before the last episode ended; nothing is reported", file=sys.stderr)
                    return interrupts.exit_code
                results.append(result)
                low, high = result.interval
                print(
                    f"{way}: success {result.success_rate:.1%} of {result.episodes} episodes, "
                    f"95 % interval {low:.1%} to {high:.1%}",
                    file=sys.stderr,
                )
    finally:
        runnable.env.close()
    source = runnable.source
    found = figures(
        source.config,
        source.results,
        results[0],
        env_steps=source.env_steps,
        updates=source.updates,
        wall_seconds=round(time.monotonic() - started, 3),
        checkpoint=source.name,
    )
    if len(results) == 2:
        sampled = results[1].to_json()
        found |= {
            f"stochastic_{key}": sampled[key] for key in ("success_rate", "success_interval_95", "return", "length")
        }
    lines = JsonLines(source.results / "evaluations.jsonl")
    lines.append(found)
    lines.close()
    print(json.dumps(finite(found)), flush=True)
    return 0
