"""The node processes of a cell: started, watched, started anew, ended."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from hardware.cell import Cell
from hardware.cell_file import save_cell
from robo_rl.training.durable import StorageError, write_json

_RESTART_AFTER = 1.0  # s between the death of a node and its successor
_PATIENCE = 5.0  # s that a node may take to end
_GIVE_UP = 5  # deaths of one node within a minute after which it is left alone
_REFUSED = 2  # how a node ends that cannot start, having said why in one line
_SETTLED = 10.0  # s after which a node that runs has got over what its predecessor refused to start for
_RECORD = "nodes.json"

_log = logging.getLogger(__name__)


def trouble(folder: Path, name: str) -> str:
    """Why a node of the cell whose files are in ``folder`` does not run, in one line; empty while nothing is known.

    Holds for whoever has started the cell and for whoever has found it running.
    """
    try:
        said = json.loads((folder / _RECORD).read_text()).get(name, "")
    except (OSError, ValueError):
        return ""
    return said if isinstance(said, str) else ""


def end_with(parent: int) -> None:
    """End this process, as by SIGTERM, once its parent has died, however suddenly; returns at once.

    Nobody would end it, and it would hold a device, or a core, for ever.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


class Deaths:
    """Counts how often processes have died, and knows which may be started again.

    A second after its death; after five within a minute, no more.
    """

    def __init__(self) -> None:
        self._at: dict[str, list[float]] = {}
        self._counted: dict[str, subprocess.Popen[Any]] = {}

    def count(self, name: str, process: subprocess.Popen[Any]) -> int:
        """Count the death of ``process``, which goes by ``name``, once.

        Returns:
            The deaths of that name within the last minute; 0 if this one was counted before.
        """
        if self._counted.get(name) is process:
            return 0
        self._counted[name] = process
        now = time.monotonic()
        self._at[name] = [at for at in self._at.get(name, []) if now - at < 60.0] + [now]
        return len(self._at[name])

    def ago(self, name: str) -> float:
        """Seconds since the last death of that name; infinite if there was none."""
        return time.monotonic() - self._at[name][-1] if name in self._at else math.inf

    def left_alone(self, name: str) -> bool:
        """Whether it has died so often that it is not started again."""
        return len(self._at.get(name, [])) >= _GIVE_UP

    def start_again(self, name: str) -> bool:
        """Whether it is to be started again now."""
        return not self.left_alone(name) and self.ago(name) > _RESTART_AFTER


class CellProcesses:
    """One process per arm, camera and emergency stop of a cell.

    A node that dies is started anew; after five deaths within a minute it is left alone. :func:`trouble` tells which do
    not run. An arm whose node has died begins in the latched fault ``stopped``: nobody moves it before a person has
    said so. If this process dies, however suddenly, the nodes end as they do at :meth:`close`.

    Args:
        cell: what to start.
        folder: of resolved cell file, logs (``NAME.log``) and fault logs.

    Attributes:
        cell_file: the resolved cell.
    """

    def __init__(self, cell: Cell, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.cell_file = folder / "cell.yaml"
        save_cell(cell, self.cell_file)
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._deaths = Deaths()
        self._troubles: dict[str, str] = {}
        self._recorded: dict[str, str] = {}  # of them, in the file
        self._full = False
        self._logged: dict[str, int] = {}  # bytes in the log of each node before its process
        write_json(folder / _RECORD, self._troubles)
        self._running = {name: self._start(name) for name in (*cell.arms, *cell.cameras, *cell.emergency_stops)}
        self._arms = set(cell.arms)
        self._watcher = threading.Thread(target=self._watch, name="cell-watch", daemon=True)
        self._watcher.start()

    @property
    def running(self) -> Mapping[str, subprocess.Popen[bytes]]:
        """The process of each device."""
        return dict(self._running)

    def said(self, name: str) -> str:
        """The last line that the process of a node has logged: its error, if it ended with one."""
        try:
            with (self._folder / f"{name}.log").open("rb") as log:
                log.seek(self._logged.get(name, 0))
                lines = log.read().decode(errors="replace").strip().splitlines()
        except OSError:
            return ""
        errors = [line for line in lines if line.startswith(f"{name}: error: ")]
        return (errors or lines or [""])[-1].removeprefix(f"{name}: ").removeprefix("error: ")

    def dead(self) -> list[str]:
        """The nodes that do not run now."""
        return [name for name, process in self._running.items() if process.poll() is not None]

    def close(self) -> None:
        """End every node: arms hold, cameras are let go of. Once more is no error."""
        self._closing.set()
        if self._watcher is not threading.current_thread():
            self._watcher.join()
        with self._lock:
            for process in self._running.values():
                process.terminate()
            for process in self._running.values():
                try:
                    process.wait(_PATIENCE)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def __enter__(self) -> CellProcesses:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, name: str, latched: str = "") -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "hardware.serve", str(self.cell_file), name, "--parent", str(os.getpid())]
        command += ["--fault-folder", str(self._folder / "faults")] + (["--latched", latched] if latched else [])
        with self._log_of(name) as log:
            self._logged[name] = log.tell()
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _log_of(self, name: str) -> BinaryIO:
        try:
            return (self._folder / f"{name}.log").open("ab")
        except OSError:  # a full disk: a node that says nothing is better than none
            return open(os.devnull, "ab")

    def _watch(self) -> None:
        while not self._closing.wait(0.1):
            for name, process in list(self._running.items()):
                code = process.poll()
                if code is None:
                    if name in self._troubles and self._deaths.ago(name) > _RESTART_AFTER + _SETTLED:
                        self._tell(name, "")
                elif deaths := self._deaths.count(name, process):
                    self._tell(name, self._why(name, code, deaths))
                elif self._deaths.start_again(name):
                    why = f"its node had ended with code {code} and was started anew" if name in self._arms else ""
                    with self._lock:
                        self._running[name] = self._start(name, why)
            self._record()

    def _why(self, name: str, code: int, deaths: int) -> str:
        """What to tell of a node that has ended; nothing of one that is started anew and may well come up."""
        said = self.said(name) or "it logged nothing"
        if code != _REFUSED:
            _log.warning("%s: its node has ended with code %d (%s)", name, code, said)
        if self._deaths.left_alone(name):
            return f"its node has ended {deaths} times within a minute and is left alone, the last time saying: {said}"
        return said if code == _REFUSED else ""

    def _tell(self, name: str, said: str) -> None:
        if said:
            self._troubles[name] = said
        else:
            self._troubles.pop(name, None)

    def _record(self) -> None:
        """Write down what is new; a disk that takes nothing is told once, and nodes are looked after all the same."""
        if self._troubles == self._recorded:
            return
        try:
            write_json(self._folder / _RECORD, self._troubles)
        except StorageError as error:
            if not self._full:
                _log.warning("%s", error)
            self._full = True
        else:
            self._recorded, self._full = dict(self._troubles), False
