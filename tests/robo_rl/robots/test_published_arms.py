"""Our arms against what their makers publish: forward kinematics, torque reserve, the posture that tasks start from."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robo_rl import geometry
from robo_rl.contracts import RobotSpec
from robo_rl.robots.fr3 import FR3
from robo_rl.robots.widowx250s import WIDOWX250S
from robo_rl.robots.widowx_ai import RISER, WIDOWX_AI

ARMS = [FR3, WIDOWX250S, WIDOWX_AI]
GRAVITY = np.array([0.0, 0.0, -9.81])


def frames(spec: RobotSpec, joints) -> tuple[list[np.ndarray], np.ndarray]:
    """Pose (4, 4) of every link, and of the tool centre point, in the base frame."""

    def pose(pos, rot):
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = rot, pos
        return matrix

    here, links = np.eye(4), []
    for link, angle in zip(spec.links, joints, strict=True):
        turn = geometry.exp(np.array(link.axis) * angle)
        here = here @ pose(link.pos, geometry.from_quat_wxyz(np.array(link.quat))) @ pose((0, 0, 0), turn)
        links.append(here)
    hand = pose(spec.gripper.hand_pos, geometry.from_quat_wxyz(np.array(spec.gripper.hand_quat)))
    return links, here @ hand @ pose(spec.gripper.tcp_pos, np.eye(3))


def holding_torque(spec: RobotSpec, joints, force: np.ndarray) -> np.ndarray:
    """Torque (n,) that balances gravity and ``force`` (3,) at the tool centre point, by virtual work."""
    links, tcp = frames(spec, joints)
    hand = links[-1] @ np.block(
        [
            [geometry.from_quat_wxyz(np.array(spec.gripper.hand_quat)), np.array(spec.gripper.hand_pos)[:, None]],
            [np.zeros((1, 3)), np.ones((1, 1))],
        ]
    )
    loads = [
        ((pose @ [*link.com, 1.0])[:3], link.mass * GRAVITY, i)
        for i, (pose, link) in enumerate(zip(links, spec.links, strict=True))
    ]
    loads.append(((hand @ [*spec.gripper.hand_com, 1.0])[:3], spec.gripper.hand_mass * GRAVITY, spec.dof - 1))
    loads.append((tcp[:3, 3], 2 * spec.gripper.finger_mass * GRAVITY + force, spec.dof - 1))
    torque = np.zeros(spec.dof)
    for j, link in enumerate(spec.links):
        axis, origin = links[j][:3, :3] @ np.array(link.axis), links[j][:3, 3]
        torque[j] = -sum(axis @ np.cross(point - origin, load) for point, load, carrier in loads if carrier >= j)
    return torque


def test_widowx_tool_is_where_the_maker_says_at_zero():
    # Interbotix' specification of the WidowX 250s, product of exponentials: M
    _, tcp = frames(WIDOWX250S, np.zeros(6))
    np.testing.assert_allclose(tcp[:3, 3], [0.458325, 0.0, 0.36065], atol=1e-9)
    np.testing.assert_allclose(tcp[:3, 2], [1.0, 0.0, 0.0], atol=1e-9)  # the fingers point forward


def test_widowx_joints_turn_as_the_maker_says():
    # screw axes of the same specification; a screw (w, v) moves a point p at w x p + v
    screws = np.array(
        [
            [0, 0, 1, 0, 0, 0],
            [0, 1, 0, -0.11065, 0, 0],
            [0, 1, 0, -0.36065, 0, 0.04975],
            [1, 0, 0, 0, 0.36065, 0],
            [0, 1, 0, -0.36065, 0, 0.29975],
            [1, 0, 0, 0, 0.36065, 0],
        ]
    )
    _, start = frames(WIDOWX250S, np.zeros(6))
    for j, screw in enumerate(screws):
        _, moved = frames(WIDOWX250S, np.eye(6)[j] * 1e-6)
        expected = np.cross(screw[:3], start[:3, 3]) + screw[3:]
        np.testing.assert_allclose((moved - start)[:3, 3] / 1e-6, expected, atol=1e-5)


@pytest.mark.parametrize("spec", ARMS, ids=lambda s: s.name)
def test_home_points_down_above_the_work(spec):
    _, tcp = frames(spec, spec.home)
    np.testing.assert_allclose(tcp[:3, :3], np.diag([1.0, -1.0, -1.0]), atol=1e-3)  # as tasks start it
    assert all(low < x < high for low, x, high in zip(spec.workspace_low, tcp[:3, 3], spec.workspace_high, strict=True))
    for angle, link in zip(spec.home, spec.links, strict=True):
        assert link.joint_range[0] + 0.1 < angle < link.joint_range[1] - 0.1


@pytest.mark.parametrize("spec", ARMS, ids=lambda s: s.name)
@pytest.mark.parametrize("direction", [*np.eye(3), *-np.eye(3)], ids=str)
def test_motors_hold_the_arm_and_ten_newton(spec, direction):
    torque = holding_torque(spec, spec.home, 10.0 * direction)
    limits = np.array([link.max_torque for link in spec.links])
    assert (np.abs(torque) < 0.8 * limits).all(), torque / limits


def test_widowx_shoulder_carries_a_hand_worked_load():
    # Arm stretched forward from the elbow: only the 10 N at the tool matter for the difference of two loads,
    # and its lever about the shoulder is the tool's horizontal distance, 0.458325 m.
    loaded = holding_torque(WIDOWX250S, np.zeros(6), np.array([0.0, 0.0, -10.0]))
    free = holding_torque(WIDOWX250S, np.zeros(6), np.zeros(3))
    assert (loaded - free)[1] == pytest.approx(-4.58325, abs=1e-9)


@pytest.mark.parametrize("spec", ARMS, ids=lambda s: s.name)
def test_inertias_are_physical(spec):
    bodies = [(link.mass, link.inertia) for link in spec.links]
    bodies.append((spec.gripper.hand_mass, spec.gripper.hand_inertia))
    for mass, (xx, yy, zz, xy, xz, yz) in bodies:
        principal = np.linalg.eigvalsh(np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]))
        assert mass > 0
        assert principal[0] > 0
        assert principal[0] + principal[1] >= principal[2] * (1 - 1e-6)  # triangle inequality


@pytest.mark.parametrize("spec", ARMS, ids=lambda s: s.name)
def test_there_is_one_value_per_joint(spec):
    assert len(spec.home) == len(spec.joint_damping) == len(spec.armature) == spec.dof
    assert spec.impedance.stiffness * spec.impedance.clip <= spec.impedance.max_force
    assert 0 <= spec.gripper.min_width < spec.gripper.max_width


def test_fr3_has_its_own_limits():
    # franka_description, robots/fr3/joint_limits.yaml
    assert FR3.links[0].joint_range == (-2.7437, 2.7437)
    assert FR3.links[5].joint_range == (0.5445, 4.5169)
    assert [link.max_torque for link in FR3.links] == [87.0] * 4 + [12.0] * 3
    assert math.isclose(FR3.links[6].max_velocity, 5.26)


def test_widowx_ai_is_what_its_maker_ships():
    maker = pytest.importorskip("trossen_arm")
    joints, bodies = maker.StandardJoints.wxai_v0_20260626, maker.StandardLinks.wxai_v0_20260626
    foot = np.array([0.0, 0.0, RISER])
    for i, link in enumerate(WIDOWX_AI.links):
        here = np.array(joints[i].origin_xyz) + (foot if i == 0 else 0.0)
        np.testing.assert_allclose(link.pos, here, atol=6e-5)
        np.testing.assert_allclose(link.axis, list(joints[i].axis)[:3])
        assert not np.any(list(joints[i].origin_rpy))
        if i < 5:  # the last one is the palm
            _same_body(link.mass, link.com, link.inertia, bodies[i + 1])


def test_widowx_ai_palm_is_cut_in_two_without_loss():
    maker = pytest.importorskip("trossen_arm")
    palm, hand, gripper = maker.StandardEndEffector.wxai_v0_follower.palm, WIDOWX_AI.links[-1], WIDOWX_AI.gripper
    turn = geometry.from_quat_wxyz(np.array(gripper.hand_quat))
    np.testing.assert_allclose(turn @ gripper.hand_com + gripper.hand_pos, hand.com, atol=1e-9)
    turned = turn @ _matrix(gripper.hand_inertia) @ turn.T
    assert hand.mass + gripper.hand_mass == pytest.approx(palm.mass, abs=1e-6)
    whole = np.array(list(palm.inertia)).reshape(3, 3)
    np.testing.assert_allclose(_matrix(hand.inertia) + turned, whole, atol=1e-9)
    tool, *_ = maker.StandardEndEffector.wxai_v0_follower.t_flange_tool
    assert gripper.hand_pos[0] + gripper.tcp_pos[2] == pytest.approx(tool, abs=1e-6)


def _matrix(inertia) -> np.ndarray:
    xx, yy, zz, xy, xz, yz = inertia
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def _same_body(mass, com, inertia, body) -> None:
    assert mass == pytest.approx(body.mass, abs=1e-7)
    np.testing.assert_allclose(com, list(body.origin_xyz), atol=1e-7)
    np.testing.assert_allclose(_matrix(inertia).ravel(), list(body.inertia), atol=1e-9)
