from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.safety.commands import checked
from robo_rl.contracts import ToolCommand
from robo_rl.errors import InvalidAction

GOOD = {"id": 1, "pos": np.zeros(3), "rot": np.eye(3), "gripper": 0.04, "valid_for": 0.25}


def test_a_good_command_is_copied():
    pos = np.zeros(3)
    made = checked(ToolCommand(**{**GOOD, "pos": pos}))
    pos[:] = 9.0
    assert not made.pos.any()
    checked(ToolCommand(**{**GOOD, "rot": np.eye(3) + 1e-4, "valid_for": 0.3}))  # rounding is no crime


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("id", 0, "above 0"),
        ("id", -5, "above 0"),
        ("id", 2**63, "below"),
        ("id", "one", "malformed"),
        ("id", float("nan"), "malformed"),
        ("pos", np.zeros(2), "shape"),
        ("pos", np.array([0, 0, np.nan]), "NaN"),
        ("pos", np.array([0, 0, np.inf]), "infinity"),
        ("pos", None, "NaN|malformed|shape"),
        ("pos", "here", "malformed"),
        ("rot", np.eye(4), "shape"),
        ("rot", np.zeros((3, 3)), "not a rotation"),
        ("rot", 1.01 * np.eye(3), "not a rotation"),
        ("rot", -np.eye(3), "not a rotation"),
        ("rot", np.diag([1.0, 1.0, -1.0]), "not a rotation"),
        ("rot", np.full((3, 3), np.nan), "NaN"),
        ("rot", np.full((3, 3), 1e300), "not a rotation"),
        ("gripper", float("nan"), "NaN"),
        ("gripper", None, "malformed"),
        ("valid_for", 0.0, "valid_for"),
        ("valid_for", -1.0, "valid_for"),
        ("valid_for", 0.31, "valid_for"),
        ("valid_for", float("nan"), "valid_for"),
        ("valid_for", float("inf"), "valid_for"),
    ],
)
def test_a_malformed_one_is_refused_with_the_field_at_fault(field, value, says):
    with pytest.raises(InvalidAction, match=says):
        checked(ToolCommand(**{**GOOD, field: value}))


anything = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.floats(), max_size=9)
)


@given(anything, anything, anything, anything, anything)
def test_nothing_but_invalid_action_comes_of_garbage(number, pos, rot, gripper, valid_for):
    try:
        checked(ToolCommand(number, pos, rot, gripper, valid_for))
    except InvalidAction:
        pass
    else:
        pytest.fail("no list of numbers is a rotation")
