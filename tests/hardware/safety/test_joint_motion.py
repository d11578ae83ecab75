from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from controllers.kinematics import Chain
from hardware.safety.joint_motion import JointMotion, JointPlanner
from hardware.safety.limits import SafetyLimits
from robo_rl import geometry
from robo_rl.errors import InvalidAction
from robo_rl.robots import robot

SPEC = robot("panda")
HOME = np.array(SPEC.home)
CHAIN = Chain(SPEC)
WIDE = dataclasses.replace(SafetyLimits.of(SPEC), workspace_low=(-2.0,) * 3, workspace_high=(2.0,) * 3, max_tilt=3.15)
SPEED = np.array([link.max_velocity for link in SPEC.links]) * WIDE.joint_speed


def sampled(motion: JointMotion, dt=0.005):
    times = np.arange(0.0, motion.duration + 2 * dt, dt)
    q, dq = (np.array(each) for each in zip(*(motion.at(t) for t in times), strict=True))
    pos, rot = CHAIN.forward(q)
    return q, dq, pos, rot


@settings(max_examples=25, deadline=None)
@given(arrays(float, 7, elements=st.floats(-0.8, 0.8)))
def test_a_move_keeps_to_the_limits_of_joints_and_tool(offset):
    low, high = (np.array([link.joint_range[i] for link in SPEC.links]) for i in (0, 1))
    goal = np.clip(HOME + offset, low + WIDE.joint_margin, high - WIDE.joint_margin)
    dt = 0.005
    q, dq, pos, rot = sampled(JointPlanner(SPEC, WIDE).plan(HOME, goal), dt)
    np.testing.assert_allclose(q[0], HOME, atol=1e-12)
    np.testing.assert_allclose(q[-1], goal, atol=1e-12)
    assert not dq[0].any()
    assert not dq[-1].any()
    assert (np.abs(dq) <= SPEED * 1.01).all()
    np.testing.assert_allclose(np.diff(q, axis=0) / dt, 0.5 * (dq[1:] + dq[:-1]), atol=2e-2)
    speed = np.linalg.norm(np.diff(pos, axis=0), axis=-1) / dt
    turn = geometry.distance(rot[:-1], rot[1:]) / dt
    assert speed.max() <= WIDE.max_speed * 1.02
    assert turn.max() <= WIDE.max_rotation_speed * 1.02
    assert np.linalg.norm(np.diff(pos, n=2, axis=0), axis=-1).max() / dt**2 <= WIDE.max_acceleration * 1.1


def test_no_time_is_wasted():
    """One limit is reached: with joint limits that bind, the fastest joint reaches its own."""
    wide = dataclasses.replace(WIDE, max_speed=50.0, max_rotation_speed=50.0, joint_speed=0.2)
    goal = HOME + np.array([1.0, 0, 0, 0, 0, 0, 0])
    _, dq, *_ = sampled(JointPlanner(SPEC, wide).plan(HOME, goal))
    assert np.abs(dq[:, 0]).max() == pytest.approx(0.2 * SPEC.links[0].max_velocity, rel=0.03)


@pytest.mark.parametrize(
    ("goal", "says"),
    [
        (np.full(7, np.nan), "7 finite numbers"),
        (np.zeros(6), "7 finite numbers"),
        (HOME + np.array([0, 0, 0, 3.0, 0, 0, 0]), r"joint_pos\[3\] is 1.100 rad; it must be in"),
        (HOME + np.array([2.0, 0, 0, 0, 0, 0, 0]), "puts the tool out of the work space"),
        (HOME + np.array([0, 0, 0, 0, 0, 1.3, 0]), "away from its home orientation|work space"),
    ],
)
def test_what_is_outside_of_the_limits_is_refused(goal, says):
    limits = dataclasses.replace(SafetyLimits.of(SPEC), max_tilt=0.5)
    with pytest.raises(InvalidAction, match=says):
        JointPlanner(SPEC, limits).plan(HOME, goal)


def dipping(above_home: bool):
    """Two postures and a height that the straight way between them dips below; home is above that height or below."""
    rng = np.random.default_rng(0)
    for _ in range(1000):
        start, goal = HOME + rng.uniform(-0.6, 0.6, (2, 7))
        heights = CHAIN.forward(start + np.linspace(0, 1, 101)[:, None] * (goal - start))[0][:, 2]
        floor = float(min(heights[0], heights[-1])) - 0.001
        if heights.min() < floor - 0.01 and (CHAIN.forward(HOME)[0][2] > floor + 0.01) == above_home:
            return start, goal, dataclasses.replace(WIDE, workspace_low=(-2.0, -2.0, floor))
    raise AssertionError("no such postures found")


@pytest.mark.parametrize("above_home", [True, False])
def test_a_way_that_would_leave_the_work_space_goes_another_way(above_home):
    start, goal, limits = dipping(above_home)
    floor = limits.workspace_low[2]
    assert sampled(JointPlanner(SPEC, WIDE).plan(start, goal))[2][:, 2].min() < floor - 0.009
    q, _, pos, rot = sampled(JointPlanner(SPEC, limits).plan(start, goal), 0.005)
    assert pos[:, 2].min() > floor - 0.004
    np.testing.assert_allclose(q[0], start, atol=1e-9)
    np.testing.assert_allclose(q[-1], goal, atol=1e-12)
    assert (np.abs(np.diff(q, axis=0)) <= 1.05 * SPEED * 0.005 + 1e-9).all()
    assert np.linalg.norm(np.diff(pos, axis=0), axis=-1).max() <= WIDE.max_speed * 0.005 * 1.05
    assert geometry.distance(rot[:-1], rot[1:]).max() <= WIDE.max_rotation_speed * 0.005 * 1.05


@pytest.mark.parametrize("name", ["panda", "fr3", "widowx250s"])
def test_from_anywhere_in_the_work_space_there_is_a_way_home(name):
    spec = robot(name)
    chain, limits, home = Chain(spec), SafetyLimits.of(spec), np.array(spec.home)
    low, high = np.array(limits.workspace_low), np.array(limits.workspace_high)
    rng, planner, count = np.random.default_rng(1), JointPlanner(spec, limits), 0
    rot = chain.forward(home)[1]
    margin = np.array([link.joint_range for link in spec.links])
    margin[:, 0] += limits.joint_margin
    margin[:, 1] -= limits.joint_margin
    for pos in rng.uniform(low, high, (40, 3)):
        q, reached = chain.inverse(pos, rot, home)
        if not reached or (q < margin[:, 0]).any() or (q > margin[:, 1]).any():
            continue
        np.testing.assert_allclose(planner.plan(q, home).goal, home, atol=1e-12)
        count += 1
    assert count > 15


def test_if_no_way_stays_inside_the_move_is_refused():
    """To the other side of the base, in a work space with no room to go around it."""
    behind = HOME + np.array([np.pi - 0.5, 0, 0, 0, 0, 0, 0])
    ends = CHAIN.forward(np.stack([HOME, behind]))[0]
    low, high = (ends.min(axis=0) - 0.001).tolist(), (ends.max(axis=0) + 0.001).tolist()
    limits = dataclasses.replace(WIDE, workspace_low=tuple(low), workspace_high=tuple(high))
    with pytest.raises(InvalidAction, match="go by way of another posture"):
        JointPlanner(SPEC, limits).plan(HOME, behind)


def test_a_way_back_in_is_planned_from_outside():
    outside = HOME + np.array([1.2, 0, 0, 0, 0, 0, 0])  # y is 0.58 m, the work space ends at 0.3
    motion = JointPlanner(SPEC, SafetyLimits.of(SPEC)).plan(outside, HOME)
    np.testing.assert_allclose(motion.at(motion.duration)[0], HOME, atol=1e-12)


def test_no_way_at_all_takes_a_moment_and_stays_there():
    motion = JointPlanner(SPEC, WIDE).plan(HOME, HOME)
    assert motion.duration < 0.5
    np.testing.assert_allclose(motion.at(0.1)[0], HOME, atol=1e-12)
