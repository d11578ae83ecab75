"""Checkpoints: one folder each, tensors as safetensors and everything else as JSON, finished or not there at all."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from robo_rl.errors import UserError
from robo_rl.training.durable import write_folder

if TYPE_CHECKING:
    import torch

    from robo_rl.training.config import TrainConfig

Kind = Literal["latest", "best"]


@dataclass(frozen=True)
class Checkpoint:
    """A finished checkpoint on disk.

    Attributes:
        path: its folder.
        state: counters and other JSON values; always ``env_steps`` and ``task``.
    """

    path: Path
    state: dict[str, Any]

    @property
    def env_steps(self) -> int:
        """Environment steps that had been taken."""
        return self.state["env_steps"]

    def tensors(self, part: str) -> dict[str, torch.Tensor]:
        """Read the tensors of one part (``agent``, ``replay``, ...).

        Raises:
            UserError: if the checkpoint has no such part or it cannot be read.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        file = self.path / f"{part}.safetensors"
        try:
            return load_file(file)
        except FileNotFoundError:
            raise UserError(
                f"checkpoint {self.path} holds no {part}; only the latest checkpoint can be resumed"
            ) from None
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"checkpoint {file} cannot be read ({error}); delete {self.path} to go without it"
            ) from None


def save_checkpoint(
    folder: Path, kind: Kind, parts: Mapping[str, Mapping[str, torch.Tensor]], state: Mapping[str, Any]
) -> Checkpoint:
    """Store a checkpoint and then delete the older ones of its kind.

    Args:
        folder: that holds checkpoints.
        kind: ``latest``, to go on from, or ``best``, to use.
        parts: tensors by part, each a flat dict.
        state: JSON values, ``env_steps`` among them.

    Raises:
        StorageError: if it could not be stored; the checkpoints before are intact.
    """
    from safetensors.torch import save_file

    name = f"{kind}-{state['env_steps']:010d}"
    path = folder / name
    for again in itertools.count(1):  # The same step once more: an interrupt right after a resume.
        if not path.exists():
            break
        path = folder / f"{name}.{again}"

    def write(unfinished: Path) -> None:
        for part, tensors in parts.items():
            flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
            save_file(flat, unfinished / f"{part}.safetensors")
        (unfinished / "state.json").write_text(json.dumps(dict(state), indent=2) + "\n")

    write_folder(path, write)
    for other in folder.glob(f"{kind}-*"):
        if other != path:
            shutil.rmtree(other, ignore_errors=True)
    return Checkpoint(path, dict(state))


def load_checkpoint(folder: Path, kind: Kind | None = None) -> Checkpoint | None:
    """Find the newest checkpoint in ``folder``: of ``kind``, or by default the best, or else the latest.

    Returns:
        None if there is none.

    Raises:
        UserError: if its JSON cannot be read.
    """
    if kind is None:
        return load_checkpoint(folder, "best") or load_checkpoint(folder, "latest")
    paths = sorted(folder.glob(f"{kind}-*"))
    if not paths:
        return None
    return open_checkpoint(paths[-1])


def open_checkpoint(path: Path) -> Checkpoint:
    """Read the checkpoint in the folder ``path``.

    Raises:
        UserError: if there is none, or its JSON cannot be read.
    """
    file = path / "state.json"
    if not path.is_dir():
        raise UserError(f"there is no checkpoint {path}; give best, latest or a folder of RUN/checkpoints")
    try:
        return Checkpoint(path, json.loads(file.read_text()))
    except (OSError, ValueError) as error:
        raise UserError(f"checkpoint {file} cannot be read ({error}); delete {path} to go without it") from None


def check_task(state: dict[str, Any], config: TrainConfig, checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint that was made by another task or with another robot.

    Raises:
        UserError: if so.
    """
    for key in ("task", "robot"):
        saved, wanted = state.get(key), getattr(config, key)
        if saved != wanted:
            raise UserError(f"checkpoint {checkpoint.path} is of {key} {saved!r}, but the run is of {wanted!r}")
