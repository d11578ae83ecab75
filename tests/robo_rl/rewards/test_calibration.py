"""Thresholds and probabilities from held-out frames."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robo_rl.errors import UserError
from robo_rl.rewards.calibration import (
    calibrate_threshold,
    calibration_error,
    confusion,
    fit_platt,
    precision_recall,
)


def scores(count: int, distance: float, seed: int = 0, scale: float = 1.0) -> tuple[torch.Tensor, ...]:
    """Logits that two normal kinds of frames have, their labels, and episodes of ten frames."""
    generator = torch.Generator().manual_seed(seed)
    success = torch.rand(count, generator=generator) < 0.4
    logits = scale * (torch.randn(count, generator=generator) + distance * success)
    return logits.double(), success, torch.arange(count) // 10


def test_the_curve_by_hand():
    curve = precision_recall(torch.tensor([3.0, 2.0, 2.0, 1.0]), torch.tensor([True, True, False, True]))
    assert curve.threshold.tolist() == [3.0, 2.0, 1.0]
    assert curve.precision.tolist() == pytest.approx([1.0, 2 / 3, 3 / 4])
    assert curve.recall.tolist() == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert curve.recall_at(0.7) == 1.0
    assert curve.recall_at(0.9) == pytest.approx(1 / 3)
    assert curve.average_precision == pytest.approx((1.0 + 2 / 3 + 3 / 4) / 3)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(1.0, 6.0), st.sampled_from([0.8, 0.9, 0.99]))
def test_the_threshold_has_the_precision_where_it_was_calibrated(seed, distance, precision):
    logits, success, episode = scores(300, distance, seed)
    try:
        threshold = calibrate_threshold(logits, success, episode, precision=precision, least_recall=0.3)
    except UserError:
        curve = precision_recall(logits, success)
        assert not bool(((curve.precision >= precision) & (curve.recall >= 0.3)).any())
        return
    at = confusion(logits >= threshold, success)
    assert at["precision"] >= precision
    assert at["recall"] >= 0.3


def test_it_lies_in_the_middle_of_a_gap():
    success = torch.arange(40) % 2 == 0
    logits = torch.where(success, 4.0, -2.0).double()
    found = calibrate_threshold(logits, success, torch.arange(40), precision=0.99, least_recall=0.5)
    assert found == pytest.approx(1.0)


def test_more_confidence_never_takes_more_for_success():
    logits, success, episode = scores(2000, 3.5)
    found = [
        calibrate_threshold(logits, success, episode, precision=0.95, least_recall=0.1, confidence=sure)
        for sure in (0.1, 0.5, 0.8, 0.99)
    ]
    assert found == sorted(found)
    assert found[-1] > found[0]


def test_on_other_episodes_the_precision_holds_more_often_than_by_luck():
    """Over fresh data sets: the lowest threshold that has it misses the precision about as often as not."""

    def held(confidence):
        kept = 0
        for seed in range(12):
            threshold = calibrate_threshold(
                *scores(600, 3.5, seed), precision=0.95, least_recall=0.1, confidence=confidence
            )
            logits, success, _ = scores(20_000, 3.5, 1000 + seed)
            kept += confusion(logits >= threshold, success)["precision"] >= 0.95
        return kept

    assert held(0.9) > held(0.05)
    assert held(0.9) >= 9


def test_shuffled_labels_have_no_precision():
    logits, success, episode = scores(2000, 6.0)
    calibrate_threshold(logits, success, episode, precision=0.99, least_recall=0.5)
    shuffled = success[torch.randperm(2000, generator=torch.Generator().manual_seed(3))]
    with pytest.raises(UserError, match="precision"):
        calibrate_threshold(logits, shuffled, episode, precision=0.99, least_recall=0.5)


def test_too_few_episodes_say_so():
    logits, success, _ = scores(400, 6.0)
    few = torch.arange(400) // 100  # as many frames, of four episodes
    with pytest.raises(UserError, match="too few held-out episodes, 4 with success and 4"):
        calibrate_threshold(logits, success, few, precision=0.99, least_recall=0.5)


@pytest.mark.parametrize("scale", [0.1, 1.0, 8.0])
def test_platt_makes_probabilities_honest_whatever_the_scale(scale):
    """Of unit normals that are d apart, the true logit is d z - d²/2 + log odds: scale and offset are known."""
    logits, success, _ = scores(20_000, 2.0, scale=scale)
    platt = fit_platt(logits, success)
    assert platt.scale == pytest.approx(2.0 / scale, rel=0.06)
    assert platt.offset == pytest.approx(-2.0 + torch.logit(torch.tensor(0.4)).item(), abs=0.1)
    assert calibration_error(platt(logits).sigmoid(), success) < 0.02


def test_the_calibration_error_sees_what_is_too_sure():
    logits, success, _ = scores(20_000, 1.0, scale=10.0)
    assert calibration_error(logits.sigmoid(), success) > 0.1


def test_frames_that_are_told_apart_do_not_make_it_infinitely_sure():
    success = torch.arange(50) % 2 == 0
    probability = fit_platt(torch.where(success, 9.0, -9.0), success)(torch.tensor([9.0, -9.0])).sigmoid()
    assert probability.tolist() == pytest.approx([26 / 27, 1 / 27], abs=1e-3)


def test_one_kind_of_frame_is_not_enough():
    with pytest.raises(UserError, match="both are needed"):
        fit_platt(torch.zeros(5), torch.ones(5, dtype=torch.bool))
