"""``robo-rl doctor``: what this machine can do, and the remedy for what it cannot."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import tyro

from robo_rl.commands.arguments import parse

if TYPE_CHECKING:
    from robo_rl.commands.probes import Finding


@dataclasses.dataclass(frozen=True)
class DoctorArguments:
    """What to print."""

    as_json: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object instead of a table."""


def main(args: Sequence[str]) -> int:
    """Run the command; the exit code is 0 if this machine can train, otherwise 1."""
    arguments = parse(
        DoctorArguments,
        args,
        prog="robo-rl doctor",
        description="Try out rendering, GPU, ROS 2, devices and extras, and say how to mend what does not work.",
    )
    from robo_rl.commands.probes import findings

    if sys.stderr.isatty():
        print("trying things out, this takes some seconds ...", file=sys.stderr)
    found = list(findings())
    can_train = all(finding.status == "ok" for finding in found if finding.needed)
    if arguments.as_json:
        print(json.dumps({"can_train": can_train, "findings": [dataclasses.asdict(finding) for finding in found]}))
    else:
        _print_table(found, can_train)
    return 0 if can_train else 1


def _print_table(found: Sequence[Finding], can_train: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("", "what", "", "found", "remedy"):
        table.add_column(column, overflow="fold")
    colours = {"ok": "green", "missing": "yellow", "failed": "red"}
    group = None
    for finding in found:
        shown = "" if finding.group == group else finding.group
        group = finding.group
        status = f"[{colours[finding.status]}]{finding.status}[/]"
        table.add_row(shown, finding.name, status, _plain(finding.detail), _plain(finding.remedy))
    console = Console()
    console.print(table)
    console.print(
        "this machine can train" if can_train else "[red]this machine cannot train[/]: see the remedies above"
    )


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
