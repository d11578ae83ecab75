"""No sequence of commands, however hostile, makes the reference leave its limits."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from controllers.single import SingleChain, damped_inverse, rotation
from hardware.safety.filter import SafetyFilter
from hardware.safety.limits import SafetyLimits
from robo_rl import geometry
from robo_rl.robots import robot

_found = importlib.util.spec_from_file_location("array_filter", Path(__file__).with_name("array_filter.py"))
array_filter = importlib.util.module_from_spec(_found)
_found.loader.exec_module(array_filter)

SPEC = robot("panda")
HOME = np.array(SPEC.home)
CHAIN = SingleChain(SPEC)
POS, ROT, JACOBIAN = CHAIN.forward(HOME)
INVERSE = damped_inverse(JACOBIAN)
LIMITS = SafetyLimits.of(SPEC)
STATE = {"pos": 1e-12, "rot": 1e-8, "linvel": 1e-8, "angvel": 1e-6}  # an angle near half a turn loses half its digits
TIGHT = SafetyLimits((0.55, -0.05, 0.15), (0.65, 0.05, 0.3), max_tilt=0.3, max_speed=0.5, max_rotation_speed=1.0)


def advance(made: SafetyFilter, pos, rot, measured=None, dt=0.001, q=HOME):
    """One step; without a measured pose the arm is where the reference is, as if it followed perfectly."""
    at_pos, at_rot = measured or (made.pos, made.rot)
    return made.advance(pos, rot, at_pos, at_rot, q, JACOBIAN, INVERSE, dt)


def settle(made: SafetyFilter, pos, rot, seconds=1.0, **more):
    return [advance(made, pos, rot, **more) for _ in range(int(seconds / 0.001))]


def started(limits=LIMITS) -> SafetyFilter:
    made = SafetyFilter(SPEC, limits, ROT)
    made.reset(POS, ROT)
    return made


positions = arrays(float, 3, elements=st.one_of(st.floats(-1.0, 1.0), st.sampled_from([1e300, -1e300, 0.0])))
turns = arrays(float, 3, elements=st.floats(-3.0, 3.0))
commands = st.lists(st.tuples(positions, turns, st.integers(1, 60)), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(commands, st.sampled_from([LIMITS, TIGHT]), st.sampled_from([0.0005, 0.001, 0.005, 0.02]), st.booleans())
@example(  # a wall that pushes back while the reference goes along it at full speed
    [
        (np.zeros(3), np.zeros(3), 31),
        (np.array([0.0, 1.0, 0.0]), np.zeros(3), 46),
        (np.array([1.0, 0.0, 0.0]), np.zeros(3), 6),
    ],
    LIMITS,
    0.02,
    False,
)
@example(  # the same at the cone
    [
        (np.zeros(3), np.zeros(3), 45),
        (np.zeros(3), np.array([0.0, 0.0, -1.0]), 31),
        (np.zeros(3), np.array([2.375, 2.25, 3.0]), 56),
        (np.zeros(3), np.array([0.4375, 0.0, -2.0]), 19),
    ],
    LIMITS,
    0.02,
    False,
)
def test_the_reference_never_leaves_its_limits(sequence, limits, dt, leashed):
    made = started(limits)
    low, high = np.array(limits.workspace_low) - 1e-9, np.array(limits.workspace_high) + 1e-9
    anchor = (POS, ROT) if leashed else None  # an arm that does not follow at all, or perfectly
    for pos, turn, cycles in sequence:
        for _ in range(cycles):
            before = made.pos, made.rot, made.linvel, made.angvel
            advance(made, pos, rotation(turn) @ ROT, anchor, dt)
            assert (made.pos >= low).all()
            assert (made.pos <= high).all()
            assert geometry.distance(made.rot, ROT) <= limits.max_tilt + 1e-6
            assert np.linalg.norm(made.pos - before[0]) <= limits.max_speed * dt + 1e-9
            assert geometry.distance(made.rot, before[1]) <= limits.max_rotation_speed * dt + 1e-6
            assert np.linalg.norm(made.linvel - before[2]) <= limits.max_acceleration * dt * (1 + 1e-6) + 1e-9
            assert np.linalg.norm(made.angvel - before[3]) <= limits.max_rotation_acceleration * dt * (1 + 1e-6) + 1e-9
            np.testing.assert_allclose(made.rot @ made.rot.T, np.eye(3), atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(commands, st.lists(st.floats(1e-4, 0.02), min_size=20, max_size=20))
def test_it_stays_inside_whatever_the_cycles_take(sequence, steps):
    made = started(TIGHT)
    low, high = np.array(TIGHT.workspace_low) - 1e-9, np.array(TIGHT.workspace_high) + 1e-9
    for pos, turn, cycles in sequence:
        for i in range(cycles):
            before, dt = made.linvel, steps[i % 20]
            advance(made, pos, rotation(turn) @ ROT, None, dt)
            assert (made.pos >= low).all()
            assert (made.pos <= high).all()
            assert np.linalg.norm(made.linvel - before) <= TIGHT.max_acceleration * dt * (1 + 1e-6)


def test_the_property_test_can_fail():
    """Without braking at the walls, a reference that changes its mind does leave the box."""
    made = started(TIGHT)
    careless = dataclasses.replace(TIGHT, workspace_low=(-9.0,) * 3, workspace_high=(9.0,) * 3)
    loose = SafetyFilter(SPEC, careless, ROT)
    loose.reset(POS, ROT)
    for each in (made, loose):
        for _ in range(120):
            advance(each, POS + np.array([0.0, 0.3, 0.0]), ROT)
        for _ in range(200):
            advance(each, each.pos + np.array([0.05, 0.3, 0.0]), ROT)
    assert made.pos[1] <= TIGHT.workspace_high[1]
    assert loose.pos[1] > TIGHT.workspace_high[1] + 0.01


def test_it_arrives_where_it_is_told_to_and_says_nothing():
    made = started()
    pos, rot = POS + np.array([0.03, -0.02, 0.05]), rotation(np.array([0.1, 0.2, -0.1])) @ ROT
    reasons = settle(made, pos, rot)
    np.testing.assert_allclose(made.pos, pos, atol=1e-5)
    assert geometry.distance(made.rot, rot) < 1e-4
    assert reasons[-1] == []


def test_a_control_period_is_enough_for_a_centimetre():
    made = started()
    for _ in range(100):
        reasons = advance(made, POS + np.array([0.0, 0.01, 0.0]), ROT)
    np.testing.assert_allclose(made.pos, POS + np.array([0.0, 0.01, 0.0]), atol=3e-4)
    assert "leash" not in reasons


def test_it_comes_to_rest_with_long_cycles_too():
    made = started()
    path = []
    for _ in range(200):
        advance(made, POS + np.array([0.0, 0.05, 0.0]), ROT, dt=0.01)
        path.append(made.pos[1] - POS[1])
    assert max(path) < 0.05 + 1e-3
    assert np.ptp(path[-50:]) < 1e-6


@pytest.mark.parametrize(
    ("pos", "turn", "says"),
    [
        (POS + np.array([0.0, 2.0, 0.0]), (0.0, 0.0, 0.0), "workspace"),
        (POS, (2.0, 0.0, 0.0), "rotation"),
        (POS + np.array([0.0, 0.2, 0.0]), (0.0, 0.0, 0.0), "speed"),
        (POS + np.array([0.0, 0.003, 0.0]), (0.0, 0.0, 0.0), "acceleration"),
    ],
)
def test_it_says_which_limit_changed_the_target(pos, turn, says):
    made = started()
    reasons = [name for step in settle(made, pos, rotation(np.array(turn)) @ ROT, 0.4) for name in step]
    assert says in reasons
    unrestrained = settle(started(), POS + np.array([0.0, 1e-5, 0.0]), ROT, 0.1)  # the same, near by: none of it
    assert not any(unrestrained)


def test_an_arm_that_is_held_is_led_by_no_more_than_the_leash():
    made = started()
    reasons = settle(made, POS + np.array([0.0, 0.1, -0.1]), ROT, measured=(POS, ROT))
    clip = SPEC.impedance.clip
    np.testing.assert_allclose(made.pos - POS, [0.0, clip, -clip], atol=1e-4)
    assert "leash" in reasons[-1]


def test_turning_a_held_arm_is_leashed_as_well():
    made = started()
    settle(made, POS, rotation(np.array([0.0, 0.0, 1.0])) @ ROT, measured=(POS, ROT))
    assert geometry.distance(made.rot, ROT) == pytest.approx(SPEC.impedance.rotational_clip, abs=1e-3)


def test_from_outside_it_only_comes_back():
    made = SafetyFilter(SPEC, TIGHT, ROT)
    made.reset(np.array([0.75, 0.2, 0.1]), rotation(np.array([0.6, 0.0, 0.0])) @ ROT)
    far, tilt = [np.inf], [np.inf]
    for _ in range(2000):
        advance(made, np.array([0.9, 0.2, -5.0]), rotation(np.array([2.0, 0.0, 0.0])) @ ROT)
        far.append(float(np.max(made.pos - TIGHT.workspace_high)))
        tilt.append(float(geometry.distance(made.rot, ROT)))
    assert (np.diff(far) < 1e-9).all()
    assert (np.diff(tilt) < 1e-6).all()
    assert far[-1] < 1e-3
    assert tilt[-1] < 0.3 + 1e-2


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_joint_near_its_limit_stops_the_reference_only_on_the_way_out(sign):
    q = HOME.copy()
    q[6] = SPEC.links[6].joint_range[1] - LIMITS.joint_margin - 1e-3
    pos, rot, jacobian = CHAIN.forward(q)
    made = SafetyFilter(SPEC, LIMITS, rot)
    made.reset(pos, rot)
    target = rotation(sign * 0.1 * jacobian[3:, 6]) @ rot
    inverse = damped_inverse(jacobian)
    reasons = [made.advance(pos, target, made.pos, made.rot, q, jacobian, inverse, 0.001) for _ in range(400)]
    stopped = any("joint_limit" in each for each in reasons)
    turned = geometry.distance(made.rot, rot)
    if sign > 0.0:
        assert stopped
        assert turned < 0.02
    else:
        assert not stopped
        assert turned == pytest.approx(0.1, abs=1e-3)


def test_a_fast_joint_slows_the_reference_down():
    slow = dataclasses.replace(LIMITS, joint_speed=0.02)
    made = started(slow)
    reasons = settle(made, POS + np.array([0.0, 0.1, 0.0]), ROT, 0.3)
    rates = JACOBIAN.T @ INVERSE @ np.r_[made.linvel, made.angvel]
    assert (np.abs(rates) <= 1.05 * 0.02 * np.array([link.max_velocity for link in SPEC.links])).all()
    assert "joint_speed" in reasons[-1]


def test_a_reference_in_motion_brakes_from_where_it_is():
    made = started()
    made.reset(POS, ROT, np.array([0.0, 3.0, 0.0, 0.0, 0.0, 9.0]))
    assert np.linalg.norm(made.linvel) == pytest.approx(LIMITS.max_speed)
    assert np.linalg.norm(made.angvel) == pytest.approx(LIMITS.max_rotation_speed)
    settle(made, POS, ROT)
    assert made.slow
    assert math.dist(made.pos, POS) < 1e-4


@pytest.mark.parametrize("limits", [LIMITS, TIGHT])
@pytest.mark.parametrize("leashed", [True, False])
def test_it_computes_what_the_same_formulas_over_arrays_do(limits, leashed):
    rng = np.random.default_rng(0)
    made, expected = started(limits), array_filter.ArrayFilter(SPEC, limits, ROT)
    expected.reset(POS, ROT)
    q, jacobian = HOME, JACOBIAN
    seen = set()
    for _ in range(60):
        target = POS + rng.normal(0.0, 0.15, 3), rotation(rng.normal(0.0, 0.5, 3)) @ ROT
        if rng.random() < 0.3:
            q = HOME + rng.normal(0.0, 0.4, 7)
            jacobian = CHAIN.forward(q)[2]
        if rng.random() < 0.1:
            begin = POS + rng.normal(0.0, 0.1, 3), rotation(rng.normal(0.0, 0.2, 3)) @ ROT, rng.normal(0.0, 0.5, 6)
            made.reset(*begin)
            expected.reset(*begin)
        dt = float(rng.choice([0.0005, 0.001, 0.005, 0.02]))
        for _ in range(int(rng.integers(1, 80))):
            pos, rot = (POS, ROT) if leashed else (expected.pos + rng.normal(0.0, 2e-3, 3), expected.rot)
            arguments = *target, pos, rot, q, jacobian, damped_inverse(jacobian), dt
            for name in STATE:  # each cycle by itself: at a wall, a square root makes much of a rounding
                setattr(expected, name, np.array(getattr(made, name)))
            reasons = made.advance(*arguments)
            assert reasons == expected.advance(*arguments)
            seen.update(reasons)
            for name, tolerance in STATE.items():
                np.testing.assert_allclose(getattr(made, name), getattr(expected, name), rtol=0.0, atol=tolerance)
    assert {"speed", "workspace" if limits is TIGHT else "leash"} <= seen
    assert leashed or "acceleration" in seen
