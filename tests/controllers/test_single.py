"""The laws for one arm are the batched ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from controllers import impedance, limits, single
from controllers.kinematics import Chain
from controllers.state import ArmState
from robo_rl import geometry
from robo_rl.robots import robot

PANDA = robot("panda")
angles = arrays(float, 7, elements=st.floats(-2.5, 2.5))
vectors = arrays(float, 3, elements=st.floats(-3.0, 3.0))


@pytest.mark.parametrize("name", ["panda", "fr3", "widowx250s"])
def test_kinematics(name):
    spec = robot(name)
    for q in np.random.default_rng(0).uniform(-2.0, 2.0, (20, spec.dof)):
        pos, rot, jacobian = single.SingleChain(spec).forward(q)
        expected = Chain(spec).forward(q)
        np.testing.assert_allclose(pos, expected[0], atol=1e-12)
        np.testing.assert_allclose(rot, expected[1], atol=1e-12)
        np.testing.assert_allclose(jacobian, Chain(spec).jacobian(q), atol=1e-12)


@given(vectors)
def test_rotations_and_back(rotvec):
    rot = single.rotation(rotvec)
    np.testing.assert_allclose(rot, geometry.exp(rotvec), atol=1e-12)
    np.testing.assert_allclose(geometry.exp(single.rotation_vector(rot)), rot, atol=1e-9)


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-6, 1.0, 2.9999, 3.0001, np.pi - 1e-9, np.pi])
def test_the_logarithm_is_exact_at_every_angle(angle):
    axis = np.array([0.36, -0.48, 0.8])
    found = single.rotation_vector(geometry.exp(angle * axis))
    assert min(np.abs(found - angle * axis).max(), np.abs(found + angle * axis).max()) < 1e-9


@settings(max_examples=50)
@given(angles, angles, vectors, vectors, angles)
def test_the_impedance_law(q, dq, shift, turn, bias):
    pos, rot, jacobian = single.SingleChain(PANDA).forward(q)
    target_pos, target_rot = pos + 0.02 * shift, single.rotation(0.2 * turn) @ rot
    most, previous = np.array([link.max_torque for link in PANDA.links]), np.zeros(7)
    state = ArmState(q, dq, jacobian, pos, rot, 5.0 * bias)
    expected = impedance.impedance_torque(
        PANDA.impedance, state, target_pos, target_rot, np.array(PANDA.home), most, previous, 0.005
    )
    wrench = single.tool_wrench(PANDA.impedance, jacobian @ dq, pos, rot, target_pos, target_rot)
    gains = PANDA.impedance
    posture = gains.nullspace_stiffness * (np.array(PANDA.home) - q) - gains.nullspace_damping * dq
    effort = single.impedance_effort(wrench, posture, jacobian, single.damped_inverse(jacobian))
    found = single.limit_rate(single.fit_torque(effort, 5.0 * bias, most), previous, 5.0)
    np.testing.assert_allclose(found, expected, atol=1e-7)


@given(angles, angles)
def test_limits(effort, load):
    most = np.full(7, 2.0)
    np.testing.assert_allclose(single.fit_torque(effort, load, most), limits.fit_torque(effort, load, most), atol=1e-12)
    np.testing.assert_allclose(single.limit_rate(effort, load, 0.5), limits.limit_rate(effort, load, 0.5), atol=1e-12)
