"""What an action means, its inverse, and the leash."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from controllers.reference import ToolDelta, leash, pose_error
from robo_rl import geometry
from robo_rl.errors import UserError

examples = settings(max_examples=50, deadline=None)

AXES = [(), (2,), (0, 1), (0, 2), (0, 1, 2)]
unit = st.floats(-1, 1)


def vectors(n: int, size: float = 1.0, batch: int = 2) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.float64, (batch, n), elements=st.floats(-size, size))


@st.composite
def deltas(draw: st.DrawFn) -> ToolDelta:
    return ToolDelta(
        translation=draw(st.floats(1e-3, 0.1)),
        rotation=draw(st.floats(1e-2, 0.5)),
        rotation_axes=draw(st.sampled_from(AXES)),
        frame=draw(st.sampled_from(["tool", "base"])),
        gripper=draw(st.booleans()),
        max_width=0.08,
    )


@examples
@given(deltas(), vectors(7), vectors(3), vectors(3, 3.0), vectors(1, 0.08))
def test_invert_undoes_apply(
    delta: ToolDelta, action: np.ndarray, pos: np.ndarray, w: np.ndarray, gripper: np.ndarray
) -> None:
    action, rot = action[:, : delta.size], geometry.exp(w)
    target = delta.apply(action, pos, rot, gripper)
    np.testing.assert_allclose(delta.invert(pos, rot, gripper, *target), action, atol=1e-11)


@examples
@given(deltas(), vectors(7), vectors(3), vectors(3, 3.0), st.sampled_from([(), (1,), (2,), (2, 1)]))
def test_numpy_and_torch_agree(
    delta: ToolDelta, action: np.ndarray, pos: np.ndarray, w: np.ndarray, batch: tuple[int, ...]
) -> None:
    for dtype, tolerance in ((np.float64, 1e-9), (np.float32, 1e-4)):
        given_arrays = [np.resize(a, (*batch, a.shape[-1])).astype(dtype) for a in (action[:, : delta.size], pos, w)]
        results = []
        for a, p, v in (given_arrays, [torch.from_numpy(x) for x in given_arrays]):
            rot, grip = geometry.exp(v), p[..., :1] * 0.08
            new = delta.apply(a, p, rot, grip)
            results.append([*new, *leash(new[0], new[1], p, rot, 0.005, 0.02)])
        for ours, theirs in zip(*results, strict=True):
            assert ours.dtype == dtype
            assert theirs.shape == ours.shape
            np.testing.assert_allclose(ours, theirs.numpy(), atol=tolerance, rtol=tolerance)


@examples
@given(st.sampled_from(AXES), st.sampled_from(["tool", "base"]), unit, vectors(3, 3.0, batch=1))
def test_a_pure_y_action_moves_along_y_and_never_turns(
    axes: tuple[int, ...], frame: str, y: float, w: np.ndarray
) -> None:
    delta = ToolDelta(translation=0.02, rotation=0.1, rotation_axes=axes, frame=frame)
    rot, action = geometry.exp(w), np.zeros((1, delta.size))
    action[:, 1] = y
    pos, new_rot, _ = delta.apply(action, np.zeros((1, 3)), rot, np.zeros((1, 1)))
    np.testing.assert_allclose(new_rot, rot, rtol=0, atol=1e-15)
    np.testing.assert_allclose(pos, 0.02 * y * (rot[:, :, 1] if frame == "tool" else np.eye(3)[None, 1]), atol=1e-15)


@examples
@given(st.sampled_from(["tool", "base"]), vectors(3, 1.0, batch=1), vectors(3, 3.0, batch=1))
def test_a_pure_rotation_never_moves_the_tool_centre_point(frame: str, turn: np.ndarray, w: np.ndarray) -> None:
    delta = ToolDelta(translation=0.02, rotation=0.1, rotation_axes=(0, 1, 2), frame=frame)
    pos = np.array([[0.5, 0.1, 0.2]])
    action = np.concatenate([np.zeros((1, 3)), turn], axis=-1)
    np.testing.assert_array_equal(delta.apply(action, pos, geometry.exp(w), np.zeros((1, 1)))[0], pos)


def test_hand_worked_targets() -> None:
    # A tool that points down: its axes are x, -y, -z of the base.
    down, pos, grip = np.diag([1.0, -1.0, -1.0]), np.array([0.5, 0.0, 0.3]), np.array([0.04])
    action = np.array([1.0, 1.0, -1.0, 1.0, 0.5])
    tool = ToolDelta(0.02, math.pi / 2, (2,), "tool", gripper=True, max_width=0.08)
    base = ToolDelta(0.02, math.pi / 2, (2,), "base", gripper=True, max_width=0.08)
    new_pos, new_rot, new_grip = tool.apply(action, pos, down, grip)
    np.testing.assert_allclose(new_pos, [0.52, -0.02, 0.32], atol=1e-15)
    np.testing.assert_allclose(new_rot, [[0, -1, 0], [-1, 0, 0], [0, 0, -1]], atol=1e-15)  # x axis along -y
    np.testing.assert_allclose(new_grip, [0.06], atol=1e-15)
    new_pos, new_rot, new_grip = base.apply(action, pos, down, grip)
    np.testing.assert_allclose(new_pos, [0.52, 0.02, 0.28], atol=1e-15)
    np.testing.assert_allclose(new_rot, [[0, 1, 0], [1, 0, 0], [0, 0, -1]], atol=1e-15)  # x axis along +y
    for a, width in ((-1.0, 0.0), (1.0, 0.08)):
        assert base.apply(np.array([0.0, 0, 0, 0, a]), pos, down, grip)[2][0] == pytest.approx(width, abs=1e-15)


def test_a_switch_moves_the_gripper_only_when_it_is_thrown() -> None:
    delta = ToolDelta(0.02, gripper=True, max_width=0.08, switch=True)
    before = np.array([[0.03]] * 5)
    action = np.array([[0, 0, 0, a] for a in (-1.0, -0.4, 0.0, 0.5, 0.6)])
    args = np.zeros((5, 3)), np.broadcast_to(np.eye(3), (5, 3, 3)), before
    after = delta.apply(action, *args)
    np.testing.assert_allclose(after[2][:, 0], [0.0, 0.03, 0.03, 0.03, 0.08])
    # The action that says the same with certainty.
    np.testing.assert_allclose(delta.invert(*args, *after)[:, 3], [-1.0, 0.0, 0.0, 0.0, 1.0])


def test_without_a_gripper_entry_the_opening_stays() -> None:
    delta = ToolDelta(0.02)
    assert delta.size == 3
    grip = np.array([[0.03]])
    assert delta.apply(np.ones((1, 3)), np.zeros((1, 3)), np.eye(3)[None], grip)[2] is grip


def test_invert_drops_what_an_action_cannot_say() -> None:
    delta = ToolDelta(0.02, 0.1, (2,), "base")
    turned = geometry.exp(np.array([0.05, 0.0, 0.02]))
    action = delta.invert(np.zeros(3), np.eye(3), np.zeros(1), np.array([0.0, 0.01, 0.0]), turned, np.zeros(1))
    np.testing.assert_allclose(action, [0, 0.5, 0, 0.2], atol=1e-12)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"translation": 0.0}, "translation"),
        ({"translation": math.nan}, "translation"),
        ({"translation": 0.1, "rotation_axes": (2,)}, "rotation"),
        ({"translation": 0.1, "rotation": 0.1, "rotation_axes": (2, 0)}, "rotation_axes"),
        ({"translation": 0.1, "rotation": 0.1, "rotation_axes": (3,)}, "rotation_axes"),
        ({"translation": 0.1, "frame": "world"}, "frame"),
        ({"translation": 0.1, "gripper": True}, "max_width"),
    ],
)
def test_senseless_scales_are_refused_by_name(fields: dict, named: str) -> None:
    with pytest.raises(UserError, match=named):
        ToolDelta(**fields)


@examples
@given(vectors(3), vectors(3, 3.1), vectors(3), vectors(3, 3.1), st.floats(1e-3, 0.1), st.floats(1e-2, 0.5))
def test_leash_bounds_each_component_and_keeps_what_is_near(
    target_pos: np.ndarray, v: np.ndarray, pos: np.ndarray, w: np.ndarray, clip: float, rotational_clip: float
) -> None:
    target_rot, rot = geometry.exp(v), geometry.exp(w)
    error = pose_error(target_pos, target_rot, pos, rot)
    leashed = leash(target_pos, target_rot, pos, rot, clip, rotational_clip)
    left = pose_error(*leashed, pos, rot)
    np.testing.assert_allclose(left[0], np.clip(error[0], -clip, clip), atol=1e-12)
    np.testing.assert_allclose(left[1], np.clip(error[1], -rotational_clip, rotational_clip), atol=1e-12)
    again = leash(*leashed, pos, rot, clip, rotational_clip)
    np.testing.assert_allclose(again[0], leashed[0], atol=1e-12)
    np.testing.assert_allclose(again[1], leashed[1], atol=1e-12)
    np.testing.assert_allclose(leashed[1] @ leashed[1].swapaxes(-1, -2), np.eye(3) + 0 * rot, atol=1e-14)


def test_leash_by_hand() -> None:
    pos, rot = np.array([0.5, 0.0, 0.3]), np.diag([1.0, -1.0, -1.0])
    new_pos, new_rot = leash(
        np.array([0.6, 0.004, 0.0]), geometry.exp(np.array([0, 0, 0.4])) @ rot, pos, rot, 0.01, 0.05
    )
    np.testing.assert_allclose(new_pos, [0.51, 0.004, 0.29], atol=1e-15)
    np.testing.assert_allclose(new_rot, geometry.exp(np.array([0, 0, 0.05])) @ rot, atol=1e-15)


def test_leash_makes_a_drifted_rotation_orthonormal_again() -> None:
    drifted = np.eye(3) * 1.0001
    rot = leash(np.zeros(3), drifted, np.zeros(3), np.eye(3), 0.01, 0.05)[1]
    np.testing.assert_allclose(rot, np.eye(3), atol=1e-12)


@examples
@given(vectors(3, 1.0, batch=1), st.floats(-1e-3, 1e-3), vectors(3, 3.0, batch=1))
def test_near_half_a_turn_the_leash_still_pulls_about_the_right_axis(
    axis: np.ndarray, off: float, w: np.ndarray
) -> None:
    axis = axis + (np.abs(axis).max() < 0.1) * np.array([[0.0, 0.0, 1.0]])
    axis, rot = axis / np.linalg.norm(axis), geometry.exp(w)
    _, leashed = leash(w, geometry.exp(axis * (math.pi - off)) @ rot, w, rot, 0.01, 0.05)
    pull = geometry.log(leashed @ geometry.transpose(rot))
    sense = math.copysign(1.0, off) if abs(off) > 1e-12 else math.copysign(1.0, float((pull * axis).sum()))
    np.testing.assert_allclose(pull, np.clip(sense * (math.pi - abs(off)) * axis, -0.05, 0.05), atol=1e-9)


@examples
@given(st.integers(0, 2**31))
def test_leashed_targets_never_come_near_half_a_turn(seed: int) -> None:
    """Under the fastest commands, whether the tool follows or not, the error stays far from pi."""
    rng = np.random.default_rng(seed)
    delta = ToolDelta(0.02, 0.2, (0, 1, 2), rng.choice(["tool", "base"]))
    pos, rot = np.zeros(3), geometry.exp(rng.normal(size=3))
    target, grip = (pos, rot), np.zeros(1)
    worst = 0.0
    for _ in range(60):
        action = rng.choice([-1.0, 1.0], size=6)
        new_pos, new_rot, _ = delta.apply(action, *target, grip)
        worst = max(worst, float(geometry.distance(new_rot, rot)))
        target = leash(new_pos, new_rot, pos, rot, 0.01, 0.05)
        follow = rng.choice([0.0, rng.uniform(0, 1)])
        noise = geometry.exp(rng.normal(size=3) * 1e-3)
        rot = noise @ geometry.exp(follow * pose_error(*target, pos, rot)[1]) @ rot
    assert worst < math.sqrt(3) * (0.2 + 0.05) + 0.02
