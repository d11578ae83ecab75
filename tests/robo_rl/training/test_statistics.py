import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robo_rl.errors import MissingExtra
from robo_rl.training.statistics import interquartile_means, wilson_interval


def test_numbers_worked_by_hand():
    # z = 2 exactly: confidence = erf(2 / sqrt 2). n = 4, k = 2: centre 1/2, half width
    # 2 sqrt(1/16 + 4/64) / (1 + 1) = sqrt(1/8).
    low, high = wilson_interval(2, 4, confidence=math.erf(2 / math.sqrt(2)))
    assert low == pytest.approx(0.5 - math.sqrt(1 / 8), abs=1e-9)
    assert high == pytest.approx(0.5 + math.sqrt(1 / 8), abs=1e-9)
    # All of n: the lower end is n / (n + z²), here 4 / 8.
    assert wilson_interval(4, 4, confidence=math.erf(2 / math.sqrt(2))) == pytest.approx((0.5, 1.0), abs=1e-9)


def test_published_example():
    # Newcombe (1998), table I: 81/263 gives 0.2553 to 0.3662, 15/148 gives 0.0624 to 0.1605, 0/20 gives 0 to 0.1611.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_no_episodes_say_nothing():
    assert wilson_interval(0, 0) == (0.0, 1.0)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_holds_the_rate_and_mirrors(counts):
    successes, episodes = counts
    low, high = wilson_interval(successes, episodes)
    assert 0.0 <= low <= successes / episodes <= high <= 1.0
    assert high - low < 1.0
    mirrored = wilson_interval(episodes - successes, episodes)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)


@pytest.mark.parametrize(
    ("successes", "episodes", "confidence"), [(3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0), (1, 2, 0.0)]
)
def test_nonsense_is_refused(successes, episodes, confidence):
    with pytest.raises(ValueError, match="must lie in"):
        wilson_interval(successes, episodes, confidence)


def test_interquartile_means_are_of_the_middle_half():
    pytest.importorskip("rliable")
    found = interquartile_means({"a": [0.0, 0.4, 0.6, 100.0], "b": [0.5, 0.5, 0.5]}, repetitions=500)
    assert found["a"][0] == pytest.approx(0.5)
    assert found["b"] == (0.5, 0.5, 0.5)
    low, high = found["a"][1:]
    assert 0.0 <= low < 0.5 < high <= 100.0
    assert found == interquartile_means({"a": [0.0, 0.4, 0.6, 100.0], "b": [0.5, 0.5, 0.5]}, repetitions=500)
    with pytest.raises(ValueError, match="'c' has no runs"):
        interquartile_means({"c": []})


def test_intervals_of_interquartile_means_hold_the_truth_about_as_often_as_they_say():
    pytest.importorskip("rliable")
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(60):
        _, low, high = interquartile_means({"a": rng.normal(3.0, 1.0, 12).tolist()}, repetitions=300)["a"]
        held += low <= 3.0 <= high
    assert 46 <= held <= 60  # of 57; a bootstrap of few runs is somewhat narrow


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "rliable", None)
    with pytest.raises(MissingExtra, match=r"robo-rl\[study\]"):
        interquartile_means({"a": [0.0]})
