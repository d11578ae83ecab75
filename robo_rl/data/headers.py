"""What an episode file says of itself, read without its arrays: a million transitions are listed in seconds."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robo_rl.data.episode_file import FLAGS, FORMAT, EpisodeError, read_head
from robo_rl.data.episodes import HUMAN, episode_files


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
    """Read the head of an episode file; the numbers are not looked at.

    Raises:
        EpisodeError: if it is no episode, or has not the length that it says.
    """
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            head = read_head(file)
            whole = head.start + head.length
            if head.said["format"] == FORMAT:
                steps, last = head.said["steps"], {name: head.said[name] for name in FLAGS}
                keys = {key for key, _, _ in head.columns}
                left = max(0, (size - head.start) // head.row_bytes - 1)
                told = f", so that {left} of {steps} steps are left" if size < whole else ""
            else:
                (steps,), keys, told = head.tensors["reward"]["shape"], set(head.tensors), ""
                ends = {name: head.start + head.tensors[name]["data_offsets"][1] - 1 for name in FLAGS}
                last = {name: os.pread(file.fileno(), 1, end) == b"\1" for name, end in ends.items()}
            if size != whole:
                raise ValueError(f"{size} bytes long, should be {whole}{told}")
            metadata = {**head.metadata, "format": head.said["format"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EpisodeError(f"{path} cannot be read: {error}") from error
    return Header(path, steps, size, human=any(key.startswith(HUMAN) for key in keys), metadata=metadata, **last)


def read_headers(folder: Path) -> Iterator[Header | EpisodeError]:
    """Yield the head of every episode in ``folder``, in the order of their numbers; for a damaged one, the damage."""
    for path in episode_files(folder):
        try:
            yield read_header(path)
        except EpisodeError as damage:
            yield damage
