"""Several in a row, with hysteresis."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robo_rl.errors import UserError
from robo_rl.rewards.rule import RuleSettings, SuccessRule

PROBABILITIES = st.lists(st.floats(0.0, 1.0, width=32), max_size=40)
SETTINGS = st.builds(RuleSettings, consecutive=st.integers(1, 5), release=st.floats(0.1, 1.0))


def played(rule: SuccessRule, probabilities: list[float]) -> list[bool]:
    return [bool(rule.update(torch.tensor([p]))[0]) for p in probabilities]


def test_by_hand():
    rule = SuccessRule(RuleSettings(3, 0.5), 0.8, 1)
    #                          1    2    stays 3    stays        breaks  1    2
    assert played(rule, [0.1, 0.8, 0.9, 0.4, 0.8, 0.41, 0.39, 0.9, 0.9]) == [
        False, False, False, False, True, True, False, False, False,
    ]  # fmt: skip


@given(SETTINGS, st.floats(0.05, 0.95), PROBABILITIES)
def test_no_success_without_enough_frames_that_look_like_it(settings, threshold, probabilities):
    verdicts = played(SuccessRule(settings, threshold, 1), probabilities)
    for at, verdict in enumerate(verdicts):
        if verdict:
            assert sum(p >= threshold for p in probabilities[: at + 1]) >= settings.consecutive
            assert probabilities[at] >= settings.release * threshold


@given(SETTINGS, st.floats(0.05, 0.95), PROBABILITIES)
def test_enough_in_a_row_are_always_a_success(settings, threshold, probabilities):
    verdicts = played(SuccessRule(settings, threshold, 1), probabilities)
    for at in range(settings.consecutive, len(probabilities) + 1):
        if all(p >= threshold for p in probabilities[at - settings.consecutive : at]):
            assert verdicts[at - 1]


@given(SETTINGS, PROBABILITIES, PROBABILITIES)
def test_environments_are_judged_apart_and_begin_anew(settings, first, second):
    alone = played(SuccessRule(settings, 0.5, 1), second)
    rule = SuccessRule(settings, 0.5, 2)
    for p in first:
        rule.update(torch.tensor([p, 1.0 - p]))
    rule.reset(torch.tensor([True, False]))
    assert [bool(rule.update(torch.tensor([p, 0.2]))[0]) for p in second] == alone


def test_what_makes_no_sense_is_refused():
    with pytest.raises(UserError, match="consecutive"):
        RuleSettings(consecutive=0)
    with pytest.raises(UserError, match="release"):
        RuleSettings(release=0.0)
