"""Writes that neither a killed process nor a full disk can tear."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from robo_rl.errors import UserError


class StorageError(UserError):
    """Something could not be stored: a full disk, a read-only folder. What was finished before is intact."""

    exit_code = 1


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn an operating system's refusal to store ``path`` into one line that says what to do.

    Libraries hide the number of the error in their own exceptions (safetensors, PIL), so the text is read too.

    Raises:
        StorageError: in place of the refusal; every other exception passes.
    """
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        said = re.search(r"\(os error (\d+)\)", str(error))
        number = int(said[1]) if said else getattr(error, "errno", None)
        if number in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error):
            raise StorageError(
                f"the disk is full: could not write {path}; free some space and resume the run"
            ) from error
        if said:
            raise StorageError(f"could not write {path}: {os.strerror(int(said[1]))}") from error
        if isinstance(error, OSError):
            raise StorageError(f"could not write {path}: {error.strerror or error}") from error
        raise


def write_file(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a file beside ``path``, then put it in the place of ``path`` in one step.

    Raises:
        StorageError: if it could not be stored; ``path`` is then as it was.
    """
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix stays: writers choose the format by it.
        handle, name = tempfile.mkstemp(prefix=".unfinished-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        unfinished = Path(name)
        try:
            write(unfinished)
            unfinished.chmod(0o644)  # mkstemp makes it private
            sync(unfinished)
            unfinished.replace(path)
            sync(path.parent)
        finally:
            unfinished.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Store ``value`` as JSON, whole or not at all."""
    text = json.dumps(finite(value), indent=2, allow_nan=False) + "\n"
    write_text(path, text)


def write_text(path: Path, text: str) -> None:
    """Store ``text``, whole or not at all."""
    write_file(path, lambda unfinished: _fill(unfinished, text))


def write_folder(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a folder beside ``path``, then give it the name ``path`` (not yet taken) in one step.

    Raises:
        StorageError: if it could not be stored; then there is no ``path``.
    """
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=path.parent))
        try:
            write(unfinished)
            unfinished.chmod(0o755)
            for entry in unfinished.rglob("*"):
                entry.chmod(0o755 if entry.is_dir() else 0o644)
                sync(entry)
            sync(unfinished)
            unfinished.rename(path)
            sync(path.parent)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def append_whole(file: BinaryIO, data: bytes) -> None:
    """Add ``data`` to the end of an unbuffered file by one write, or nothing.

    Raises:
        OSError: if it could not be written; a disk that is about to be full takes a part, which is cut off again.
    """
    before = file.seek(0, os.SEEK_END)
    try:
        if file.write(data) != len(data):
            raise OSError(errno.ENOSPC, "No space left on device")
    except OSError:
        with contextlib.suppress(OSError):  # what cannot be cut to a length, such as a pipe
            file.truncate(before)
        raise


def sync(path: Path) -> None:
    """Wait until ``path``, a file or a folder, is on the disk itself."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_unfinished(folder: Path) -> None:
    """Delete what a killed process left half written in ``folder``."""
    for path in folder.glob(".unfinished-*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def finite(value: Any) -> Any:
    """Return ``value`` with every number that JSON does not know (nan, inf) as null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value


class JsonLines:
    """A file of one JSON object a line, appended to. Each line is one write: a kill can tear the last one only.

    A torn last line, left by a kill, is cut off when the file is opened.

    Args:
        path: of the file; made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with storing(path):
            self._file = path.open("ab", buffering=0)
        whole = self._file.seek(0, os.SEEK_END)
        with path.open("rb") as reader:
            last = reader.read().rfind(b"\n") + 1
        if last < whole:
            self._file.truncate(last)

    def append(self, row: dict[str, Any]) -> None:
        """Add one line.

        Raises:
            StorageError: if it could not be stored; the lines before are intact.
        """
        line = (json.dumps(finite(row), allow_nan=False) + "\n").encode()
        with storing(self.path):
            append_whole(self._file, line)

    def sync(self) -> None:
        """Wait until the lines are on the disk itself."""
        with storing(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Put the lines on the disk itself and close the file."""
        if not self._file.closed:
            self.sync()
            self._file.close()


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Read what :class:`JsonLines` wrote, also while it is being written; a torn last line is left out.

    Raises:
        UserError: if a line that is not the last cannot be read.
    """
    if not path.exists():
        return []
    rows = []
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except ValueError:
            if number < len(lines):  # The part after the last newline is the torn line, or nothing.
                raise UserError(
                    f"{path}: line {number} cannot be read; the file was changed by something else"
                ) from None
    return rows


def _fill(path: Path, text: str) -> None:
    path.write_text(text)
