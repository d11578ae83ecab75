"""``robo-rl cockpit``: watch and move a robot from a page in a browser."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from robo_rl.cockpit.settings import CockpitSettings
from robo_rl.commands.arguments import parse
from robo_rl.errors import UserError

if TYPE_CHECKING:
    from robo_rl.cockpit.watched import WatchedEnv
    from robo_rl.training.config import TrainConfig

_PROG = "robo-rl cockpit"
_DESCRIPTION = """Watch and move a robot from a page in a browser.

`robo-rl cockpit TASK` simulates a task, `robo-rl cockpit --cell CELL` takes a robot cell. You do the task, and an
episode begins with your first push; or, with --run RUN, a trained policy does it and you correct it. Every episode is
stored unless it is discarded. `End` on the page ends it, with one JSON line.

Correct a policy while it learns by: robo-rl train TASK --cockpit"""


@dataclasses.dataclass(frozen=True)
class CockpitArguments:
    """What to open."""

    task: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TASK")] = ""
    """Name of a task, or dotted path of one; left out, that of the run or of the simulated cell."""

    cell: str | None = None
    """Robot cell instead of a simulator: a cell file, or the name of one (robo-rl cell list)."""

    arm: str | None = None
    """Which arm of the cell; None: the only one."""

    run: Path | None = None
    """Run folder, or a file of robo-rl export, whose policy acts until you take over; None: only you move it."""

    frame: str | None = None
    """Frame that a push is meant in before you choose another on the page: base, tool, or a camera of the task; None:
    the task's own."""

    out: Path | None = None
    """Folder of the episodes; None: cockpit/TASK. Episodes that are there stay."""

    robot: str = "panda"
    """Arm that does the task, in a simulator."""

    world: str = "mujoco"
    """Simulator: mujoco, or mujoco_law (the control law of the real arm, at 1 kHz; slower)."""

    obs: Literal["state", "pixels"] = "state"
    """What is stored: the vector that the task observes, or camera images and what the arm knows of itself."""

    seed: int = 0
    """Seed of the start states."""

    cockpit: tyro.conf.OmitArgPrefixes[CockpitSettings] = dataclasses.field(default_factory=CockpitSettings)
    """Where the page is served."""


def main(args: Sequence[str]) -> int:
    """Run the command; the exit code is 0, or 128 + n if signal n stopped it (what was stored stays)."""
    from robo_rl.training.interrupts import Interrupts

    arguments = parse(CockpitArguments, args, prog=_PROG, description=_DESCRIPTION)
    config = _config(arguments)
    folder = arguments.out or Path("cockpit") / config.task.replace(":", "_")
    with Interrupts() as interrupts:
        kept, tried = _serve(arguments, config, folder, lambda: interrupts.requested)
    print(json.dumps({"task": config.task, "successes": kept, "episodes": tried, "out": str(folder)}), flush=True)
    return interrupts.exit_code


def _config(arguments: CockpitArguments) -> TrainConfig:
    """What is done, where and by which arm, as a run would have it."""
    from robo_rl.settings import from_json
    from robo_rl.training.config import TrainConfig
    from robo_rl.training.run_folder import RunFolder

    shape: dict[str, Any] = {"cell": arguments.cell, "arm": arguments.arm, "world": arguments.world}
    if arguments.run is not None:
        from robo_rl.commands.runnable import read_exported

        exported = read_exported(arguments.run)
        if exported is not None:
            config = exported.config
        else:
            run = RunFolder.open(arguments.run)
            config = from_json(TrainConfig, run.config, where=str(run.path / "config.json"))
        if arguments.task not in ("", config.task):
            raise UserError(f"task: the run is of {config.task!r}, not {arguments.task!r}; leave it out")
        return dataclasses.replace(config, **shape, num_envs=1, human=None)
    task, robot = arguments.task, arguments.robot
    if arguments.cell is not None:
        from hardware.cell_file import load_cell

        cell = load_cell(arguments.cell)
        robot = cell.arms[cell.arm(arguments.arm)].robot
        task = task or (cell.simulation.task if cell.simulation is not None else None) or ""
    if not task:
        raise UserError(f"name the task: {_PROG} TASK [options]; `robo-rl tasks` lists them")
    return TrainConfig(task, robot=robot, obs=arguments.obs, **shape)


def _serve(
    arguments: CockpitArguments, config: TrainConfig, folder: Path, should_stop: Callable[[], bool]
) -> tuple[int, int]:
    """Serve until somebody ends it; return how many episodes succeeded, and of how many."""
    from robo_rl.commands.cockpits import at_the_page, open_cockpit
    from robo_rl.commands.train import environments
    from robo_rl.human.recording import record_person

    title, on_cell = config.task if config.cell is None else f"{config.task} on {config.cell}", config.cell is not None
    with (
        open_cockpit(arguments.cockpit, title=title, cell=on_cell) as cockpit,
        environments(config, should_stop, cockpit) as (make_env, _),
    ):
        cockpit.watch(episodes=folder)
        env = at_the_page(
            make_env(1, arguments.seed), cockpit, frame=arguments.frame, paced=not on_cell, figures=True,
            fps=arguments.cockpit.fps, should_stop=should_stop,
        )  # fmt: skip
        try:
            if arguments.run is not None:
                return _correct(arguments, env, config, folder, should_stop)
            about: dict[str, Any] = {"task": config.task, "robot": config.robot, "seed": arguments.seed}
            return record_person(env, folder, sys.maxsize, **about, should_stop=should_stop)
        finally:
            env.close()


def _correct(
    arguments: CockpitArguments, env: WatchedEnv, config: TrainConfig, folder: Path, should_stop: Callable[[], bool]
) -> tuple[int, int]:
    """Have the policy of a run act, episode after episode; the person at the page may take over."""
    from robo_rl.commands.runnable import load_runnable
    from robo_rl.contracts.human import LABELS
    from robo_rl.data.episode_writer import EpisodeWriter

    assert arguments.run is not None
    runnable = load_runnable(arguments.run, "best", num_envs=1, seed=arguments.seed, env=env)
    kept = tried = 0
    about: dict[str, Any] = {"task": config.task, "robot": config.robot, "seed": arguments.seed, "source": "policy"}
    about["control_dt"] = env.control_dt
    with EpisodeWriter(folder, env.observation_space, env.action_space, **about) as writer:
        while not (should_stop() or env.stop_requested):
            obs, over = env.reset(), False
            while not (over or should_stop() or env.stop_requested):
                action = runnable.act(obs, explore=False)
                step = env.step(action)
                writer.add(obs, action, step)
                obs, over = step.obs, bool(step.done[0])
            if over and LABELS[int(step.info["label"][0])] != "discard":
                tried += 1
                kept += bool(step.info["success"][0])
    return kept, tried
