"""Devices of a robot cell: the arm with its gripper, the camera, and the person who sets a cell up.

Everything here is one device, unbatched, in float64 NumPy, SI units and the robot's base frame. Times are seconds of
``time.monotonic()`` on the machine that holds the object; only ages and differences mean anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np

from robo_rl.contracts.robot import RobotSpec

if TYPE_CHECKING:
    from robo_rl.contracts.world import Start

Mode = Literal["holding", "running", "moving", "fault"]
"""What an arm is doing: holding where it is, compliant; pursuing commands; moving its joints to a given posture; or
holding after a fault, until somebody acknowledges it."""

MAX_VALIDITY = 0.3
"""Seconds for which a command may at most be valid."""


@dataclass(frozen=True, slots=True)
class RobotState:
    """An arm at one instant.

    Attributes:
        stamp: when it was measured, s.
        joint_pos: (n,) rad.
        joint_vel: (n,) rad/s.
        joint_torque: (n,) torque that the surroundings exert at the joints, gravity and motion removed, N·m; NaN where
            the device cannot tell.
        tcp_pos: (3,) tool centre point, m.
        tcp_rot: (3, 3) orientation of the tool.
        tcp_linvel: (3,) m/s.
        tcp_angvel: (3,) rad/s.
        tcp_force: (3,) force that the surroundings exert on the tool, its weight removed, N; NaN if not known.
        tcp_torque: (3,) torque that they exert, about the tool centre point, N·m; NaN if not known.
        gripper_width: opening between the fingers, m.
    """

    stamp: float
    joint_pos: np.ndarray
    joint_vel: np.ndarray
    joint_torque: np.ndarray
    tcp_pos: np.ndarray
    tcp_rot: np.ndarray
    tcp_linvel: np.ndarray
    tcp_angvel: np.ndarray
    tcp_force: np.ndarray
    tcp_torque: np.ndarray
    gripper_width: float


@dataclass(frozen=True, slots=True)
class ToolCommand:
    """Where the tool shall go.

    Attributes:
        id: above that of every earlier command of the same sender.
        pos: (3,) target of the tool centre point, m.
        rot: (3, 3) target orientation.
        gripper: target opening, m.
        valid_for: seconds from its reception after which the arm holds, if nothing newer came; at most
            :data:`MAX_VALIDITY`.
    """

    id: int
    pos: np.ndarray
    rot: np.ndarray
    gripper: float
    valid_for: float


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a command: the target in force after every limit.

    Attributes:
        id: of the command; 0 if the target comes from none, as after a reset.
        pos: (3,) m.
        rot: (3, 3).
        gripper: m.
        reasons: the limits that changed it, by name: ``workspace``, ``rotation``, ``speed``, ``leash``, ...;
            ``expired`` if it is no longer pursued.
    """

    id: int
    pos: np.ndarray
    rot: np.ndarray
    gripper: float
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RobotStatus:
    """How an arm is.

    Attributes:
        mode: what it is doing.
        reason: why, for people: one line; empty while all is well.
        fault: name of the latched fault, such as ``contact_force`` or ``stopped``; empty if there is none.
        needs_acknowledgement: whether :meth:`Robot.recover` has to be called by a person.
        recoveries: automatic ones so far.
        rejected: commands that were refused so far.
        counters: figures of the control loop: ``cycles``, ``missed``, ``rate_hz``, ``period_p99_ms``, ...
    """

    mode: Mode
    reason: str = ""
    fault: str = ""
    needs_acknowledgement: bool = False
    recoveries: int = 0
    rejected: int = 0
    counters: Mapping[str, float] = field(default_factory=dict)


@runtime_checkable
class Robot(Protocol):
    """An arm with its gripper, behind the safety filter of whoever owns it. No method waits for the arm.

    Example:
        >>> with make_arm() as arm:                                            # doctest: +SKIP
        ...     state = arm.state()
        ...     arm.command(ToolCommand(1, state.tcp_pos, state.tcp_rot, 0.04, valid_for=0.25))
        ...     arm.applied().reasons

    Attributes:
        spec: the arm.
    """

    spec: RobotSpec

    def state(self, max_age: float = 0.1) -> RobotState:
        """Return the newest state.

        Raises:
            Stale: if it is older than ``max_age`` s, with its age.
        """
        ...

    def command(self, command: ToolCommand) -> None:
        """Pursue ``command`` until it expires or a newer one comes.

        Raises:
            InvalidAction: if it is malformed: not finite, not a rotation, out of order, valid for too long.
            Faulted: if the arm is in a fault; says which and what to do.
        """
        ...

    def applied(self) -> Applied:
        """Return the target in force at this instant: read at the end of a control period, it is what was executed."""
        ...

    def status(self) -> RobotStatus:
        """Return how the arm is."""
        ...

    def move_joints(self, joint_pos: np.ndarray, gripper: float) -> None:
        """Begin to move to a posture (n,) rad through joint space, within every limit.

        ``status().mode`` is ``moving`` until it is there and then ``holding``; a command or a fault ends it.

        Raises:
            InvalidAction: if the posture is not finite or outside of the joint limits, or it, or every way to it, leads
                the tool out of its limits.
            Faulted: as in :meth:`command`.
        """
        ...

    def stop(self, reason: str) -> None:
        """Latch the fault ``stopped``: hold until :meth:`recover`. Never refused, and may be called from any thread."""
        ...

    def recover(self) -> None:
        """Acknowledge the latched fault; without one, nothing happens.

        Raises:
            Faulted: if its cause is still there.
        """
        ...

    def close(self) -> None:
        """Hold, and let go of the device. Once more is no error."""
        ...


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture.

    Attributes:
        stamp: when it was taken, s.
        index: counts the frames of the camera; a gap means lost ones.
        rgb: (height, width, 3) uint8.
        depth: (height, width) m float32, 0 where unknown, in the pixels of ``rgb``; None if the camera gives none.
    """

    stamp: float
    index: int
    rgb: np.ndarray
    depth: np.ndarray | None = None


@runtime_checkable
class Camera(Protocol):
    """A camera that is read from a thread of its own.

    Attributes:
        name: as tasks call it.
        width: of its pictures.
        height: of its pictures.
    """

    name: str
    width: int
    height: int

    def read(self, max_age: float = 0.2) -> Frame:
        """Return the newest frame, without waiting.

        Raises:
            Stale: if it is older than ``max_age`` s or there is none, with the reason if one is known.
        """
        ...

    def close(self) -> None:
        """Let go of the device. Once more is no error."""
        ...


class Operator(Protocol):
    """Who puts the objects where an episode wants them: a person, or the simulated cell's stand-in for one."""

    def arrange(self, start: Start) -> None:
        """Return once the objects of ``start`` (one row) are in place, or at once if there is nothing to do.

        Raises:
            UserError: if it cannot be done, or the person gives up.
        """
        ...

    def acknowledge(self, fault: str, reason: str) -> bool:
        """Say whether a latched fault is to be acknowledged now; False leaves it to whoever stands by the arm."""
        ...
