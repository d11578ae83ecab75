"""An arm of three joints, and the MuJoCo model of any arm, written down independently of the suite's own builder."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import mujoco
import numpy as np
import pytest

from controllers.state import ArmState
from robo_rl.contracts import Gripper, Impedance, Link, RobotSpec

SMALL = RobotSpec(
    name="small",
    title="three joints about three different axes, for tests",
    base_shapes=(),
    links=(
        Link(
            "a", (0, 0, 0.3), (1, 0, 0, 0), (0, 0, 1), (-2, 2), 2, 50, 2, (0, 0.01, 0.05),
            (0.02, 0.02, 0.01, 0, 0, 0),
        ),
        Link(
            "b", (0.1, 0, 0.1), (0.8, 0.6, 0, 0), (0, 1, 0), (-1, 1.5), 2, 40, 1, (0.1, 0, 0),
            (0.01, 0.01, 0.01, 0, 0, 0),
        ),
        Link(
            "c", (0.3, 0, 0), (0.5, 0.5, -0.5, 0.5), (0.6, 0, 0.8), (-2, 2), 2, 9, 1, (0, 0, 0.05),
            (0.01, 0.02, 0.02, 0, 0, 0),
        ),
    ),
    gripper=Gripper(
        hand_pos=(0.0, 0.05, 0.1), hand_quat=(0.6, 0.0, 0.0, 0.8), hand_mass=0.5, hand_com=(0, 0, 0.03),
        hand_inertia=(1e-3, 1e-3, 1e-3, 0, 0, 0), hand_shapes=(), finger_pos=(0, 0, 0.05), finger_mass=0.01,
        finger_shapes=(), tcp_pos=(0.01, 0.02, 0.1), max_width=0.08, max_force=20,
    ),
    impedance=Impedance(
        stiffness=500, rotational_stiffness=20, damping_ratio=1, nominal_mass=2, nominal_inertia=0.05, clip=0.02,
        rotational_clip=0.1, nullspace_stiffness=1, nullspace_damping=0.5, max_force=20, max_torque=4,
    ),
    home=(0.1, 0.2, -0.3),
    workspace_low=(0.2, -0.2, 0.1),
    workspace_high=(0.5, 0.2, 0.6),
    work_center=(0.3, 0.0, 0.0),
    joint_damping=(0.5, 0.5, 0.5),
    armature=(0.05, 0.05, 0.05),
)  # fmt: skip


def arm_mjcf(spec: RobotSpec, extra: str = "", tool: str = "", timestep: float = 0.001) -> str:
    """MJCF of the bare arm with a motor per joint, gravity on, and a site ``tcp``.

    Args:
        spec: the arm.
        extra: MJCF to put into the world body.
        tool: MJCF to put into the hand, whose origin is the hand's.
        timestep: s.
    """

    def words(values: tuple[float, ...]) -> str:
        return " ".join(repr(float(v)) for v in values)

    def inertial(mass: float, com: tuple[float, ...], inertia: tuple[float, ...]) -> str:
        return f'<inertial mass="{mass}" pos="{words(com)}" fullinertia="{words(inertia)}"/>'

    gripper, body = spec.gripper, ""
    for i, link in enumerate(spec.links):
        body += (
            f'<body name="{link.name}" pos="{words(link.pos)}" quat="{words(link.quat)}">'
            f'<joint name="j{i}" axis="{words(link.axis)}" range="{words(link.joint_range)}"'
            f' damping="{spec.joint_damping[i]}" armature="{spec.armature[i]}"/>'
            + inertial(link.mass, link.com, link.inertia)
        )
    body += (
        f'<body name="hand" pos="{words(gripper.hand_pos)}" quat="{words(gripper.hand_quat)}">'
        + inertial(gripper.hand_mass, gripper.hand_com, gripper.hand_inertia)
        + f'<site name="tcp" pos="{words(gripper.tcp_pos)}"/>{tool}</body>'
        + "</body>" * spec.dof
    )
    motors = "".join(f'<motor joint="j{i}"/>' for i in range(spec.dof))
    return (
        f'<mujoco><compiler angle="radian" autolimits="true"/>'
        f'<option timestep="{timestep}" integrator="implicitfast" cone="elliptic"/>'
        f"<worldbody>{extra}{body}</worldbody><actuator>{motors}</actuator></mujoco>"
    )


class SimulatedArm:
    """An arm in MuJoCo that stands at its home posture and is driven by torques.

    Attributes:
        model: its model.
        data: its data.
        jacobian: (6, n) of the tool centre point at the last :meth:`states` yielded.
    """

    def __init__(self, spec: RobotSpec, mjcf: str) -> None:
        self.model = mujoco.MjModel.from_xml_string(mjcf)
        self.data = mujoco.MjData(self.model)
        self.data.qpos[:] = spec.home
        mujoco.mj_forward(self.model, self.data)
        self.jacobian = np.zeros((6, spec.dof))
        self._site = self.model.site("tcp").id

    def states(self, steps: int) -> Iterator[ArmState]:
        """Yield the state, then step with what was written to ``data.ctrl``, ``steps`` times."""
        for _ in range(steps):
            yield self.state()
            mujoco.mj_step(self.model, self.data)

    def state(self) -> ArmState:
        """The state as a robot node would read it."""
        data, site = self.data, self._site
        mujoco.mj_jacSite(self.model, data, self.jacobian[:3], self.jacobian[3:], site)
        rot = data.site_xmat[site].reshape(3, 3)
        return ArmState(data.qpos, data.qvel, self.jacobian, data.site_xpos[site], rot, data.qfrc_bias)

    def contact_force(self) -> float:
        """Sum of the normal forces of all contacts, N."""
        wrench, total = np.zeros(6), 0.0
        for i in range(self.data.ncon):
            mujoco.mj_contactForce(self.model, self.data, i, wrench)
            total += wrench[0]
        return total

    def mass_matrix(self) -> np.ndarray:
        """(n, n), rotor inertias included."""
        mass = np.zeros((self.model.nv, self.model.nv))
        mujoco.mj_fullM(self.model, self.data, mass)
        return mass


@pytest.fixture(scope="session")
def simulate() -> Callable[[RobotSpec, str], SimulatedArm]:
    return SimulatedArm


@pytest.fixture(scope="session")
def small_arm() -> RobotSpec:
    return SMALL


@pytest.fixture(scope="session")
def build_mjcf() -> Callable[..., str]:
    return arm_mjcf
