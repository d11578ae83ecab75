"""The task: what to observe, what an action means, what is rewarded, how an episode starts. Written once per task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from robo_rl.contracts.learning import Obs
from robo_rl.contracts.reading import Reading
from robo_rl.contracts.robot import RobotSpec
from robo_rl.contracts.scene import SceneSpec
from robo_rl.contracts.world import Command, Start

if TYPE_CHECKING:
    import gymnasium
    import torch


@dataclass(frozen=True)
class Reward:
    """What an instant is worth.

    Attributes:
        success: (B,) bool, the goal is reached; ends the episode and, in a sparse reward, is worth 1.
        failure: (B,) bool, the episode can no longer succeed; ends it.
        terms: computes the dense terms by name, each (B,); the task's ``reward_scales`` weigh them. A function, because
            a sparse reward has no use for them.
    """

    success: torch.Tensor
    failure: torch.Tensor
    terms: Callable[[], Mapping[str, torch.Tensor]] = dict


class Task(ABC):
    """A task over any world. See ``envs/tasks/reach.py`` for the shortest one.

    Attributes:
        name: under which the command line knows it.
        robot: the arm it is done with.
        horizon: control steps after which an episode is truncated.
        privileged_readings: names that only ``reward`` and ``expert`` use; only simulators give them, see
            :meth:`assume`.
        reward_scales: weight of each dense term in the dense reward.
    """

    name: ClassVar[str]
    robot: RobotSpec
    horizon: int
    privileged_readings: frozenset[str] = frozenset()
    reward_scales: ClassVar[Mapping[str, float]] = {}

    @property
    @abstractmethod
    def observation_space(self) -> gymnasium.spaces.Dict:
        """The space of one environment's observation; its key ``state`` is the low-dimensional vector."""

    @property
    @abstractmethod
    def action_space(self) -> gymnasium.spaces.Box:
        """The space of one environment's action: a box of [-1, 1]."""

    @property
    @abstractmethod
    def readings(self) -> frozenset[str]:
        """Names of the readings that ``observe`` and ``command`` use; every world must give them."""

    @abstractmethod
    def scene(self) -> SceneSpec:
        """Return what a simulator must build around the robot."""

    @abstractmethod
    def start(self, generator: torch.Generator, n: int) -> Start:
        """Draw n start states; the same generator state gives the same starts."""

    @abstractmethod
    def observe(self, reading: Reading) -> Obs:
        """Return the observation, each value (B, ...); the reading holds ``readings`` only."""

    @property
    def proprioception_space(self) -> gymnasium.spaces.Box:
        """The space of one environment's :meth:`proprioception`.

        Raises:
            UserError: if the task does not say what that is.
        """
        raise self._no_proprioception()

    def proprioception(self, reading: Reading) -> torch.Tensor:
        """Return what the arm knows of itself, (B, P): the vector that goes with camera images.

        ``reading`` holds :data:`robo_rl.contracts.reading.PROPRIOCEPTIVE` readings only, so that a policy that looks
        cannot be told where things are.

        Raises:
            UserError: if the task does not say what that is.
        """
        raise self._no_proprioception()

    def _no_proprioception(self) -> Exception:
        from robo_rl.errors import UserError

        return UserError(
            f"obs: task {self.name!r} names no proprioception, so it cannot be learned from pixels; let it override "
            "Task.proprioception and Task.proprioception_space, or use --obs state"
        )

    @abstractmethod
    def command(self, action: torch.Tensor, reading: Reading) -> Command:
        """Return the command that ``action`` (B, A), each in [-1, 1], means from where ``reading`` is."""

    @abstractmethod
    def action_of(self, command: Command, reading: Reading) -> torch.Tensor:
        """Return the action (B, A) that means ``command`` from where ``reading`` is: the inverse of :meth:`command`."""

    @abstractmethod
    def reward(self, reading: Reading) -> Reward:
        """Return what the instant is worth; the reading also holds ``privileged_readings``."""

    def assume(self, reading: Reading) -> Mapping[str, torch.Tensor]:
        """Return what the privileged readings are taken to be where the world does not give them, as in a robot cell.

        ``reading`` holds ``readings`` only. ``reward`` and ``expert`` then work with what comes back.

        Raises:
            MissingReading: if the task cannot do without the privileged readings.
        """
        from robo_rl.errors import MissingReading

        raise MissingReading(
            f"task {self.name!r} needs {', '.join(sorted(self.privileged_readings))}, which only simulators give; "
            "let it override Task.assume to be done in a robot cell"
        )

    def expert(self, reading: Reading) -> torch.Tensor:
        """Return the scripted expert's action (B, A); it may use ``privileged_readings``.

        Raises:
            UserError: if the task has no scripted expert.
        """
        from robo_rl.errors import UserError

        raise UserError(f"task {self.name!r} has no scripted expert; record demonstrations by hand")
