"""``robo-rl cell check``: looks a cell over, device by device, and says what is not well."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from robo_rl.commands.arguments import parse
from robo_rl.errors import UserError

if TYPE_CHECKING:
    from hardware.findings import Finding
    from hardware.ros.session import Session
    from robo_rl.commands.cells import RunningCell


@dataclasses.dataclass(frozen=True)
class CheckArguments:
    """What to check."""

    cell: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CELL")]
    """Cell file, or name of one that is shipped."""

    seconds: float = 5.0
    """Seconds for which each rate is measured."""

    def __post_init__(self) -> None:
        if not 0.5 <= self.seconds <= 3600:
            raise UserError(f"seconds: must be from 0.5 to 3600, got {self.seconds}")


def main(args: Sequence[str]) -> int:
    """Run the command; the exit code is 1 if something is not well."""
    from hardware.cell_file import load_cell
    from hardware.ros.session import Session
    from robo_rl.commands.cells import running

    arguments = parse(CheckArguments, args, prog="robo-rl cell check", description="Look a cell over.")
    cell = load_cell(arguments.cell)
    with (
        running(cell) as up,
        Session("cell_check", domain=cell.ros.domain, interfaces=cell.ros.interfaces) as session,
    ):
        print("looking the cell over; arms move by up to 4 cm", file=sys.stderr)
        findings = list(look_over(up, session, arguments.seconds))
    _print(findings)
    ok = all(each.ok is not False for each in findings)
    figures = {f"{each.device}.{each.what.replace(' ', '_')}": dict(each.figures) for each in findings}
    wrong = [f"{each.device}: {each.what}: {each.found}" for each in findings if each.ok is False]
    print(json.dumps({"cell": cell.name, "ok": ok, "wrong": wrong, "figures": figures}), flush=True)
    return 0 if ok else 1


def look_over(up: RunningCell, session: Session, seconds: float) -> Iterator[Finding]:
    """Check every device of a cell that is up. One whose node does not start is told at once, and left out."""
    from hardware.check import check_camera, check_stop, past_faults
    from hardware.findings import Finding
    from hardware.ros import longest_silence
    from robo_rl.commands.cells import clients

    yield past_faults(up.folder / "faults")
    robots, cameras = clients(up.cell, session)
    ready: dict[str, Any] = {}
    for name, client in {**robots, **cameras}.items():
        try:
            up.wait_until_ready(name, client)
            ready[name] = client
        except UserError as error:
            yield Finding(name, "node", str(error), False, {})
    if not up.cell.emergency_stops:
        said = "none in the cell file: arms are stopped by the key of `cell up`, `cell stop` and their makers' buttons"
        yield Finding("cell", "emergency stops", said, None, {})
    for name in up.cell.emergency_stops:
        said = up.trouble(name)
        yield Finding(name, "node", said, False, {}) if said else check_stop(name, longest_silence(name, session, 2.0))
    seen = {name: camera for name, camera in cameras.items() if name in ready}
    for name, robot in robots.items():
        if name in ready:
            yield from _arm(up, name, robot, seen, seconds)
    for name, camera in seen.items():
        yield check_camera(name, camera, seconds)


def _arm(up: RunningCell, name: str, robot: Any, cameras: Mapping[str, Any], seconds: float) -> Iterator[Finding]:
    from hardware.check import Expected, check_arm, check_skew
    from hardware.devices import control_rate
    from hardware.findings import Finding

    cell = up.cell
    expected = Expected(
        cell.limits_of(name), control_rate(cell, name), cell.arms[name].driver == "simulated", cell.ros.max_age
    )
    try:
        yield from check_skew(name, robot, cameras, seconds, cell.ros.max_age)
        yield from check_arm(name, robot, expected, seconds)
    except UserError as error:  # a fault or a silence in the middle of it
        yield Finding(name, "check", f"broken off: {error}", False, {})


def _print(findings: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("device", "what", "found", "", box=None, pad_edge=False)
    for each in findings:
        table.add_row(each.device, each.what, each.found, {True: "ok", False: "NOT OK", None: ""}[each.ok])
    Console(stderr=True).print(table)
