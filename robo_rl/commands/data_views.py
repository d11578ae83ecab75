"""``robo-rl data ls`` and ``robo-rl data show``: what there is, as tables and as pictures."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from robo_rl.commands.arguments import parse
from robo_rl.errors import UserError

if TYPE_CHECKING:
    from robo_rl.data.conversion import Kind
    from robo_rl.data.episodes import Episode
    from robo_rl.data.headers import Header

_OVERVIEW = ("dataset", "format", "task", "robot", "episodes", "steps", "successes", "note")


@dataclasses.dataclass(frozen=True)
class ListArguments:
    """What to list."""

    place: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")] = Path()
    """A dataset, whose episodes are listed, or a folder, in which datasets are looked for."""

    limit: int = 20
    """Episodes to list; 0: all."""

    def __post_init__(self) -> None:
        if self.limit < 0:
            raise UserError(f"limit: must be 0 (all) or more, got {self.limit}")


@dataclasses.dataclass(frozen=True)
class ShowArguments:
    """What to show."""

    dataset: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DATASET")]
    """Folder or file, of any format."""

    episode: int = 0
    """Number of the episode."""

    steps: int = 20
    """Steps to list, half of them from the beginning, half from the end; 0: all."""

    video: Path | None = None
    """File (mp4) for what the cameras saw, side by side; None: no video."""

    fps: float | None = None
    """Images a second of the video; None: as fast as it was recorded, or 10 where nobody knows."""

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise UserError(f"steps: must be 0 (all) or more, got {self.steps}")
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise UserError(f"fps: must be more than 0, got {self.fps}")


def ls(args: list[str]) -> int:
    """Run ``robo-rl data ls``."""
    from robo_rl.data.conversion import kind_of

    arguments = parse(ListArguments, args, prog="robo-rl data ls", description="List datasets, or episodes of one.")
    if not arguments.place.exists():
        raise UserError(f"{arguments.place}: there is nothing; name a folder that is there")
    kind = kind_of(arguments.place)
    if kind == "robo_rl":
        return _list_episodes(arguments.place, arguments.limit)
    places = [(arguments.place, kind)] if kind is not None else list(_datasets(arguments.place))
    table = _table(*_OVERVIEW)
    told = []
    for path, its in places:
        row = _overview(path, its)
        told.append(row)
        name = path.relative_to(arguments.place) if path != arguments.place else path
        table.add_row(str(name), *(str(row.get(key, "")) for key in _OVERVIEW[1:]))
    _show(table)
    if not places:
        print(f"no dataset in {arguments.place}; record one with: robo-rl record TASK", file=sys.stderr)
    print(json.dumps(told), flush=True)
    return 0


def show(args: list[str]) -> int:
    """Run ``robo-rl data show``."""
    from robo_rl.contracts.human import AUTHORITIES

    arguments = parse(ShowArguments, args, prog="robo-rl data show", description="Show an episode.")
    episode = _episode(arguments.dataset, arguments.episode)
    said, steps = episode.provenance, len(episode)
    table = _table("step", "executed action", "reward", "by", "")
    half = arguments.steps // 2
    listed = range(steps)
    if arguments.steps and steps > arguments.steps:
        listed = [*range(arguments.steps - half), *range(steps - half, steps)]  # type: ignore[assignment]
    before = -1
    for t in listed:
        if t != before + 1:
            table.add_row("...", "", "", "", "")
        before = t
        action = " ".join(f"{number:+.3f}" for number in episode.executed_action[t].tolist())
        by = AUTHORITIES[int(said["authority"][t])] if "authority" in said else ""
        marks = [name for name in ("terminated", "truncated", "success") if bool(getattr(episode, name)[t])]
        marks += [name for name in ("onset", "offset") if name in said and bool(said[name][t])]
        table.add_row(str(t), action, f"{float(episode.reward[t]):.4g}", by, " ".join(marks))
    _show(table)
    shapes = {
        key: f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}" for key, value in episode.obs.items()
    }
    told: dict[str, Any] = {
        "dataset": str(arguments.dataset),
        "episode": arguments.episode,
        "steps": steps,
        "return": float(episode.reward.sum()),
        "success": bool(episode.success[-1]),
        "observations": shapes,
        **{key: episode.metadata.get(key) for key in ("task", "robot", "source", "seed", "control_dt")},
    }
    if "segment" in said:
        told["interventions"] = int(said["segment"].max()) + 1
        told["intervention_rate"] = float((said["segment"] >= 0).float().mean())
    if arguments.video is not None:
        _film(episode, arguments.video, arguments.fps)
        told["video"] = str(arguments.video)
    print(json.dumps(told), flush=True)
    return 0


def _list_episodes(folder: Path, limit: int) -> int:
    from robo_rl.data.headers import Header, read_headers

    table = _table("episode", "steps", "end", "success", "source", "MB", "")
    headers: list[Header] = []
    damages: list[str] = []
    for count, found in enumerate(read_headers(folder)):
        shown = not limit or count < limit
        if isinstance(found, Header):
            headers.append(found)
            if shown:
                row = [
                    found.path.stem.removeprefix("episode_"),
                    found.steps,
                    found.end,
                    "yes" if found.success else "no",
                ]
                row += [found.metadata.get("source", ""), f"{found.size / 1e6:.2f}", "human" if found.human else ""]
                table.add_row(*map(str, row))
        else:
            damages.append(str(found))
            print(f"damaged: {found}", file=sys.stderr)
    _show(table)
    more = len(headers) + len(damages) - limit
    if limit and more > 0:
        print(f"and {more} more; --limit 0 lists all", file=sys.stderr)
    print(json.dumps({**_sums(folder, headers), "damaged": damages}), flush=True)
    return 1 if damages else 0


def _sums(folder: Path, headers: list[Header]) -> dict[str, Any]:
    first = headers[0].metadata if headers else {}
    return {
        "dataset": str(folder),
        "format": "robo_rl",
        "task": first.get("task", ""),
        "robot": first.get("robot", ""),
        "episodes": len(headers),
        "steps": sum(header.steps for header in headers),
        "successes": sum(header.success for header in headers),
    }


def _overview(path: Path, kind: Kind) -> dict[str, Any]:
    from robo_rl.data.conversion import summary
    from robo_rl.data.headers import Header, read_headers

    if kind == "robo_rl":
        found = list(read_headers(path))
        headers = [each for each in found if isinstance(each, Header)]
        damaged = len(found) - len(headers)
        journals = len(list(path.glob("under_way_*.journal")))
        notes = [f"{damaged} damaged"] * bool(damaged) + [f"{journals} under way"] * bool(journals)
        return {**_sums(path, headers), "note": ", ".join(notes)}
    try:
        episodes, steps = summary(path, kind)
    except UserError as error:
        return {"dataset": str(path), "format": kind, "note": str(error)}
    return {"dataset": str(path), "format": kind, "episodes": episodes, "steps": steps}


def _datasets(folder: Path) -> Iterator[tuple[Path, Kind]]:
    """Datasets below ``folder``; nobody looks into one for others."""
    from robo_rl.data.conversion import kind_of

    if not folder.is_dir():
        raise UserError(f"{folder}: no dataset; name a folder, or a file that ends in .hdf5")
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        kind = kind_of(entry)
        if kind is not None:
            yield entry, kind
        elif entry.is_dir() and not entry.is_symlink():
            yield from _datasets(entry)


def _episode(dataset: Path, number: int) -> Episode:
    from robo_rl.data.conversion import known_kind, read
    from robo_rl.data.episodes import Episode, episode_files, episode_number, episode_path

    kind = known_kind(dataset)
    if kind == "robo_rl":
        numbers = [episode_number(path) for path in episode_files(dataset)]
        if number not in numbers:
            raise UserError(f"episode: {dataset} has no episode {number}; `robo-rl data ls {dataset}` lists them")
        return Episode.load(
            episode_path(dataset, number), lambda what, steps: print(f"left out: {what}", file=sys.stderr)
        )
    for count, found in enumerate(read(dataset, kind)):
        if count == number:
            if isinstance(found, Episode):
                return found
            raise UserError(f"{found}; `robo-rl data check {dataset}` tells what is left")
    raise UserError(f"episode: {dataset} has no episode {number}; `robo-rl data ls {dataset}` tells how many there are")


def _film(episode: Episode, path: Path, rate: float | None) -> None:
    from robo_rl.data.formats.pictures import is_picture
    from robo_rl.training.video import tile, write_video

    cameras = [value.numpy() for value in episode.obs.values() if is_picture(value.shape[1:], value.dtype)]
    if not cameras:
        raise UserError("video: this episode holds no camera images; record with --obs pixels, or leave --video out")
    cameras = [each.repeat(3, axis=-1) if each.shape[-1] == 1 else each for each in cameras]
    if any(each.shape != cameras[0].shape for each in cameras):
        import cv2
        import numpy as np

        width, height = max(each.shape[2] for each in cameras), max(each.shape[1] for each in cameras)
        cameras = [np.stack([cv2.resize(image, (width, height)) for image in each]) for each in cameras]
    period = episode.metadata.get("control_dt")
    frames = [tile([camera[t] for camera in cameras]) for t in range(len(cameras[0]))]
    write_video(path, frames, rate or (1 / float(period) if period else 10.0))


def _table(*columns: str) -> Any:
    from rich.table import Table

    return Table(*columns, box=None, pad_edge=False)


def _show(table: Any) -> None:
    from rich.console import Console

    Console(stderr=True).print(table)
