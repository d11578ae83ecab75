"""The servos of a WidowX 250s and their units: data, from the makers.

Sources: ``wx250s.yaml`` of Interbotix' interbotix_ros_manipulators (IDs, directions, limits, gripper linkage) and
ROBOTIS' e-Manual (units, stall values, gains as delivered).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hardware.arms import dynamixel as dxl

TICK = 2 * math.pi / 4096
VELOCITY_UNIT = 0.229 * 2 * math.pi / 60
CURRENT_UNIT = 2.69e-3
TORQUE_PER_AMPERE = 4.1 / 2.3
"""N·m/A of an XM430-W350: its stall values at 12 V. Interbotix compensates gravity with 1.793."""

XL430_STALL, XL430_FREE = 1.5, 61 * 2 * math.pi / 60
"""Stall torque, N·m, and speed without load, rad/s, of an XL430-W250 at 12 V."""

FULL_PWM = 885
GAIN = {dxl.XM430_W350: 800, dxl.XL430_W250: 640}
"""Position gains as delivered."""

STIFFNESS = {
    dxl.XM430_W350: 800 / 128 / TICK / FULL_PWM * 4.1,
    dxl.XL430_W250: 640 / 128 / TICK / FULL_PWM * XL430_STALL,
}
"""N·m/rad that these give in position mode: PWM is gain / 128 per tick, all of it gives the stall torque."""

VELOCITY_LIMIT = 131
"""That Interbotix sets, in units: pi rad/s."""

PROFILE_VELOCITY = 125
"""That the servos are held to: a little less, as they run ahead of it now and then."""

_CENTRE = 2048
_HORN, _ROD, _PAD = 0.014, 0.024, 0.009  # of the gripper: crank, connecting rod, pad inside the finger's frame, m


@dataclass(frozen=True)
class Servo:
    """One servo as it is built in.

    Attributes:
        id: on the bus.
        name: for people.
        joint: that it turns, from 0; the gripper's is 6.
        model: number of its kind.
        reverse: whether it counts the other way round.
        limits: of its position, ticks.
        shadow_of: the first servo of its joint, if that is another one.
    """

    id: int
    name: str
    joint: int
    model: int = dxl.XM430_W350
    reverse: bool = False
    limits: tuple[int, int] = (0, 4095)
    shadow_of: int = dxl.NO_SHADOW


SERVOS = (
    Servo(1, "waist", 0),
    Servo(2, "shoulder", 1, limits=(819, 3345)),
    Servo(3, "shoulder shadow", 1, reverse=True, limits=(819, 3345), shadow_of=2),
    Servo(4, "elbow", 2, limits=(648, 3094)),
    Servo(5, "elbow shadow", 2, reverse=True, limits=(648, 3094), shadow_of=4),
    Servo(6, "forearm roll", 3),
    Servo(7, "wrist angle", 4, reverse=True, limits=(910, 3447)),
    Servo(8, "wrist rotate", 5, dxl.XL430_W250),
    Servo(9, "gripper", 6, dxl.XL430_W250),
)
ARM, GRIPPER = SERVOS[:-1], SERVOS[-1]
MASTERS = tuple(servo for servo in ARM if servo.shadow_of == dxl.NO_SHADOW)
"""Those that speak for the arm's joints, in their order."""


def ticks(angle: float) -> int:
    """Position of a servo, 1/4096 turns, at ``angle`` rad of its joint."""
    return _CENTRE + round(angle / TICK)


def angle(position: int) -> float:
    """Angle of a joint, rad, at ``position`` ticks."""
    return (position - _CENTRE) * TICK


def gripper_angle(width: float) -> float:
    """Angle of the gripper's servo, rad, for an opening between the pads in m: crank and connecting rod.

    With r the crank, l the rod and h the distance of a finger's frame from the middle, ``l² = r² + h² - 2 r h sin a``.
    """
    finger = width / 2 + _PAD
    return math.asin((_HORN**2 + finger**2 - _ROD**2) / (2 * _HORN * finger))


def gripper_width(angle: float) -> float:
    """Undo :func:`gripper_angle`, for any angle."""
    finger = _HORN * math.sin(angle) + math.sqrt(_ROD**2 - (_HORN * math.cos(angle)) ** 2)
    return 2 * (finger - _PAD)
