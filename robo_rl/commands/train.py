"""``robo-rl train``: train a policy, from the beginning or from where a run was stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robo_rl.commands.arguments import parse
from robo_rl.commands.environments import classified, make_environment, options_type, training_defaults
from robo_rl.commands.task_options import read_options, with_task_options
from robo_rl.errors import UserError
from robo_rl.settings import differences, from_json, to_json, with_settings
from robo_rl.training.algorithms import refuse_unused
from robo_rl.training.config import GYM_PREFIX, TrainConfig
from robo_rl.training.durable import finite
from robo_rl.training.interrupts import Interrupts
from robo_rl.training.run_folder import RunFolder, read_json

if TYPE_CHECKING:
    from robo_rl.cockpit.cockpit import Cockpit
    from robo_rl.contracts.learning import BatchedEnv
    from robo_rl.human.intervention import InterventionEnv
    from robo_rl.training.session import MakeEnv

_PROG = "robo-rl train"
_DESCRIPTION = """Train a policy.

`robo-rl train TASK` trains on a task (`robo-rl tasks` lists them), `robo-rl train gym:ID` on a Gymnasium environment.

`robo-rl train TASK --cell CELL` learns on a robot cell; `robo-rl cell list` lists those that have a name.

`robo-rl train --resume RUN` goes on with a run; only what ends or watches it may be set anew.

`robo-rl train TASK --human gamepad` lets a person correct the policy while it learns; docs/human.md tells how.

`robo-rl train TASK --backward OTHER` also learns the task that undoes it, and hardly ever resets.

`robo-rl train TASK --cockpit` opens a page to watch and correct from; docs/cockpit.md tells more.

`robo-rl train TASK --config RUN/config.json` takes the settings of another run.

`robo-rl train TASK --help` lists the options of the task too. Training ends with one JSON line, also in
RUN/summary.json."""

# What may be set anew on resuming: it changes when training ends and how it is watched, not what is learned from what.
_MAY_CHANGE = frozenset(
    {"steps", "max_minutes", "target_success", "final_episodes", "checkpoint_every", "log_every", "video_episodes"}
    | {"eval_every", "eval_envs", "threads", "memory_budget_gb", "human", "frame", "classifier", "cockpit"}
)


def main(args: Sequence[str]) -> int:
    """Run the command; the exit code is 0, or 128 + n if signal n stopped it (130: Ctrl-C)."""
    with Interrupts() as interrupts:
        config, run = read_request(list(args))
        from robo_rl import threads

        threads.configure(config.threads, spare=0 if config.cell is None else 1)
        from robo_rl.commands.cockpits import open_cockpit
        from robo_rl.commands.humans import COCKPIT, supervisor
        from robo_rl.rewards.files import keep_classifier
        from robo_rl.training.reset_free import train_both
        from robo_rl.training.session import train

        with contextlib.ExitStack() as opened:
            cockpit = None
            if config.human == COCKPIT:
                page = open_cockpit(config.cockpit, title=f"train {config.task}", cell=config.cell is not None)
                cockpit = opened.enter_context(page)
            supervise = supervisor(config, lambda: interrupts.requested, cockpit)
            inside = environments(config, lambda: interrupts.requested, cockpit)
            make_env, told = opened.enter_context(inside)
            backward = None if config.backward is None else _the_backward_one(config, make_env)
            if run is None:
                _try_out(config, make_env, supervise)
                if backward is not None:
                    _try_out(*backward[:2], None)
                run = RunFolder.create(config.out, config.task, to_json(config), seed=config.seed)
            else:
                run.record_system(config.seed)
            keep_classifier(config, run.path)
            if cockpit is not None:
                cockpit.watch(metrics=run.path / "metrics.jsonl", episodes=run.path / "episodes")
            about: Any = {"should_stop": lambda: interrupts.requested, "supervise": supervise, "told": told}
            if backward is None:
                summary = train(config, run, make_env, **about)
            else:
                second, make_second, share = backward
                summary = train_both((config, second), run, (make_env, make_second), share, **about)
        print(json.dumps(finite(summary)), flush=True)
        return interrupts.exit_code


@contextlib.contextmanager
def environments(
    config: TrainConfig, should_stop: Callable[[], bool], cockpit: Cockpit | None = None
) -> Iterator[tuple[MakeEnv, Callable[[], dict[str, Any]]]]:
    """What makes the environments of a run, and what these have to tell at its end.

    They are simulators, as many as are asked for, or the one that is a robot cell, whose cameras and stop ``cockpit``
    has.
    """
    if config.cell is None:
        yield lambda num_envs, seed: make_environment(config, num_envs, seed), dict
        return
    from hardware.cell_file import load_cell
    from robo_rl.commands.cell_env import cell_environment

    cell = load_cell(config.cell)
    with contextlib.ExitStack() as opened:
        inside = cell_environment(
            cell, config, arm=config.arm, seed=config.seed, cameras=config.classifier is not None,
            watched=cockpit is not None, should_stop=should_stop,
        )  # fmt: skip
        on_cell = opened.enter_context(inside)
        if cockpit is not None:
            from robo_rl.commands.cockpits import on_the_page

            opened.enter_context(on_the_page(cockpit, on_cell.cameras, on_cell.robots, config.cockpit.fps))
        env = classified(on_cell.env, config)

        def the_cell(num_envs: int, seed: int) -> BatchedEnv:
            env.seed(seed)
            return env

        yield the_cell, lambda: on_cell.figures([])


def _the_backward_one(config: TrainConfig, make_env: MakeEnv) -> tuple[TrainConfig, MakeEnv, Callable[[Any], Any]]:
    """Configuration of the agent that learns the backward task, what makes environments of it, and what makes one in
    the world of another.
    """  # noqa: D205
    from robo_rl.commands.backward import backward_config, sharing

    second = backward_config(config)
    share = sharing(config, second)
    if config.cell is not None:  # which there is but one of
        return second, lambda num_envs, seed: share(make_env(num_envs, seed)), share
    return second, lambda num_envs, seed: make_environment(second, num_envs, seed), share


def _try_out(config: TrainConfig, make_env: MakeEnv, supervise: Callable[[BatchedEnv], InterventionEnv] | None) -> None:
    """Find out what does not fit before a run folder is made: a wrong name or setting leaves nothing behind."""
    from robo_rl.data.episodes import load_episodes
    from robo_rl.training.algorithms import make_agent
    from robo_rl.training.encoder_files import settled
    from robo_rl.training.feature_env import with_features
    from robo_rl.training.session import make_memory

    if config.demo_path is not None and config.demos:
        load_episodes(config.demo_path)
    config = settled(config, None)
    env = make_env(1, config.seed)
    try:
        if supervise is not None:
            env = supervise(env)
        env = with_features(env, config.agent)
        make_agent(config, env, seed=config.seed)
        make_memory(config, env, round(config.memory_budget_gb * 1e9))
    finally:
        env.close()


def read_request(args: list[str]) -> tuple[TrainConfig, RunFolder | None]:
    """Read the command line of training: the configuration, and the run to go on with if there is one.

    Raises:
        UserError: if it cannot be read, or asks for what does not fit.
    """
    if "--cockpit" in args:
        if _value(args, "--human") is not None:
            raise UserError("--cockpit is short for --human cockpit; give one of them")
        args = [word for word in args if word != "--cockpit"] + ["--human", "cockpit"]
    args, resume = _take(args, "--resume")
    args, file = _take(args, "--config")
    if resume is not None and file is not None:
        raise UserError("--config starts a new run and --resume goes on with one; give one of them")
    if resume is not None:
        return _resumed(args, resume)
    base = None if file is None else from_json(TrainConfig, read_json(Path(file)), where=file)
    task = _task_name(args)
    if task is None:
        if base is None:
            if {"-h", "--help"} & set(args):
                parse(TrainConfig, args, prog=_PROG, description=_DESCRIPTION)
            raise UserError(
                "which task? robo-rl train TASK [options]; `robo-rl tasks` lists them, gym:ID is Gymnasium's"
            )
        task = base.task
    if base is None:
        base = _usual(task, _value(args, "--obs") or "state")
    elif base.task != task:
        base = dataclasses.replace(base, task=task, task_options={})
    config = _with_options(args, base)
    if config.is_foreign and config.demos and config.demo_path is None:
        raise UserError(f"demos: {config.task} has no scripted expert; use --demos 0, or give --demo-path")
    refuse_unused(config, _usual(config.task, config.obs))
    return config, None


def _usual(task: str, obs: str) -> TrainConfig:
    """The configuration of a task where nothing is said of it."""
    return with_settings(TrainConfig(task), training_defaults(task, obs), where=f"training_defaults of {task}")


def _resumed(args: list[str], path: str) -> tuple[TrainConfig, RunFolder]:
    run = RunFolder.open(Path(path))
    old = from_json(TrainConfig, run.config, where=str(run.path / "config.json"))
    task = _task_name(args)
    if task is not None and task != old.task:
        raise UserError(f"run {run.path} is of task {old.task!r}, not {task!r}")
    config = _with_options(args, old)
    for name, (was, now) in differences(old, config).items():
        if name not in _MAY_CHANGE:
            raise UserError(f"{name}: a resumed run cannot change it from {was!r} to {now!r}; start a new one")
    if config.classifier == old.classifier:
        from robo_rl.rewards.files import with_own_classifier

        config = with_own_classifier(config, run.path)
    return config, run


def _with_options(args: list[str], base: TrainConfig) -> TrainConfig:
    """Read the options, those of the task among them, on top of ``base``; the task itself is known by now."""
    if base.task in args:
        args = [word for i, word in enumerate(args) if i != args.index(base.task)]
    options = options_type(base.task)
    kind = with_task_options(TrainConfig, options, read_options(options, base.task_options, where="task_options"))
    values = {f.name: getattr(base, f.name) for f in dataclasses.fields(base) if f.name != "task_options"}
    parsed = parse(kind, args, prog=f"{_PROG} {base.task}", description=_DESCRIPTION, default=kind(**values))
    chosen = {f.name: getattr(parsed, f.name) for f in dataclasses.fields(TrainConfig)}
    return TrainConfig(**{**chosen, "task_options": to_json(parsed.task_options)})


def _task_name(args: list[str]) -> str | None:
    """Return the task among the arguments: the first of them, or one that can be nothing else."""
    if args and not args[0].startswith("-"):
        return args[0]
    from envs.registry import task_names

    names = task_names() if args else []
    words = (word for before, word in zip(["", *args], args, strict=False) if before != "--backward")
    return next((word for word in words if word in names or word.startswith(GYM_PREFIX)), None)


def _value(args: list[str], option: str) -> str | None:
    """Return the value of an option that is left among the arguments; None if it is not there."""
    for word, after in zip(args, [*args[1:], ""], strict=True):
        if word == option:
            return after
        if word.startswith(f"{option}="):
            return word.removeprefix(f"{option}=")
    return None


def _take(args: list[str], option: str) -> tuple[list[str], str | None]:
    """Return ``args`` without ``option`` and its value, and the value."""
    for i, word in enumerate(args):
        if word == option:
            if i + 1 == len(args) or args[i + 1].startswith("--"):
                raise UserError(f"{option} needs the path of {'a run folder' if option == '--resume' else 'a file'}")
            return args[:i] + args[i + 2 :], args[i + 1]
        if word.startswith(f"{option}="):
            return args[:i] + args[i + 1 :], word.removeprefix(f"{option}=")
    return args, None
