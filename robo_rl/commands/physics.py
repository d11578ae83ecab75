"""The processes of a simulated cell, and how they are started: ``python -m robo_rl.commands.physics``.

One process runs the physics, one draws the cameras. Both are told everything on their command line.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Literal

import tyro

from robo_rl.commands.arguments import parse
from robo_rl.contracts import SceneSpec
from robo_rl.contracts.plant import DIFFERENT, PlantSettings
from robo_rl.errors import UserError, unknown_name

PRESETS = {"ideal": PlantSettings(), "different": DIFFERENT}
"""Settings that go by a name."""

_DRAWING = 1  # real-time priority: below everyone who is waited for, above what has nothing to do with the cell

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class PhysicsArguments:
    """What to simulate."""

    task: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TASK")]
    """Task whose scene stands around the arm: its name, or dotted path."""
    folder: Path
    """Folder of the cell: its sockets and shared memory."""
    robot: str = "fr3"
    """The arm."""
    part: Literal["physics", "cameras"] = "physics"
    """What this process does."""
    settings: str = "ideal"
    """Settings of the plant: ideal, different, a JSON object, or the path of a JSON file."""
    overrides: str = "{}"
    """Fields of the task, as a JSON object."""
    fps: float = 30.0
    """Pictures per second of each camera."""
    sizes: str = "{}"
    """Width and height of the pictures of cameras, by name, where they are other than the task's; a JSON object."""
    board: str = "{}"
    """A ChArUco board that the scene is cleared for, as in simulation.board of a cell file; a JSON object."""
    seed: int = 0
    """Of the start that the objects are first placed by."""
    parent: int | None = None
    """Process without which this one shall not go on; None: go on until told to end."""


def main(args: Sequence[str]) -> int:
    """Run one process of a simulated cell until it is told to end; print its figures as one JSON line."""
    from robo_rl import display

    display.configure()  # Before mujoco is imported.
    arguments = parse(
        PhysicsArguments, args, prog="python -m robo_rl.commands.physics", description="Run a part of a simulated cell."
    )
    settings = read_settings(arguments.settings)
    if arguments.fps <= 0:
        raise UserError(f"fps: must be above 0, got {arguments.fps}")
    if arguments.parent is not None:
        from hardware.processes import end_with

        end_with(arguments.parent)
    serve = _serve_physics if arguments.part == "physics" else _serve_cameras
    print(json.dumps(serve(arguments, settings)), flush=True)
    return 0


def read_settings(text: str) -> PlantSettings:
    """Return settings by the name of a preset, as a JSON object, or from a JSON file.

    Raises:
        UserError: if a field is unknown or has a wrong value, or there is no such preset or file.
    """
    from robo_rl.settings import from_json

    if text in PRESETS:
        return PRESETS[text]
    where = "settings"
    if not text.lstrip().startswith("{"):
        if not Path(text).is_file():
            raise unknown_name("settings (or no such file)", text, PRESETS)
        where, text = text, Path(text).read_text()
    return from_json(PlantSettings, _json_object(text, where), where=where)


class SimulatedCell:
    """Starts the processes of a simulated cell, and ends them.

    Example:
        >>> with SimulatedCell("peg_insertion", "fr3", settings=DIFFERENT) as cell:     # doctest: +SKIP
        ...     drive = EmulatedDrive(robot("fr3"), cell.folder)

    Args:
        task: whose scene stands around the arm.
        robot: the arm.
        settings: of the plant.
        overrides: fields of the task.
        cameras: whether to draw the scene's cameras.
        fps: pictures per second of each.
        sizes: width and height of their pictures, by name; the scene's own for those that are left out.
        board: that the scene is cleared for, as in ``simulation.board`` of a cell file; None: the task's scene.
        folder: of the cell; a new one in memory if None.
        restart: whether a process that dies is started anew, as :class:`hardware.processes.Deaths` has it. New physics
            begins as the first did, the arm at home: whoever drives it sees stale states, and goes on only after a
            person's acknowledgement.

    Attributes:
        folder: of the cell.
        physics: its process.
        cameras: its process, None if nothing is drawn.
    """

    def __init__(
        self,
        task: str,
        robot: str,
        *,
        settings: PlantSettings | None = None,
        overrides: Mapping[str, Any] | None = None,
        cameras: bool = False,
        fps: float = 30.0,
        sizes: Mapping[str, tuple[int, int]] | None = None,
        board: Mapping[str, Any] | None = None,
        folder: Path | None = None,
        restart: bool = False,
    ) -> None:
        self._closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="simulation-watch", daemon=True) if restart else None
        self._temporary = None if folder is not None else _folder_in_memory()
        self.folder = folder or Path(self._temporary.name)  # type: ignore[union-attr]
        self._command = [
            sys.executable, "-m", "robo_rl.commands.physics", task, "--robot", robot, "--folder", str(self.folder),
            "--settings", json.dumps(dataclasses.asdict(settings or PlantSettings())), "--fps", str(fps),
            "--overrides", json.dumps(dict(overrides or {})), "--sizes", json.dumps(dict(sizes or {})),
            "--board", json.dumps(dict(board or {})), "--parent", str(os.getpid()),
        ]  # fmt: skip
        self.physics = self.start_physics()
        self.cameras = self._start("cameras") if cameras else None

    def start_physics(self) -> subprocess.Popen[str]:
        """Start the physics, once more if it has died; :meth:`wait` says when it is up."""
        self.physics = self._start("physics")
        return self.physics

    def wait(self, timeout: float = 180.0) -> None:
        """Return once every process answers.

        Raises:
            UserError: if one ends before, with what it said, or it takes longer than ``timeout`` s.
        """
        from hardware.emulation.client import CellClient

        client = CellClient(self.folder, timeout=0.5)
        tries = max(1, round(timeout))
        for attempt in range(tries):
            for process in (self.physics, self.cameras):
                if process is not None and process.poll() is not None:
                    said = process.stderr.read().strip() if process.stderr is not None else ""
                    raise UserError(
                        f"a process of the simulated cell has ended: {said.splitlines()[-1:] or 'silently'}"
                    )
            try:
                client.wait_until_up(1.0, cameras=self.cameras is not None)
                return
            except UserError:
                if attempt == tries - 1:
                    raise

    def close(self) -> None:
        """End the processes and remove the folder if it was made here. Once more is no error."""
        self._closing.set()
        if self._watcher is not None and self._watcher.is_alive():
            self._watcher.join()
        running = [process for process in (self.cameras, self.physics) if process is not None]
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.communicate(timeout=5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
        if self._temporary is not None:
            with contextlib.suppress(FileNotFoundError):
                self._temporary.cleanup()

    def __enter__(self) -> SimulatedCell:
        try:
            self.wait()
        except BaseException:
            self.close()
            raise
        if self._watcher is not None:
            self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _watch(self) -> None:
        from hardware.processes import Deaths

        deaths = Deaths()
        while not self._closing.wait(0.1):
            for part, process in (("physics", self.physics), ("cameras", self.cameras)):
                if process is None or process.poll() is None:
                    continue
                if deaths.count(part, process):
                    said = (process.communicate()[1] or "").strip().splitlines()[-1:] or ["silently"]
                    _log.warning(
                        "simulated cell: its process of the %s has ended with code %d (%s) and is %s",
                        part, process.returncode, said[0],
                        "left alone, as it does so again and again" if deaths.left_alone(part) else "started anew",
                    )  # fmt: skip
                elif deaths.start_again(part):
                    setattr(self, part, self._start(part))

    def _start(self, part: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self._command, "--part", part], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip


def _serve_physics(arguments: PhysicsArguments, settings: PlantSettings) -> dict[str, float]:
    import gc

    import torch

    from envs.worlds.plant import MujocoPlant
    from hardware.emulation.physics import serve

    task = _task(arguments)
    scene = _scene(arguments, task)
    plant = MujocoPlant(task.robot, scene, settings)
    start = task.start(torch.Generator().manual_seed(arguments.seed), 1)
    there = {item.name for item in scene.objects}
    poses = {name: (pose.pos[0].numpy(), pose.rot[0].numpy()) for name, pose in start.objects.items() if name in there}
    plant.place(poses)
    gc.collect()
    gc.freeze()  # what has been built stays; the loop leaves no cycles behind, and need not wait for their collection
    gc.disable()
    return serve(plant, arguments.folder, settings)


def _serve_cameras(arguments: PhysicsArguments, settings: PlantSettings) -> dict[str, float]:
    del settings  # they do not show
    from hardware.realtime import prioritise

    prioritise(_DRAWING)
    from envs.worlds.plant import MujocoPainter
    from hardware.emulation.pictures import serve_pictures

    task = _task(arguments)
    return serve_pictures(MujocoPainter(task.robot, _scene(arguments, task)), arguments.folder, arguments.fps)


def _task(arguments: PhysicsArguments) -> Any:
    from envs.registry import make_task

    return make_task(arguments.task, robot=arguments.robot, overrides=_json_object(arguments.overrides, "overrides"))


def _scene(arguments: PhysicsArguments, task: Any) -> SceneSpec:
    """The task's scene, or one cleared for a board; its cameras as large as they shall be."""
    scene: SceneSpec = task.scene()
    sizes = _json_object(arguments.sizes, "sizes")
    cameras = []
    for camera in scene.cameras:
        width, height = sizes.get(camera.name, (camera.width, camera.height))
        cameras.append(dataclasses.replace(camera, width=int(width), height=int(height)))
    scene = dataclasses.replace(scene, cameras=tuple(cameras))
    board = _json_object(arguments.board, "board")
    if not board:
        return scene
    from robo_rl.commands.board_scene import clear_for

    return clear_for(scene, task.robot, board)


def _json_object(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: no JSON ({error})") from error
    if not isinstance(value, dict):
        raise UserError(f"{where}: must be a JSON object, such as {{}}")
    return value


def _folder_in_memory() -> tempfile.TemporaryDirectory[str]:
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(prefix="cell.", dir=memory if os.access(memory, os.W_OK) else None)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
