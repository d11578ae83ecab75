"""``robo-rl data``: look after recorded episodes."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from robo_rl.commands.arguments import parse
from robo_rl.errors import UserError, unknown_name

if TYPE_CHECKING:
    from robo_rl.data.episodes import Episode
    from robo_rl.data.store import Damage

_PARTS = {
    "ls": "list datasets, and the episodes of one",
    "show": "show an episode step by step, or as a video",
    "check": "read everything, and say what is damaged and what is left",
    "convert": "to and from LeRobotDataset v3, robomimic HDF5 and Minari",
    "merge": "make one dataset of several",
    "crop": "cut steps off episodes, or the idle end",
}

Dataset = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DATASET")]
Format = Literal["robo_rl", "lerobot", "robomimic", "minari"]


@dataclasses.dataclass(frozen=True)
class CheckArguments:
    """What to check."""

    dataset: Dataset
    """Folder or file, of any format."""

    out: Path | None = None
    """New folder for what can be read, in our format; None: nothing is written."""


@dataclasses.dataclass(frozen=True)
class ConvertArguments:
    """What to convert."""

    dataset: Dataset
    """Folder or file."""

    out: Path
    """Where to; nothing may be there yet. A file for robomimic, a folder for the others."""

    to: Format = "robo_rl"
    """Format to write: lerobot is LeRobotDataset v3, robomimic its HDF5, robo_rl our own (what training reads)."""

    source: Annotated[Format | None, tyro.conf.arg(name="from")] = None
    """Format to read; None: as the files look."""

    images: Literal["png", "mp4"] = "png"
    """Camera images in LeRobot's format: png loses nothing, mp4 is small; how much it lost is measured and printed."""

    quality: int = 18
    """Of the mp4: constant rate factor of H.264, 0 (best) to 51 (smallest)."""

    fps: float | None = None
    """Steps a second, for LeRobot's format; None: what the episodes say."""

    task: str | None = None
    """Name of the task, instead of the source's. Training takes demonstrations of the task's own name only."""

    robot: str | None = None
    """Name of the robot, instead of the source's."""

    demonstrations: bool = False
    """Where a source tells neither rewards nor successes: take each episode for a success, worth 1 at its end."""

    def __post_init__(self) -> None:
        if not 0 <= self.quality <= 51:
            raise UserError(f"quality: must be from 0 (best) to 51, got {self.quality}")
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise UserError(f"fps: must be more than 0, got {self.fps}")


@dataclasses.dataclass(frozen=True)
class MergeArguments:
    """What to merge."""

    datasets: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DATASET ...")]
    """Folders of our format, of one task and robot."""

    out: Path
    """New folder."""


@dataclasses.dataclass(frozen=True)
class CropArguments:
    """What to cut off."""

    dataset: Dataset
    """Folder of our format. It stays as it is."""

    out: Path
    """New folder."""

    first: int = 0
    """First step that is kept; a negative one counts from the end."""

    stop: int | None = None
    """First step that is not kept any more; None: up to the end. An episode that is cut here is truncated."""

    idle: float | None = None
    """Leave out the end of each episode in which no number of an observed vector moves by more than this. The
    outcome of the last step moves to the last one that stays. None: do not."""

    episodes: tuple[int, ...] = ()
    """Numbers of the episodes to crop and keep; none: all."""

    def __post_init__(self) -> None:
        if self.idle is not None and not 0 <= self.idle < math.inf:
            raise UserError(f"idle: must be 0 or more, got {self.idle}")
        if self.idle is None and self.first == 0 and self.stop is None and not self.episodes:
            raise UserError("first, stop, idle, episodes: give one of them, or nothing is cropped")


def main(args: Sequence[str]) -> int:
    """Run the command."""
    if not args or args[0] in ("-h", "--help"):
        lines = [f"  {name:<8} {what}" for name, what in _PARTS.items()]
        print("\n".join(["usage: robo-rl data PART ...", "", *lines]), file=sys.stdout if args else sys.stderr)
        return 0 if args else 2
    part, rest = args[0], list(args[1:])
    if part not in _PARTS:
        raise unknown_name("part of robo-rl data", part, _PARTS)
    from robo_rl.commands import data_views

    return {
        "ls": data_views.ls,
        "show": data_views.show,
        "check": _check,
        "convert": _convert,
        "merge": _merge,
        "crop": _crop,
    }[part](rest)


def _check(args: list[str]) -> int:
    from robo_rl.data.conversion import known_kind, read, sound
    from robo_rl.data.store import write_dataset

    arguments = parse(CheckArguments, args, prog="robo-rl data check", description=_PARTS["check"])
    kind = known_kind(arguments.dataset)
    damages: list[Damage] = []
    counts = {"episodes": 0, "steps": 0, "under_way": 0}

    def counted() -> Iterator[Episode]:
        for episode in sound(read(arguments.dataset, kind, under_way=True), damages):
            counts["episodes"] += 1
            counts["steps"] += len(episode)
            counts["under_way"] += episode.metadata.get("source") == "interrupted"
            yield episode

    if arguments.out is None:
        for _ in counted():
            pass
    else:
        write_dataset(arguments.out, counted())
    _tell(damages)
    if counts["under_way"]:
        print(
            f"{counts['under_way']} episodes are under way, or were when the recording was killed; recording into the "
            "folder again stores them",
            file=sys.stderr,
        )
    _print(arguments.dataset, kind, **counts, damages=damages, out=arguments.out)
    return 1 if damages else 0


def _convert(args: list[str]) -> int:
    from robo_rl.data.conversion import known_kind, picture_quality, read, sound, write
    from robo_rl.data.formats.foreign import Assumptions
    from robo_rl.data.formats.lerobot_write import LeRobotOptions

    arguments = parse(ConvertArguments, args, prog="robo-rl data convert", description=_PARTS["convert"])
    kind = arguments.source or known_kind(arguments.dataset)
    if arguments.source is not None and not arguments.dataset.exists():
        known_kind(arguments.dataset)
    assume = Assumptions(arguments.task, arguments.robot, arguments.demonstrations)
    damages: list[Damage] = []

    def episodes(into: list[Damage]) -> Iterator[Episode]:
        for episode in sound(read(arguments.dataset, kind, assume), into):
            names = {"task": arguments.task, "robot": arguments.robot}
            given = {key: value for key, value in names.items() if value is not None}
            yield dataclasses.replace(episode, metadata={**episode.metadata, **given})

    options = LeRobotOptions(arguments.images, arguments.quality, arguments.fps)
    try:
        count = write(arguments.out, arguments.to, episodes(damages), options)
    finally:
        _tell(damages)
    told: dict[str, Any] = {}
    if arguments.to == "lerobot" and arguments.images == "mp4":
        quality = picture_quality(episodes([]), sound(read(arguments.out, "lerobot"), []))
        told["psnr_db"] = {key: round(value, 2) for key, value in quality.items()}
    _print(arguments.dataset, kind, to=arguments.to, out=arguments.out, episodes=count, damages=damages, **told)
    return 1 if damages else 0


def _merge(args: list[str]) -> int:
    from robo_rl.data.conversion import sound
    from robo_rl.data.store import read_folder, write_dataset

    arguments = parse(MergeArguments, args, prog="robo-rl data merge", description=_PARTS["merge"])
    if not arguments.datasets:
        raise UserError("datasets: name those to merge: robo-rl data merge A B --out C")
    for folder in arguments.datasets:
        _ours(folder)
    damages: list[Damage] = []
    found = (each for folder in arguments.datasets for each in read_folder(folder))
    try:
        count = write_dataset(arguments.out, sound(found, damages))
    finally:
        _tell(damages)
    _print(*arguments.datasets, out=arguments.out, episodes=count, damages=damages)
    return 1 if damages else 0


def _crop(args: list[str]) -> int:
    from robo_rl.data.conversion import sound
    from robo_rl.data.crop import crop, crop_idle
    from robo_rl.data.episodes import episode_files, episode_number
    from robo_rl.data.store import read_file, read_folder, write_dataset

    arguments = parse(CropArguments, args, prog="robo-rl data crop", description=_PARTS["crop"])
    _ours(arguments.dataset)
    there = {episode_number(path): path for path in episode_files(arguments.dataset)}
    if missing := [number for number in arguments.episodes if number not in there]:
        raise UserError(f"episodes: {arguments.dataset} has no episode {missing[0]}; it has {_span(list(there))}")
    steps = {"before": 0, "after": 0}
    damages: list[Damage] = []

    def cropped() -> Iterator[Episode]:
        if arguments.episodes:
            found = (each for number in arguments.episodes for each in read_file(there[number]))
            whole = sound(found, damages)
        else:
            whole = sound(read_folder(arguments.dataset), damages)
        for episode in whole:
            short = crop(episode, arguments.first, arguments.stop)
            if arguments.idle is not None:
                short = crop_idle(short, arguments.idle)
            steps["before"] += len(episode)
            steps["after"] += len(short)
            yield short

    try:
        count = write_dataset(arguments.out, cropped())
    finally:
        _tell(damages)
    _print(arguments.dataset, out=arguments.out, episodes=count, steps=steps, damages=damages)
    return 1 if damages else 0


def _ours(folder: Path) -> None:
    from robo_rl.data.conversion import known_kind

    if (kind := known_kind(folder)) != "robo_rl":
        raise UserError(f"{folder}: of the format {kind}; make it ours first: robo-rl data convert {folder} --out DIR")


def _span(numbers: list[int]) -> str:
    return f"{numbers[0]} to {numbers[-1]}" if numbers else "none"


def _tell(damages: list[Damage]) -> None:
    for damage in damages:
        print(f"left out: {' '.join(str(damage).split())}", file=sys.stderr)


def _print(*what: Any, damages: list[Damage], **told: Any) -> None:
    names = {"dataset": str(what[0])}
    if len(what) == 2 and isinstance(what[1], str):
        names["format"] = what[1]
    elif len(what) > 1:
        names = {"datasets": [str(each) for each in what]}  # type: ignore[dict-item]
    rest = {key: str(value) if isinstance(value, Path) else value for key, value in told.items() if value is not None}
    print(json.dumps({**names, **rest, "left_out": [str(damage) for damage in damages]}), flush=True)
