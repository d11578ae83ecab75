"""The file of an episode: safetensors, with the steps one after the other, each with a checksum of its own.

So what is cut off or damaged begins at a step, and those before it can be read. The file holds one tensor, ``rows``
(T+1, R) uint8: row t is what was seen before step t and all of that step, the last row what was seen after the last
step (of a step it holds zeros). A row ends with the CRC-32 of its bytes, begun with its number. The header says in JSON
what the columns of a row are, how many steps there are and how they ended, and has a checksum too. Files of the first
format hold a tensor for each column and one checksum of it all; they are read whole or not at all.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file

from robo_rl.errors import UserError
from robo_rl.training.durable import write_file

FORMAT = "robo_rl episodes 2"
"""Name and version of the file format."""

FIRST_FORMAT = "robo_rl episodes 1"
"""That of older files."""

OBS = "obs/"
"""What the keys of observations begin with: they have a row more than the others."""

FLAGS = ("terminated", "truncated", "success")
"""Columns whose last value the header tells too."""

_CRC = 4  # bytes
_MAX_HEADER = 100_000_000  # bytes; what safetensors itself takes

OnDamage = Callable[[str, int], None]
"""Told what is wrong with a file of which only the beginning is read, and how many steps are left out."""


class EpisodeError(UserError):
    """A file is not the episode that was stored there."""


@dataclass(frozen=True)
class Head:
    """What a file says of itself.

    Attributes:
        said: our part of its header.
        tensors: what safetensors' header says of each tensor.
        start: byte at which the numbers begin.
        length: bytes of the numbers, if the file is whole.
    """

    said: dict[str, Any]
    tensors: dict[str, Any]
    start: int
    length: int

    @property
    def metadata(self) -> dict[str, Any]:
        """What :func:`write_episode` was given."""
        if self.said["format"] == FORMAT:
            return self.said["metadata"]
        return {key: value for key, value in self.said.items() if key not in ("format", "checksum")}

    @property
    def columns(self) -> list[tuple[str, torch.dtype, tuple[int, ...]]]:
        """Key, kind of number and shape (...) of what a row holds."""
        return [(key, getattr(torch, kind), tuple(shape)) for key, kind, shape in self.said["columns"]]

    @property
    def row_bytes(self) -> int:
        """R."""
        return sum(prod(shape) * kind.itemsize for _, kind, shape in self.columns) + _CRC


def write_episode(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]) -> None:
    """Store the columns of an episode of T steps, whole or not at all.

    Args:
        path: of the file.
        tensors: by key, each (T, ...), but (T+1, ...) where the key begins with :data:`OBS`.
        metadata: JSON values.

    Raises:
        StorageError: if it could not be stored.
    """
    steps, tensors = len(tensors["reward"]), dict(sorted(tensors.items()))  # equal episodes are equal files
    columns = [[key, str(value.dtype).removeprefix("torch."), list(value.shape[1:])] for key, value in tensors.items()]
    parts = [_bytes_of(value, steps + 1) for value in tensors.values()]
    body = torch.cat(parts, dim=1).numpy()
    checks = np.array([zlib.crc32(row.data, t) for t, row in enumerate(body)], "<u4")
    rows = torch.from_numpy(np.concatenate([body, checks.view(np.uint8).reshape(-1, _CRC)], axis=1))
    ends = {name: bool(tensors[name][-1]) for name in FLAGS}
    header = {"format": FORMAT, "metadata": dict(metadata), "columns": columns, "steps": steps, **ends}
    text = json.dumps({**header, "checksum": _crc(header)}, sort_keys=True)
    write_file(path, lambda unfinished: save_file({"rows": rows}, str(unfinished), metadata={"robo_rl": text}))


def read_episode(path: Path, on_damage: OnDamage | None = None) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the columns of an episode, and its metadata.

    Args:
        path: of the file.
        on_damage: told what is left out where only the beginning can be read; None: then nothing is read.

    Raises:
        EpisodeError: if it is no episode, or no step of it can be read, or not all of them and ``on_damage`` is None.
    """
    try:
        with path.open("rb") as file:
            head = read_head(file)
            file.seek(head.start)
            body = file.read()
        if head.said["format"] == FIRST_FORMAT:
            return _read_first(path, head), {**head.metadata, "format": FIRST_FORMAT}
        tensors, damage = _read_rows(head, body)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EpisodeError(f"{path} cannot be read: {error}") from error
    if damage is not None:
        what, left_out = f"{path} {damage[0]}", damage[1]
        if on_damage is None or not len(tensors["reward"]):
            raise EpisodeError(what)
        on_damage(what, left_out)
    return tensors, {**head.metadata, "format": FORMAT}


def read_head(file: BinaryIO) -> Head:
    """Read what a file says of itself, from its beginning.

    Raises:
        ValueError: if it is none of ours, or the header is damaged.
        OSError: if it cannot be read.
    """
    length = int.from_bytes(file.read(8), "little")
    text = file.read(length) if 0 < length <= _MAX_HEADER else b""
    if len(text) < length or not text:
        raise ValueError("cut off, or no safetensors file")
    tensors = json.loads(text)
    said = json.loads(tensors.pop("__metadata__", {}).get("robo_rl", "{}"))
    if said.get("format") not in (FORMAT, FIRST_FORMAT):
        raise ValueError(f"not of the format {FORMAT!r}")
    head = Head(said, tensors, 8 + length, max(entry["data_offsets"][1] for entry in tensors.values()))
    if said["format"] == FORMAT:
        checksum = said.pop("checksum", None)
        if checksum != _crc(said) or head.length != (said["steps"] + 1) * head.row_bytes:
            raise ValueError("its header is damaged")
    return head


def _bytes_of(tensor: torch.Tensor, rows: int) -> torch.Tensor:
    """The bytes of each row (rows, n) uint8 of a tensor, with a row of zeros at the end if it has one less."""
    flat = tensor.detach().cpu().contiguous().reshape(len(tensor), prod(tensor.shape[1:])).view(torch.uint8)
    return torch.cat([flat, flat.new_zeros(rows - len(flat), flat.shape[1])])


def _read_rows(head: Head, body: bytes) -> tuple[dict[str, torch.Tensor], tuple[str, int] | None]:
    """The columns up to the first damage, and what that is and how many steps are lost by it."""
    steps, width = head.said["steps"], head.row_bytes
    rows = np.frombuffer(body[: min(len(body) // width, steps + 1) * width], np.uint8).reshape(-1, width)
    checks = rows[:, -_CRC:].copy().view("<u4")[:, 0]
    sound = next((t for t, row in enumerate(rows) if zlib.crc32(row[:-_CRC].data, t) != checks[t]), len(rows))
    damage = "is cut off" if sound == len(rows) else "does not hold the numbers that were stored"
    values: dict[str, torch.Tensor] = {}
    at = 0
    for key, kind, shape in head.columns:
        size = prod(shape) * kind.itemsize
        part = torch.empty((sound, *shape), dtype=kind)
        part.reshape(-1).view(torch.uint8).copy_(torch.from_numpy(rows[:sound, at : at + size].reshape(-1).copy()))
        at += size
        finite = part.reshape(sound, prod(shape)).isfinite().all(dim=1)
        if not bool(finite.all()):
            sound, damage = int(finite.int().argmin()), "holds numbers that are not finite"
        values[key] = part
    left = max(sound - 1, 0)  # of the last sound row, what its step led to is not known
    tensors = {key: value[: left + 1 if key.startswith(OBS) else left] for key, value in values.items()}
    if left < steps:
        return tensors, (f"{damage}: steps {left} to {steps - 1} are left out", steps - left)
    if len(body) > head.length:
        return tensors, (f"goes on for {len(body) - head.length} bytes that nobody stored", 0)
    return tensors, None


def _read_first(path: Path, head: Head) -> dict[str, torch.Tensor]:
    """The columns of a file of the first format, each a tensor of its own."""
    tensors = load(path.read_bytes())
    header = {key: value for key, value in head.said.items() if key != "checksum"}
    crc = _crc(header)
    for name, tensor in sorted(tensors.items()):
        crc = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), crc)
        crc = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, crc)
    if head.said.get("checksum") != crc:
        raise ValueError("it does not hold the numbers that were stored")
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise ValueError("it holds numbers that are not finite")
    return tensors


def _crc(header: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(header, sort_keys=True).encode())
