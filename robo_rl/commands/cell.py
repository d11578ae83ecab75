"""``robo-rl cell``: start a cell, look it over, stop it, go on."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from robo_rl.commands import calibrate, cell_check, home
from robo_rl.commands.arguments import parse
from robo_rl.errors import UserError, unknown_name

if TYPE_CHECKING:
    from hardware.cell import Cell
    from hardware.ros.robot_client import RosRobot
    from hardware.ros.session import Session

_PARTS = {
    "up": "start the nodes of a cell and print their health until Ctrl-C",
    "sim": "start the simulated cell: as `cell up sim`",
    "check": "walk through rates, latencies, drop-outs, limits and the emergency stop",
    "stop": "latch the stop of every arm: they hold until `cell recover`",
    "recover": "acknowledge the fault of every arm, so that it may move again",
    "home": "move the arms to their home posture, grippers open",
    "calibrate": "measure a camera, a fixture, a tool or a payload, and write it into the cell file",
    "list": "list the cells that go by a name",
}


@dataclasses.dataclass(frozen=True)
class UpArguments:
    """What to start."""

    cell: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CELL")] = "sim"
    """Cell file, or name of one that is shipped."""

    task: str | None = None
    """Task whose scene a simulated cell has; that of the cell file if None."""

    seconds: float | None = None
    """Seconds after which it ends; None: at Ctrl-C."""


@dataclasses.dataclass(frozen=True)
class CellArguments:
    """Which cell."""

    cell: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CELL")]
    """Cell file, or name of one that is shipped."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    if not args or args[0] in ("-h", "--help"):
        lines = [f"  {name:<9} {what}" for name, what in _PARTS.items()]
        print("\n".join(["usage: robo-rl cell PART CELL ...", "", *lines]), file=sys.stdout if args else sys.stderr)
        return 0 if args else 2
    part, rest = args[0], list(args[1:])
    if part not in _PARTS:
        raise unknown_name("part of robo-rl cell", part, _PARTS)
    return {
        "up": _up,
        "sim": _up,
        "check": cell_check.main,
        "stop": _stop,
        "recover": _recover,
        "list": _list,
        "home": home.main,
        "calibrate": calibrate.main,
    }[part](rest)


def _up(args: list[str]) -> int:
    from hardware.cell_file import load_cell
    from hardware.ros.session import Session
    from robo_rl.commands.cells import clients, find_running, running, stop_key
    from robo_rl.training.interrupts import Interrupts

    arguments = parse(UpArguments, args, prog="robo-rl cell up", description="Start the nodes of a cell.")
    cell = load_cell(arguments.cell)
    if find_running(cell) is not None:
        raise UserError(f"cell {cell.name!r} is up already; end the other `robo-rl cell up` first")
    with (
        Interrupts() as interrupts,
        running(cell, arguments.task) as up,
        Session("cell_up", domain=cell.ros.domain, interfaces=cell.ros.interfaces) as session,
        contextlib.ExitStack() as stack,
    ):
        robots, cameras = clients(up.cell, session)
        print(f"cell {cell.name}: domain {cell.ros.domain}, logs in {up.folder}", file=sys.stderr)
        stack.enter_context(stop_key(list(robots.values())))
        began = time.monotonic()
        told: dict[str, str] = {}
        troubles: dict[str, str] = {}
        names = (*up.cell.arms, *up.cell.cameras, *up.cell.emergency_stops)
        while not interrupts.requested:
            if arguments.seconds is not None and time.monotonic() - began > arguments.seconds:
                break
            for name in names:
                if (said := up.trouble(name)) != troubles.get(name, ""):
                    print(f"{name}: {'does not start: ' + said if said else 'is back'}", file=sys.stderr)
                    troubles[name] = said
            for name, client in {**robots, **cameras}.items():
                said = _health(client)
                if said.split(" ")[:2] != told.get(name, "").split(" ")[:2]:  # mode and fault, not the rest
                    print(f"{name}: {said}", file=sys.stderr)
                    told[name] = said
            time.sleep(0.2)
        assert up.processes is not None  # we have started them
        ended = up.processes.dead()
        dead = {
            name: up.trouble(name) or up.processes.said(name) for name in names if up.trouble(name) or name in ended
        }
        health = {name: _health(client) for name, client in {**robots, **cameras}.items()}
        summary = {"cell": cell.name, "seconds": round(time.monotonic() - began, 1), "health": health, "dead": dead}
    print(json.dumps(summary), flush=True)
    return 1 if dead else 0


def _stop(args: list[str]) -> int:
    from hardware.inputs.stop_key import CELL_STOP

    return _for_each_arm(args, "stop", lambda robot: robot.stop(CELL_STOP), "fault")


def _recover(args: list[str]) -> int:
    from hardware.ros import reset_emergency_stop

    def release(cell: Cell, session: Session) -> None:
        for name in cell.emergency_stops:
            reset_emergency_stop(name, session)

    return _for_each_arm(args, "recover", lambda robot: robot.recover(), "holding", before=release)


def _list(args: list[str]) -> int:
    from hardware.cell_file import load_cell, shipped

    parse(ListArguments, args, prog="robo-rl cell list", description="List the cells that go by a name.")
    found = {}
    for path in shipped():
        cell = load_cell(path)
        arms = ", ".join(f"{entry.robot} by {entry.driver}" for entry in cell.arms.values())
        found[path.stem] = {"arms": arms, "cameras": list(cell.cameras)}
        print(f"{path.stem:<12} {arms}; cameras: {', '.join(cell.cameras) or 'none'}", file=sys.stderr)
    print(json.dumps(found), flush=True)
    return 0


@dataclasses.dataclass(frozen=True)
class ListArguments:
    """Nothing to choose."""


def _for_each_arm(
    args: list[str],
    word: str,
    act: Callable[[RosRobot], None],
    mode: str,
    before: Callable[[Cell, Session], None] = lambda cell, session: None,
) -> int:
    from hardware.cell_file import load_cell
    from hardware.ros.session import Session
    from robo_rl.commands.cells import clients, find_running

    arguments = parse(CellArguments, args, prog=f"robo-rl cell {word}", description=_PARTS[word])
    cell = load_cell(arguments.cell)
    up = find_running(cell)
    if up is None:
        raise UserError(f"cell {cell.name!r} is not up; start it by `robo-rl cell up {arguments.cell}`")
    with Session(f"cell_{word}", domain=cell.ros.domain, interfaces=cell.ros.interfaces) as session:
        robots, _ = clients(up.cell, session, cameras=False)
        for name, robot in robots.items():
            up.wait_until_ready(name, robot)
        before(up.cell, session)
        for robot in robots.values():
            act(robot)
        deadline = time.monotonic() + 2.0
        while time.monotonic() < deadline and any(robot.status().mode != mode for robot in robots.values()):
            time.sleep(0.02)
        modes = {name: robot.status().mode for name, robot in robots.items()}
    print(json.dumps({"cell": cell.name, "modes": modes}), flush=True)
    return 0 if all(each == mode for each in modes.values()) else 1


def _health(client: Any) -> str:
    try:
        if hasattr(client, "status"):
            status = client.status()
            return f"{status.mode} {status.fault} {status.reason}".strip()
        frame = client.read(1.0)
        return f"pictures {frame.rgb.shape[1]}x{frame.rgb.shape[0]}"
    except UserError as error:
        return f"silent: {error}"
