"""Where a replay buffer keeps its transitions: RAM, page-locked RAM, a GPU, or a memory-mapped file."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Literal

import torch

from robo_rl.errors import UserError
from robo_rl.training.durable import storing, sync

Kind = Literal["ram", "pinned", "device", "file"]


class Storage:
    """Makes the large tensors of one replay buffer.

    ``ram``: ordinary memory. ``pinned``: the same, and batches are gathered into page-locked memory, which a GPU
    fetches by itself while the learner goes on. ``device``: the learner's GPU; nothing is copied. ``file``: files that
    are mapped into memory, so that the operating system keeps in RAM what fits. All of their space is taken from the
    disk at once: a disk that is too small says so at the start and never while learning.

    A file outlives its process. What was written before ``kill -9`` is there afterwards; after a power failure, rows
    that were overwritten since the last checkpoint may be in part the old ones.

    Args:
        kind: one of these.
        device: the learner's.
        folder: of the files, for ``file``; None for a buffer that nothing is put in, to see whether it fits.

    Attributes:
        kind: as given.
        learner: the learner's device.
        device: where the tensors live.
        fresh: whether a file had to be made: it holds nothing of an earlier start.

    Raises:
        UserError: if the learner has no GPU where one is needed.
    """

    def __init__(self, kind: Kind = "ram", device: torch.device | str = "cpu", folder: Path | None = None) -> None:
        self.kind = kind
        self.learner = torch.device(device)
        if kind in ("pinned", "device") and self.learner.type == "cpu":
            raise UserError(
                f"replay_storage: {kind} is for a learner on a GPU, here it is on the CPU; give ram or file"
            )
        self.device = self.learner if kind == "device" else torch.device("cpu")
        if kind == "file" and folder is None:
            self.device = torch.device("meta")
        self.folder = folder
        self.fresh = False
        self._written: torch.Tensor | None = None
        self._files: list[Path] = []
        if folder is not None and kind == "file":
            self._written = self.empty("written", (1,), torch.int64)

    @property
    def budget(self) -> str:
        """Name of the setting that bounds the bytes in here."""
        return "disk_budget" if self.kind == "file" else "memory_budget"

    def empty(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Return a tensor, not initialised; of a file that is there already, with what it holds.

        Raises:
            StorageError: if the disk has no room for it, or will not be written.
        """
        if self.folder is None or self.kind != "file":
            return torch.empty(shape, dtype=dtype, device=self.device)
        count = math.prod(shape)
        path = self.folder / f"{name}.bin"
        with storing(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.stat().st_size != count * dtype.itemsize:
                self._reserve(path, count * dtype.itemsize)
                self.fresh = True
        self._files.append(path)
        return torch.from_file(str(path), shared=True, size=count, dtype=dtype).view(shape)

    def block(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Return a tensor that batches are gathered into."""
        return torch.empty(shape, dtype=dtype, device=self.device, pin_memory=self.kind == "pinned")

    @property
    def written(self) -> int:
        """Number of rows ever written into files, by this or an earlier process; what lies a capacity back is gone."""
        return 0 if self._written is None else int(self._written[0])

    @written.setter
    def written(self, rows: int) -> None:
        if self._written is not None:
            self._written[0] = rows

    def flush(self) -> None:
        """Wait until the files are on the disk itself."""
        for path in self._files:
            with storing(path):
                sync(path)

    @staticmethod
    def _reserve(path: Path, size: int) -> None:
        path.unlink(missing_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            os.posix_fallocate(handle, 0, size)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(handle)
