"""HDF5 as robomimic reads and writes it: ``data/demo_N`` with obs, next_obs, actions, rewards, dones.

Ours carry more, under names that robomimic does not look at: ``requested_actions`` (``actions`` are those that were
carried out), ``terminated``, ``truncated``, ``success``, ``human/NAME``, and the attribute ``robo_rl`` of each demo
with its metadata. From these an episode comes back bit for bit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from robo_rl.data.episodes import Episode
from robo_rl.data.formats.extras import library
from robo_rl.data.formats.foreign import Assumptions, Recorded, adopt, named, tensor
from robo_rl.data.store import Damage, Found
from robo_rl.errors import UserError
from robo_rl.training.durable import write_file

_GYM = 2  # robomimic's number of the kind of environment that has Gymnasium's interface


def write_robomimic(out: Path, episodes: Iterable[Episode]) -> int:
    """Store episodes as one HDF5 file, whole or not at all; return how many.

    Raises:
        StorageError: if it could not be stored.
    """
    h5py = library("h5py")
    count = 0

    def write(unfinished: Path) -> None:
        nonlocal count
        with h5py.File(unfinished, "w") as file:
            data = file.create_group("data")
            total = 0
            for episode in episodes:
                _write_demo(data.create_group(f"demo_{count}"), episode)
                if not count:
                    task = f"{episode.metadata.get('task')}"
                    data.attrs["env_args"] = json.dumps({"env_name": task, "type": _GYM, "env_kwargs": {}})
                count += 1
                total += len(episode)
            data.attrs["total"] = total
        if not count:
            raise UserError(f"{out}: there is no episode to store; look at the source with `robo-rl data check`")

    write_file(out, write)
    return count


def read_robomimic(path: Path, assume: Assumptions) -> Iterator[Found]:
    """Yield the demos of a file in the order of their numbers, for one that cannot be read the damage."""
    h5py = library("h5py")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        yield Damage(str(path), f"cannot be opened: {error}")
        return
    with file:
        data = file.get("data")
        if not isinstance(data, h5py.Group):
            yield Damage(str(path), "holds no group 'data'; it is not robomimic's")
            return
        env = _json(data.attrs.get("env_args"))
        for name in sorted((name for name in data if re.fullmatch(r"demo_\d+", name)), key=lambda name: int(name[5:])):
            where = f"{path}:{name}"
            try:
                yield _read_demo(where, data[name], env, assume)
            except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
                yield Damage(where, f"cannot be read: {error}")


def summary(path: Path) -> tuple[int, int]:
    """Return the numbers of demos and of steps, without reading them."""
    with library("h5py").File(path, "r") as file:
        lengths = [int(demo.attrs.get("num_samples", 0)) for demo in file["data"].values()]
    return len(lengths), sum(lengths)


def _write_demo(demo: Any, episode: Episode) -> None:
    def put(name: str, value: Any) -> None:
        array = value.numpy()
        # Images shrink; of a few numbers only the overhead would grow.
        demo.create_dataset(name, data=array, compression="lzf" if array.nbytes > 4096 else None)

    for key, value in episode.obs.items():
        put(f"obs/{key}", value[:-1])
        put(f"next_obs/{key}", value[1:])
    put("actions", episode.executed_action)
    put("requested_actions", episode.action)
    put("rewards", episode.reward)
    for name in ("terminated", "truncated", "success"):
        put(name, getattr(episode, name))
    dones = (episode.terminated | episode.truncated).numpy().astype(np.int64)
    dones[-1] = 1
    demo.create_dataset("dones", data=dones)
    for name, value in episode.provenance.items():
        put(f"human/{name}", value)
    demo.attrs["num_samples"] = len(episode)
    demo.attrs["robo_rl"] = json.dumps(dict(episode.metadata))


def _read_demo(where: str, demo: Any, env: dict, assume: Assumptions) -> Found:
    obs = {key: np.asarray(demo["obs"][key]) for key in demo["obs"]}
    after = {key: np.asarray(demo["next_obs"][key]) for key in demo.get("next_obs", ())}
    if after.keys() == obs.keys() and all(map(len, after.values())):
        obs = {key: np.concatenate([value, after[key][-1:]]) for key, value in obs.items()}
    action = np.asarray(demo["actions"])
    if "robo_rl" in demo.attrs:
        return Episode(
            {key: tensor(value) for key, value in obs.items()},
            tensor(demo["requested_actions"]),
            tensor(action),
            tensor(demo["rewards"]),
            **{name: tensor(demo[name]) for name in ("terminated", "truncated", "success")},
            metadata=named(_json(demo.attrs["robo_rl"]), assume),
            provenance={name: tensor(demo["human"][name]) for name in demo.get("human", ())},
        )

    def flags(name: str) -> np.ndarray | None:
        return np.asarray(demo[name]).astype(bool) if name in demo else None

    return adopt(
        Recorded(
            where,
            obs,
            action,
            np.asarray(demo["rewards"]) if "rewards" in demo else None,
            done=flags("dones"),
            success=flags("success"),
            task=str(env.get("env_name", "unknown")),
            robot=_robot(env),
        ),
        assume,
    )


def _robot(env: dict) -> str:
    robots = (env.get("env_kwargs") or {}).get("robots", "unknown")
    return "+".join(robots) if isinstance(robots, list) else str(robots)


def _json(text: Any) -> dict:
    try:
        said = json.loads(text) if text else {}
    except (TypeError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}
