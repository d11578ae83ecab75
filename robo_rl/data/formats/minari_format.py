"""Minari datasets, written and read by Minari itself.

``actions`` are those that were carried out. What Minari has no name for lies in ``infos``: ``requested_action``,
``success`` and ``human.NAME``, of T+1 rows as Minari wants it; row 0, at the reset, is zeros. The metadata of the
episodes are those of the dataset, under ``robo_rl``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from robo_rl.data.episodes import Episode
from robo_rl.data.formats.extras import library
from robo_rl.data.formats.foreign import Assumptions, Recorded, adopt, named, tensor
from robo_rl.data.store import Damage, Found
from robo_rl.errors import UserError
from robo_rl.training.durable import write_folder

_HUMAN = "human."


def write_minari(out: Path, episodes: Iterable[Episode]) -> int:
    """Store episodes as a Minari dataset, lossless, whole or not at all; return how many.

    Raises:
        StorageError: if it could not be stored.
    """
    minari = library("minari")
    storage_type = library("minari.dataset.minari_storage").MinariStorage
    buffer_type = library("minari.data_collector.episode_buffer").EpisodeBuffer
    count = 0

    def write(unfinished: Path) -> None:
        nonlocal count
        data = unfinished / "data"
        storage, about = None, []
        for episode in episodes:
            if storage is None:
                spaces: dict[str, gymnasium.Space[Any]] = {key: _space(value) for key, value in episode.obs.items()}
                storage = storage_type.new(
                    data,
                    gymnasium.spaces.Dict(spaces),
                    _space(episode.executed_action),
                    data_format="hdf5",
                    jpeg_encoding=False,
                )
            storage.update_episodes([_buffer(buffer_type, episode)])
            about.append(json.dumps(dict(episode.metadata)))
            count += 1
        if storage is None:
            raise UserError(f"{out}: there is no episode to store; look at the source with `robo-rl data check`")
        task = json.loads(about[0]).get("task", "task")
        name = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in str(task))
        storage.update_metadata(
            {
                "dataset_id": f"robo-rl/{name}-v0",
                "minari_version": minari.__version__,
                "robo_rl": about,
                "algorithm_name": str(json.loads(about[0]).get("source", "")),
            }
        )

    write_folder(out, write)
    return count


def read_minari(path: Path, assume: Assumptions) -> Iterator[Found]:
    """Yield the episodes of a dataset in their order, for one that cannot be read the damage."""
    storage_type = library("minari.dataset.minari_storage").MinariStorage
    try:
        storage = storage_type.read(_data(path))
        about = storage.metadata.get("robo_rl")
        total = storage.total_episodes
        task = str(storage.metadata.get("dataset_id", "unknown"))
    except Exception as error:  # whatever Minari, Gymnasium and HDF5 make of a damaged file
        yield Damage(str(path), f"cannot be opened: {type(error).__name__}: {error}")
        return
    for number in range(total):
        where = f"{path}:episode_{number}"
        try:
            (episode,) = storage.get_episodes([number])
            if about:
                yield _ours(episode, named(json.loads(about[number]), assume))
                continue
            infos = episode.get("infos") or {}
            success = next((infos[name] for name in ("success", "is_success") if name in infos), None)
            yield adopt(
                Recorded(
                    where,
                    _flat(episode["observations"]),
                    np.asarray(episode["actions"]),
                    np.asarray(episode["rewards"]),
                    np.asarray(episode["terminations"]),
                    np.asarray(episode["truncations"]),
                    success=None if success is None else np.asarray(success)[1:].astype(bool),
                    task=task,
                ),
                assume,
            )
        except Exception as error:  # as above
            yield Damage(where, f"cannot be read: {type(error).__name__}: {error}")


def summary(path: Path) -> tuple[int, int]:
    """Return the numbers of episodes and of steps, without reading them."""
    said = json.loads((_data(path) / "metadata.json").read_text())
    return int(said["total_episodes"]), int(said["total_steps"])


def is_minari(path: Path) -> bool:
    """Whether a folder is a Minari dataset."""
    return (_data(path) / "metadata.json").is_file()


def _data(path: Path) -> Path:
    return path / "data" if (path / "data" / "metadata.json").is_file() else path


def _buffer(buffer_type: Any, episode: Episode) -> Any:
    steps = {"requested_action": episode.action, "success": episode.success}
    steps |= {_HUMAN + name: value for name, value in episode.provenance.items()}
    return buffer_type(
        observations={key: value.numpy() for key, value in episode.obs.items()},
        actions=episode.executed_action.numpy(),
        rewards=episode.reward.numpy(),
        terminations=episode.terminated.numpy(),
        truncations=episode.truncated.numpy(),
        infos={key: torch.cat([torch.zeros_like(value[:1]), value]).numpy() for key, value in steps.items()},
    )


def _ours(episode: Mapping[str, Any], metadata: Mapping[str, Any]) -> Episode:
    infos = {key: tensor(value)[1:] for key, value in episode["infos"].items()}
    return Episode(
        {key: tensor(value) for key, value in episode["observations"].items()},
        action=infos["requested_action"],
        executed_action=tensor(episode["actions"]),
        reward=tensor(episode["rewards"]),
        terminated=tensor(episode["terminations"]),
        truncated=tensor(episode["truncations"]),
        success=infos["success"],
        metadata=metadata,
        provenance={key.removeprefix(_HUMAN): value for key, value in infos.items() if key.startswith(_HUMAN)},
    )


def _flat(observations: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """Give every array of a nested observation a name; a bare one is the ``state``."""
    if not isinstance(observations, Mapping):
        return {prefix or "state": np.asarray(observations)}
    found: dict[str, np.ndarray] = {}
    for key, value in observations.items():
        found |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return found


def _space(value: torch.Tensor) -> gymnasium.spaces.Box:
    array = value.numpy()
    shape = array.shape[1:]
    if array.dtype == np.bool_:
        return gymnasium.spaces.Box(0, 1, shape, np.bool_)  # type: ignore[arg-type]
    if np.issubdtype(array.dtype, np.integer):
        limits = np.iinfo(array.dtype)
        return gymnasium.spaces.Box(limits.min, limits.max, shape, array.dtype.type)
    return gymnasium.spaces.Box(-np.inf, np.inf, shape, array.dtype.type)
