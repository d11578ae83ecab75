"""Episodes on disk: a folder with one file an episode, each whole or not there at all.

A file (:mod:`robo_rl.data.episode_file`) holds, for an episode of T steps, ``obs/KEY`` (T+1, ...), the last row after
the last step; ``action`` (T, A) that the policy or the person asked for and ``executed_action`` (T, A) that was carried
out; ``reward`` (T,); ``terminated``, ``truncated`` and ``success`` (T,) bool. Where a person could have a say it also
holds ``human/NAME`` (T, ...), what :class:`robo_rl.contracts.Provenance` calls NAME. Its header says in JSON what task,
robot, seed and source it comes from, which versions wrote it and how the observations are laid out. ``dataset.json``
says what all episodes of the folder have in common. Nothing is pickled.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import torch

from robo_rl.contracts import Step
from robo_rl.data.episode_file import OBS, EpisodeError, OnDamage, read_episode, write_episode
from robo_rl.errors import UserError

if TYPE_CHECKING:
    from robo_rl.contracts.learning import Obs
    from robo_rl.replay.buffer import ReplayBuffer

HUMAN = "human/"
"""What the keys of :class:`robo_rl.contracts.Provenance` begin with."""

_PER_STEP = ("action", "executed_action", "reward", "terminated", "truncated", "success")

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
        tensors = {OBS + key: value for key, value in self.obs.items()}
        tensors |= {name: getattr(self, name) for name in _PER_STEP}
        tensors |= {HUMAN + name: value for name, value in self.provenance.items()}
        write_episode(path, tensors, {key: value for key, value in self.metadata.items() if key != "format"})

    @staticmethod
    def load(path: Path, on_damage: OnDamage | None = None) -> Episode:
        """Read the file ``path``.

        Args:
            path: of the file.
            on_damage: told what is left out where only its beginning can be read; None: then nothing is read.

        Raises:
            EpisodeError: if it is no episode, no step of it can be read, or not all and ``on_damage`` is None.
        """
        tensors, header = read_episode(path, on_damage)
        obs = {key.removeprefix(OBS): value for key, value in tensors.items() if key.startswith(OBS)}
        said = {key.removeprefix(HUMAN): value for key, value in tensors.items() if key.startswith(HUMAN)}
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
        obs = {key: torch.cat([steps.pop(OBS + key), value[None]]) for key, value in last.items()}
        said = {key.removeprefix(HUMAN): steps.pop(key) for key in list(steps) if key.startswith(HUMAN)}
        return Episode(obs, **steps, metadata=metadata or {}, provenance=said)


def load_episodes(folder: Path | str) -> list[Episode]:
    """Read every episode in ``folder``, in the order of their numbers.

    A damaged file is read up to the damage; what is left out is told by a warning in the log.

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
            episodes.append(Episode.load(path, lambda what, steps: logger.warning("left out: %s", what)))
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
