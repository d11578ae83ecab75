"""Datasets of any format that is known: which one it is, reading it, writing it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, get_args

from robo_rl.data.episodes import Episode, episode_files
from robo_rl.data.formats import lerobot_read, minari_format, robomimic
from robo_rl.data.formats.foreign import Assumptions
from robo_rl.data.formats.lerobot_write import LeRobotOptions, write_lerobot
from robo_rl.data.formats.pictures import is_picture, psnr
from robo_rl.data.store import Damage, Found, new_place, read_folder, write_dataset
from robo_rl.errors import UserError

Kind = Literal["robo_rl", "lerobot", "robomimic", "minari"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_SUMMARIES: dict[Kind, Callable[[Path], tuple[int, int]]] = {
    "lerobot": lerobot_read.summary,
    "robomimic": robomimic.summary,
    "minari": minari_format.summary,
}


def kind_of(path: Path) -> Kind | None:
    """Return the format of what lies at ``path``, as its names tell; None if it is no dataset."""
    if path.is_file():
        return "robomimic" if path.suffix in (".hdf5", ".h5") else None
    if (path / "dataset.json").is_file() or episode_files(path) or any(path.glob("under_way_*.journal")):
        return "robo_rl"
    if (path / "meta" / "info.json").is_file():
        return "lerobot"
    return "minari" if minari_format.is_minari(path) else None


def known_kind(path: Path) -> Kind:
    """Return the format of the dataset at ``path``.

    Raises:
        UserError: if there is none.
    """
    if not path.exists():
        raise UserError(f"{path}: there is nothing; `robo-rl data ls DIR` lists the datasets in a folder")
    kind = kind_of(path)
    if kind is None:
        raise UserError(f"{path}: no dataset of {', '.join(KINDS)}; `robo-rl data ls {path}` lists those in it")
    return kind


def read(path: Path, kind: Kind, assume: Assumptions | None = None, *, under_way: bool = False) -> Iterator[Found]:
    """Yield the episodes of a dataset in their order; where one cannot be read, the damage.

    Args:
        path: of the folder or file.
        kind: its format.
        assume: what is taken for granted of other people's datasets.
        under_way: of ours, also what is being recorded.

    Raises:
        UserError: if there is no such dataset.
        MissingExtra: if a library is missing.
    """
    assume = assume or Assumptions()
    if kind == "robo_rl":
        return read_folder(path, under_way=under_way)
    readers = {
        "lerobot": lerobot_read.read_lerobot,
        "robomimic": robomimic.read_robomimic,
        "minari": minari_format.read_minari,
    }
    return readers[kind](path, assume)


def write(out: Path, kind: Kind, episodes: Iterable[Episode], options: LeRobotOptions | None = None) -> int:
    """Store episodes at ``out``, whole or not at all; return how many.

    Raises:
        UserError: if something is there already, there is no episode, or the format cannot hold them.
        MissingExtra: if a library is missing.
        StorageError: if it could not be stored.
    """
    new_place(out)
    if kind == "lerobot":
        return write_lerobot(out, episodes, options or LeRobotOptions())
    if kind == "robomimic":
        return robomimic.write_robomimic(out, episodes)
    return minari_format.write_minari(out, episodes) if kind == "minari" else write_dataset(out, episodes)


def summary(path: Path, kind: Kind) -> tuple[int, int]:
    """Return the numbers of episodes and of steps of a dataset that is not ours, without reading it.

    Raises:
        UserError: if it cannot be read.
    """
    try:
        return _SUMMARIES[kind](path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read: {error}; `robo-rl data check {path}` tells what is left") from error


def sound(found: Iterable[Found], damages: list[Damage]) -> Iterator[Episode]:
    """Yield the episodes; put the damages into ``damages``."""
    for each in found:
        if isinstance(each, Damage):
            damages.append(each)
        else:
            yield each


def picture_quality(originals: Iterable[Episode], stored: Iterable[Episode]) -> dict[str, float]:
    """Return by camera the peak signal-to-noise ratio of the worst episode, dB; inf where nothing was lost."""
    worst: dict[str, float] = {}
    for original, copy in zip(originals, stored, strict=True):
        for key, value in original.obs.items():
            if is_picture(value.shape[1:], value.dtype):
                found = psnr([(value[:-1].numpy(), copy.obs[key][:-1].numpy())])
                worst[key] = min(worst.get(key, found), found)
    return worst
