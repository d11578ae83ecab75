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


@pytest.mark.parametrize("name", ["widowx250s", "panda"])
def test_every_leg_is_one_that_the_arm_accepts(name):
    spec = robot(name)
    limits = SafetyLimits.of(spec)
    ranges = np.array([link.joint_range for link in spec.links])
    rng = np.random.default_rng(3)
    found = refused = 0
    for _ in range(6):
        start = rng.uniform(ranges[:, 0], ranges[:, 1])
        try:
            way = way_home(spec, limits, start)
        except UserError as error:
            assert "bring the tool by hand over the table" in str(error)
            refused += 1
            continue
        found += 1
        for leg, goal in zip([start, *way], way, strict=False):
            JointPlanner(spec, limits).plan(leg, goal)  # raises InvalidAction if it is not
    assert found
    assert refused  # and not everywhere, or the refusal was not tried


def test_there_is_a_way_by_another_posture_where_the_arm_finds_none_itself():
    spec = robot("panda")
    limits = SafetyLimits.of(spec)
    ranges = np.array([link.joint_range for link in spec.links])
    rng = np.random.default_rng(0)
    for _ in range(60):
        start = rng.uniform(ranges[:, 0], ranges[:, 1])
        try:
            JointPlanner(spec, limits).plan(start, np.array(spec.home))
        except InvalidAction:
            try:
                way = way_home(spec, limits, start)
            except UserError:
                continue
            assert len(way) == 2
            return
    pytest.fail("no start was found that needs a posture in between")
