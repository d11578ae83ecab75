"""What LeRobotDataset v3 calls things, and what an episode's arrays are called there.

    observation.state           the observation ``state``, or where there is none ``proprio``: its policies look there
    observation.images.NAME     an image NAME, (H, W, 1 or 3) uint8
    observation.NAME            any other observation
    action                      the action that was carried out
    next.reward, next.done      what the step came to; next.terminated, next.truncated and next.success tell more
    requested_action            the action that was asked for
    human.NAME                  what :class:`robo_rl.contracts.Provenance` calls NAME

Row t has the observation before step t. LeRobot has no row for the last observation; it lies, with the metadata of each
episode, in a file of our own, ``meta/robo_rl.parquet``, which LeRobot does not look at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from robo_rl.data.episodes import Episode
from robo_rl.data.formats.pictures import is_picture
from robo_rl.errors import UserError

VERSION = "v3.0"
FILES_PER_CHUNK = 1000
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
OURS_PATH = "meta/robo_rl.parquet"

OBSERVATION, IMAGE, HUMAN = "observation.", "observation.images.", "human."
COUNTERS = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
"""Columns that every dataset has, one number each."""

_STATE, _PROPRIO = "state", "proprio"
_MAX_DIMENSIONS = 5


def observation_columns(obs: Mapping[str, Any]) -> dict[str, str]:
    """Return the column of each observation, an array (T, ...).

    Raises:
        UserError: if a name means something else there.
    """
    columns = {key: _column(key, value) for key, value in obs.items()}
    if _PROPRIO in columns and _STATE not in columns:
        columns[_PROPRIO] = OBSERVATION + _STATE
    return columns


def keys_of(columns: Iterable[str], ours: Iterable[str] = ()) -> dict[str, str]:
    """Return the observation that each of these columns holds.

    Args:
        columns: all columns.
        ours: what the observations were called before, if that is known.
    """
    ours = set(ours)
    keys = {}
    for column in columns:
        if column.startswith(OBSERVATION):
            key = column.removeprefix(IMAGE if column.startswith(IMAGE) else OBSERVATION)
            keys[column] = _PROPRIO if key == _STATE and _STATE not in ours and _PROPRIO in ours else key
    return keys


def _column(key: str, value: Any) -> str:
    picture = is_picture(value.shape[1:], value.dtype)
    if "/" in key or (not picture and key.startswith("images.")):
        raise UserError(
            f"observation {key!r}: LeRobot takes no such name; it may hold no '/' and not begin with 'images.'"
        )
    return (IMAGE if picture else OBSERVATION) + key


def columns_of(episode: Episode) -> dict[str, np.ndarray]:
    """Return the T rows of an episode by column, counters left out; images as (T, H, W, C) uint8."""
    done = (episode.terminated | episode.truncated).numpy().copy()
    done[-1] = True  # Also an interrupted recording ends there.
    columns = {column: episode.obs[key][:-1].numpy() for key, column in observation_columns(episode.obs).items()}
    columns |= {
        "action": episode.executed_action.numpy(),
        "next.reward": episode.reward.numpy(),
        "next.done": done,
        "next.terminated": episode.terminated.numpy(),
        "next.truncated": episode.truncated.numpy(),
        "next.success": episode.success.numpy(),
        "requested_action": episode.action.numpy(),
    }
    return columns | {HUMAN + name: value.numpy() for name, value in episode.provenance.items()}


def features_of(columns: Mapping[str, np.ndarray], images: str, rate: float) -> dict[str, dict[str, Any]]:
    """Describe columns as ``meta/info.json`` does.

    Args:
        columns: as :func:`columns_of` gives them.
        images: ``png`` or ``mp4``.
        rate: rows a second.

    Raises:
        UserError: if LeRobot has no column for numbers of this kind or shape.
    """
    features: dict[str, dict[str, Any]] = {}
    for name, value in columns.items():
        shape = list(value.shape[1:]) or [1]
        if name.startswith(IMAGE):
            features[name] = {"dtype": "image", "shape": shape, "names": ["height", "width", "channels"]}
            if images == "mp4":
                features[name] |= {"dtype": "video", "info": _video_info(shape, rate)}
            continue
        if len(shape) > _MAX_DIMENSIONS or 0 in shape:
            raise UserError(f"{name}: LeRobot has no column of shape {tuple(shape)}; leave it out of the recording")
        features[name] = {"dtype": str(value.dtype), "shape": shape, "names": None}
    return features | {name: {"dtype": kind, "shape": [1], "names": None} for name, kind in COUNTERS.items()}


def _video_info(shape: list[int], rate: float) -> dict[str, Any]:
    from robo_rl.data.formats.pictures import CODEC, PIXELS

    return {
        "video.height": shape[0],
        "video.width": shape[1],
        "video.codec": CODEC,
        "video.pix_fmt": PIXELS,
        "video.is_depth_map": False,
        "video.fps": rate,
        "video.channels": shape[2],
        "has_audio": False,
    }
