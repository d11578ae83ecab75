"""``robo-rl deploy``: run a trained policy on a robot cell."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from robo_rl.commands.arguments import parse
from robo_rl.errors import UserError

if TYPE_CHECKING:
    from robo_rl.contracts import Step

PRIORITY = 2
"""Real-time priority of a policy that drives a cell; below that of every device."""

_SETTLE = 0.2  # s after an episode, its last command in force, before the truth is looked at


@dataclasses.dataclass(frozen=True)
class DeployArguments:
    """What to run where."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder, or a file of robo-rl export."""

    cell: str = "sim"
    """Cell file, or name of one that is shipped. One that is not up is started, and ended afterwards."""

    arm: str | None = None
    """Which arm of the cell; None: the only one."""

    episodes: int = 10
    """Number of episodes; each is counted."""

    seed: int | None = None
    """Of the start states; None: those of the final evaluation of training."""

    checkpoint: str = "best"
    """best, latest, or the folder of a checkpoint."""

    explore: bool = False
    """Draw actions as in training, instead of taking the policy's mode."""

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise UserError(f"episodes: must be at least 1, got {self.episodes}")


def main(args: Sequence[str]) -> int:
    """Run the command; the exit code is 0, or 128 + n if signal n stopped it."""
    arguments = parse(
        DeployArguments, args, prog="robo-rl deploy",
        description="Run a trained policy on a robot cell. Every transition is stored in RUN/deployments/CELL. "
        "Ends with one JSON line, also in RUN/deployments.jsonl.",
    )  # fmt: skip
    from hardware.cell_file import load_cell
    from hardware.realtime import prioritise
    from robo_rl.commands.cell_env import cell_environment
    from robo_rl.commands.runnable import load_runnable, read_exported
    from robo_rl.data.episode_writer import EpisodeWriter
    from robo_rl.training.durable import JsonLines, finite
    from robo_rl.training.evaluation import control_period, evaluate
    from robo_rl.training.interrupts import Interrupts
    from robo_rl.training.outcome import figures
    from robo_rl.training.trainer import FINAL_SEED

    seed = FINAL_SEED if arguments.seed is None else arguments.seed
    started = time.monotonic()
    cell = load_cell(arguments.cell)
    exported = read_exported(arguments.run)
    run = arguments.run if exported is None else exported.config
    if exported is not None and arguments.explore:
        raise UserError("explore: an exported policy draws no actions; give the run folder instead")
    prioritise(PRIORITY)
    with (
        Interrupts() as interrupts,
        cell_environment(cell, run, arm=arguments.arm, seed=seed, should_stop=lambda: interrupts.requested) as on_cell,
    ):
        runnable = load_runnable(arguments.run, arguments.checkpoint, num_envs=1, seed=seed, env=on_cell.env)
        told: list[bool] = []
        true: list[bool] = []
        cut = 0

        before: list[tuple[Any, Any]] = []

        def act(obs: Any, *, explore: bool) -> Any:
            action = runnable.act(obs, explore=explore)
            before[:] = [(obs, action)]
            return action

        def watch(step: Step) -> None:
            nonlocal cut
            writer.add(*before[0], step)
            if not bool(step.done[0]):
                return
            time.sleep(_SETTLE)
            truth = on_cell.true_success()
            cut += int(bool(on_cell.env.reading["interrupted"][0]))
            told.append(bool(step.info["success"][0]))
            if truth is not None:
                true.append(truth)
            said = "success" if told[-1] else "no success"
            seen = "" if truth is None else f" (in truth: {'success' if truth else 'no success'})"
            print(f"episode {len(told)} of {arguments.episodes}: {said}{seen}", file=sys.stderr)

        source = runnable.source
        with EpisodeWriter(
            source.results / "deployments" / cell.name, runnable.env.observation_space, runnable.env.action_space,
            task=source.config.task, robot=source.config.robot, seed=seed, source="policy",
            control_dt=control_period(runnable.env),
        ) as writer:  # fmt: skip
            result = evaluate(
                runnable.env, act, arguments.episodes, deterministic=not arguments.explore, seed=seed,
                should_stop=lambda: interrupts.requested, on_step=watch,
            )  # fmt: skip
        if result is None:
            stored = f"{len(writer.stored)} are in {writer.folder}"
            print(f"robo-rl: interrupted after {len(told)} episodes, {stored}; the arm holds", file=sys.stderr)
            return interrupts.exit_code
        found = figures(
            source.config, source.results, result, env_steps=source.env_steps, updates=source.updates,
            wall_seconds=round(time.monotonic() - started, 3), checkpoint=source.name,
            cell=cell.name, **on_cell.figures(true), interrupted_episodes=cut, transitions=str(writer.folder),
        )  # fmt: skip
    found["world"] = "cell"
    lines = JsonLines(source.results / "deployments.jsonl")
    lines.append(found)
    lines.close()
    print(json.dumps(finite(found)), flush=True)
    return 0
