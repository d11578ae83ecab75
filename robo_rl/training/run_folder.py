"""The run folder: everything a run leaves behind.

config.json           the resolved configuration; the run can be started again from it
system.json           versions, hardware and seeds, one entry for each start or resume
metrics.jsonl         one JSON object a line, each with ``kind`` (``train``, ``evaluation``, ...) and ``env_steps``
tensorboard/          the same numbers for TensorBoard
checkpoints/          ``latest-*`` to go on from, ``best-*`` to use
replay/               the learner's transitions, with --replay-storage file
demonstrations/       the episodes that training started from
learning_curve.png    success and its interval over env steps and over wall time
evaluation.mp4        the policy at work
backward/             of a run with a backward task: the run folder of the agent that learns that one
summary.json          the outcome
"""

from __future__ import annotations

import json
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robo_rl.errors import UserError
from robo_rl.threads import cores
from robo_rl.training.durable import JsonLines, read_json_lines, remove_unfinished, storing, write_json, write_text

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_RECORDED_PACKAGES = ("robo-rl", "torch", "numpy", "mujoco", "mujoco-warp", "warp-lang", "gymnasium", "safetensors")


class RunFolder:
    """A run on disk. Make one with :meth:`create`, come back to one with :meth:`open`.

    Example:
        >>> run = RunFolder.create(Path("runs"), "reach", config, seed=0)                  # doctest: +SKIP
        >>> run.log({"kind": "train", "env_steps": 1000, "return": 0.4})                   # doctest: +SKIP
        >>> run.close()                                                                    # doctest: +SKIP
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._metrics: JsonLines | None = None
        self._tensorboard: SummaryWriter | None = None

    @classmethod
    def create(cls, root: Path, name: str, config: dict[str, Any], *, seed: int) -> RunFolder:
        """Make a new folder ``root/NAME-DATE-TIME`` that holds the configuration.

        Args:
            root: made if it is not there.
            name: what the folder's name begins with; characters that file names do not like become ``_``.
            config: JSON values.
            seed: for ``system.json``.

        Raises:
            StorageError: if it could not be made.
        """
        plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
        stem = f"{plain}-{time.strftime('%Y%m%d-%H%M%S')}-seed{seed}"
        path = root / stem
        with storing(root):
            root.mkdir(parents=True, exist_ok=True)
            for number in range(2, 1000):  # Two runs may start within one second.
                try:
                    path.mkdir()
                    break
                except FileExistsError:
                    path = root / f"{stem}-{number}"
        return cls.make(path, config, seed=seed)

    @classmethod
    def make(cls, path: Path, config: dict[str, Any], *, seed: int) -> RunFolder:
        """Make the folder ``path``, if it is not there, a run folder that holds the configuration.

        Raises:
            StorageError: if it could not be made.
        """
        with storing(path):
            path.mkdir(parents=True, exist_ok=True)
        run = cls(path)
        write_json(path / "config.json", config)
        run.record_system(seed)
        return run

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Come back to a run.

        Raises:
            UserError: if ``path`` is no run folder.
        """
        if not (path / "config.json").is_file():
            runs = sorted(p.parent.name for p in path.parent.glob("*/config.json")) if path.parent.is_dir() else []
            if not runs:
                raise UserError(f"{path} is not a run folder: it holds no config.json")
            from robo_rl.errors import unknown_name

            raise unknown_name("run", path.name, runs[-8:])
        return cls(path)

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics_path(self) -> Path:
        """File of the metric lines."""
        return self.path / "metrics.jsonl"

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration.

        Raises:
            UserError: if it cannot be read.
        """
        return read_json(self.path / "config.json")

    @property
    def summary(self) -> dict[str, Any] | None:
        """The outcome, None while there is none."""
        return read_json(self.path / "summary.json") if (self.path / "summary.json").exists() else None

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Store the outcome."""
        write_json(self.path / "summary.json", summary)

    def record_system(self, seed: int) -> None:
        """Add versions, hardware and seed to ``system.json``."""
        file = self.path / "system.json"
        write_json(file, [*(read_json(file) if file.exists() else []), describe_system(seed)])

    def metrics(self) -> list[dict[str, Any]]:
        """Return every finished metric line."""
        return read_json_lines(self.metrics_path)

    def rewind(self, env_steps: int) -> None:
        """Before going on from a checkpoint: keep only the metric lines up to its step, and clear what is half written.

        The lines after it will be written again by the steps that are taken again; until then they are kept in
        ``metrics.discarded.jsonl``.
        """
        remove_unfinished(self.path)
        remove_unfinished(self.checkpoints)
        rows = self.metrics()
        kept = [row for row in rows if row["env_steps"] <= env_steps]
        if len(kept) < len(rows):
            with storing(self.metrics_path):
                discarded = JsonLines(self.path / "metrics.discarded.jsonl")
                for row in rows[len(kept) :]:
                    discarded.append(row)
                discarded.close()
            text = "".join(json.dumps(row) + "\n" for row in kept)
            write_text(self.metrics_path, text)

    def log(self, row: dict[str, Any]) -> None:
        """Add one metric line; its numbers also go to TensorBoard.

        Args:
            row: JSON values; ``kind`` and ``env_steps`` always.

        Raises:
            StorageError: if it could not be stored; every line before is intact.
        """
        if self._metrics is None:
            self._metrics = JsonLines(self.metrics_path)
        self._metrics.append(row)
        with storing(self.path / "tensorboard"):
            if self._tensorboard is None:
                from torch.utils.tensorboard import SummaryWriter

                # What an earlier start logged past this step is hidden: the run was resumed from before it.
                self._tensorboard = SummaryWriter(
                    str(self.path / "tensorboard"), purge_step=row["env_steps"], flush_secs=10
                )
            for key, value in row.items():
                if isinstance(value, int | float) and key not in ("env_steps", "seed"):
                    self._tensorboard.add_scalar(f"{row['kind']}/{key}", value, row["env_steps"])

    def sync(self) -> None:
        """Put the metric lines on the disk itself."""
        if self._metrics is not None:
            self._metrics.sync()

    def close(self) -> None:
        """Finish the files that are open."""
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None
        if self._tensorboard is not None:
            tensorboard, self._tensorboard = self._tensorboard, None
            with storing(self.path / "tensorboard"):
                tensorboard.close()


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: if it is not there or is no JSON.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def describe_system(seed: int) -> dict[str, Any]:
    """Return versions, hardware and the seed, for ``system.json``."""
    import torch

    versions: dict[str, str | None] = {}
    for package in _RECORDED_PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "seed": seed,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": cores(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "versions": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
