from __future__ import annotations

import json

import pytest

from robo_rl.training.outcomes import curve_figures, final_figures, rate_at, together, train_outcome


def row(kind, steps, seconds, rate, episodes=20):
    return {
        "kind": kind,
        "env_steps": steps,
        "updates": 2 * steps,
        "wall_seconds": seconds,
        "success_rate": rate,
        "episodes": episodes,
    }


ROWS = [
    {"kind": "train", "env_steps": 500, "success": 0.1},
    row("evaluation", 1000, 30.04, 0.5),
    row("evaluation", 2000, 60.0, 1.0),
    row("confirmation", 2000, 70.0, 0.94, 100),  # below: a lucky evaluation
    row("evaluation", 3000, 90.0, 1.0),
    row("confirmation", 3000, 101.26, 0.95, 100),
    row("evaluation", 4000, 120.0, 0.9),
    row("confirmation", 4000, 130.0, 1.0, 100),
]


def outcome(seed, successes, *, seconds=100.0, reached=50.0, steps=1000, curve=()):
    return {
        "seed": seed,
        **final_figures(successes / 100, 100),
        "train_seconds": seconds,
        "env_steps": steps,
        "updates": 2 * steps,
        "seconds_to_target": reached,
        "curve": list(curve),
    }


def test_the_target_counts_as_reached_when_many_episodes_confirm_it():
    found = curve_figures(ROWS, wanted=0.95)
    assert found["seconds_to_target"] == 101.3
    assert found["steps_to_target"] == 3000
    assert [(p["env_steps"], p["success_rate"]) for p in found["curve"]] == [
        (1000, 0.5),
        (2000, 1.0),
        (3000, 1.0),
        (4000, 0.9),
    ]
    assert found["curve"][0] == {
        "seconds": 30.0,
        "env_steps": 1000,
        "updates": 2000,
        "success_rate": 0.5,
        "episodes": 20,
    }


def test_a_target_never_confirmed_is_not_reached():
    found = curve_figures(ROWS[:4], wanted=0.95)
    assert found["seconds_to_target"] is None
    assert found["steps_to_target"] is None


def test_final_figures_carry_the_wilson_interval():
    # Wilson, 95 of 100: (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n) with z = 1.959964.
    assert final_figures(0.95, 100) == {
        "successes": 95,
        "episodes": 100,
        "success_rate": 0.95,
        "success_interval_95": [0.8882, 0.9785],
    }


def test_seeds_together_pool_episodes_and_keep_the_extremes():
    found = together(
        [outcome(0, 90, seconds=100.0), outcome(1, 96, seconds=300.0, reached=70.0), outcome(2, 99, steps=4000)]
    )
    assert found["seeds"] == [0, 1, 2]
    assert (found["successes"], found["episodes"], found["success_rate"]) == (285, 300, 0.95)
    assert (found["worst_seed"], found["best_seed"]) == (0.9, 0.99)
    assert found["highest_upper_end"] == final_figures(0.99, 100)["success_interval_95"][1]
    assert found["mean_train_seconds"] == pytest.approx(500 / 3, abs=0.05)
    assert found["longest_train_seconds"] == 300.0
    assert found["mean_env_steps"] == 2000
    assert (found["seeds_at_target"], found["median_seconds_to_target"]) == (3, 50.0)


def test_one_seed_short_of_the_target_leaves_no_median_time():
    found = together([outcome(0, 99), outcome(1, 80, reached=None), outcome(2, 97)])
    assert (found["seeds_at_target"], found["median_seconds_to_target"]) == (2, None)


def test_nothing_comes_to_nothing():
    with pytest.raises(ValueError, match="no outcomes"):
        together([])


@pytest.mark.parametrize(("steps", "rate"), [(999, None), (1000, 0.5), (2999, 1.0), (10_000, 0.9)])
def test_rate_at_equal_steps_is_that_of_the_newest_evaluation_so_far(steps, rate):
    assert rate_at(outcome(0, 90, curve=curve_figures(ROWS)["curve"]), env_steps=steps) == rate


def test_outcome_of_a_training_run_is_read_from_its_last_line_and_its_metrics(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in ROWS) + '{"kind": "torn')
    summary = {
        "success_rate": 0.97,
        "episodes": 100,
        "train_seconds": 130.04,
        "wall_seconds": 150.0,
        "env_steps": 4000,
        "updates": 8000,
        "demos": 20,
        "stopped_by": "target",
        "run": str(tmp_path),
        "task": "peg_insertion",
    }
    found = train_outcome(summary)
    assert (found["successes"], found["train_seconds"], found["stopped_by"]) == (97, 130.0, "target")
    assert found["steps_to_target"] == 3000
    assert str(tmp_path) not in json.dumps(found)  # names of run folders hold dates
