"""Readings: everything a world knows at one instant, by name.

===========================  ===========  ==========================================================================
name                         shape        meaning (SI units, radians, robot base frame unless said otherwise)
===========================  ===========  ==========================================================================
``time``                     (B, 1)       seconds since the last reset
``joint_pos``                (B, n)       arm joint positions
``joint_vel``                (B, n)       arm joint velocities
``tcp_pos``                  (B, 3)       tool centre point
``tcp_rot``                  (B, 3, 3)    orientation of the tool, columns are its axes
``tcp_linvel``               (B, 3)       velocity of the tool centre point
``tcp_angvel``               (B, 3)       angular velocity of the tool
``tcp_force``                (B, 3)       force that the surroundings exert on the tool, its weight removed
``tcp_torque``               (B, 3)       torque that the surroundings exert, about the tool centre point
``target_pos``               (B, 3)       position command in force, after every limit
``target_rot``               (B, 3, 3)    orientation command in force, after every limit
``gripper_width``            (B, 1)       measured opening between the fingers
``gripper_target``           (B, 1)       commanded opening
``fixture.NAME.pos``         (B, 3)       pose of a fixture as the calibration claims it
``fixture.NAME.rot``         (B, 3, 3)
``tracked.NAME.pos``         (B, 3)       pose of a moving object as a tracker (markers, motion capture) reports it
``tracked.NAME.rot``         (B, 3, 3)
``interrupted``              (B,)         bool: a fault has cut the episode; given by robot cells only
``camera.NAME.rgb``          (B, H, W, 3) uint8 colour image
``object.NAME.pos``          (B, 3)       *privileged*: true pose of a body in the scene
``object.NAME.rot``          (B, 3, 3)    *privileged*
===========================  ===========  ==========================================================================

Privileged readings are known to simulators only. A task may use them in its simulated reward and its scripted expert,
never in its observation. Where a policy sees camera images, :data:`PROPRIOCEPTIVE` readings are all that it is told
besides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from robo_rl.errors import MissingReading

if TYPE_CHECKING:
    import torch

PRIVILEGED_PREFIX = "object."

PROPRIOCEPTIVE = frozenset(
    {
        "time", "joint_pos", "joint_vel", "tcp_pos", "tcp_rot", "tcp_linvel", "tcp_angvel", "tcp_force", "tcp_torque",
        "target_pos", "target_rot", "gripper_width", "gripper_target",
    }
)  # fmt: skip
"""What an arm knows of itself: what it measures, and what it was told to do. Nothing of its surroundings."""


class Reading(Mapping[str, "torch.Tensor"]):
    """Named values with a leading batch dimension; asking for one that is not there names it and what there is.

    Example:
        >>> reading = world.step(command)            # doctest: +SKIP
        >>> height = reading["tcp_pos"][:, 2]        # doctest: +SKIP
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, torch.Tensor]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> torch.Tensor:
        try:
            return self._values[name]
        except KeyError:
            raise MissingReading(
                f"reading {name!r} is not given here (given: {', '.join(sorted(self._values))})"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def only(self, names: Iterable[str]) -> Reading:
        """Return the view that holds ``names`` and nothing else.

        Raises:
            MissingReading: if one of them is not there.
        """
        return Reading({name: self[name] for name in names})
