"""The last seconds of an arm, kept in memory and written to disk when a fault is latched."""

from __future__ import annotations

import contextlib
import json
import queue
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

SECONDS = 5.0
"""How much is kept."""


class FaultLog:
    """A ring of what every control cycle saw and did; a thread of its own writes it out.

    A file is ``<local time>_<fault>.npz``: an array per field, first dimension the cycles, oldest first, and ``about``,
    a JSON text with the fault, its reason and the robot. Load with ``np.load(path)``; nothing in it is pickled.

    Attributes:
        errors: files that could not be written, as with a full disk.
    """

    def __init__(self, folder: Path | None, fields: Mapping[str, tuple[int, ...]], rate: float) -> None:
        """Keep ``fields``, name to shape of one entry, for :data:`SECONDS` at ``rate`` Hz; without folder, nothing."""
        self._folder = folder
        self._length = max(int(SECONDS * rate), 10)
        self._slices: dict[str, tuple[slice, tuple[int, ...]]] = {}
        width = 0
        for name, shape in fields.items():
            size = int(np.prod(shape, dtype=int))
            self._slices[name] = slice(width, width + size), shape
            width += size
        self._rows = np.zeros((self._length if folder else 0, width))
        self._count = 0
        self.errors = 0
        self._jobs: queue.SimpleQueue[tuple[Path, np.ndarray, str] | None] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None

    def add(self, *values: np.ndarray | Sequence[float]) -> None:
        """Keep one cycle: the fields' values, flat, in their order."""
        if self._folder is not None:
            np.concatenate(values, out=self._rows[self._count % self._length])
            self._count += 1

    def write(self, fault: str, about: Mapping[str, object]) -> None:
        """Have the ring written to a file; returns at once."""
        if self._folder is None:
            return
        stop = self._count % self._length
        rows = self._rows[:stop].copy()
        if self._count > self._length:
            rows = np.concatenate((self._rows[stop:], rows))
        when = datetime.now().astimezone()
        path = self._folder / f"{when:%Y%m%dT%H%M%S_%f}_{fault}.npz"
        if self._writer is None:
            self._writer = threading.Thread(target=self._run, name="fault-log", daemon=True)
            self._writer.start()
        text = json.dumps({"fault": fault, "written": when.isoformat(), **about}, ensure_ascii=False)
        self._jobs.put((path, rows, text))

    def close(self) -> None:
        """Wait until everything is written."""
        if self._writer is not None:
            self._jobs.put(None)
            self._writer.join(10.0)
            self._writer = None

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            path, rows, about = job
            fields = {name: rows[:, part].reshape(-1, *shape) for name, (part, shape) in self._slices.items()}
            partial = path.with_suffix(".partial")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with partial.open("wb") as file:
                    np.savez_compressed(file, about=np.array(about), **fields)  # type: ignore[arg-type]
                partial.rename(path)
            except OSError:
                self.errors += 1
                with contextlib.suppress(OSError):  # it would keep a full disk full
                    partial.unlink()
