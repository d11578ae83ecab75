"""The joint law: hand-worked torques, limits, bad input, and a closed loop."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.joint_impedance import JointGains, JointImpedance, joint_impedance_torque
from controllers.state import ArmState, NotFiniteError
from robo_rl.contracts import RobotSpec
from robo_rl.errors import UserError
from robo_rl.robots import robot

examples = settings(max_examples=50, deadline=None)

PANDA = robot("panda")
GAINS = JointGains((400.0,) * 4 + (100.0,) * 3, (40.0,) * 4 + (10.0,) * 3)


def state_of(q: np.ndarray, dq: np.ndarray, bias: np.ndarray) -> ArmState:
    batch = q.shape[:-1]
    return ArmState(q, dq, np.zeros((*batch, 6, 7)), np.zeros((*batch, 3)), np.zeros((*batch, 3, 3)), bias)


def test_hand_worked_torque() -> None:
    state = state_of(np.zeros(2), np.array([0.5, 0.0]), np.array([1.0, 2.0]))
    torque = joint_impedance_torque(
        np.array([10.0, 20.0]),
        np.array([1.0, 1.0]),
        0.1,
        state,
        np.array([5.0, -0.05]),
        np.full(2, 50.0),
        np.zeros(2),
        99.0,
    )
    # 10 * 0.1 - 0.5 + 1, and 20 * -0.05 + 2
    np.testing.assert_allclose(torque, [1.5, 1.0], atol=1e-12)


@examples
@given(st.integers(0, 2**31), st.sampled_from([(), (1,), (3,)]))
def test_numpy_and_torch_agree(seed: int, batch: tuple[int, ...]) -> None:
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=(*batch, 7)) for _ in range(4)]
    for dtype, tolerance in ((np.float64, 1e-9), (np.float32, 1e-4)):
        results = []
        for convert in (lambda a, d=dtype: a.astype(d), lambda a, d=dtype: torch.from_numpy(a.astype(d))):
            q, dq, bias, target = map(convert, arrays)
            controller = JointImpedance(PANDA, GAINS, 0.001)
            state = dataclasses.replace(state_of(arrays[0], arrays[1], arrays[2]), q=q, dq=dq, bias=bias)
            controller.reset(state)
            results.append([controller.torque(state, target), controller.torque(state, target)])
        for ours, theirs in zip(*results, strict=True):
            assert ours.dtype == dtype
            np.testing.assert_allclose(theirs.numpy(), ours, rtol=tolerance, atol=tolerance)


def test_arm_arrives_within_its_rate_limit(simulate: Callable, build_mjcf: Callable) -> None:
    arm, controller = simulate(PANDA, build_mjcf(PANDA)), JointImpedance(PANDA, GAINS, 0.001)
    goal = np.array(PANDA.home) + 0.1 * np.array([1, -1, 1, -1, 1, -1, 1])
    start = arm.state()
    controller.reset(start)
    previous = start.bias.copy()
    for state in arm.states(1500):
        arm.data.ctrl[:] = torque = controller.torque(state, goal)
        assert np.abs(torque - previous).max() <= GAINS.max_torque_rate * (1 + 1e-9)
        previous = torque
    np.testing.assert_allclose(state.q, goal, atol=5e-3)


@pytest.mark.parametrize("field", ["q", "dq", "bias", "target"])
def test_what_is_not_finite_is_refused_by_name(field: str) -> None:
    good = state_of(np.zeros(7), np.zeros(7), np.zeros(7))
    controller = JointImpedance(PANDA, GAINS, 0.001)
    controller.reset(good)
    spoiled = np.array([math.nan] + [0.0] * 6)
    state = good if field == "target" else dataclasses.replace(good, **{field: spoiled})
    with pytest.raises(NotFiniteError, match=f"^{field} "):
        controller.torque(state, spoiled if field == "target" else np.zeros(7))


def test_gains_must_fit_the_arm(small_arm: RobotSpec) -> None:
    with pytest.raises(UserError, match="stiffness"):
        JointImpedance(small_arm, GAINS, 0.001)
    with pytest.raises(UserError, match="damping"):
        JointImpedance(PANDA, dataclasses.replace(GAINS, damping=(math.nan,) * 7), 0.001)
    with pytest.raises(RuntimeError, match="reset"):
        JointImpedance(PANDA, GAINS, 0.001).torque(state_of(*np.zeros((3, 7))), np.zeros(7))
