"""What an episode file says of itself, read without its arrays: a million transitions are listed in seconds."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robo_rl.data.episodes import FORMAT, EpisodeError, episode_files

_MAX_HEADER = 100_000_000  # bytes; what safetensors itself takes


@dataclass(frozen=True)
class Header:
    """The head of an episode file.

    Attributes:
        path: of the file.
        steps: T.
        size: bytes of the file.
        terminated: whether the last step is terminal.
        truncated: whether it was cut there.
        success: whether the last step succeeded.
        human: whether a person could have a say.
        metadata: task, robot, seed, source, versions, layout.
    """

    path: Path
    steps: int
    size: int
    terminated: bool
    truncated: bool
    success: bool
    human: bool
    metadata: Mapping[str, Any]

    @property
    def end(self) -> str:
        """How it ended: ``terminated``, ``truncated``, or ``interrupted``."""
        return "terminated" if self.terminated else "truncated" if self.truncated else "interrupted"


def read_header(path: Path) -> Header:
    """Read the head of an episode file and three bytes of its arrays; the numbers are not looked at.

    Raises:
        EpisodeError: if it is no episode, or has not the length that it says.
    """
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= min(size - 8, _MAX_HEADER):
                raise ValueError("cut off, or no safetensors file")
            entries = json.loads(file.read(length))
            said = json.loads(entries.pop("__metadata__", {}).get("robo_rl", "{}"))
            if said.get("format") != FORMAT:
                raise ValueError(f"not of the format {FORMAT!r}")
            whole = 8 + length + max(entry["data_offsets"][1] for entry in entries.values())
            if size != whole:
                raise ValueError(f"{size} bytes long, should be {whole}")
            (steps,) = entries["reward"]["shape"]
            last = {
                name: os.pread(file.fileno(), 1, 8 + length + entries[name]["data_offsets"][1] - 1) == b"\1"
                for name in ("terminated", "truncated", "success")
            }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EpisodeError(f"{path} cannot be read: {error}") from error
    said.pop("checksum", None)
    return Header(path, steps, size, human=any(key.startswith("human/") for key in entries), metadata=said, **last)


def read_headers(folder: Path) -> Iterator[Header | EpisodeError]:
    """Yield the head of every episode in ``folder``, in the order of their numbers; for a damaged one, the damage."""
    for path in episode_files(folder):
        try:
            yield read_header(path)
        except EpisodeError as damage:
            yield damage
