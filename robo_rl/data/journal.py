"""Steps of an episode under way, on disk as they come: a process that is killed loses at most the one being written."""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from robo_rl.training.durable import append_whole, storing

if TYPE_CHECKING:
    from robo_rl.contracts.learning import Obs

NEXT = "next/"
"""What the keys of the observation after a step begin with."""

_HEAD = struct.Struct("<II")  # length and CRC-32 of what follows

logger = logging.getLogger(__name__)


class Journal:
    """An append-only file of records, each a mapping of tensors.

    What is appended is with the operating system at once, which a killed process cannot take along; a power cut may
    cost the last seconds. What a full disk does not take is kept, and goes before whatever is appended next.

    Args:
        path: of the file; made at the first record.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None
        self._kept = b""  # records that could not be written

    def append(self, record: Mapping[str, torch.Tensor]) -> None:
        """Add a record.

        Raises:
            StorageError: if it could not be written; the records before are whole.
        """
        body = save({key: value.contiguous() for key, value in record.items()})
        self._kept += _HEAD.pack(len(body), zlib.crc32(body)) + body
        with storing(self.path):
            if self._file is None:
                self._file = self.path.open("ab", buffering=0)
            append_whole(self._file, self._kept)
        self._kept = b""

    def clear(self) -> None:
        """Remove the file: what it held is elsewhere now, or not wanted."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._kept = b""
        self.path.unlink(missing_ok=True)


def read_journal(path: Path, on_damage: Callable[[str], None] | None = None) -> Iterator[dict[str, torch.Tensor]]:
    """Yield the records up to the first one that is not whole.

    Args:
        path: of the file.
        on_damage: told what is left out; None: a warning in the log.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        while (at := file.tell()) < size:
            head = file.read(_HEAD.size)
            length, checksum = _HEAD.unpack(head) if len(head) == _HEAD.size else (size, 0)
            body = file.read(length)
            try:
                if len(body) < length or zlib.crc32(body) != checksum:
                    raise SafetensorError("cut off or damaged")
                record = load(body)
            except SafetensorError as error:
                (on_damage or logger.warning)(f"{path}: left out from byte {at} on: {error}")
                return
            yield record


def steps_of(records: Iterable[dict[str, torch.Tensor]]) -> tuple[list[dict[str, torch.Tensor]], Obs]:
    """Return the steps that a journal holds and what the last of them led to.

    They are as :meth:`robo_rl.data.episodes.Episode.of_rows` takes them.
    """
    rows: list[dict[str, torch.Tensor]] = []
    last: Obs = {}
    for record in records:
        last = {key.removeprefix(NEXT): record.pop(key) for key in list(record) if key.startswith(NEXT)}
        rows.append(record)
    return rows, last
