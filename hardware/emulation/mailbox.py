"""The newest value of something, in memory that processes share: one writes, any number read, nobody waits.

A file that is mapped into memory, best on a file system in memory such as ``/dev/shm``. It has a few slots, written in
turn, each with a checksum, so a reader that was overtaken notices it and reads again. A writer that is killed leaves
whole values behind, and a new one puts a new file in its place.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

_HEADER = struct.Struct("<8sIIQ64s")  # magic, version, bytes of a value, process, label
_LATEST = struct.Struct("<Q")  # how many values there have been
_NOTE = struct.Struct("<200s")
_SLOT = struct.Struct("<QQdI")  # which value it is, its index, stamp, checksum
_MAGIC, _VERSION, _SLOTS = b"mailbox\0", 1, 4
_LATEST_AT = _HEADER.size
_NOTE_AT = _LATEST_AT + _LATEST.size
_FIRST = _NOTE_AT + _NOTE.size


@dataclass(frozen=True, slots=True)
class Letter:
    """One value.

    Attributes:
        index: as the writer counts.
        stamp: ``time.monotonic()`` of what it shows, s.
        body: the value.
    """

    index: int
    stamp: float
    body: bytes


class Outbox:
    """The writing end.

    Args:
        path: of the file; an old one is replaced.
        size: of every value, bytes.
        label: what readers may have to know about the values.
    """

    def __init__(self, path: Path, size: int, label: str) -> None:
        self._path, self._size, self._count = path, size, 0
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        with open(fresh, "w+b") as file:
            file.truncate(_FIRST + _SLOTS * (_SLOT.size + size))
            self._memory = mmap.mmap(file.fileno(), 0)
        _HEADER.pack_into(self._memory, 0, _MAGIC, _VERSION, size, os.getpid(), label.encode())
        os.replace(fresh, path)  # readers see a whole file or none

    def put(self, index: int, stamp: float, body: bytes, *, damaged: bool = False) -> None:
        """Write a value; a ``damaged`` one has a wrong checksum, for tests of readers."""
        if len(body) != self._size:
            raise ValueError(f"a value of {len(body)} bytes in a mailbox for {self._size}")
        self._count += 1
        at = _FIRST + (self._count % _SLOTS) * (_SLOT.size + self._size)
        _SLOT.pack_into(self._memory, at, 0, 0, 0.0, 0)
        self._memory[at + _SLOT.size : at + _SLOT.size + self._size] = body
        check = zlib.crc32(body) ^ damaged
        _SLOT.pack_into(self._memory, at, self._count, index, stamp, check)
        _LATEST.pack_into(self._memory, _LATEST_AT, self._count)

    def note(self, text: str) -> None:
        """Say why there are no new values; empty if there is no reason to."""
        _NOTE.pack_into(self._memory, _NOTE_AT, text.encode()[:200])

    def close(self) -> None:
        """Remove the file."""
        self._memory.close()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()


class Inbox:
    """A reading end.

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: if there is none yet.
        ValueError: if it is no mailbox.

    Attributes:
        label: of the writer.
    """

    def __init__(self, path: Path) -> None:
        with open(path, "rb") as file:
            self._inode = os.fstat(file.fileno()).st_ino
            self._path = path
            self._memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if len(self._memory) < _FIRST:
            raise ValueError(f"{path} is no mailbox")
        magic, version, self._size, self._pid, label = _HEADER.unpack_from(self._memory)
        if magic != _MAGIC or version != _VERSION or len(self._memory) != _FIRST + _SLOTS * (_SLOT.size + self._size):
            raise ValueError(f"{path} is no mailbox of this version")
        self.label = label.rstrip(b"\0").decode()

    @property
    def count(self) -> int:
        """How many values there have been: whether there is a newer one costs no more than this."""
        return int(_LATEST.unpack_from(self._memory, _LATEST_AT)[0])

    def newest(self) -> Letter | None:
        """Return the newest value that is whole; None if there is none."""
        for _ in range(_SLOTS):
            (latest,) = _LATEST.unpack_from(self._memory, _LATEST_AT)
            for count in range(latest, max(0, latest - _SLOTS + 1), -1):
                letter = self._read(count)
                if letter is not None:
                    return letter
        return None

    def _read(self, count: int) -> Letter | None:
        at = _FIRST + (count % _SLOTS) * (_SLOT.size + self._size)
        number, index, stamp, check = _SLOT.unpack_from(self._memory, at)
        body = self._memory[at + _SLOT.size : at + _SLOT.size + self._size]
        return Letter(index, stamp, body) if number == count and zlib.crc32(body) == check else None

    def trouble(self) -> str:
        """Return what is known of why there are no new values."""
        if not os.path.exists(f"/proc/{self._pid}"):
            return f"process {self._pid}, which wrote it, is gone"
        return _NOTE.unpack_from(self._memory, _NOTE_AT)[0].rstrip(b"\0").decode()

    def replaced(self) -> bool:
        """Whether another writer has begun anew; then open it again."""
        try:
            return os.stat(self._path).st_ino != self._inode
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()
