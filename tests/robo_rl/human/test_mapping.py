"""Directions of a hand become directions of the tool, in every frame."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from controllers.reference import ToolDelta
from envs.registry import make_env, make_task
from robo_rl import geometry
from robo_rl.contracts import CameraSpec, Deflection
from robo_rl.errors import UserError
from robo_rl.human.mapping import ActionMap, viewing_axes

CAMERA = CameraSpec("side", pos=(0.5, -1.0, 0.6), look_at=(0.5, 0.0, 0.1))
HAND = CameraSpec("hand", pos=(0.06, 0.0, 0.0), look_at=(0.0, 0.0, 0.12), on_tool=True)
small = st.floats(-1.0, 1.0, width=32)
vectors = st.tuples(small, small, small)
angles = st.tuples(*[st.floats(-1.5, 1.5, width=32)] * 3)

frames = st.sampled_from(["base", "tool", "side", "hand"])


def delta(frame, axes=(0, 1, 2), **more):
    return ToolDelta(translation=0.01, rotation=0.05, rotation_axes=axes, frame=frame, **more)


def reading(tool, target):
    return {
        "tcp_rot": geometry.exp(torch.tensor(tool))[None], "target_rot": geometry.exp(torch.tensor(target))[None],
        "gripper_target": torch.tensor([[0.02]]),
    }  # fmt: skip


@given(
    vectors,
    vectors,
    angles,
    angles,
    st.sampled_from(["base", "tool"]),
    st.sampled_from(["base", "tool", "side", "hand"]),
)
def test_the_target_moves_where_the_hand_does(move, turn, tool, target, acts, moves):
    """Whatever frames action and device have: the delta of the target, in the base's axes, is that of the hand."""
    actions = delta(acts)
    here = reading(tool, target)
    mapped = ActionMap(actions, 6, frame=moves, cameras=(CAMERA, HAND))
    action = mapped.action(Deflection(0.0, move, turn), here)
    assert bool((action.abs() <= 1.0).all())
    tcp, start = here["tcp_rot"][0], here["target_rot"][0]
    axes = {
        "base": torch.eye(3), "tool": start if acts == "tool" else tcp,
        "side": torch.from_numpy(viewing_axes(CAMERA)), "hand": tcp @ torch.from_numpy(viewing_axes(HAND)),
    }[moves]  # fmt: skip
    zero = torch.zeros(3)
    pos, rot, _ = actions.apply(action, zero, start, torch.zeros(1))
    wanted, turned = axes @ torch.tensor(move), axes @ torch.tensor(turn)
    moved = pos / 0.01
    turned_by = geometry.log(rot @ start.mT) / 0.05
    for got, want in ((moved, wanted), (turned_by, turned)):
        longest = want.abs().max() if acts == "base" else (start.mT @ want).abs().max()
        assert torch.allclose(got, want / longest.clamp_min(1.0), atol=2e-3)


def test_rotations_that_the_task_does_not_make_are_left_out():
    mapped = ActionMap(delta("base", axes=(2,), gripper=True, max_width=0.08), 5)
    said = Deflection(0.0, (0.0, 0.5, 0.0), (1.0, 1.0, -0.25), gripper=-1.0)
    assert mapped.action(said, reading((0, 0, 0), (0, 0, 0))).tolist() == [0.0, 0.5, 0.0, -0.25, -1.0]


def test_a_gripper_that_nobody_moves_keeps_its_opening():
    absolute = ActionMap(delta("base", axes=(), gripper=True, max_width=0.08), 4)
    here = reading((0, 0, 0), (0, 0, 0))
    assert absolute.neutral(here).tolist() == [0.0, 0.0, 0.0, -0.5]  # 20 of 80 mm
    switch = ActionMap(delta("base", axes=(), gripper=True, max_width=0.08, switch=True), 4)
    assert switch.neutral(here).tolist() == [0.0, 0.0, 0.0, 0.0]


def test_actions_without_a_meaning_take_the_axes_in_order():
    mapped = ActionMap(None, 4)
    assert mapped.action(Deflection(0.0, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)), {}).tolist() == pytest.approx(
        [0.1, 0.2, 0.3, 0.4]
    )
    assert ActionMap(None, 8).action(Deflection(0.0, (1.0, 0.0, 0.0)), {}).tolist() == [1.0] + [0.0] * 7
    with pytest.raises(UserError, match="have none"):
        ActionMap(None, 4, frame="base")


def test_a_frame_that_is_not_there_names_those_that_are():
    with pytest.raises(UserError, match=r"choose one of base, tool, front, wrist"):
        ActionMap.of(FakeEnv(make_task("peg_insertion")), "sky")


class FakeEnv:
    def __init__(self, task):
        self.task, self.action_space = task, task.action_space


def test_away_from_the_person_is_into_the_picture():
    """Against MuJoCo's own camera, which looks along its -z axis, x to its right."""
    env = make_env(make_task("pick_cube"), cameras=False)
    env.reset()
    model, data = env.world.models[0], env.world.datas[0]
    import mujoco

    mujoco.mj_forward(model, data)
    for spec in env.task.scene().cameras:
        rot = data.cam_xmat[model.camera(spec.name).id].reshape(3, 3)
        seen = np.stack([-rot[:, 2], -rot[:, 0], rot[:, 1]], axis=1)  # into the picture, left, up
        axes = viewing_axes(spec)
        if spec.on_tool:
            axes = env.reading["tcp_rot"][0].numpy() @ axes
        assert np.allclose(axes, seen, atol=1e-3)
    env.close()


def test_axes_are_right_handed():
    for camera in (CAMERA, HAND, CameraSpec("top", (0.0, 0.0, 1.0), (0.0, 0.0, 0.0))):
        axes = viewing_axes(camera)
        assert math.isclose(np.linalg.det(axes), 1.0, abs_tol=1e-6)
