from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.kinematics import Chain
from hardware.calibration.payload import GRAVITY, payload_from_joint_torques, payload_from_wrenches
from hardware.calibration.poses import CalibrationError
from robo_rl import geometry
from robo_rl.robots import robot

COM = np.array([0.01, -0.02, 0.06])


def wrenches(rot, mass=0.8, com=COM, force_0=(1.0, -2.0, 3.0), torque_0=(0.1, 0.2, -0.3)):
    """By hand: the weight in the sensor's frame, and its moment about the sensor's origin."""
    weight = np.array([R.T @ (mass * GRAVITY) for R in rot])
    return rot, weight + force_0, np.array([np.cross(com, w) for w in weight]) + torque_0


def test_one_kilogram_hanging_straight_down_by_hand():
    """Held level, 1 kg at x = 0.1 m pulls with 9.81 N along -z and turns with 0.981 N m about +y."""
    rot, force, torque = wrenches(np.eye(3)[None], 1.0, np.array([0.1, 0, 0]), np.zeros(3), np.zeros(3))
    np.testing.assert_allclose(force[0], [0, 0, -9.81])
    np.testing.assert_allclose(torque[0], [0, 0.981, 0])
    assert rot.shape == (1, 3, 3)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.05, 5.0), st.lists(st.floats(-0.2, 0.2), min_size=3, max_size=3), st.integers(0, 10_000))
def test_exact_wrenches_give_the_exact_payload(mass, com, seed):
    rot = geometry.exp(np.random.default_rng(seed).normal(size=(8, 3)))
    found = payload_from_wrenches(*wrenches(rot, mass, np.array(com)))
    assert found.mass == pytest.approx(mass, abs=1e-9)
    np.testing.assert_allclose(found.com, com, atol=1e-8)
    np.testing.assert_allclose(found.bias, [1, -2, 3, 0.1, 0.2, -0.3], atol=1e-8)
    assert max(found.residual.values()) < 1e-8


def test_noise_shows_in_the_residual(rng):
    rot, force, torque = wrenches(geometry.exp(rng.normal(size=(60, 3))))
    found = payload_from_wrenches(rot, force + 0.1 * rng.normal(size=(60, 3)), torque + 0.01 * rng.normal(size=(60, 3)))
    assert found.mass == pytest.approx(0.8, abs=0.02)
    np.testing.assert_allclose(found.com, COM, atol=0.005)
    assert found.residual["force_N"] == pytest.approx(0.1 * np.sqrt(3), rel=0.2)
    assert found.residual["torque_Nm"] == pytest.approx(0.01 * np.sqrt(3), rel=0.2)


@pytest.mark.parametrize("name", ["panda", "widowx250s"])
def test_joint_torques_give_the_payload(name, rng):
    spec = robot(name)
    chain = Chain(spec)
    low, high = np.array([link.joint_range for link in spec.links]).T
    q = (low + high) / 2 + 0.35 * (high - low) * rng.uniform(-1, 1, (12, spec.dof))
    jacobian, (_, rot) = chain.jacobian(q), chain.forward(q)
    mass, bias = 0.6, 0.1 * rng.normal(size=spec.dof)
    # Independent of the Jacobian: the torque at a joint is how the weight's energy falls with it.
    height = lambda q: (lambda p, R: mass * (p + R @ COM) @ GRAVITY)(*chain.forward(q))  # noqa: E731
    h = 1e-6
    torque = np.array([[(height(x + h * e) - height(x - h * e)) / (2 * h) for e in np.eye(spec.dof)] for x in q])
    found = payload_from_joint_torques(jacobian, rot, torque + bias)
    assert found.mass == pytest.approx(mass, abs=1e-5)
    np.testing.assert_allclose(found.com, COM, atol=1e-5)
    np.testing.assert_allclose(found.bias, bias, atol=1e-4)
    assert found.residual["joint_torque_Nm"] < 1e-6


def test_next_to_nothing_has_no_centre(rng):
    rot = geometry.exp(rng.normal(size=(10, 3)))
    found = payload_from_wrenches(*wrenches(rot, 0.005))
    assert found.mass == pytest.approx(0.005, abs=1e-9)
    assert not found.com.any()


def test_a_hand_that_was_not_tilted(rng):
    level = geometry.yaw(rng.normal(size=8))
    with pytest.raises(CalibrationError, match=r"tilted in one plane only, or hardly.*stand still in"):
        payload_from_wrenches(*wrenches(level))
    swinging = geometry.exp(np.linspace(-0.1, 0.1, 8)[:, None] * np.array([1.0, 0, 0]))
    with pytest.raises(CalibrationError, match="tilted in one plane only"):
        payload_from_wrenches(*wrenches(swinging))


def test_a_weight_that_points_upwards(rng):
    rot, force, torque = wrenches(geometry.exp(rng.normal(size=(8, 3))))
    with pytest.raises(CalibrationError, match=r"mass comes out as -0\.80 kg: .*reverse the sign"):
        payload_from_wrenches(rot, -force, -torque)


def test_too_few_and_uneven(rng):
    rot, force, torque = wrenches(geometry.exp(rng.normal(size=(8, 3))))
    with pytest.raises(CalibrationError, match="force: 3 measurements are too few, take 4 or more"):
        payload_from_wrenches(rot, force[:3], torque)
    with pytest.raises(CalibrationError, match="8 rot_base_sensor, 8 force, 5 torque"):
        payload_from_wrenches(rot, force, torque[:5])
    with pytest.raises(CalibrationError, match="jacobian has the shape"):
        payload_from_joint_torques(np.zeros((6, 7)), rot, np.zeros((8, 7)))
