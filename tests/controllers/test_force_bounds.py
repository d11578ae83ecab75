"""A fingertip is pressed against a wall in MuJoCo at 1 kHz, and the stated force bounds are held against it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from controllers.force_bounds import contact_bound, effective_mass, impact_bound, static_bound, terminal_speed
from controllers.impedance import CartesianImpedance
from robo_rl import geometry
from robo_rl.contracts import Impedance, Pose, RobotSpec
from robo_rl.robots import robot

# MuJoCo gives a contact's stiffness per effective mass, 1/s².
WALL = 2e4


def arm_at_wall(
    spec: RobotSpec, axis: int, gap: float, friction: float, damping: float, simulate: Callable, build_mjcf: Callable
):
    """The arm at home, the sphere at its tool centre point ``gap`` metres before a wall across ``axis``."""
    bare = simulate(spec, build_mjcf(spec)).state()
    centre = bare.tcp_pos + (gap + 0.005 + 0.05) * np.eye(3)[axis]
    size = np.where(np.arange(3) == axis, 0.05, 1.0)
    wall = (
        f'<geom type="box" pos="{centre[0]} {centre[1]} {centre[2]}" size="{size[0]} {size[1]} {size[2]}"'
        f' friction="{friction} 0 0" solref="{-WALL} {-damping}" solimp="0.99 0.99 0.001"/>'
    )
    at = " ".join(map(str, spec.gripper.tcp_pos))
    tip = f'<geom type="sphere" size="0.005" mass="0" pos="{at}" friction="{friction} 0 0"/>'
    return simulate(spec, build_mjcf(spec, wall, tip))


def test_hand_worked_bounds() -> None:
    gains = Impedance(1000.0, 50.0, 1.0, 2.5, 0.5, 0.02, 0.1, 0.5, 1.0, 30.0, 10.0)
    assert static_bound(gains) == pytest.approx((20.0, 5.0))
    assert terminal_speed(gains) == pytest.approx((0.2, 0.5))
    stiff = Impedance(4000.0, 500.0, 1.0, 2.5, 0.5, 0.02, 0.1, 0.5, 1.0, 30.0, 10.0)
    assert static_bound(stiff) == pytest.approx((30.0, 10.0))
    # A point of 2 kg that only translates: nothing is coupled.
    point = np.concatenate([np.eye(3), np.zeros((3, 3))])
    up = np.array([0.0, 0.0, 1.0])
    assert effective_mass(point, 2.0 * np.eye(3), up) == pytest.approx(2.0)
    assert contact_bound(gains, point, 2.0 * np.eye(3), up) == pytest.approx(30.0)
    # Twice as much of a push along y acts upwards: 30 + 2 * 30.
    coupled = np.array([[1.0, 0, 0], [0, 1, 2], [0, 0, 1]])
    coupled_bound = contact_bound(gains, np.concatenate([coupled, np.zeros((3, 3))]), np.eye(3), up)
    assert coupled_bound == pytest.approx(90.0)
    # Struck without a push, all kinetic energy goes into the spring: v sqrt(k m). Pushed without speed: twice the push.
    assert impact_bound(0.0, 1e4, 4.0, 0.5) == pytest.approx(100.0)
    assert impact_bound(30.0, 1e4, 4.0, 0.0) == pytest.approx(60.0)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("name", ["panda", "widowx250s"])
def test_at_rest_no_command_presses_harder_than_the_static_bound(
    name: str, axis: int, simulate: Callable, build_mjcf: Callable
) -> None:
    spec, rng = robot(name), np.random.default_rng(axis)
    bound, _ = static_bound(spec.impedance)
    arm = arm_at_wall(spec, axis, 0.002, 0.3, 200.0, simulate, build_mjcf)
    controller = CartesianImpedance(spec, 0.001)
    start = arm.state()
    pos, rot = start.tcp_pos.copy(), start.tcp_rot.copy()
    controller.reset(start)
    # Jerked about at first, then pushed into the wall as far as the command can say, along with a turn.
    wild = [Pose(pos + rng.uniform(-0.1, 0.1, 3), geometry.exp(rng.normal(size=3)) @ rot) for _ in range(4)]
    into = np.where(np.arange(3) == axis, 1e3, 0.0)
    held = Pose(pos + into, geometry.exp(0.02 * rng.normal(size=3)) @ rot)
    forces = []
    for target, steps in (*((w, 50) for w in wild), (held, 1500)):
        for state in arm.states(steps):
            arm.data.ctrl[:] = controller.torque(state, target)
            forces.append(arm.contact_force())
    settled = np.array(forces[-200:])
    assert settled.max() <= bound * 1.01
    assert settled.min() >= bound * 0.97  # pressing for all it is worth, so the bound is no idle one


@pytest.mark.parametrize("gap", [0.0, 0.03])
@pytest.mark.parametrize("axis", [0, 2])
def test_in_motion_no_command_sequence_exceeds_the_contact_and_impact_bounds(
    axis: int, gap: float, simulate: Callable, build_mjcf: Callable
) -> None:
    spec, normal = robot("panda"), np.eye(3)[axis]
    for seed in range(2):
        rng = np.random.default_rng(seed)
        arm = arm_at_wall(spec, axis, gap, 0.0, 100.0, simulate, build_mjcf)
        controller = CartesianImpedance(spec, 0.001)
        start = arm.state()
        pos, rot = start.tcp_pos.copy(), start.tcp_rot.copy()
        controller.reset(start)
        push, mass, speed, peak, touching = 0.0, 0.0, 0.0, 0.0, False
        for _ in range(15):
            target = Pose(pos + rng.uniform(-0.1, 0.1, 3) + 0.1 * normal, geometry.exp(rng.normal(size=3)) @ rot)
            state = arm.state()
            push = max(push, contact_bound(spec.impedance, state.jacobian, arm.mass_matrix(), normal))
            mass = max(mass, effective_mass(state.jacobian, arm.mass_matrix(), normal))
            for state in arm.states(100):
                arm.data.ctrl[:] = controller.torque(state, target)
                approach = float(normal @ state.jacobian[:3] @ state.dq)
                force = arm.contact_force()
                if not touching:
                    speed = max(speed, approach)
                touching = force > 0.0
                peak = max(peak, force)
        allowed = impact_bound(push, WALL * mass, mass, speed)
        assert peak <= allowed
        assert peak > spec.impedance.max_force / 2  # it did press
        assert speed < 3 * terminal_speed(spec.impedance)[0]
        if speed < 1e-3:  # never left the wall: no blow to allow for
            assert peak <= push


def test_spring_alone_drives_the_free_tool_no_faster_than_the_terminal_speed(
    simulate: Callable, build_mjcf: Callable
) -> None:
    spec = robot("panda")
    arm, controller = simulate(spec, build_mjcf(spec)), CartesianImpedance(spec, 0.001)
    start = arm.state()
    goal = Pose(start.tcp_pos + np.array([0.0, 0.25, 0.0]), start.tcp_rot.copy())
    controller.reset(start)
    fastest = 0.0
    for state in arm.states(900):
        arm.data.ctrl[:] = controller.torque(state, goal)
        fastest = max(fastest, float((state.jacobian @ state.dq)[1]))
    assert 0.7 * terminal_speed(spec.impedance)[0] < fastest <= terminal_speed(spec.impedance)[0] * 1.02
