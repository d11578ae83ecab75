"""Reads LeRobotDataset v3, ours and others'; see :mod:`robo_rl.data.formats.lerobot_features` for what is where."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robo_rl.data.episodes import Episode
from robo_rl.data.formats.extras import library
from robo_rl.data.formats.foreign import Assumptions, Recorded, adopt, named, tensor
from robo_rl.data.formats.lerobot_features import DATA_PATH, HUMAN, OBSERVATION, OURS_PATH, VERSION, VIDEO_PATH, keys_of
from robo_rl.data.formats.pictures import VideoReader, decode_png
from robo_rl.data.store import Damage, Found
from robo_rl.errors import UserError

_FLAGS = ("terminated", "truncated", "success")


def read_lerobot(path: Path, assume: Assumptions) -> Iterator[Found]:
    """Yield the episodes of a dataset in their order, for one that cannot be read the damage.

    Raises:
        UserError: if it is of another version than v3.
    """
    try:
        source = _Source(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        yield Damage(str(path), f"cannot be opened: {error}")
        return
    if source.damage is not None:
        yield source.damage
    with source:
        for about in source.episodes:
            number = about["episode_index"]
            where = f"{path}:episode {number}"
            try:
                yield source.read(where, about, assume)
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                yield Damage(where, f"cannot be read: {error}", about.get("length"))


def summary(path: Path) -> tuple[int, int]:
    """Return the numbers of episodes and of steps, without reading them."""
    info = json.loads((path / "meta" / "info.json").read_text())
    return int(info["total_episodes"]), int(info["total_frames"])


class _Source:
    """A dataset that is being read; files are read one at a time, each once if episodes are asked for in order."""

    def __init__(self, root: Path) -> None:
        parquet = library("pyarrow.parquet")
        self.root, self.damage = root, None
        self.info: dict[str, Any] = json.loads((root / "meta" / "info.json").read_text())
        if not str(self.info.get("codebase_version", "")).startswith("v3."):
            raise UserError(
                f"{root}: LeRobotDataset {self.info.get('codebase_version')}, not {VERSION}; convert it with LeRobot's "
                "python -m lerobot.datasets.v30.convert_dataset_v21_to_v30"
            )
        self.features: dict[str, dict[str, Any]] = self.info["features"]
        self.rate = float(self.info["fps"])
        self.episodes: list[dict[str, Any]] = []
        for file in sorted((root / "meta" / "episodes").glob("*/*.parquet")):
            wanted = [name for name in parquet.read_schema(file).names if not name.startswith("stats/")]
            self.episodes += parquet.read_table(file, columns=wanted).to_pylist()
        self.episodes.sort(key=lambda about: about["episode_index"])
        self._ours: dict[int, dict[str, Any]] = {}
        if (root / OURS_PATH).is_file():
            try:
                rows = parquet.read_table(root / OURS_PATH).to_pylist()
                self._ours = {row["episode_index"]: row for row in rows}
            except (OSError, ValueError) as error:
                self.damage = Damage(str(root / OURS_PATH), f"cannot be read, last observations are left out: {error}")
        self._table: tuple[Path, Any] | None = None
        self._videos: dict[str, VideoReader] = {}

    def __enter__(self) -> _Source:
        return self

    def __exit__(self, *exc: object) -> None:
        for video in self._videos.values():
            video.close()

    def read(self, where: str, about: Mapping[str, Any], assume: Assumptions) -> Found:
        """Read one episode, of which ``meta/episodes`` says ``about``."""
        columns = self._columns(about)
        steps = int(about["length"])
        if any(len(value) != steps for value in columns.values()):
            raise ValueError(f"not all of its {steps} rows are there")
        ours = self._ours.get(about["episode_index"])
        metadata = {} if ours is None else json.loads(ours["metadata"])
        keys = keys_of(columns, metadata.get("observations", ()))
        obs = {key: columns[name] for name, key in keys.items()}
        if ours is None:
            return adopt(
                Recorded(
                    where,
                    obs,
                    columns["action"],
                    **{name: columns.get(f"next.{name}") for name in ("reward", "done", *_FLAGS)},
                    task=", ".join(about.get("tasks") or ["unknown"]),
                    robot=str(self.info.get("robot_type") or "unknown"),
                    control_dt=1 / self.rate,
                ),
                assume,
            )
        last = {key: self._rows(name, [ours[name]])[0] for name, key in keys.items()}
        obs = {key: np.concatenate([value, last[key][None]]) for key, value in obs.items()}
        for key, entry in metadata.get("observations", {}).items():  # A single number has no shape of its own there.
            if key in obs and not entry["shape"]:
                obs[key] = obs[key].reshape(-1)
        said = {name.removeprefix(HUMAN): value for name, value in columns.items() if name.startswith(HUMAN)}
        return Episode(
            {key: tensor(value) for key, value in obs.items()},
            tensor(columns["requested_action"]),
            tensor(columns["action"]),
            tensor(columns["next.reward"]),
            **{name: tensor(columns[f"next.{name}"]) for name in _FLAGS},
            metadata=named(metadata, assume),
            provenance={
                name: tensor(value.reshape(steps, -1) if name.endswith("action") else value)
                for name, value in said.items()
            },
        )

    def _columns(self, about: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """All columns of an episode that are kept, each (T, ...)."""
        pa, compute = library("pyarrow"), library("pyarrow.compute")
        where = {"chunk_index": about["data/chunk_index"], "file_index": about["data/file_index"]}
        path = self.root / str(self.info.get("data_path") or DATA_PATH).format(**where)
        if self._table is None or self._table[0] != path:
            self._table = None
            self._table = (path, library("pyarrow.parquet").read_table(path))
        table = self._table[1]
        table = table.filter(compute.equal(table["episode_index"], pa.scalar(about["episode_index"], pa.int64())))
        table = table.sort_by("frame_index")
        columns = {}
        for name, feature in self.features.items():
            kept = name.startswith((OBSERVATION, HUMAN, "next.")) or name in ("action", "requested_action")
            if not kept or feature["dtype"] == "string":
                continue
            if feature["dtype"] == "video":
                columns[name] = self._video(name, about)
            elif feature["dtype"] == "image":
                columns[name] = self._rows(name, table[name].to_pylist())
            else:
                flat = _flat(table[name].combine_chunks()).to_numpy(zero_copy_only=False)
                columns[name] = self._shaped(name, flat, len(table))
        return columns

    def _rows(self, name: str, values: list[Any]) -> np.ndarray:
        """Rows as they lie in Python, as one array."""
        if self.features[name]["dtype"] in ("image", "video"):
            return np.stack([decode_png(self._bytes(value)) for value in values])
        return self._shaped(name, np.asarray(values), len(values))

    def _bytes(self, image: Mapping[str, Any]) -> bytes:
        if image["bytes"] is not None:
            return image["bytes"]
        return (self.root / image["path"]).read_bytes()

    def _shaped(self, name: str, values: np.ndarray, rows: int) -> np.ndarray:
        feature = self.features[name]
        single = list(feature["shape"]) == [1] and (name.startswith(("next.", HUMAN)))
        return values.astype(feature["dtype"]).reshape((rows,) if single else (rows, *feature["shape"]))

    def _video(self, name: str, about: Mapping[str, Any]) -> np.ndarray:
        where = {what: about[f"videos/{name}/{what}"] for what in ("chunk_index", "file_index")}
        path = self.root / str(self.info.get("video_path") or VIDEO_PATH).format(video_key=name, **where)
        reader = self._videos.get(name)
        if reader is None or reader.path != path:
            if reader is not None:
                reader.close()
            reader = self._videos[name] = VideoReader(path, self.rate)
        return reader.read(round(about[f"videos/{name}/from_timestamp"] * self.rate), int(about["length"]))


def _flat(array: Any) -> Any:
    """The numbers of a column of lists, however deep."""
    types = library("pyarrow.types")
    while types.is_list(array.type) or types.is_large_list(array.type) or types.is_fixed_size_list(array.type):
        array = array.flatten()
    return array
