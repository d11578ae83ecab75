"""The Cartesian law: hand-worked wrenches, limits, null space, half turns, bad input, and a closed loop."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.impedance import CartesianImpedance, impedance_torque, project_to_nullspace, tool_wrench
from controllers.kinematics import Chain
from controllers.reference import leash, pose_error
from controllers.state import ArmState, NotFiniteError
from robo_rl import geometry
from robo_rl.contracts import Impedance, Pose
from robo_rl.robots import robot

examples = settings(max_examples=50, deadline=None)

PANDA = robot("panda")
GAINS = PANDA.impedance
MAX_TORQUE = np.array([link.max_torque for link in PANDA.links])
HOME = np.array(PANDA.home)
CHAIN = Chain(PANDA)


def random_state(seed: int, batch: tuple[int, ...]) -> tuple[ArmState, np.ndarray, np.ndarray]:
    """A state near home, and a target some way off it."""
    rng = np.random.default_rng(seed)
    q = HOME + 0.2 * rng.normal(size=(*batch, 7))
    pos, rot = CHAIN.forward(q)
    state = ArmState(q, rng.normal(size=q.shape), CHAIN.jacobian(q), pos, rot, 10 * rng.normal(size=q.shape))
    target_pos = pos + 0.03 * rng.normal(size=pos.shape)
    return state, target_pos, geometry.exp(0.3 * rng.normal(size=pos.shape)) @ rot


def converted(state: ArmState, convert: Callable[[np.ndarray], Any]) -> ArmState:
    return ArmState(*(convert(getattr(state, field.name)) for field in dataclasses.fields(state)))


def still_state(pos: np.ndarray | None = None, rot: np.ndarray | None = None, dq: float = 0.0) -> ArmState:
    here, turned = CHAIN.forward(HOME)
    return ArmState(
        HOME,
        np.full(7, dq),
        CHAIN.jacobian(HOME),
        here if pos is None else pos,
        turned if rot is None else rot,
        np.zeros(7),
    )


@examples
@given(st.integers(0, 2**31), st.sampled_from([(), (1,), (3,), (2, 2)]))
def test_numpy_and_torch_agree(seed: int, batch: tuple[int, ...]) -> None:
    state, target_pos, target_rot = random_state(seed, batch)
    for dtype, tolerance in ((np.float64, 1e-9), (np.float32, 1e-4)):
        results = []
        for convert in (lambda a, d=dtype: a.astype(d), lambda a, d=dtype: torch.from_numpy(a.astype(d))):
            here, pos, rot, home, limit = (
                converted(state, convert), convert(target_pos), convert(target_rot), convert(HOME), convert(MAX_TORQUE),
            )  # fmt: skip
            results.append(impedance_torque(GAINS, here, pos, rot, home, limit, here.bias, 1.0))
        ours, theirs = results
        assert ours.dtype == dtype
        assert theirs.shape == ours.shape
        np.testing.assert_allclose(theirs.numpy(), ours, rtol=tolerance, atol=tolerance * np.abs(ours).max())


def test_hand_worked_wrench() -> None:
    gains = Impedance(1000.0, 50.0, 1.0, 2.5, 0.5, 0.01, 0.1, 0.5, 1.0, 30.0, 10.0)
    assert gains.damping == pytest.approx(100.0)
    assert gains.rotational_damping == pytest.approx(10.0)
    jacobian = np.eye(6)
    twist = np.array([0.1, 0.0, 0.0, 0.0, 0.2, 0.0])
    state = ArmState(np.zeros(6), twist, jacobian, np.zeros(3), np.eye(3), np.zeros(6))
    target = np.array([1.0, -0.005, 0.0]), geometry.exp(np.array([0.0, 0.0, 0.5]))
    # x: 1000 * 0.01 - 100 * 0.1 = 0. y: -5. rz: 50 * 0.1. ry: -10 * 0.2.
    np.testing.assert_allclose(tool_wrench(gains, state, *target), [0.0, -5.0, 0.0, 0.0, -2.0, 5.0], atol=1e-12)


def test_torque_is_bias_plus_transposed_jacobian_times_wrench_plus_posture() -> None:
    state, target_pos, target_rot = random_state(3, ())
    state = dataclasses.replace(state, dq=np.zeros(7), bias=np.arange(7.0))
    torque = impedance_torque(GAINS, state, target_pos, target_rot, HOME, MAX_TORQUE, state.bias, 1.0)
    wrench = tool_wrench(GAINS, state, target_pos, target_rot)
    null = np.eye(7) - np.linalg.pinv(state.jacobian) @ state.jacobian
    posture = GAINS.nullspace_stiffness * null @ (HOME - state.q)
    np.testing.assert_allclose(torque, state.bias + state.jacobian.T @ wrench + posture, atol=2e-3)


@examples
@given(st.integers(0, 2**31))
def test_posture_torque_leaves_a_tool_at_rest_alone(seed: int) -> None:
    """But for the share that the damping lets through, small wherever the Jacobian is well conditioned."""
    state, _, _ = random_state(seed, (4,))
    torque = 5.0 * np.random.default_rng(seed).normal(size=(4, 7))
    for jacobian, t, left in zip(state.jacobian, torque, project_to_nullspace(state.jacobian, torque), strict=True):
        inert = t - np.linalg.pinv(jacobian) @ jacobian @ t
        np.testing.assert_allclose(jacobian @ inert, 0.0, atol=1e-12)
        weakest = np.linalg.svd(jacobian)[1][-1]
        assert np.linalg.norm(left - inert) <= 1e-4 / (weakest**2 + 1e-4) * np.linalg.norm(t)
    assert np.linalg.norm(project_to_nullspace(CHAIN.jacobian(HOME), HOME) @ CHAIN.jacobian(HOME).T) < 5e-3


@examples
@given(st.integers(0, 2**31), st.floats(0, 1e6), st.floats(0, 100))
def test_wrench_stays_within_its_limits_for_any_finite_input(seed: int, far: float, fast: float) -> None:
    state, target_pos, target_rot = random_state(seed, (2,))
    state = dataclasses.replace(state, dq=state.dq * fast)
    wrench = np.abs(tool_wrench(GAINS, state, target_pos * far, target_rot))
    assert wrench[:, :3].max() <= GAINS.max_force
    assert wrench[:, 3:].max() <= GAINS.max_torque


@examples
@given(st.integers(0, 2**31))
def test_torque_and_its_rate_stay_within_their_limits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    controller = CartesianImpedance(PANDA, dt=0.001)
    state, _, _ = random_state(seed, ())
    state = dataclasses.replace(state, bias=np.clip(state.bias, -MAX_TORQUE, MAX_TORQUE))
    controller.reset(state)
    previous = state.bias
    for _ in range(20):
        state, target_pos, target_rot = random_state(int(rng.integers(2**31)), ())
        torque = controller.torque(state, Pose(target_pos, target_rot))
        assert np.abs(torque - previous).max() <= GAINS.max_torque_rate * (1 + 1e-9)
        assert (np.abs(torque) <= MAX_TORQUE + 1e-6).all()
        previous = torque


def test_torque_sweeping_through_half_a_turn_changes_sense_once_and_is_continuous_elsewhere() -> None:
    for axis in np.concatenate([np.eye(3), np.array([[0.6, 0.0, 0.8]])]):
        angles = np.linspace(0.1, 2 * math.pi - 0.1, 2001)
        rot = CHAIN.forward(HOME)[1]
        state = still_state(pos=np.zeros((2001, 3)), rot=np.broadcast_to(rot, (2001, 3, 3)))
        state = dataclasses.replace(
            state, jacobian=np.broadcast_to(state.jacobian, (2001, 6, 7)), dq=np.zeros((2001, 7))
        )
        wrench = tool_wrench(GAINS, state, np.zeros((2001, 3)), geometry.exp(angles[:, None] * axis) @ rot)[:, 3:]
        sense = np.sign(wrench @ axis)
        assert np.count_nonzero(np.diff(sense)) == 1
        assert abs(angles[np.flatnonzero(np.diff(sense))[0]] - math.pi) < 0.01
        jumps = np.abs(np.diff(wrench, axis=0)).max(-1)
        assert np.sort(jumps)[-2] < 2 * GAINS.rotational_stiffness * (angles[1] - angles[0])
        # Off the axis nothing stirs: a clipped error keeps its zeros.
        np.testing.assert_allclose(wrench[:, np.abs(axis) < 1e-9], 0.0, atol=1e-9)


@pytest.mark.parametrize("noise", [1e-4, 1e-2])
def test_a_target_held_at_half_a_turn_does_not_shake_the_arm(
    noise: float, simulate: Callable, build_mjcf: Callable
) -> None:
    arm, controller, rng = (
        simulate(PANDA, build_mjcf(PANDA)),
        CartesianImpedance(PANDA, 0.001),
        np.random.default_rng(0),
    )
    start = arm.state()
    rot = start.tcp_rot.copy()
    target = Pose(start.tcp_pos.copy(), geometry.exp(np.array([0.0, 0.0, math.pi])) @ rot)
    controller.reset(start)
    senses, angles, previous = [], [], start.bias.copy()
    for state in arm.states(800):
        seen = dataclasses.replace(state, tcp_rot=geometry.exp(noise * rng.normal(size=3)) @ state.tcp_rot)
        torque = controller.torque(seen, target)
        assert np.abs(torque - previous).max() <= GAINS.max_torque_rate * (1 + 1e-9)
        senses.append(math.copysign(1.0, pose_error(target.pos, target.rot, seen.tcp_pos, seen.tcp_rot)[1][2]))
        angles.append(float(geometry.distance(target.rot, state.tcp_rot)))
        arm.data.ctrl[:] = previous = torque
    # It may hesitate for as long as the noise hides which way is shorter, then goes one way.
    assert np.count_nonzero(np.diff(senses[100:])) == 0
    assert angles[-1] < math.pi - 0.5
    assert np.diff(angles[200:]).max() < 1e-4


@examples
@given(st.integers(0, 2**31))
def test_leashed_targets_pull_as_hard_as_the_targets_themselves(seed: int) -> None:
    state, target_pos, target_rot = random_state(seed, (3,))
    leashed = leash(target_pos, target_rot, state.tcp_pos, state.tcp_rot, GAINS.clip, GAINS.rotational_clip)
    np.testing.assert_allclose(
        tool_wrench(GAINS, state, *leashed), tool_wrench(GAINS, state, target_pos, target_rot), atol=1e-9
    )


@pytest.mark.parametrize("name", ["panda", "widowx250s"])
def test_free_arm_arrives_and_stays(name: str, simulate: Callable, build_mjcf: Callable) -> None:
    spec = robot(name)
    arm, controller = simulate(spec, build_mjcf(spec)), CartesianImpedance(spec, 0.001)
    start = arm.state()
    goal = Pose(start.tcp_pos + np.array([0.02, -0.03, 0.02]), geometry.exp(np.array([0.1, 0.0, 0.2])) @ start.tcp_rot)
    controller.reset(start)
    for state in arm.states(2000):
        arm.data.ctrl[:] = controller.torque(state, goal)
    translation, rotation = pose_error(goal.pos, goal.rot, state.tcp_pos, state.tcp_rot)
    assert np.abs(translation).max() < 5e-4
    assert np.abs(rotation).max() < 5e-3
    assert np.abs(state.dq).max() < 0.02


def test_elbow_returns_to_its_posture_while_the_tool_stays(simulate: Callable, build_mjcf: Callable) -> None:
    spec = dataclasses.replace(
        PANDA, impedance=dataclasses.replace(GAINS, nullspace_stiffness=20.0, nullspace_damping=5.0)
    )
    arm, controller = simulate(spec, build_mjcf(spec)), CartesianImpedance(spec, 0.001)
    goal = Pose(*CHAIN.forward(HOME))
    arm.data.qpos[:] = CHAIN.inverse(*CHAIN.forward(HOME), HOME + np.array([0.3, 0, -0.3, 0, 0, 0, 0]), pull=0.0)[0]
    away = np.abs(arm.data.qpos - HOME).max()
    assert away > 0.15
    mujoco.mj_forward(arm.model, arm.data)
    controller.reset(arm.state())
    worst = 0.0
    for state in arm.states(2500):
        arm.data.ctrl[:] = controller.torque(state, goal)
        worst = max(worst, float(np.abs(state.tcp_pos - goal.pos).max()))
    assert np.abs(state.q - HOME).max() < 0.3 * away
    assert worst < 5e-3


@pytest.mark.parametrize("field", ["q", "dq", "jacobian", "tcp_pos", "tcp_rot", "bias", "target_pos", "target_rot"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("convert", [np.array, torch.tensor])
def test_what_is_not_finite_is_refused_by_name_and_changes_nothing(field: str, bad: float, convert: Callable) -> None:
    state, target_pos, target_rot = random_state(0, ())
    good, target = converted(state, convert), Pose(convert(target_pos), convert(target_rot))
    controller, untouched = CartesianImpedance(PANDA, 0.001), CartesianImpedance(PANDA, 0.001)
    controller.reset(good)
    untouched.reset(good)

    def spoil(value: Any) -> Any:
        spoiled = copy.deepcopy(value)
        spoiled[..., 0] = bad
        return spoiled

    spoiled_state, spoiled_target = good, target
    if field.startswith("target"):
        spoiled_target = dataclasses.replace(
            target, **{field.removeprefix("target_"): spoil(getattr(target, field[7:]))}
        )
    else:
        spoiled_state = dataclasses.replace(good, **{field: spoil(getattr(good, field))})
    with pytest.raises(NotFiniteError, match=f"^{field} ") as refusal:
        controller.torque(spoiled_state, spoiled_target)
    assert isinstance(refusal.value, ValueError)
    np.testing.assert_array_equal(controller.torque(good, target), untouched.torque(good, target))


@pytest.mark.parametrize("field", ["q", "dq", "tcp_pos", "tcp_rot", "target_pos", "target_rot"])
@pytest.mark.parametrize("size", [1e6, 1e160, 1e308, -1e308])
def test_absurd_but_finite_numbers_give_a_bounded_torque_or_a_refusal(field: str, size: float) -> None:
    controller = CartesianImpedance(PANDA, 0.001)
    state = still_state()
    target = {"target_pos": state.tcp_pos, "target_rot": state.tcp_rot}
    controller.reset(state)
    if field in target:
        target[field] = target[field] * size
    else:
        state = dataclasses.replace(state, **{field: (getattr(state, field) + 0.1) * (size * 0.1)})
    with np.errstate(all="ignore"):
        try:
            torque = controller.torque(state, Pose(target["target_pos"], target["target_rot"]))
        except NotFiniteError:
            torque = np.zeros(7)
    assert (np.abs(torque) <= GAINS.max_torque_rate * (1 + 1e-9)).all()
    # It goes on from where it was.
    controller.torque(still_state(), Pose(*CHAIN.forward(HOME)))


def test_reset_refuses_what_is_not_finite() -> None:
    with pytest.raises(NotFiniteError, match=r"^q "):
        CartesianImpedance(PANDA, 0.001).reset(dataclasses.replace(still_state(), q=np.full(7, math.nan)))


def test_torque_before_reset_is_an_error() -> None:
    state = still_state()
    with pytest.raises(RuntimeError, match="reset"):
        CartesianImpedance(PANDA, 0.001).torque(state, Pose(state.tcp_pos, state.tcp_rot))
