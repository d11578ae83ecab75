"""``robo-rl record``: record demonstrations."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from robo_rl.commands.arguments import parse
from robo_rl.errors import UserError

_PROG = "robo-rl record"
_DESCRIPTION = """Record demonstrations: the successful episodes of a task, one file each.

`robo-rl record TASK --help` also lists the options of the task. It ends with one JSON line.

Train from them with: robo-rl train TASK --demo-path DIR"""


@dataclasses.dataclass(frozen=True)
class RecordArguments:
    """What to record."""

    task: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TASK")]
    """Name of a task, or dotted path of one (package.module:Class)."""

    source: Literal["scripted"] = "scripted"
    """Who acts: the task's scripted expert."""

    episodes: int = 20
    """Successful episodes to record."""

    out: Path | None = None
    """Folder; None: demonstrations/TASK. Episodes that are there stay."""

    robot: str = "panda"
    """Arm that does the task."""

    world: str = "mujoco"
    """Simulator: mujoco, mujoco_law (the control law of the real arm, at 1 kHz; slower) or warp (GPU)."""

    obs: Literal["state", "pixels"] = "state"
    """What is recorded: the vector that the task observes, or camera images and what the arm knows of itself."""

    num_envs: int = 4
    """Environments side by side."""

    seed: int = 0
    """Seed of the start states."""

    def __post_init__(self) -> None:
        for name in ("episodes", "num_envs"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}: must be at least 1, got {getattr(self, name)}")


def main(args: Sequence[str]) -> int:
    """Run the command; the exit code is 0, or 128 + n if signal n stopped it (what was recorded stays)."""
    if not args or args[0].startswith("-"):
        if {"-h", "--help"} & set(args):
            parse(RecordArguments, args, prog=_PROG, description=_DESCRIPTION)
        raise UserError(f"name the task first: {_PROG} TASK [options]")
    from robo_rl.commands.environments import make_environment, options_type
    from robo_rl.commands.task_options import with_task_options
    from robo_rl.training.config import TrainConfig, to_json
    from robo_rl.training.demonstrations import record_expert
    from robo_rl.training.interrupts import Interrupts

    options = options_type(args[0])
    kind = with_task_options(RecordArguments, options, options())
    prog = f"{_PROG} {args[0]}"
    arguments = parse(kind, args[1:], prog=prog, description=_DESCRIPTION, default=kind(args[0]))
    config = TrainConfig(
        arguments.task,
        robot=arguments.robot,
        world=arguments.world,
        obs=arguments.obs,
        task_options=to_json(arguments.task_options),  # type: ignore[attr-defined]
    )
    folder = arguments.out or Path("demonstrations") / arguments.task.replace(":", "_")
    env = make_environment(config, min(arguments.num_envs, arguments.episodes), arguments.seed)
    try:
        with Interrupts() as interrupts:
            kept, tried = record_expert(
                env,
                folder,
                arguments.episodes,
                task=arguments.task,
                robot=arguments.robot,
                seed=arguments.seed,
                should_stop=lambda: interrupts.requested,
                on_kept=lambda kept, tried: print(f"{kept} kept of {tried} tries", file=sys.stderr),
            )
    finally:
        env.close()
    told = {"task": arguments.task, "robot": arguments.robot, "episodes": kept, "tries": tried, "out": str(folder)}
    print(json.dumps(told), flush=True)
    return interrupts.exit_code
