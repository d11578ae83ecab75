"""What the SDK of an arm's maker gives: unguarded. Only :class:`hardware.arm.Arm` may hold one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from robo_rl.contracts import RobotSpec


class DriveState(NamedTuple):
    """What a drive measured in one cycle, float64.

    Attributes:
        stamp: ``time.monotonic()`` of the measurement, s.
        joint_pos: (n,) rad.
        joint_vel: (n,) rad/s.
        joint_torque: (n,) torque that the surroundings exert at the joints, gravity and motion removed, N·m; NaN where
            the device cannot tell.
        bias: (n,) torque that a torque command has to contain for gravity and Coriolis forces, N·m; zero for what the
            arm itself compensates.
        gripper_width: m.
        error: what the device itself complains of, such as a reflex; empty while all is well.
    """

    stamp: float
    joint_pos: np.ndarray
    joint_vel: np.ndarray
    joint_torque: np.ndarray
    bias: np.ndarray
    gripper_width: float
    error: str = ""


@dataclass(frozen=True, slots=True)
class Delegated:
    """Limits that a drive's own fast loop enforces, set there by :meth:`Drive.open`.

    Attributes:
        limits: their names, as in :class:`hardware.safety.limits.SafetyLimits`.
        by: who does it, for people.
    """

    limits: frozenset[str] = frozenset()
    by: str = ""


@runtime_checkable
class Drive(Protocol):
    """One arm with its gripper, driven from one thread.

    It can be driven in one way at least: it is a :class:`TorqueDrive`, a :class:`PoseDrive` or a :class:`JointDrive`.

    Example:
        >>> drive.open()                                  # doctest: +SKIP
        >>> while True:                                   # doctest: +SKIP
        ...     state = drive.read()                      # waits for the next cycle
        ...     drive.write_torque(law(state))

    Attributes:
        spec: the arm.
        rate: cycles per second that :meth:`read` is paced at, Hz.
        delegated: limits that its own loop enforces.
    """

    spec: RobotSpec
    rate: float
    delegated: Delegated

    def open(self) -> None:
        """Connect, and hold where the arm is.

        Raises:
            UserError: if it cannot be reached or is not the arm of ``spec``; names the address and the remedy.
        """
        ...

    def read(self) -> DriveState:
        """Wait for the next cycle and return what was measured; the pace of the control loop.

        Raises:
            Stale: if the device has been silent for longer than it may be; the next call tries again.
        """
        ...

    def write_gripper(self, width: float) -> None:
        """Open or close the fingers to ``width`` m; returns at once."""
        ...

    def recover(self) -> None:
        """Clear the device's own error and go on holding where the arm is.

        Raises:
            UserError: if it does not clear; says what the device says.
        """
        ...

    def close(self) -> None:
        """Leave the arm holding or braked by its own means, and disconnect. Once more is no error."""
        ...


@runtime_checkable
class LoadedDrive(Drive, Protocol):
    """A drive that can be told what the arm carries."""

    def carry(self, mass: float, com: np.ndarray) -> None:
        """Reckon with ``mass``, kg, besides the gripper, from the next :meth:`open` on.

        Args:
            mass: kg.
            com: (3,) its centre in the flange's frame, m: the origin is where the hand is mounted, the axes are those
                of the last link.
        """
        ...


@runtime_checkable
class TorqueDrive(Drive, Protocol):
    """A drive whose joints exert torques."""

    def write_torque(self, torque: np.ndarray) -> None:
        """Apply joint torques (n,) N·m until the next cycle, on top of what the arm itself compensates."""
        ...


@runtime_checkable
class PoseDrive(Drive, Protocol):
    """A drive whose SDK holds the tool by an impedance of its own."""

    def write_pose(self, pos: np.ndarray, rot: np.ndarray) -> None:
        """Track a pose of the tool centre point, (3,) m and (3, 3)."""
        ...


@runtime_checkable
class JointDrive(Drive, Protocol):
    """A drive that holds joint positions."""

    def write_joints(self, joint_pos: np.ndarray) -> None:
        """Track joint positions (n,) rad, as stiff as the device does."""
        ...
