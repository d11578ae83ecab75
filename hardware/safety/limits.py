"""The limits of an arm in a cell: data, from the cell file."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from robo_rl.contracts.robot import RobotSpec, Vec3
from robo_rl.errors import UserError


@dataclass(frozen=True)
class SafetyLimits:
    """What nobody can command an arm beyond.

    Attributes:
        workspace_low: corner of the box that the tool centre point may be sent to, base frame, m.
        workspace_high: opposite corner, m.
        max_tilt: largest geodesic angle between a target orientation and that of the home posture, rad.
        max_speed: of the target of the tool centre point, m/s.
        max_rotation_speed: of the target orientation, rad/s.
        max_acceleration: of the target of the tool centre point, m/s².
        max_rotation_acceleration: of the target orientation, rad/s².
        joint_margin: distance kept from every joint limit, rad.
        joint_speed: share of every joint's speed limit that may be used, in (0, 1].
        max_force: force on the tool beyond which the fault ``contact_force`` is latched, N; if it lasts. An impact
            may have twice that.
        max_torque: the same for the torque on the tool and ``contact_torque``, N·m.
        max_state_age: age of the newest measurement beyond which the fault ``stale_state`` is latched, s.
        recoveries: faults of the device itself that are recovered automatically before a person is asked, per hour.
    """

    workspace_low: Vec3
    workspace_high: Vec3
    max_tilt: float = math.pi / 2
    max_speed: float = 0.25
    max_rotation_speed: float = 1.0
    max_acceleration: float = 5.0
    max_rotation_acceleration: float = 20.0
    joint_margin: float = 0.05
    joint_speed: float = 0.5
    max_force: float = 40.0
    max_torque: float = 10.0
    max_state_age: float = 0.1
    recoveries: int = 3

    @staticmethod
    def of(spec: RobotSpec) -> SafetyLimits:
        """The limits of an arm about which nothing else was said.

        Its own work space; and forces that its impedance law cannot reach by itself, in all three axes at once.
        """
        most = 2.0 * spec.impedance.max_force, 2.0 * spec.impedance.max_torque
        return SafetyLimits(
            spec.workspace_low, spec.workspace_high, max_force=max(most[0], 40.0), max_torque=max(most[1], 10.0)
        )

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            numbers = value if isinstance(value, tuple) else (value,)
            if not all(math.isfinite(number) for number in numbers):
                raise UserError(f"limits.{each.name} is {value}; give finite numbers")
            if not isinstance(value, tuple) and (value < 0 or (value == 0 and each.name != "recoveries")):
                raise UserError(f"limits.{each.name} is {value}; it must be above 0")
        for axis, low, high in zip("xyz", self.workspace_low, self.workspace_high, strict=True):
            if not low < high:
                raise UserError(
                    f"limits.workspace_low: {low} m is not below workspace_high, {high} m, along {axis}; swap them?"
                )
        if self.joint_speed > 1.0:
            raise UserError(f"limits.joint_speed is {self.joint_speed}; it is a share, at most 1")
