from __future__ import annotations

import pytest

from benchmarks.rates import compare, interleave


def test_each_round_begins_with_another_measure_and_the_first_one_does_not_count():
    order = []

    def measure(name):
        def once():
            order.append(name)
            return float(len(order))

        return once

    rates = interleave({name: measure(name) for name in "abc"}, rounds=3)
    assert order == [*"abc", *"abc", *"bca", *"cab"]
    assert rates == {"a": [4.0, 9.0, 11.0], "b": [5.0, 7.0, 12.0], "c": [6.0, 8.0, 10.0]}


def test_the_ratio_is_taken_within_rounds():
    # The machine halves its speed in the last rounds: rates of both sides fall, their ratio does not.
    rates = {"ours": [60.0, 66.0, 30.0, 33.0, 27.0], "bare": [100.0, 100.0, 50.0, 50.0, 50.0]}
    found = compare(rates, "ours", "bare")
    assert found["ratio"] == pytest.approx(0.6)
    assert (found["ratio_lowest"], found["ratio_highest"]) == (0.54, 0.66)
    assert (found["ours_per_second"], found["reference_per_second"], found["rounds"]) == (33.0, 50.0, 5)


def test_rounds_must_match():
    with pytest.raises(ValueError, match="shorter"):
        compare({"ours": [1.0, 2.0], "bare": [1.0]}, "ours", "bare")
