from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.joint_speeds import JointSpeeds
from robo_rl.robots import robot

FR3 = robot("fr3")
SPEEDS = JointSpeeds(FR3)


def test_an_arm_without_slow_ends_has_the_same_speed_everywhere():
    panda = robot("panda")
    most = [0.5 * link.max_velocity for link in panda.links]
    ends = [link.joint_range[1] for link in panda.links]
    assert JointSpeeds(panda, 0.5).towards(ends, [1.0] * 7) == most


@pytest.mark.parametrize("joint", range(7))
@given(share=st.floats(0.0, 1.0), forth=st.booleans())
def test_from_any_speed_it_allows_a_joint_can_stop_before_the_end(joint, share, forth):
    """Constant deceleration keeps below the envelope all the way, which is what it was made for."""
    link = FR3.links[joint]
    low, high = link.joint_range
    q = low + share * (high - low)
    sign = 1.0 if forth else -1.0
    speed = SPEEDS.towards([q] * 7, [sign] * 7)[joint]
    room = link.slow_ends.high - q if forth else q - link.slow_ends.low
    assert 0.0 < speed <= link.max_velocity
    assert speed <= max(math.sqrt(2.0 * link.slow_ends.deceleration * room) - link.slow_ends.offset, 0.0100001)


def test_back_from_an_end_a_joint_may_be_fast():
    ends = [link.joint_range[1] for link in FR3.links]
    assert SPEEDS.towards(ends, [-1.0] * 7) == [link.max_velocity for link in FR3.links]
