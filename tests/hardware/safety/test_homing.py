"""The way home keeps every limit on each of its legs, and is refused with what to do by hand where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from controllers.kinematics import Chain
from hardware.safety.homing import way_home
from hardware.safety.joint_motion import JointPlanner
from hardware.safety.limits import SafetyLimits
from robo_rl.errors import InvalidAction, UserError
from robo_rl.robots import robot

FOLDED = np.array([0.0, -1.85, 1.55, 0.0, 0.8, 0.0])


def test_an_arm_in_its_rest_finds_the_way_home():
    spec = robot("widowx250s")
    tool = Chain(spec).forward(FOLDED)[0]
    assert tool[0] < spec.workspace_low[0]  # outside: the guard has to plan a way in
    np.testing.assert_array_equal(way_home(spec, SafetyLimits.of(spec), FOLDED)[-1], spec.home)


def test_there_is_a_way_by_another_posture_where_the_arm_finds_none_itself():
    spec = robot("panda")
    limits = SafetyLimits.of(spec)
    planner = JointPlanner(spec, limits)
    start = np.array([-2.18, 0.6, 0.85, -1.22, -0.67, 3.74, 2.79])
    with pytest.raises(InvalidAction):
        planner.plan(start, np.array(spec.home))
    way = way_home(spec, limits, start)
    assert len(way) == 2
    np.testing.assert_array_equal(way[-1], spec.home)
    for leg, goal in zip([start, *way], way, strict=False):
        planner.plan(leg, goal)  # raises InvalidAction if the arm would not accept it


def test_where_no_way_is_found_a_person_is_told_what_to_do_by_hand():
    spec = robot("widowx250s")
    backwards = np.array([0.0, -1.85, 1.55, 0.0, -1.7, 0.0])
    with pytest.raises(UserError, match=r"has its tool at .* bring the tool by hand over the table"):
        way_home(spec, SafetyLimits.of(spec), backwards)
