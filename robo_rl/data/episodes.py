"""Episodes on disk: a folder with one safetensors file an episode, each whole or not there at all.

A file holds, for an episode of T steps, ``obs/KEY`` (T+1, ...), the last row after the last step; ``action`` (T, A)
that the policy or the person asked for and ``executed_action`` (T, A) that was carried out; ``reward`` (T,);
``terminated``, ``truncated`` and ``success`` (T,) bool. Where a person could have a say it also holds ``human/NAME``
(T, ...), what :class:`robo_rl.contracts.Provenance` calls NAME. Its header says in JSON what task, robot, seed and
source it comes from, which versions wrote it, how the observations are laid out, and a checksum of it all.
``dataset.json`` says what all episodes of the folder have in common. Nothing is pickled.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from robo_rl import __version__
from robo_rl.contracts import LABELS, PROVENANCE, Step
from robo_rl.data.journal import Journal, read_journal
from robo_rl.errors import UserError
from robo_rl.training.durable import StorageError, remove_unfinished, write_file, write_json

if TYPE_CHECKING:
    from robo_rl.contracts.learning import Obs
    from robo_rl.replay.buffer import ReplayBuffer

FORMAT = "robo_rl episodes 1"
"""Name and version of the file format."""

_PER_STEP = ("action", "executed_action", "reward", "terminated", "truncated", "success")
_HUMAN = "human/"  # what the keys of :class:`robo_rl.contracts.Provenance` begin with
_NEXT = "next/"  # in a journal: what the keys of the observation after the step begin with
_DISCARD = LABELS.index("discard")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Episode:
    """One episode of T steps.

    Attributes:
        obs: each (T+1, ...); row t is before step t, the last row after the last step.
        action: (T, A), what was asked for.
        executed_action: (T, A), what was carried out.
        reward: (T,).
        terminated: (T,) bool, true in the last step at most.
        truncated: (T,) bool, true in the last step at most; neither is true where the recording was interrupted.
        success: (T,) bool.
        metadata: task, robot, seed, source, versions, layout.
        provenance: where the executed actions came from, each (T, ...), by the names of
            :class:`robo_rl.contracts.Provenance`; empty where no person could have a say.
    """

    obs: Obs
    action: torch.Tensor
    executed_action: torch.Tensor
    reward: torch.Tensor
    terminated: torch.Tensor
    truncated: torch.Tensor
    success: torch.Tensor
    metadata: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        """T."""
        return len(self.reward)

    def save(self, path: Path) -> None:
        """Store it in the file ``path``, whole or not at all.

        Raises:
            StorageError: if it could not be stored.
        """
        tensors = self._tensors()
        header = {**self.metadata, "format": FORMAT}
        text = {"robo_rl": json.dumps({**header, "checksum": _checksum(tensors, header)}, sort_keys=True)}
        write_file(path, lambda unfinished: save_file(tensors, str(unfinished), metadata=text))

    @staticmethod
    def load(path: Path) -> Episode:
        """Read the file ``path``.

        Raises:
            EpisodeError: if it is no episode, or not the one that was stored.
        """
        try:
            with safe_open(str(path), framework="pt") as file:
                header = dict(json.loads((file.metadata() or {}).get("robo_rl", "{}")))
                # Copies: what safetensors gives is the file itself, which somebody may change or delete.
                tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 (not a dict)
        except (OSError, SafetensorError, TypeError, ValueError) as error:
            raise EpisodeError(f"{path} cannot be read: {error}") from error
        if header.get("format") != FORMAT:
            raise EpisodeError(f"{path} is not of the format {FORMAT!r}")
        if header.pop("checksum", None) != _checksum(tensors, header):
            raise EpisodeError(f"{path} does not hold the numbers that were stored")
        if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
            raise EpisodeError(f"{path} holds numbers that are not finite")
        obs = {key.removeprefix("obs/"): value for key, value in tensors.items() if key.startswith("obs/")}
        said = {key.removeprefix(_HUMAN): value for key, value in tensors.items() if key.startswith(_HUMAN)}
        return Episode(obs, **{name: tensors[name] for name in _PER_STEP}, metadata=header, provenance=said)

    @staticmethod
    def of_rows(
        rows: Sequence[Mapping[str, torch.Tensor]], last: Obs, metadata: Mapping[str, Any] | None = None
    ) -> Episode:
        """Put the steps of an episode together.

        Args:
            rows: T of them, by the keys of a file.
            last: what the last step led to, each (...).
            metadata: task, robot, seed, source, versions, layout.
        """
        steps = {key: torch.stack([row[key] for row in rows]) for key in rows[0]}
        obs = {key: torch.cat([steps.pop(f"obs/{key}"), value[None]]) for key, value in last.items()}
        said = {key.removeprefix(_HUMAN): steps.pop(key) for key in list(steps) if key.startswith(_HUMAN)}
        return Episode(obs, **steps, metadata=metadata or {}, provenance=said)

    def _tensors(self) -> dict[str, torch.Tensor]:
        tensors = {f"obs/{key}": value for key, value in self.obs.items()}
        tensors |= {name: getattr(self, name) for name in _PER_STEP}
        tensors |= {_HUMAN + name: value for name, value in self.provenance.items()}
        # Copies: safetensors refuses tensors that share memory, as the two actions may.
        return {name: _copy(tensor).contiguous() for name, tensor in tensors.items()}


class EpisodeError(UserError):
    """A file is not the episode that was stored there."""


class EpisodeWriter:
    """Collects the steps of B environments and stores each episode as soon as it is over.

    An episode is over at its end, at :meth:`finish`, or when the next observation of its environment is not the one
    that the last step led to (somebody reset it). One that a person labels ``discard`` is not stored. Leaving the
    ``with`` block stores what is under way, unless it was discarded. Each step is on disk as it comes: of a process
    that was killed, the next writer of the folder stores what was under way. Nothing recorded is lost. One writer a
    folder at a time.

    Args:
        folder: where to; episodes that are there already stay, new ones are numbered on.
        observation_space: of one environment.
        action_space: of one environment.
        task: name of the task.
        robot: name of the robot.
        seed: that the starts were drawn with.
        source: who acted: ``scripted``, ``human``, ``policy`` or the like.
        control_dt: seconds of one control period, None where the environment has no clock.

    Raises:
        UserError: if the folder holds episodes of another task, robot or layout.
        StorageError: if it cannot be written to.

    Example:
        >>> with EpisodeWriter(folder, env.observation_space, env.action_space, task="reach",
        ...                    robot="panda", seed=0, source="scripted") as writer:      # doctest: +SKIP
        ...     step = env.step(action)                                                  # doctest: +SKIP
        ...     writer.add(obs, action, step)                                            # doctest: +SKIP
    """

    def __init__(
        self,
        folder: Path | str,
        observation_space: gymnasium.spaces.Dict,
        action_space: gymnasium.spaces.Box,
        *,
        task: str,
        robot: str,
        seed: int,
        source: str,
        control_dt: float | None = None,
    ) -> None:
        self.folder = Path(folder)
        common = {"task": task, "robot": robot, **layout(observation_space, action_space)}
        self._metadata = {**common, "seed": seed, "source": source, "versions": _versions()}
        if control_dt is not None:
            self._metadata["control_dt"] = control_dt
        self._under_way: dict[int, list[dict[str, torch.Tensor]]] = {}  # by environment: the rows of its steps
        self._now: dict[int, dict[str, torch.Tensor]] = {}  # by environment: what the last step led to
        self.stored: list[Path] = []
        description = self.folder / "dataset.json"
        if not description.exists():
            write_json(description, {"format": FORMAT, **common})
        there = _read_json(description)
        if other := [key for key, value in common.items() if there.get(key) != value]:
            raise UserError(f"{self.folder}: its episodes have another {', '.join(other)}; record into another folder")
        remove_unfinished(self.folder)
        numbers = [episode_number(path) for path in episode_files(self.folder)]
        self._next_number = max(numbers, default=-1) + 1
        self._journals: dict[int, Journal] = {}
        self._recover()

    def __enter__(self) -> EpisodeWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        self.finish()

    def add(self, obs: Obs, action: torch.Tensor, step: Step, *, env_ids: Iterable[int] | None = None) -> list[Path]:
        """Take up one step of B environments.

        Args:
            obs: before the step, each (B, ...).
            action: (B, A), what was asked for; what was carried out is in ``step.info["executed_action"]``.
            step: what came of it.
            env_ids: B different environments that the rows belong to; 0 to B-1 if None.

        Returns:
            The files of the episodes that are over now.

        Raises:
            StorageError: if an episode, or the step, could not be stored. All rows are taken up nevertheless: what was
                not stored is kept, and tried again at the next step or the next :meth:`finish`.
        """
        before = len(self.stored)
        refused: StorageError | None = None
        count = len(step.reward)
        for row, env in zip(range(count), range(count) if env_ids is None else env_ids, strict=True):
            here = {key: _copy(value[row]) for key, value in obs.items()}
            if env in self._now and any(not torch.equal(here[key], self._now[env][key]) for key in here):
                self.finish([env])
            values = {f"obs/{key}": value for key, value in here.items()} | {
                "action": _copy(action[row]),
                "executed_action": _copy(step.info["executed_action"][row]),
                "reward": _copy(step.reward[row]),
                "terminated": _copy(step.terminated[row]),
                "truncated": _copy(step.truncated[row]),
                "success": _copy(step.info["success"][row]),
            }
            values |= {_HUMAN + name: _copy(step.info[name][row]) for name in PROVENANCE if name in step.info}
            self._under_way.setdefault(env, []).append(values)
            self._now[env] = {key: _copy(value[row]) for key, value in step.obs.items()}
            journal = self._journals.setdefault(env, Journal(self.folder / f"under_way_{env}.journal"))
            try:
                journal.append(values | {_NEXT + key: value for key, value in self._now[env].items()})
                if bool(step.terminated[row]) or bool(step.truncated[row]):
                    discarded = "label" in step.info and int(step.info["label"][row]) == _DISCARD
                    (self.discard if discarded else self.finish)([env])
            except StorageError as error:
                refused = refused or error
        if refused is not None:
            raise refused
        return self.stored[before:]

    def finish(self, env_ids: Iterable[int] | None = None) -> None:
        """Store the episodes of these environments (of all, if None) as far as they have come.

        Raises:
            StorageError: if one could not be stored; it is kept, and so are those after it.
        """
        for env in list(self._under_way if env_ids is None else env_ids):
            if env not in self._under_way:
                continue
            path = episode_path(self.folder, self._next_number)
            Episode.of_rows(self._under_way[env], self._now[env], self._metadata).save(path)
            self._next_number += 1
            self.stored.append(path)
            self.discard([env])

    def discard(self, env_ids: Iterable[int] | None = None) -> None:
        """Forget the episodes under way of these environments (of all, if None)."""
        for env in list(self._under_way if env_ids is None else env_ids):
            self._under_way.pop(env, None)
            self._now.pop(env, None)
            if env in self._journals:
                self._journals.pop(env).clear()

    def _recover(self) -> None:
        """Store the episodes that a process which was killed had under way."""
        for path in sorted(self.folder.glob("under_way_*.journal")):
            env = int(path.stem.removeprefix("under_way_"))
            rows, last = steps_of(read_journal(path))
            if rows:
                self._under_way[env], self._now[env] = rows, last
            self._journals[env] = Journal(path)
            if env in self._under_way:
                logger.warning("%s: %d steps of an interrupted episode stored", self.folder, len(self._under_way[env]))
                self.finish([env])
            else:
                self._journals.pop(env).clear()


def steps_of(records: Iterable[dict[str, torch.Tensor]]) -> tuple[list[dict[str, torch.Tensor]], Obs]:
    """Return the steps that a journal holds and what the last of them led to, as :meth:`Episode.of_rows` takes them."""
    rows: list[dict[str, torch.Tensor]] = []
    last: Obs = {}
    for record in records:
        last = {key.removeprefix(_NEXT): record.pop(key) for key in list(record) if key.startswith(_NEXT)}
        rows.append(record)
    return rows, last


def load_episodes(folder: Path | str) -> list[Episode]:
    """Read every episode in ``folder``, in the order of their numbers.

    A damaged file is left out, with a warning in the log that names it and what is wrong.

    Raises:
        UserError: if there is no such folder, or nothing readable in it.
    """
    folder = Path(folder)
    files = episode_files(folder)
    if not files:
        raise UserError(f"{folder}: no episodes there; record some with: robo-rl record TASK")
    episodes, damages = [], []
    for path in files:
        try:
            episodes.append(Episode.load(path))
        except EpisodeError as damage:
            damages.append(damage)
            logger.warning("left out: %s", damage)
    if not episodes:
        raise UserError(f"{folder}: none of its {len(files)} episodes can be read; the first one: {damages[0]}")
    return episodes


def check_episodes(
    episodes: Iterable[Episode], observation_space: gymnasium.spaces.Dict, action_space: gymnasium.spaces.Box
) -> None:
    """Make sure that every episode has the observations and actions of a task.

    Raises:
        UserError: if one has not; it says which task it was recorded for and what differs.
    """
    wanted = _entries(layout(observation_space, action_space))
    for number, episode in enumerate(episodes):
        there = _entries(episode.metadata)
        for what in sorted(wanted.keys() | there.keys()):
            if there.get(what) != wanted.get(what):
                raise UserError(
                    f"demonstrations: {what} of episode {number}, recorded for {episode.metadata.get('task')}, is "
                    f"{there.get(what, 'absent')}, in this task {wanted.get(what, 'absent')}; record some of this task"
                )


def fill_replay(buffer: ReplayBuffer, episodes: Iterable[Episode]) -> int:
    """Add the executed actions of ``episodes`` to ``buffer``, in turn to each of its streams.

    Returns:
        How many transitions these are.

    Raises:
        UserError: if the buffer is too small for them: the first ones would be lost.
    """
    episodes = list(episodes)
    total = sum(len(episode) for episode in episodes)
    if total + len(episodes) > buffer.free:
        raise UserError(
            f"capacity: {len(episodes)} episodes hold {total + len(episodes)} observations, the replay buffer takes "
            f"{buffer.free} more; raise it"
        )
    for number, episode in enumerate(episodes):
        stream = [number % buffer.num_envs]
        buffer.break_stream(stream)
        for t in range(len(episode)):
            after = {key: value[t + 1 : t + 2] for key, value in episode.obs.items()}
            row = slice(t, t + 1)
            step = Step(after, episode.reward[row], episode.terminated[row], episode.truncated[row], {})
            before = {key: value[row] for key, value in episode.obs.items()}
            buffer.add(before, episode.executed_action[row], step, env_ids=stream)
        buffer.break_stream(stream)
    return total


def layout(observation_space: gymnasium.spaces.Dict, action_space: gymnasium.spaces.Box) -> dict[str, Any]:
    """Describe the spaces of a task as JSON: shape and kind of number of each observation, shape of the action."""
    return {
        "observations": {
            key: {"shape": list(space.shape or ()), "dtype": str(space.dtype)}
            for key, space in sorted(observation_space.spaces.items())
        },
        "action": list(action_space.shape),
    }


def _entries(description: Mapping[str, Any]) -> dict[str, str]:
    """What :func:`layout` describes, one line for people each."""
    entries = {
        f"observation {key!r}": f"{entry['dtype']} {tuple(entry['shape'])}"
        for key, entry in description.get("observations", {}).items()
    }
    return entries | {"action": str(tuple(description.get("action", ())))}


def episode_files(folder: Path) -> list[Path]:
    """Return the files of episodes in ``folder``, in the order of their numbers."""
    return sorted(folder.glob("episode_[0-9][0-9][0-9][0-9][0-9][0-9].safetensors"))


def episode_path(folder: Path, number: int) -> Path:
    """Return the file of an episode."""
    return folder / f"episode_{number:06d}.safetensors"


def episode_number(path: Path) -> int:
    """Return the number of the episode in a file."""
    return int(path.stem.removeprefix("episode_"))


def _copy(value: torch.Tensor) -> torch.Tensor:
    return value.detach().to("cpu", copy=True)


def _checksum(tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any]) -> int:
    """CRC-32 of everything that a file holds."""
    crc = zlib.crc32(json.dumps(header, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        crc = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), crc)
        crc = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, crc)
    return crc


def _versions() -> dict[str, str]:
    return {"robo-rl": __version__} | {name: version(name) for name in ("torch", "gymnasium", "mujoco", "numpy")}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); record into another folder") from error
