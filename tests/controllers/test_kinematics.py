"""Kinematics against MuJoCo, against finite differences, and against themselves."""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.kinematics import Chain
from controllers.reference import pose_error
from robo_rl import geometry
from robo_rl.contracts import RobotSpec
from robo_rl.robots import robot, robot_names

examples = settings(max_examples=50, deadline=None)


@pytest.fixture(params=["small", *robot_names()])
def spec(request: pytest.FixtureRequest, small_arm: RobotSpec) -> RobotSpec:
    return small_arm if request.param == "small" else robot(request.param)


def random_joints(spec: RobotSpec, n: int, seed: int = 0, margin: float = 0.0) -> np.ndarray:
    limits = np.array([link.joint_range for link in spec.links])
    return np.random.default_rng(seed).uniform(limits[:, 0] + margin, limits[:, 1] - margin, (n, spec.dof))


def test_forward_and_jacobian_match_mujoco(spec: RobotSpec, build_mjcf: Callable[..., str]) -> None:
    model = mujoco.MjModel.from_xml_string(build_mjcf(spec))
    data, site, chain = mujoco.MjData(model), model.site("tcp").id, Chain(spec)
    linear, angular = np.zeros((2, 3, spec.dof))
    for q in random_joints(spec, 20):
        data.qpos[:] = q
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_jacSite(model, data, linear, angular, site)
        pos, rot = chain.forward(q)
        np.testing.assert_allclose(pos, data.site_xpos[site], atol=1e-9)
        np.testing.assert_allclose(rot, data.site_xmat[site].reshape(3, 3), atol=1e-9)
        np.testing.assert_allclose(chain.jacobian(q), np.concatenate([linear, angular]), atol=1e-9)


def test_jacobian_is_the_derivative_of_forward(spec: RobotSpec) -> None:
    chain, q, h = Chain(spec), random_joints(spec, 5, margin=0.01), 1e-6
    jacobian = chain.jacobian(q)
    for j in range(spec.dof):
        step = h * np.eye(spec.dof)[j]
        translation, rotation = pose_error(*chain.forward(q + step), *chain.forward(q - step))
        np.testing.assert_allclose(np.concatenate([translation, rotation], -1) / (2 * h), jacobian[..., j], atol=1e-8)


def test_hand_worked_pose() -> None:
    """The Panda at zero: straight up to 1.033 m less the hand, which hangs down 88 mm in front of the axis."""
    zero = np.zeros(7)
    pos, rot = Chain(robot("panda")).forward(zero)
    np.testing.assert_allclose(pos, [0.088, 0.0, 0.333 + 0.316 + 0.384 - 0.107 - 0.1034], atol=1e-9)
    np.testing.assert_allclose(rot[:, 2], [0, 0, -1], atol=1e-9)


@examples
@given(seed=st.integers(0, 2**31), batch=st.sampled_from([(), (1,), (3,), (2, 2)]))
def test_numpy_and_torch_agree(seed: int, batch: tuple[int, ...]) -> None:
    spec = robot("panda")
    chain = Chain(spec)
    n = int(np.prod(batch))
    q = (np.array(spec.home) + 0.2 * np.random.default_rng(seed).normal(size=(n, 7))).reshape(*batch, 7)
    home = np.broadcast_to(np.array(spec.home), q.shape)
    for dtype, tolerance in ((np.float64, 1e-9), (np.float32, 1e-4)):
        results = []
        for a, b in (
            (q.astype(dtype), home.astype(dtype)),
            (torch.tensor(q.astype(dtype)), torch.tensor(home.astype(dtype))),
        ):
            pos, rot = chain.forward(a)
            results.append([pos, rot, chain.jacobian(a), *chain.inverse(pos, rot, b)])
        for ours, theirs in zip(*results, strict=True):
            assert theirs.shape == ours.shape
            assert theirs.dtype == torch.from_numpy(np.array(ours)).dtype
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=tolerance, atol=tolerance)


def test_inverse_reaches_every_pose_around_home(spec: RobotSpec) -> None:
    chain, home = Chain(spec), np.array(spec.home)
    limits = np.array([link.joint_range for link in spec.links])
    q = np.clip(home + np.random.default_rng(1).uniform(-0.5, 0.5, (300, spec.dof)), limits[:, 0], limits[:, 1])
    pos, rot = chain.forward(q)
    found, converged = chain.inverse(pos, rot, np.broadcast_to(home, q.shape))
    assert converged.all()
    assert (found >= limits[:, 0]).all()
    assert (found <= limits[:, 1]).all()
    reached = pose_error(pos, rot, *chain.forward(found))
    assert max(np.abs(reached[0]).max(), np.abs(reached[1]).max()) < 1e-5


def test_inverse_says_what_it_cannot_reach_and_keeps_the_limits() -> None:
    spec = robot("panda")
    chain, home = Chain(spec), np.array(spec.home)
    pos, rot = chain.forward(home)
    far = pos + np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 3.0], [-3.0, 0.0, 0.0]])
    q, converged = chain.inverse(far, np.broadcast_to(rot, (3, 3, 3)), np.broadcast_to(home, (3, 7)))
    assert converged.tolist() == [True, False, False]
    assert np.isfinite(q).all()
    limits = np.array([link.joint_range for link in spec.links])
    assert ((q >= limits[:, 0]) & (q <= limits[:, 1])).all()


def test_inverse_stays_near_the_posture_where_the_pose_leaves_it_free() -> None:
    spec = robot("panda")
    chain, home = Chain(spec), np.array(spec.home)
    q = home + np.random.default_rng(2).uniform(-0.5, 0.5, (200, 7))
    pos, rot = chain.forward(q)
    # Begun from the home posture, the elbow found is about as near to it as any other that reaches the pose.
    near, _ = chain.inverse(pos, rot, np.broadcast_to(home, q.shape))
    assert (np.linalg.norm(near - home, axis=-1) < np.linalg.norm(q - home, axis=-1) + 1e-3).mean() > 0.95
    # Begun from where it is, it stays there.
    still, _ = chain.inverse(pos, rot, q)
    np.testing.assert_allclose(still, q, atol=1e-9)


def test_forward_is_differentiable() -> None:
    chain = Chain(robot("panda"))
    q = torch.tensor(robot("panda").home, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: chain.forward(x)[0], q)
    np.testing.assert_allclose(jacobian.numpy(), chain.jacobian(q)[:3].numpy(), atol=1e-12)


def test_rotation_of_the_tool_stays_orthonormal_in_float32() -> None:
    q = random_joints(robot("panda"), 50).astype(np.float32)
    rot = Chain(robot("panda")).forward(q)[1]
    assert rot.dtype == np.float32
    np.testing.assert_allclose(rot @ geometry.transpose(rot), np.eye(3) + 0 * rot, atol=2e-6)
