"""Writes LeRobotDataset v3: see :mod:`robo_rl.data.formats.lerobot_features` for what goes where."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from robo_rl.data.episodes import Episode
from robo_rl.data.formats.extras import library
from robo_rl.data.formats.lerobot_features import (
    DATA_PATH,
    EPISODES_PATH,
    FILES_PER_CHUNK,
    IMAGE,
    OURS_PATH,
    VERSION,
    VIDEO_PATH,
    columns_of,
    features_of,
    observation_columns,
)
from robo_rl.data.formats.lerobot_statistics import Statistics, statistics_of, together
from robo_rl.data.formats.pictures import VideoWriter, encode_png
from robo_rl.errors import UserError
from robo_rl.training.durable import write_folder, write_json

DATA_MB, VIDEO_MB = 100, 200
"""Size at which the next file is begun, as LeRobot has it."""


@dataclass(frozen=True)
class LeRobotOptions:
    """How to write.

    Attributes:
        images: ``png`` is lossless, inside the parquet files; ``mp4`` is small.
        quality: constant rate factor of the mp4, 0 (best) to 51.
        rate: rows a second; None: what the episodes say of their control period.
        data_mb: size at which the next parquet file is begun, MB.
        video_mb: likewise of videos.
    """

    images: Literal["png", "mp4"] = "png"
    quality: int = 18
    rate: float | None = None
    data_mb: float = DATA_MB
    video_mb: float = VIDEO_MB


def write_lerobot(out: Path, episodes: Iterable[Episode], options: LeRobotOptions) -> int:
    """Store episodes as a dataset, whole or not at all; return how many.

    Raises:
        UserError: if there are none, they do not say how fast they were recorded, or do not belong together.
        StorageError: if it could not be stored.
    """
    count = 0

    def write(unfinished: Path) -> None:
        nonlocal count
        dataset: _Dataset | None = None
        try:
            for episode in episodes:
                dataset = dataset or _Dataset(unfinished, episode, options)
                dataset.add(episode)
                count += 1
        finally:
            if dataset is not None:
                dataset.close()
        if dataset is None:
            raise UserError(f"{out}: there is no episode to store; look at the source with `robo-rl data check`")
        dataset.describe()

    write_folder(out, write)
    return count


class _Dataset:
    """A dataset that is being written."""

    def __init__(self, root: Path, first: Episode, options: LeRobotOptions) -> None:
        self.root, self._options = root, options
        period = first.metadata.get("control_dt")
        if options.rate is None and not period:
            raise UserError("fps: these episodes do not say how fast they were recorded; give --fps, steps a second")
        self.rate = options.rate or _plain(1 / float(period))  # type: ignore[arg-type]
        self.features = features_of(columns_of(first), options.images, self.rate)
        self._robot = str(first.metadata.get("robot", "unknown"))
        self._schema = _schema({name: it for name, it in self.features.items() if it["dtype"] != "video"})
        self._data: Any = None
        self._data_at = (0, -1)  # chunk and file
        self._videos = {
            name: _Videos(root, name, self.rate, options) for name in self.features if name.startswith(IMAGE)
        }
        self._tasks: dict[str, int] = {}
        self._episodes: list[dict[str, Any]] = []
        self._statistics: list[dict[str, Statistics]] = []
        self._ours: Any = None
        self._rows = 0

    def add(self, episode: Episode) -> None:
        """Append an episode."""
        columns = columns_of(episode)
        if features_of(columns, self._options.images, self.rate) != self.features:
            raise UserError(
                f"episode {len(self._episodes)} has other arrays than the first; convert those by themselves"
            )
        number, steps = len(self._episodes), len(episode)
        task = str(episode.metadata.get("task", "unknown"))
        columns |= {
            "timestamp": (np.arange(steps) / self.rate).astype(np.float32),
            "frame_index": np.arange(steps),
            "episode_index": np.full(steps, number),
            "index": np.arange(self._rows, self._rows + steps),
            "task_index": np.full(steps, self._tasks.setdefault(task, len(self._tasks))),
        }
        about: dict[str, Any] = {"episode_index": number, "tasks": [task], "length": steps}
        self._next_data_file()
        self._data.write_table(_table(columns, self._schema))
        about |= {"data/chunk_index": self._data_at[0], "data/file_index": self._data_at[1]}
        about |= {"dataset_from_index": self._rows, "dataset_to_index": self._rows + steps}
        if self._options.images == "mp4":
            for name, videos in self._videos.items():
                about |= videos.add(columns[name])
        found = {name: statistics_of(value) for name, value in columns.items()}
        for name, statistics in found.items():
            about |= {f"stats/{name}/{what}": value.tolist() for what, value in statistics.items()}
        self._statistics.append(found)
        self._episodes.append({**about, "meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0})
        self._rows += steps
        self._add_ours(number, episode)

    def close(self) -> None:
        """Finish the files."""
        for each in (self._data, self._ours, *self._videos.values()):
            if each is not None:
                each.close()

    def describe(self) -> None:
        """Write what is told once."""
        pa, parquet = library("pyarrow"), library("pyarrow.parquet")
        episodes = self.root / EPISODES_PATH.format(chunk_index=0, file_index=0)
        episodes.parent.mkdir(parents=True)
        parquet.write_table(pa.Table.from_pylist(self._episodes), episodes)
        parquet.write_table(_task_table(list(self._tasks)), self.root / "meta" / "tasks.parquet")
        all_of_it = {name: together([each[name] for each in self._statistics]) for name in self._statistics[0]}
        write_json(
            self.root / "meta" / "stats.json",
            {name: {what: value.tolist() for what, value in each.items()} for name, each in all_of_it.items()},
        )
        write_json(
            self.root / "meta" / "info.json",
            {
                "codebase_version": VERSION,
                "robot_type": self._robot,
                "total_episodes": len(self._episodes),
                "total_frames": self._rows,
                "total_tasks": len(self._tasks),
                "chunks_size": FILES_PER_CHUNK,
                "data_files_size_in_mb": DATA_MB,
                "video_files_size_in_mb": VIDEO_MB,
                "fps": self.rate,
                "splits": {"train": f"0:{len(self._episodes)}"},
                "data_path": DATA_PATH,
                "video_path": VIDEO_PATH if self._options.images == "mp4" and self._videos else None,
                "features": self.features,
            },
        )

    def _next_data_file(self) -> None:
        path = self.root / DATA_PATH.format(chunk_index=self._data_at[0], file_index=self._data_at[1])
        if self._data is not None:
            if path.stat().st_size < self._options.data_mb * 1e6:
                return
            self._data.close()
        self._data_at = _after(self._data_at)
        path = self.root / DATA_PATH.format(chunk_index=self._data_at[0], file_index=self._data_at[1])
        path.parent.mkdir(parents=True, exist_ok=True)
        self._data = library("pyarrow.parquet").ParquetWriter(path, self._schema)

    def _add_ours(self, number: int, episode: Episode) -> None:
        """Store what LeRobot has no place for: the last observation and the metadata."""
        pa = library("pyarrow")
        last = {column: episode.obs[key][-1:].numpy() for key, column in observation_columns(episode.obs).items()}
        names = {name: self.features[name] | ({"dtype": "image"} if name.startswith(IMAGE) else {}) for name in last}
        table = _table(last, _schema(names))
        table = table.append_column("episode_index", pa.array([number], pa.int64()))
        table = table.append_column("metadata", pa.array([json.dumps(dict(episode.metadata))]))
        if self._ours is None:
            path = self.root / OURS_PATH
            path.parent.mkdir(parents=True, exist_ok=True)
            self._ours = library("pyarrow.parquet").ParquetWriter(path, table.schema)
        self._ours.write_table(table)


class _Videos:
    """The videos of one camera: episodes one after the other, in files of a bounded size."""

    def __init__(self, root: Path, name: str, rate: float, options: LeRobotOptions) -> None:
        self._root, self._name, self._rate, self._options = root, name, rate, options
        self._at = (0, -1)
        self._writer: VideoWriter | None = None

    def add(self, pictures: np.ndarray) -> dict[str, Any]:
        """Append the images of an episode; return where they are, as ``meta/episodes`` tells it."""
        if self._writer is None or self._writer.size > self._options.video_mb * 1e6:
            self.close()
            self._at = _after(self._at)
            where = VIDEO_PATH.format(video_key=self._name, chunk_index=self._at[0], file_index=self._at[1])
            self._writer = VideoWriter(self._root / where, self._rate, self._options.quality)
        begin = self._writer.frames
        self._writer.add(pictures)
        told = {
            "chunk_index": self._at[0],
            "file_index": self._at[1],
            "from_timestamp": begin / self._rate,
            "to_timestamp": self._writer.frames / self._rate,
        }
        return {f"videos/{self._name}/{what}": value for what, value in told.items()}

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()


def _schema(features: Mapping[str, Mapping[str, Any]]) -> Any:
    """The columns of a parquet file: numbers, lists of them, nested ones, images as LeRobot's library has them."""
    pa = library("pyarrow")
    fields = []
    for name, feature in features.items():
        if feature["dtype"] == "image":
            kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        else:
            kind = pa.from_numpy_dtype(np.dtype(feature["dtype"]))
            shape = feature["shape"]
            if len(shape) == 1 and shape != [1]:
                kind = pa.list_(kind, shape[0])
            elif len(shape) > 1:
                for _ in shape:
                    kind = pa.list_(kind)
        fields.append((name, kind))
    return pa.schema(fields)


def _table(columns: Mapping[str, np.ndarray], schema: Any) -> Any:
    pa = library("pyarrow")
    arrays = []
    for field in schema:
        value = columns[field.name]
        if pa.types.is_struct(field.type):
            rows: Any = [{"bytes": encode_png(picture), "path": None} for picture in value]
            arrays.append(pa.array(rows, field.type))
        elif pa.types.is_fixed_size_list(field.type):
            flat = pa.array(value.reshape(-1), field.type.value_type)
            arrays.append(pa.FixedSizeListArray.from_arrays(flat, field.type.list_size))
        elif pa.types.is_list(field.type):
            arrays.append(pa.array(value.tolist(), field.type))
        else:
            arrays.append(pa.array(value.reshape(-1), field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def _task_table(tasks: list[str]) -> Any:
    """The tasks as pandas stores a frame that is indexed by them, which is how LeRobot reads it."""
    pa = library("pyarrow")
    index = "__index_level_0__"
    text = {"pandas_type": "unicode", "numpy_type": "object", "metadata": None}
    number = {"pandas_type": "int64", "numpy_type": "int64", "metadata": None}
    about = {
        "index_columns": [index],
        "column_indexes": [{"name": None, "field_name": None, **text, "metadata": {"encoding": "UTF-8"}}],
        "columns": [
            {"name": "task_index", "field_name": "task_index", **number},
            {"name": None, "field_name": index, **text},
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.2.0",
    }
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), index: pa.array(tasks, pa.string())})
    return table.replace_schema_metadata({"pandas": json.dumps(about)})


def _after(at: tuple[int, int]) -> tuple[int, int]:
    chunk, file = at
    return (chunk, file + 1) if file + 1 < FILES_PER_CHUNK else (chunk + 1, 0)


def _plain(rate: float) -> float:
    """A whole number where it is one but for rounding: LeRobot's own datasets have nothing else."""
    return round(rate) if abs(rate - round(rate)) < 1e-6 * rate else rate
