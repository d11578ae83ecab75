"""Cells that run: found or started, and the worlds on top of them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robo_rl.errors import UserError

if TYPE_CHECKING:
    from hardware.cell import Cell, SimulationEntry
    from hardware.processes import CellProcesses
    from hardware.ros.camera_client import RosCamera
    from hardware.ros.robot_client import RosRobot
    from hardware.ros.session import Session
    from hardware.world import CellWorld
    from robo_rl.contracts import Operator, Robot, Task
    from robo_rl.contracts.plant import PlantSettings

_RECORD = "running.json"


@dataclass(frozen=True)
class RunningCell:
    """A cell whose nodes are up.

    Attributes:
        cell: resolved.
        folder: of its logs and fault logs.
        processes: that we have started; None if somebody else has.
        simulation: folder of its simulation; None for a real cell.
    """

    cell: Cell
    folder: Path
    processes: CellProcesses | None
    simulation: Path | None

    def trouble(self, name: str) -> str:
        """Why the node of a device does not run, in one line; empty while nothing is known."""
        from hardware.processes import trouble

        return trouble(self.folder, name)

    def wait_until_ready(self, name: str, client: Any, patience: float = 60.0) -> None:
        """Return once the node of a device serves its ``client``, a :class:`RosRobot` or a :class:`RosCamera`.

        Raises:
            UserError: at once if the node cannot start: what it said, in one line.
            Stale: if it does not come up within ``patience`` s; says what it logged last.
        """
        from robo_rl.errors import Stale

        deadline = time.monotonic() + patience
        while True:
            if said := self.trouble(name):
                raise UserError(f"{name} does not start: {said}")
            try:
                client.wait_until_ready(0.1)
                return
            except Stale as error:
                if time.monotonic() > deadline:
                    said = f"; it logged: {self.processes.said(name)}" if self.processes is not None else ""
                    raise Stale(f"{error}, nor for {patience:g} s{said}") from None

    def operator(self) -> Operator:
        """Who sets the scene up: a stand-in where the cell is simulated, else the person at the terminal."""
        if self.simulation is not None:
            from hardware.emulation.operator import SimulatedOperator

            return SimulatedOperator(self.simulation)
        return TerminalOperator()


@contextlib.contextmanager
def stop_key(robots: Sequence[Robot], operator: Any = None) -> Iterator[None]:
    """Have space and Escape stop ``robots`` while a command runs on a terminal; elsewhere nothing happens.

    A :class:`TerminalOperator` then reads its answers from what else is typed.
    """
    if not sys.stdin.isatty():
        yield
        return
    from hardware.inputs.stop_key import StopKey

    with StopKey(robots) as key:
        if isinstance(operator, TerminalOperator):
            operator.keys = key.source.typed
        print("space or Escape stops the arms", file=sys.stderr)
        try:
            yield
        finally:
            if isinstance(operator, TerminalOperator):
                operator.keys = None


class TerminalOperator:
    """A :class:`robo_rl.contracts.Operator`: asks the person at the terminal, where there is one.

    Attributes:
        keys: what is typed, key by key, where somebody else reads the terminal; None to read it here.
    """

    def __init__(self) -> None:
        self.keys: queue.SimpleQueue[str] | None = None

    def _line(self) -> str:
        if self.keys is None:
            return sys.stdin.readline()
        typed = ""
        while not typed.endswith("\n"):
            typed += self.keys.get()
        return typed

    def arrange(self, start: Any) -> None:
        """Say what goes where, and wait for the return key."""
        if not start.objects or not sys.stdin.isatty():
            return
        for name, pose in start.objects.items():
            x, y, z = pose.pos[0].tolist()
            print(f"  {name}: to x {x:.3f}, y {y:.3f}, z {z:.3f} m", file=sys.stderr)
        print("put the objects there, then press return (s and return: stop)", file=sys.stderr)
        if self._line().strip().lower().startswith("s"):
            raise UserError("stopped by the operator")

    def acknowledge(self, fault: str, reason: str) -> bool:
        """Leave it to ``robo-rl cell recover``: whoever says so has looked at the arm."""
        return False


def runtime_folder(cell: Cell) -> Path:
    """Where a running cell of this name and domain keeps its logs; for this user alone."""
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    return base / f"robo_rl-{os.getuid()}" / f"{cell.name}-{cell.ros.domain}"


def find_running(cell: Cell) -> RunningCell | None:
    """Return the cell if its nodes are up already, started by ``robo-rl cell up``."""
    from hardware.cell_file import load_cell

    folder = runtime_folder(cell)
    try:
        record = json.loads((folder / _RECORD).read_text())
        os.kill(int(record["pid"]), 0)
    except (OSError, ValueError, KeyError):
        return None
    simulation = record.get("simulation")
    return RunningCell(load_cell(folder / "cell.yaml"), folder, None, Path(simulation) if simulation else None)


@contextlib.contextmanager
def running(
    cell: Cell, task: str | None = None, overrides: Mapping[str, Any] | None = None, *, cameras: bool = True
) -> Iterator[RunningCell]:
    """Attach to a cell, or start it and end it afterwards.

    Args:
        cell: from its file.
        task: of a simulated cell; that of the file if None.
        overrides: fields of the task.
        cameras: whether a cell that is started has its cameras started too.

    Raises:
        UserError: if a simulated cell runs with another task, or cannot be started.
    """
    found = find_running(cell)
    if found is not None:
        runs = found.cell.simulation
        if runs is not None and task is not None and runs.task != task:
            raise UserError(
                f"cell {cell.name!r} is running with task {runs.task!r}, not {task!r}; end it first, or start it "
                f"by `robo-rl cell up {cell.name} --task {task}`"
            )
        yield found
        return
    from hardware.processes import CellProcesses
    from robo_rl.training.durable import write_json

    with contextlib.ExitStack() as stack:
        folder = runtime_folder(cell)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        simulation = None
        if not cameras:
            cell = dataclasses.replace(cell, cameras={})
        if cell.simulation is not None:
            cell, simulation = _simulate(cell, task, overrides, stack)
        processes = stack.enter_context(CellProcesses(cell, folder))
        record = folder / _RECORD
        stack.callback(record.unlink, missing_ok=True)
        write_json(record, {"pid": os.getpid(), "simulation": simulation and str(simulation)})
        yield RunningCell(cell, folder, processes, simulation)


def _simulate(
    cell: Cell, task: str | None, overrides: Mapping[str, Any] | None, stack: contextlib.ExitStack
) -> tuple[Cell, Path]:
    """Start the processes of a simulation and return the cell with the folder of theirs filled in."""
    from robo_rl.commands.physics import SimulatedCell

    entry = cell.simulation
    assert entry is not None  # the caller has looked
    name = task or entry.task
    if name is None:
        raise UserError(f"cell {cell.name!r}: simulation.task is missing; say which task's scene to simulate")
    arm = next(arm for arm in cell.arms.values() if arm.driver == "simulated")
    drawn = any(camera.driver == "simulated" for camera in cell.cameras.values())
    drawn = drawn and bool(_scene_cameras(name, arm.robot))
    simulated = stack.enter_context(
        SimulatedCell(
            name,
            arm.robot,
            settings=plant_of(entry),
            overrides=overrides,
            cameras=drawn,
            fps=entry.fps,
            sizes={each: (camera.width, camera.height) for each, camera in cell.cameras.items()},
            board=entry.board,
            restart=True,
        )
    )
    cameras = {each: camera for each, camera in cell.cameras.items() if drawn or camera.driver != "simulated"}
    where = {"folder": str(simulated.folder)}
    resolved = dataclasses.replace(
        cell,
        arms={
            each: dataclasses.replace(arm, settings={**arm.settings, **where}) if arm.driver == "simulated" else arm
            for each, arm in cell.arms.items()
        },
        cameras={
            each: dataclasses.replace(camera, settings={**camera.settings, **where})
            if camera.driver == "simulated"
            else camera
            for each, camera in cameras.items()
        },
        simulation=dataclasses.replace(entry, task=name),
    )
    return resolved, simulated.folder


def plant_of(simulation: SimulationEntry) -> PlantSettings:
    """The plant that a cell file describes.

    Raises:
        UserError: if the preset or a field is unknown, or a value is wrong.
    """
    from robo_rl.commands.physics import read_settings
    from robo_rl.contracts.plant import PlantSettings
    from robo_rl.settings import from_json

    said = {"preset": simulation.plant} if isinstance(simulation.plant, str) else dict(simulation.plant)
    preset = dataclasses.asdict(read_settings(str(said.pop("preset", "ideal"))))
    return from_json(PlantSettings, {**preset, **said}, where="simulation.plant")


def _scene_cameras(task: str, robot: str) -> list[str]:
    from envs.registry import make_task

    return [camera.name for camera in make_task(task, robot).scene().cameras]


def clients(cell: Cell, session: Session, *, cameras: bool = True) -> tuple[dict[str, RosRobot], dict[str, RosCamera]]:
    """Clients of the arms and the cameras of a cell."""
    from hardware.ros.camera_client import RosCamera
    from hardware.ros.robot_client import RosRobot

    robots = {name: RosRobot(name, cell.spec_of(name), session) for name in cell.arms}
    seen = cell.cameras if cameras else {}
    return robots, {name: RosCamera(name, entry.width, entry.height, session) for name, entry in seen.items()}


def make_cell_world(
    up: RunningCell,
    task: Task,
    session: Session,
    *,
    arm: str | None = None,
    cameras: bool = False,
    patience: float = 60.0,
    should_stop: Callable[[], bool] = lambda: False,
) -> CellWorld:
    """Return the world of an arm of a running cell, over ROS 2.

    Args:
        up: the cell.
        task: what will be done; its scene says which fixtures and cameras are read.
        session: that the clients live on.
        arm: name of the arm; the only one if None.
        cameras: whether the cameras that the task knows are read.
        patience: s that each node may take to come up.
        should_stop: ends waiting for a fault to be acknowledged.

    Raises:
        Stale: if a node does not come up; says what it logged last.
        UserError: if a node cannot start, or the cell lacks what the task needs.
    """
    from hardware.emulation.delayed import DelayedRobot
    from hardware.ros.camera_client import RosCamera
    from hardware.ros.robot_client import RosRobot
    from hardware.world import CellWorld

    name = up.cell.arm(arm)
    wanted = [camera.name for camera in task.scene().cameras] if cameras else []
    missing = sorted(set(wanted) - set(up.cell.cameras))
    if missing:
        raise UserError(f"cell {up.cell.name!r} has no camera {missing[0]!r}, which task {task.name!r} reads; add it")
    robot = RosRobot(name, up.cell.spec_of(name), session)
    clients = {
        each: RosCamera(each, up.cell.cameras[each].width, up.cell.cameras[each].height, session) for each in wanted
    }
    for each, client in {name: robot, **clients}.items():
        up.wait_until_ready(each, client, patience)
    operator: Any = up.operator()
    tracker = getattr(operator, "truth", None)
    delay = up.cell.simulation.delay if up.cell.simulation is not None else 0.0
    reached: Robot = DelayedRobot(robot, command_delay=delay) if delay else robot
    return CellWorld(
        reached, clients, task.scene(), fixtures=up.cell.fixture_poses(name), operator=operator, tracker=tracker,
        max_age=up.cell.ros.max_age, should_stop=should_stop,
    )  # fmt: skip
