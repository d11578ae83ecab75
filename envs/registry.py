"""Tasks, robots and worlds by name. A task is a class in a file of ``envs/tasks``, or anywhere by its dotted path."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import pkgutil
import sys
from collections.abc import Callable, Mapping
from functools import cache, partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from robo_rl.contracts import RobotSpec, Task, World
from robo_rl.errors import UserError, unknown_name
from robo_rl.robots import robot as find_robot
from robo_rl.robots import robot_names

if TYPE_CHECKING:
    from envs.env import Env
    from envs.worlds.mjcf import Fidelity

__all__ = [
    "chooses_device",
    "import_here",
    "make_env",
    "make_task",
    "robot_names",
    "task_class",
    "task_names",
    "world_names",
]


def task_names() -> list[str]:
    """Names of the tasks that come with the suite."""
    return sorted(_built_in_tasks())


def task_class(name: str) -> type[Task]:
    """Return a task by its name or, from anywhere, by ``package.module:Class``.

    Modules are also looked for in the working directory, after everything that is installed.

    Raises:
        UserError: if there is no such task, its module cannot be imported, or it is no task.
    """
    if ":" in name:
        return _imported_task(name)
    built_in = _built_in_tasks()
    if name not in built_in:
        raise unknown_name("task", name, built_in)
    return built_in[name]


def make_task(name: str, robot: str | RobotSpec = "panda", overrides: Mapping[str, Any] | None = None) -> Task:
    """Build a task.

    Args:
        name: see :func:`task_class`.
        robot: the arm that does it, or its name.
        overrides: values of the task's fields.

    Raises:
        UserError: if a name is unknown or a value is refused.
    """
    kind = task_class(name)
    values = dict(overrides or {})
    if dataclasses.is_dataclass(kind):
        fields = [field.name for field in dataclasses.fields(kind) if field.init and field.name != "robot"]
        for field in values:
            if field not in fields:
                raise unknown_name(f"field of task {name!r}:", field, fields)
    spec = find_robot(robot) if isinstance(robot, str) else robot
    try:
        return kind(robot=spec, **values)  # type: ignore[call-arg]
    except TypeError as e:
        raise UserError(f"task {name!r} cannot be built: {e}") from e


def world_names() -> list[str]:
    """Names of the simulators."""
    return sorted(_WORLDS)


def chooses_device(world: str) -> bool:
    """Whether a simulator runs where it is told to; the others run on threads of the CPU."""
    return world == "warp"


def make_env(
    task: Task,
    *,
    world: str = "mujoco",
    num_envs: int = 1,
    seed: int = 0,
    reward: str = "sparse",
    threads: int | None = None,
    cameras: bool = False,
    device: str | None = None,
    obs: str = "state",
) -> Env:
    """Build a task in a simulator.

    Args:
        task: from :func:`make_task`.
        world: name of the simulator: ``mujoco``, ``mujoco_law`` (the law that runs beside a robot, at 1 kHz) or
            ``warp``.
        num_envs: copies, stepped together.
        seed: of the starts.
        reward: ``sparse`` or ``dense``.
        threads: physics threads of a simulator on the CPU; as many as there are cores if None.
        cameras: whether the cameras of the scene are read and observed.
        device: where a simulator that can choose runs, such as ``cuda``; its own choice if None.
        obs: ``state``, or ``pixels`` for camera images and what the arm knows of itself.

    Raises:
        UserError: if a name is unknown, or the simulator has no such option.
        MissingExtra: if the simulator is not installed.
    """
    from envs.env import Env

    if world not in _WORLDS:
        raise unknown_name("world", world, _WORLDS)
    if num_envs < 1:
        raise UserError(f"num_envs: must be at least 1, got {num_envs}")
    made = _WORLDS[world](task, num_envs, threads, cameras or obs == "pixels", device)
    try:
        return Env(made, task, seed=seed, reward=reward, obs=obs)
    except BaseException:
        made.close()
        raise


def _mujoco(
    fidelity: Fidelity, task: Task, num_envs: int, threads: int | None, cameras: bool, device: str | None
) -> World:
    name = "mujoco" if fidelity == "engine" else "mujoco_law"
    from envs.worlds.mujoco_world import MujocoWorld

    if device not in (None, "cpu"):
        raise UserError(f"device: world {name!r} runs on the CPU, not on {device!r}; choose world 'warp'")
    return MujocoWorld(task.robot, task.scene(), num_envs=num_envs, threads=threads, cameras=cameras, fidelity=fidelity)


def _warp(task: Task, num_envs: int, threads: int | None, cameras: bool, device: str | None) -> World:
    if threads is not None:
        raise UserError("threads: world 'warp' has none; leave it out")
    from envs.worlds.warp_world import WarpWorld

    return WarpWorld(task.robot, task.scene(), num_envs=num_envs, device=device, cameras=cameras)


_WORLDS: dict[str, Callable[[Task, int, int | None, bool, str | None], World]] = {
    "mujoco": partial(_mujoco, "engine"),
    "mujoco_law": partial(_mujoco, "law"),
    "warp": _warp,
}


def import_here(module: str) -> ModuleType:
    """Import a module, looked for in the working directory too, after everything that is installed."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    return importlib.import_module(module)


@cache
def _built_in_tasks() -> dict[str, type[Task]]:
    package = importlib.import_module("envs.tasks")
    found: dict[str, type[Task]] = {}
    for info in pkgutil.iter_modules(package.__path__, "envs.tasks."):
        for kind in vars(importlib.import_module(info.name)).values():
            if _is_task(kind) and kind.__module__ == info.name:
                found[kind.name] = kind
    return found


def _imported_task(path: str) -> type[Task]:
    module, _, attribute = path.partition(":")
    try:
        kind = getattr(import_here(module), attribute)
    except Exception as e:  # the module is the user's: whatever it raises is told in one line
        raise UserError(f"task {path!r} cannot be imported: {type(e).__name__}: {' '.join(str(e).split())}") from e
    if not _is_task(kind):
        missing = sorted(getattr(kind, "__abstractmethods__", ()))
        why = f"it lacks {', '.join(missing)}" if missing else "it is no subclass of robo_rl.contracts.Task with a name"
        raise UserError(f"task {path!r} cannot be used: {why}")
    return kind


def _is_task(kind: Any) -> bool:
    return (
        inspect.isclass(kind)
        and issubclass(kind, Task)
        and not inspect.isabstract(kind)
        and isinstance(getattr(kind, "name", None), str)
    )
