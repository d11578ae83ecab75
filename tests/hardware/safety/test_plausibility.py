from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.safety.plausibility import Plausibility
from robo_rl.robots import robot

SPEC = robot("panda")
HOME = np.array(SPEC.home)
ZERO = np.zeros(7)
FASTEST = np.array([link.max_velocity for link in SPEC.links])


def after_home(q=HOME, dq=ZERO, bias=ZERO, stamp=1.001, now=1.001):
    plausibility = Plausibility(SPEC)
    assert plausibility.wrong(HOME, ZERO, ZERO, 1.0, 1.0) == ""
    return plausibility.wrong(q, dq, bias, stamp, now)


def at(joint, value, base=ZERO):
    return np.where(np.arange(7) == joint, value, base)


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"q": at(2, np.nan, HOME)}, "not finite"),
        ({"dq": at(6, np.inf)}, "not finite"),
        ({"bias": at(0, np.nan)}, "not finite"),
        ({"stamp": np.nan}, "not finite"),
        ({"stamp": 1e9}, "from now"),
        ({"q": at(1, 4.0, HOME)}, "joint 2 at 4 rad"),
        ({"q": at(3, -9.0, HOME)}, "joint 4 at -9 rad"),
        ({"dq": at(4, -60.0)}, "joint 5 at -60 rad/s"),
        ({"q": at(0, HOME[0] + 0.5, HOME)}, "a jump of joint 1"),
    ],
)
def test_what_cannot_be_is_told(told, says):
    assert says in after_home(**told)


@given(speed=st.floats(-1.0, 1.0), seconds=st.floats(1e-3, 1.0))
def test_an_arm_within_its_limits_is_always_believed(speed, seconds):
    low, high = np.array([link.joint_range for link in SPEC.links]).T
    q = np.clip(HOME + speed * FASTEST * seconds, low, high)
    assert after_home(q, speed * FASTEST, stamp=1.0 + seconds, now=1.0 + seconds) == ""


def test_one_that_was_moved_while_nobody_looked_is_believed():
    assert after_home(at(0, 2.0, HOME), stamp=3.0, now=3.0) == ""


def test_garbage_does_not_become_what_the_next_measurement_is_compared_with():
    plausibility = Plausibility(SPEC)
    assert plausibility.wrong(HOME, ZERO, ZERO, 1.0, 1.0) == ""
    assert plausibility.wrong(at(0, 1.0, HOME), ZERO, ZERO, 1.001, 1.001)
    assert plausibility.wrong(HOME, ZERO, ZERO, 1.002, 1.002) == ""
