"""A folder of episodes as a whole: read up to the damage, written in one step."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from robo_rl.data.episode_file import FORMAT, EpisodeError
from robo_rl.data.episodes import Episode, episode_files, episode_path
from robo_rl.data.journal import read_journal, steps_of
from robo_rl.errors import UserError
from robo_rl.training.durable import write_folder, write_json

COMMON = ("task", "robot", "observations", "action")
"""What all episodes of a folder have in common."""


@dataclass(frozen=True)
class Damage:
    """Something that could not be read.

    Attributes:
        where: file, or part of one.
        what: is wrong with it.
        steps: how many are left out, None if nobody knows.
    """

    where: str
    what: str
    steps: int | None = None

    def __str__(self) -> str:
        return self.what if self.what.startswith(self.where) else f"{self.where}: {self.what}"


Found = Episode | Damage
"""What a reader of any format yields: an episode, or what is wrong where one should be."""


def read_folder(folder: Path, *, under_way: bool = False) -> Iterator[Found]:
    """Yield every episode in ``folder``, in the order of their numbers.

    Of a damaged one what comes before the damage, and then the damage.

    Args:
        folder: of our format.
        under_way: also yield, last, the episodes that are being recorded, as far as they have come (if the recording
            was killed, up to the step that was being written). Their metadata is what the folder has in common.

    Raises:
        UserError: if there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; `robo-rl data ls` lists what is there")
    common: dict = {}
    try:
        common = json.loads((folder / "dataset.json").read_text())
    except (OSError, ValueError) as error:
        yield Damage(str(folder / "dataset.json"), f"cannot be read ({error}); the episodes say the same of themselves")
    for path in episode_files(folder):
        yield from read_file(path)
    for path in sorted(folder.glob("under_way_*.journal")) if under_way else ():
        damages: list[str] = []
        rows, last = steps_of(read_journal(path, damages.append))
        if rows:
            about = {key: common[key] for key in COMMON if key in common}
            yield Episode.of_rows(rows, last, {**about, "source": "interrupted"})
        for text in damages:
            yield Damage(str(path), text)


def read_file(path: Path) -> Iterator[Found]:
    """Yield the episode in a file, of a damaged one what comes before the damage; and then the damage."""
    lost: list[Damage] = []
    try:
        yield Episode.load(path, lambda what, steps: lost.append(Damage(str(path), what, steps)))
    except EpisodeError as damage:
        yield Damage(str(path), str(damage))
    yield from lost


def write_dataset(out: Path, episodes: Iterable[Episode]) -> int:
    """Store episodes as a new folder, whole or not at all.

    Args:
        out: the folder; it must not be there.
        episodes: at least one. Their metadata names task and robot, and must not differ in :data:`COMMON`.

    Returns:
        How many they are.

    Raises:
        UserError: if ``out`` is there, there is no episode, or they do not belong together.
        StorageError: if it could not be stored; then there is no ``out``.
    """
    new_place(out)
    count = 0

    def write(unfinished: Path) -> None:
        nonlocal count
        common: dict = {}
        for count, episode in enumerate(episodes, start=1):
            own = {key: episode.metadata.get(key) for key in COMMON}
            common = common or own
            if other := [key for key in COMMON if own[key] != common[key]]:
                said = ", ".join(f"{key} {own[key]!r} instead of {common[key]!r}" for key in other)
                raise UserError(f"{out}: episode {count - 1} has {said}; put those into a dataset of their own")
            episode.save(episode_path(unfinished, count - 1))
        if not count:
            raise UserError(f"{out}: there is no episode to store; look at the source with `robo-rl data check`")
        write_json(unfinished / "dataset.json", {"format": FORMAT, **common})

    write_folder(out, write)
    return count


def new_place(out: Path) -> None:
    """Make sure that nothing is at ``out`` yet.

    Raises:
        UserError: if something is.
    """
    if out.exists():
        raise UserError(f"out: {out} is there already; name another place, or move it away")
