"""The simulated arm that stands in for a real one: physics that a process of its own runs in real time.

A :class:`Plant` is what lies beyond a drive: joints that torques move, objects, contacts. Delays, noise, the guard and
the wire belong to the process that runs it (:mod:`hardware.emulation.physics`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np

from robo_rl.contracts.robot import RobotSpec
from robo_rl.errors import UserError


@dataclass(frozen=True)
class PlantSettings:
    """In what the simulated arm differs from its data sheet, how late and how noisily it is seen, and its guard.

    The defaults are an arm like its data sheet, seen at once and exactly.
    """

    joint_friction: float = 0.0
    """Dry friction of each joint, as a share of its largest torque."""
    damping_scale: float = 1.0
    """Viscous friction of the joints, times that of the data sheet."""
    armature_scale: float = 1.0
    """Rotor inertia of the joints, times that of the data sheet."""
    mass_scale: float = 1.0
    """Masses and inertias of the links, times those of the data sheet; its gravity compensation does not know."""
    payload_error: float = 0.0
    """Mass at the hand that its gravity compensation does not know of, kg; may be negative."""
    gravity_error: float = 0.0
    """Share of its weight by which its gravity compensation is too strong."""
    contact_friction: float = 1.0
    """Sliding friction of everything, times that of the scene."""
    state_delay: float = 0.0
    """Time from a measurement, which its stamp tells, until it is sent, s."""
    command_delay: float = 0.0
    """Time from the arrival of a torque until it acts, s; the impedance law of the FR3 bears 10 ms and no 15 ms."""
    joint_pos_noise: float = 0.0
    """Standard deviation of measured joint positions, rad."""
    joint_vel_noise: float = 0.0
    """Standard deviation of measured joint velocities, rad/s."""
    joint_torque_noise: float = 0.0
    """Standard deviation of measured external joint torques, N·m."""
    joint_torque_lag: float = 0.0
    """Time constant of the estimate of external joint torques, s: arms give it low-pass filtered, and an impact of a
    millisecond shows as what it does to the momentum of the arm."""
    guard: float = 0.02
    """Time without a torque after which the arm brakes by itself, s of its physics."""
    patience: float = 0.0
    """Time for which the physics stands still when a torque is late, s: on a computer that other work shares, a stall
    of the driver is then no fault of the arm. 0: physics goes on in real time whatever comes, as an arm would."""
    catch_up: float = 0.01
    """Physics that is made up for at once after a stall, s; what is beyond is lost, and counted."""
    realtime: bool = True
    """Whether to ask for real-time priority; without the right to it, physics runs without."""
    seed: int = 0
    """Of the noise and the faults."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not isinstance(value, bool) and not math.isfinite(value):
                raise UserError(f"plant.{each.name} is {value}; give a finite number")
            if each.name not in ("payload_error", "gravity_error") and value < 0:
                raise UserError(f"plant.{each.name} is {value}; it must be at least 0")
        for name in ("armature_scale", "mass_scale", "contact_friction", "guard", "catch_up"):
            if getattr(self, name) == 0:
                raise UserError(f"plant.{name} is 0; it must be above 0")
        for name in ("state_delay", "command_delay", "patience"):
            if getattr(self, name) > 1.0:
                raise UserError(f"plant.{name} is {getattr(self, name)} s; give at most 1 s")


DIFFERENT = PlantSettings(
    joint_friction=0.01,
    damping_scale=1.5,
    armature_scale=1.3,
    mass_scale=1.05,
    payload_error=0.05,
    gravity_error=0.02,
    contact_friction=1.25,
    state_delay=0.002,
    joint_pos_noise=2e-5,
    joint_vel_noise=2e-3,
    joint_torque_noise=0.1,
    joint_torque_lag=0.01,
)
"""An arm that is not the one of the data sheet: what transfer is tried on."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What the sensors of a plant would read if they were exact.

    Attributes:
        joint_pos: (n,) rad.
        joint_vel: (n,) rad/s.
        joint_torque: (n,) external torque as its controller works it out: that of contacts, and whatever weight its
            gravity compensation gets wrong, N·m.
        bias: (n,) Coriolis and centrifugal torque, which a torque command has to contain, N·m.
        gripper_width: m.
    """

    joint_pos: np.ndarray
    joint_vel: np.ndarray
    joint_torque: np.ndarray
    bias: np.ndarray
    gripper_width: float


Placement = tuple[np.ndarray, np.ndarray]
"""Position (3,) m and orientation (3, 3) in the base frame; of a ``tool`` object, in the tool's frame."""


class Plant(Protocol):
    """An arm among objects, stepped by whoever owns it.

    Example:
        >>> plant.place({"cube": (np.array([0.5, 0.0, 0.02]), np.eye(3))})     # doctest: +SKIP
        >>> while True:                                                        # doctest: +SKIP
        ...     plant.step(torque)
        ...     measured = plant.measure()

    Attributes:
        spec: the arm.
        timestep: s of one step.
    """

    spec: RobotSpec
    timestep: float

    def step(self, torque: np.ndarray) -> None:
        """Advance by one step with joint torques (n,) N·m on top of the plant's own gravity compensation."""
        ...

    def measure(self) -> Measured:
        """Return what exact sensors read now."""
        ...

    def inertia(self) -> np.ndarray:
        """Return the inertia (n,) that each joint feels by itself, kg·m²."""
        ...

    def aim_gripper(self, width: float) -> None:
        """Open or close the fingers to ``width`` m from now on."""
        ...

    def set_load(self, mass: float, com: np.ndarray) -> None:
        """Have its gravity compensation reckon with ``mass``, kg, at ``com`` (3,) in the flange's frame, m.

        That is besides its gripper and the objects in it, and instead of what was set before.
        """
        ...

    def place(self, objects: Mapping[str, Placement]) -> None:
        """Put objects somewhere, at rest.

        Raises:
            UserError: if there is no such object; nothing has moved then.
        """
        ...

    def truth(self) -> Mapping[str, Placement]:
        """Return the true pose of each object, and of the tool centre point as ``tcp``, all in the base frame."""
        ...

    def snapshot(self) -> np.ndarray:
        """Return all that a :class:`Painter` of the same scene needs, float64 of a fixed length."""
        ...


class Painter(Protocol):
    """Draws what a plant's cameras see, in another process.

    Attributes:
        sizes: width and height of each camera, pixels, by its name.
    """

    sizes: Mapping[str, tuple[int, int]]

    def draw(self, snapshot: np.ndarray, camera: str) -> np.ndarray:
        """Return the picture (height, width, 3) uint8 that ``camera`` takes of a :meth:`Plant.snapshot`."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...
