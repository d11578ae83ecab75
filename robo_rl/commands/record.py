"""``robo-rl record``: record demonstrations."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from robo_rl.cockpit.settings import CockpitSettings
from robo_rl.commands.arguments import parse
from robo_rl.errors import UserError

if TYPE_CHECKING:
    from robo_rl.training.config import TrainConfig

_PROG = "robo-rl record"
_DESCRIPTION = """Record demonstrations of a task, one file an episode.

`robo-rl record TASK --device gamepad` lets a person do it, at the robot's pace: an episode begins with their first
push. Its episodes are all stored, those that failed too, unless they are discarded; docs/human.md tells which button
does what. `--device scripted`, the default, has the task's scripted expert do it, and stores what succeeded.

`robo-rl record TASK --help` also lists the options of the task. It ends with one JSON line.

Train from them with: robo-rl train TASK --demo-path DIR"""


@dataclasses.dataclass(frozen=True)
class RecordArguments:
    """What to record."""

    task: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TASK")]
    """Name of a task, or dotted path of one (package.module:Class)."""

    device: str = "scripted"
    """Who acts: scripted (the task's expert), or a person at keyboard, gamepad or spacemouse (NAME:WHICH picks one of
    several, by its path or number), or at the page of the cockpit."""

    cockpit: CockpitSettings = dataclasses.field(default_factory=CockpitSettings)
    """Where that page is served."""

    frame: str | None = None
    """Frame that the person's device moves in: base, tool, or a camera of the task; None: the task's own."""

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

    cell: str | None = None
    """Robot cell to record on instead of in a simulator: a cell file, or the name of one (robo-rl cell list)."""

    arm: str | None = None
    """Which arm of the cell; None: the only one."""

    num_envs: int = 4
    """Environments side by side, where the scripted expert acts in a simulator."""

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
    from robo_rl.commands.environments import options_type
    from robo_rl.commands.task_options import with_task_options
    from robo_rl.settings import to_json
    from robo_rl.training.config import TrainConfig
    from robo_rl.training.interrupts import Interrupts

    options = options_type(args[0])
    kind = with_task_options(RecordArguments, options, options())
    prog = f"{_PROG} {args[0]}"
    arguments = parse(kind, args[1:], prog=prog, description=_DESCRIPTION, default=kind(args[0]))
    config = TrainConfig(
        arguments.task,
        robot=arguments.robot,
        world=arguments.world,
        cell=arguments.cell,
        arm=arguments.arm,
        obs=arguments.obs,
        task_options=to_json(arguments.task_options),  # type: ignore[attr-defined]
    )
    folder = arguments.out or Path("demonstrations") / arguments.task.replace(":", "_")
    with Interrupts() as interrupts:
        kept, tried = _record(arguments, config, folder, lambda: interrupts.requested)
    told = {"task": arguments.task, "robot": arguments.robot, "episodes": kept, "tries": tried, "out": str(folder)}
    print(json.dumps(told), flush=True)
    return interrupts.exit_code


def _record(
    arguments: RecordArguments, config: TrainConfig, folder: Path, should_stop: Callable[[], bool]
) -> tuple[int, int]:
    """Record; return how many episodes succeeded, and of how many."""
    from robo_rl.commands.cockpits import at_the_page, open_cockpit
    from robo_rl.commands.humans import COCKPIT, check_device, open_person, tell
    from robo_rl.commands.train import environments

    check_device(arguments.device, "scripted")
    scripted = arguments.device == "scripted"
    if scripted and arguments.frame is not None:
        raise UserError("frame: the scripted expert has no device; leave it out, or choose one by --device")
    count = min(arguments.num_envs, arguments.episodes) if scripted and config.cell is None else 1
    about: dict[str, Any] = {
        "task": arguments.task,
        "robot": arguments.robot,
        "seed": arguments.seed,
        "should_stop": should_stop,
    }

    def told(kept: int, tried: int) -> None:
        tell(f"{kept} kept of {tried} tries")

    with ExitStack() as opened:
        cockpit = None
        if arguments.device == COCKPIT:
            title = f"record {arguments.task}"
            cockpit = opened.enter_context(open_cockpit(arguments.cockpit, title=title, cell=config.cell is not None))
            cockpit.watch(episodes=folder)
        make_env, _ = opened.enter_context(environments(config, should_stop, cockpit))
        env = make_env(count, arguments.seed)
        try:
            if scripted:
                from robo_rl.training.demonstrations import record_expert

                return record_expert(env, folder, arguments.episodes, on_kept=told, **about)
            from robo_rl.human.intervention import InterventionEnv
            from robo_rl.human.recording import record_person

            paced = config.cell is None
            if cockpit is not None:
                env = at_the_page(
                    env, cockpit, frame=arguments.frame, paced=paced, figures=True, fps=arguments.cockpit.fps,
                    should_stop=should_stop,
                )  # fmt: skip
                return record_person(env, folder, arguments.episodes, on_episode=told, **about)
            person = open_person(arguments.device, env, frame=arguments.frame)
            attended = InterventionEnv(env, {0: person}, paced=paced, should_stop=should_stop, tell=tell)
            try:
                return record_person(attended, folder, arguments.episodes, on_episode=told, **about)
            finally:
                person.close()
        finally:
            env.close()
