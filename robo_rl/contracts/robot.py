"""What is published about an arm: kinematics, limits, inertias, and the impedance it is run with. Data, not code."""

from __future__ import annotations

from dataclasses import dataclass

from robo_rl.contracts.scene import Quat, Shape, Vec3


@dataclass(frozen=True)
class SlowEnds:
    """How an arm lowers the speed it allows a joint towards an end of its range: to ``sqrt(2 a d) - v`` at distance d.

    Attributes:
        low: lower end that d is measured to, rad; it may be a little beyond the joint's range.
        high: upper end.
        deceleration: a, rad/s².
        offset: v, rad/s.
    """

    low: float
    high: float
    deceleration: float
    offset: float


@dataclass(frozen=True)
class Link:
    """One moving link and the revolute joint that carries it.

    Attributes:
        name: of the link.
        pos: origin of the link's frame in its parent's frame at joint angle 0, in metres.
        quat: orientation of that frame, wxyz.
        axis: joint axis in the link's frame.
        joint_range: lower and upper limit, rad.
        max_velocity: rad/s; the largest at any position.
        max_torque: N·m.
        mass: kg.
        com: centre of mass in the link's frame, m.
        inertia: (ixx, iyy, izz, ixy, ixz, iyz) about the centre of mass, in the link's axes, kg·m².
        shapes: primitives for contact and rendering, in the link's frame.
        slow_ends: how the arm lowers ``max_velocity`` near the ends of the range; None if it does not.
    """

    name: str
    pos: Vec3
    quat: Quat
    axis: Vec3
    joint_range: tuple[float, float]
    max_velocity: float
    max_torque: float
    mass: float
    com: Vec3
    inertia: tuple[float, float, float, float, float, float]
    shapes: tuple[Shape, ...] = ()
    slow_ends: SlowEnds | None = None


@dataclass(frozen=True)
class Gripper:
    """A parallel gripper: two fingers that move symmetrically along the y axis of the hand.

    Attributes:
        hand_pos: origin of the hand's frame in the last link's, m; the hand's z axis points out of the fingers.
        hand_quat: wxyz.
        hand_mass: kg, fingers excluded.
        hand_com: in the hand's frame, m.
        hand_inertia: about the centre of mass, like ``Link.inertia``.
        hand_shapes: primitives in the hand's frame.
        finger_pos: origin of a closed finger in the hand's frame, m.
        finger_mass: kg, each.
        finger_shapes: primitives of the finger that opens towards +y; the other one is its mirror image (half a turn
            about z).
        tcp_pos: tool centre point in the hand's frame, m; its axes are the hand's.
        max_width: opening between the fingers, m.
        max_force: N.
        min_width: smallest opening the gripper can reach, m.
    """

    hand_pos: Vec3
    hand_quat: Quat
    hand_mass: float
    hand_com: Vec3
    hand_inertia: tuple[float, float, float, float, float, float]
    hand_shapes: tuple[Shape, ...]
    finger_pos: Vec3
    finger_mass: float
    finger_shapes: tuple[Shape, ...]
    tcp_pos: Vec3
    max_width: float
    max_force: float
    min_width: float = 0.0


@dataclass(frozen=True)
class Impedance:
    """Cartesian impedance that the arm is run with, in every world.

    The contact force is bounded by ``stiffness * clip`` per axis (plus damping while moving), see
    :mod:`controllers.impedance`.

    Attributes:
        stiffness: translational, N/m.
        rotational_stiffness: N·m/rad.
        damping_ratio: of the critically damped spring, against ``nominal_mass`` and ``nominal_inertia``.
        nominal_mass: kg, apparent mass at the tool for which the damping is set.
        nominal_inertia: kg·m².
        clip: largest distance between target and measured position, per axis, m.
        rotational_clip: largest angle between target and measured orientation, per axis, rad.
        nullspace_stiffness: of the pull towards the home posture, N·m/rad.
        nullspace_damping: N·m·s/rad.
        max_force: bound on each component of the tool force, N.
        max_torque: bound on each component of the tool torque, N·m.
        max_torque_rate: of the joint torques, N·m per millisecond.
    """

    stiffness: float
    rotational_stiffness: float
    damping_ratio: float
    nominal_mass: float
    nominal_inertia: float
    clip: float
    rotational_clip: float
    nullspace_stiffness: float
    nullspace_damping: float
    max_force: float
    max_torque: float
    max_torque_rate: float = 1.0

    @property
    def damping(self) -> float:
        """Translational damping, N·s/m."""
        return 2.0 * self.damping_ratio * (self.stiffness * self.nominal_mass) ** 0.5

    @property
    def rotational_damping(self) -> float:
        """Rotational damping, N·m·s/rad."""
        return 2.0 * self.damping_ratio * (self.rotational_stiffness * self.nominal_inertia) ** 0.5


@dataclass(frozen=True)
class RobotSpec:
    """An arm with its gripper.

    Attributes:
        name: under which the command line knows it.
        title: for people.
        base_shapes: primitives of the immobile base, in the base frame.
        links: from base to flange.
        gripper: at the flange.
        impedance: gains and limits of the tool's spring.
        home: joint positions over the middle of the work space, tool pointing down, rad.
        workspace_low: corner of the box that the tool centre point may be commanded to, base frame, m.
        workspace_high: opposite corner, m.
        work_center: point on the table top that tasks are laid out around, base frame, m.
        reach_scale: size of task layouts relative to the Panda's.
        joint_damping: viscous friction of each joint, N·m·s/rad.
        armature: rotor inertia seen at the joint, kg·m².
        control_rate: commands per second that tasks send to it, Hz.
    """

    name: str
    title: str
    base_shapes: tuple[Shape, ...]
    links: tuple[Link, ...]
    gripper: Gripper
    impedance: Impedance
    home: tuple[float, ...]
    workspace_low: Vec3
    workspace_high: Vec3
    work_center: Vec3
    reach_scale: float = 1.0
    joint_damping: tuple[float, ...] = ()
    armature: tuple[float, ...] = ()
    control_rate: float = 10.0

    @property
    def dof(self) -> int:
        """Number of arm joints."""
        return len(self.links)
