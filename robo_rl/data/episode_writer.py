"""Records episodes: every step is on disk as it comes, every episode is stored as soon as it is over."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import torch

from robo_rl import __version__
from robo_rl.contracts import LABELS, PROVENANCE, Step
from robo_rl.data.episode_file import FORMAT
from robo_rl.data.episodes import HUMAN, Episode, episode_files, episode_number, episode_path, layout
from robo_rl.data.journal import NEXT, Journal, read_journal, steps_of
from robo_rl.errors import UserError
from robo_rl.training.durable import StorageError, remove_unfinished, write_json

if TYPE_CHECKING:
    from robo_rl.contracts.learning import Obs

_DISCARD = LABELS.index("discard")

logger = logging.getLogger(__name__)


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
            values |= {HUMAN + name: _copy(step.info[name][row]) for name in PROVENANCE if name in step.info}
            self._under_way.setdefault(env, []).append(values)
            self._now[env] = {key: _copy(value[row]) for key, value in step.obs.items()}
            journal = self._journals.setdefault(env, Journal(self.folder / f"under_way_{env}.journal"))
            try:
                journal.append(values | {NEXT + key: value for key, value in self._now[env].items()})
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


def _copy(value: torch.Tensor) -> torch.Tensor:
    return value.detach().to("cpu", copy=True)


def _versions() -> dict[str, str]:
    return {"robo-rl": __version__} | {name: version(name) for name in ("torch", "gymnasium", "mujoco", "numpy")}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); record into another folder") from error
