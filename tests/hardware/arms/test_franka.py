from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from controllers.kinematics import Chain
from hardware.arms import franka
from hardware.arms.franka import FrankaSettings
from robo_rl.errors import UserError
from robo_rl.robots.fr3 import FR3
from robo_rl.robots.panda import PANDA


def _ranges(spec):
    return [link.joint_range for link in spec.links]


def test_a_franka_hand_needs_no_tool_setting_where_desk_knows_of_it():
    """Desk's hand is turned by -45 degrees about the flange's z axis, its tool 103.4 mm out: NE is EE already."""
    c = math.cos(math.pi / 4)
    F_T_NE = np.array([[c, c, 0, 0], [-c, c, 0, 0], [0, 0, 1, 0.1034], [0, 0, 0, 1]])
    np.testing.assert_allclose(franka.tool_setting(FR3, F_T_NE), np.eye(4).flatten(), atol=1e-6)


def test_without_a_hand_in_desk_the_whole_tool_is_set():
    setting = np.array(franka.tool_setting(FR3, np.eye(4))).reshape(4, 4).T
    c = math.cos(math.pi / 4)
    np.testing.assert_allclose(setting, [[c, c, 0, 0], [-c, c, 0, 0], [0, 0, 1, 0.1034], [0, 0, 0, 1]], atol=1e-6)


def test_single_precision_of_the_arm_does_not_make_the_tool_less_of_a_rotation():
    F_T_NE = np.linalg.inv(franka.flange_to_tool(FR3)).astype(np.float32).astype(float)
    rot = np.array(franka.tool_setting(FR3, F_T_NE)).reshape(4, 4).T[:3, :3]
    np.testing.assert_allclose(rot @ rot.T, np.eye(3), atol=1e-12)


@pytest.mark.parametrize(("spec", "other"), [(FR3, PANDA), (PANDA, FR3)])
def test_fr3_and_panda_are_told_apart_by_their_ranges(spec, other):
    franka.check_ranges(spec, _ranges(spec), "the arm")
    with pytest.raises(UserError, match=rf"not a {spec.name}: link\d"):
        franka.check_ranges(spec, _ranges(other), "the arm")


def test_a_spec_may_be_narrower_than_the_arm():
    franka.check_ranges(FR3, [(low - 0.1, high + 0.1) for low, high in _ranges(FR3)], "the arm")


def test_ranges_are_read_from_what_an_arm_sends_of_itself():
    urdf = """<robot name="x">
      <joint name="a" type="revolute"><axis/><limit effort="87.0" lower="-2.9" upper="2.8" velocity="2"/></joint>
      <joint name="b" type="fixed"><parent link="l"/></joint>
      <joint name="c" type="revolute">
        <limit upper="0.5" lower="-1e-1" effort="1" velocity="2"/>
      </joint></robot>"""
    assert franka.urdf_ranges(urdf) == [(-2.9, 2.8), (-0.1, 0.5)]


def test_a_tool_that_is_elsewhere_is_refused():
    q = np.array(FR3.home)
    pos, rot = Chain(FR3).forward(q)
    O_T_EE = np.eye(4)
    O_T_EE[:3, :3], O_T_EE[:3, 3] = rot, pos
    further = np.eye(4)
    further[2, 3] = 0.107
    franka.check_tool(FR3, q, O_T_EE, "here")
    with pytest.raises(UserError, match=r"107\.0 mm"):
        franka.check_tool(FR3, q, O_T_EE @ further, "here")
    turned = O_T_EE.copy()
    turned[:3, :3] = rot @ np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    with pytest.raises(UserError, match=r"90\.0 degrees"):
        franka.check_tool(FR3, q, turned, "here")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("address", ""),
        ("payload_com", (0.0, 0.0)),
        ("payload_mass", -1.0),
        ("payload_mass", math.nan),
        ("payload_inertia", (0.0,) * 8 + (math.inf,)),
        ("collision_force", (60.0,) * 5),
        ("hand_force", math.inf),
    ],
)
def test_settings_that_cannot_be_are_named(field, value):
    with pytest.raises(UserError, match=f"franka.{field}"):
        replace(FrankaSettings("172.16.0.2"), **{field: value})


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            'libfranka: aborted by reflex! ["joint_reflex", "tau_J_range_violation"]',
            "joint_reflex, tau_J_range_violation",
        ),
        ("libfranka: UDP receive:\n  Timeout", "UDP receive: Timeout"),
        ("", "RuntimeError"),
    ],
)
def test_what_libfranka_says_becomes_one_line(said, line):
    assert franka.one_line(RuntimeError(said)) == line


def _state(mode, current="[]", last="[]"):
    return SimpleNamespace(robot_mode=SimpleNamespace(name=mode), current_errors=current, last_motion_errors=last)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (_state("Idle"), ""),
        (_state("Move"), ""),
        (_state("Move", last='["joint_reflex"]'), ""),
        (_state("Reflex", '["joint_reflex", "power_limit_violation"]'), "reflex: joint_reflex, power_limit_violation"),
        (_state("Reflex", last='["tau_J_range_violation"]'), "reflex: tau_J_range_violation"),
        (_state("UserStopped"), "user stop; release it"),
    ],
)
def test_what_an_arm_complains_of(state, words):
    assert franka.complaint(state) == words
