"""The world: a simulator with B copies, or a robot cell, which is a batch of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from robo_rl.contracts.reading import Reading
from robo_rl.contracts.robot import RobotSpec

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Pose:
    """Poses in the base frame (of a ``tool`` object: in the tool's frame).

    Attributes:
        pos: (n, 3) m.
        rot: (n, 3, 3).
    """

    pos: torch.Tensor
    rot: torch.Tensor

    def __getitem__(self, rows: slice | torch.Tensor) -> Pose:
        """Select rows."""
        return Pose(self.pos[rows], self.rot[rows])


@dataclass(frozen=True)
class Start:
    """How n episodes start: a robot part, which every world sets, and an objects part.

    A simulator places the objects; a cell asks its operator to.

    Attributes:
        tool: pose of the tool centre point.
        gripper_width: (n, 1) m.
        objects: true pose of each object; a ``tool`` object's pose is relative to the tool.
        fixtures: pose that the calibration claims for each ``calibrated`` object; the true pose where absent.
    """

    tool: Pose
    gripper_width: torch.Tensor
    objects: Mapping[str, Pose] = field(default_factory=dict)
    fixtures: Mapping[str, Pose] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.gripper_width.shape[0]

    def __getitem__(self, rows: slice | torch.Tensor) -> Start:
        """Select rows."""
        return Start(
            self.tool[rows],
            self.gripper_width[rows],
            {name: pose[rows] for name, pose in self.objects.items()},
            {name: pose[rows] for name, pose in self.fixtures.items()},
        )


@dataclass(frozen=True)
class Command:
    """Where the tool shall be at the end of the control period.

    Attributes:
        pos: (B, 3) target of the tool centre point, base frame, m.
        rot: (B, 3, 3) target orientation.
        gripper: (B, 1) target opening, m.
        valid_periods: control periods after which the owner of the arm holds if nothing newer came.
    """

    pos: torch.Tensor
    rot: torch.Tensor
    gripper: torch.Tensor
    valid_periods: float = 2.5


@runtime_checkable
class World(Protocol):
    """Steps the robot and its surroundings, one control period at a time.

    The command in force after every limit is read back as ``target_pos``, ``target_rot``, ``gripper_target``.
    At a reset the target is seeded from the measured pose. Finite commands only: :class:`envs.env.Env` refuses
    anything else before it gets here, and a world refuses it once more.

    Example:
        >>> reading = world.reset(mask, start)              # doctest: +SKIP
        >>> for _ in range(100):                            # doctest: +SKIP
        ...     reading = world.step(Command(reading["target_pos"], reading["target_rot"], reading["gripper_target"]))

    Attributes:
        num_envs: B.
        device: where its tensors live.
        control_dt: seconds of one control period.
        robot: the arm.
        provides: names of the readings it gives.
    """

    num_envs: int
    device: torch.device
    control_dt: float
    robot: RobotSpec
    provides: frozenset[str]

    def reset(self, mask: torch.Tensor, start: Start) -> Reading:
        """Start the worlds where ``mask`` (B,) is true from ``start``, whose rows are those worlds in order.

        Returns:
            The reading of all B worlds; of the others, unchanged.
        """
        ...

    def carry_on(self, mask: torch.Tensor) -> Reading:
        """Begin new episodes where ``mask`` (B,) is true, with everything where it is: only ``time`` begins anew.

        What reset-free learning begins its episodes by. Nothing moves, and the target in force stays.

        Returns:
            The reading of all B worlds.

        Raises:
            UserError: before the first reset.
        """
        ...

    def step(self, command: Command) -> Reading:
        """Pursue ``command`` for exactly one control period and return the newest reading.

        Raises:
            InvalidAction: if the command is not finite.
        """
        ...

    def close(self) -> None:
        """Free what the world holds; it cannot be used afterwards."""
        ...
