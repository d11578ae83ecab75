"""``robo-rl tasks``: the tasks there are, read from their files without importing anything heavy."""

from __future__ import annotations

import ast
import dataclasses
import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import tyro

from robo_rl.commands.arguments import parse
from robo_rl.robots import robot_names


@dataclasses.dataclass(frozen=True)
class TasksArguments:
    """What to print."""

    as_json: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object instead of a table."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    arguments = parse(TasksArguments, args, prog="robo-rl tasks", description="List the tasks and the robots.")
    tasks = described_tasks()
    if arguments.as_json:
        print(json.dumps({"tasks": tasks, "robots": robot_names()}))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table("task", "what it is", "robots", box=None, pad_edge=False)
    for name, about in tasks.items():
        table.add_row(name, about, ", ".join(robot_names()))
    table.add_row("gym:ID", "Any Gymnasium environment with a box of actions, such as gym:Pendulum-v1.", "its own")
    table.add_row("package.module:Class", "A task of your own.", "any")
    Console().print(table)
    print("\nrobo-rl train TASK --help lists the options of a task.")
    return 0


def described_tasks() -> dict[str, str]:
    """Return the first line about each task that comes with the suite, by name.

    The files are parsed, not imported: importing a task imports torch, which takes seconds.
    """
    package = find_spec("envs")  # Not envs.tasks: finding that would import envs.
    folders = [] if package is None else list(package.submodule_search_locations or [])
    found: dict[str, str] = {}
    for file in sorted(file for folder in folders for file in Path(folder, "tasks").glob("*.py")):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef) and (name := _task_name(node)) is not None:
                found[name] = (ast.get_docstring(node) or "").split("\n")[0]
    return dict(sorted(found.items()))


def _task_name(node: ast.ClassDef) -> str | None:
    """The ``name`` that a class gives itself, None if it gives none."""
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            target, value = line.target.id, line.value
        elif isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
            target, value = line.targets[0].id, line.value
        else:
            continue
        if target == "name" and isinstance(value, ast.Constant) and isinstance(value.value, str):
            return value.value
    return None
