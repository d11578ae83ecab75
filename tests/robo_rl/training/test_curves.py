from __future__ import annotations

import numpy as np

from robo_rl.training.curves import plot_arms, step_curves


def run(seed, points, *, seconds, steps, rate):
    curve = [{"seconds": s, "env_steps": n, "success_rate": r} for s, n, r in points]
    return {"seed": seed, "curve": curve, "train_seconds": seconds, "env_steps": steps, "success_rate": rate}


RUNS = [
    run(0, [(10.0, 100, 0.2), (20.0, 200, 0.9)], seconds=20.0, steps=200, rate=1.0),
    run(1, [(15.0, 50, 0.1), (40.0, 150, 0.5)], seconds=40.0, steps=150, rate=0.4),
]


def test_between_evaluations_the_older_one_holds_and_after_the_end_the_final_one():
    grid, rates = step_curves(RUNS, "seconds", points=9)
    np.testing.assert_allclose(grid, [0, 5, 10, 15, 20, 25, 30, 35, 40])
    np.testing.assert_allclose(rates[0], [0, 0, 0.2, 0.2, 1, 1, 1, 1, 1])
    np.testing.assert_allclose(rates[1], [0, 0, 0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.4])


def test_the_same_runs_over_steps_end_where_their_steps_end():
    grid, rates = step_curves(RUNS, "env_steps", points=5)
    np.testing.assert_allclose(grid, [0, 50, 100, 150, 200])
    np.testing.assert_allclose(rates, [[0, 0, 0.2, 0.2, 1], [0, 0.1, 0.1, 0.4, 0.4]])


def test_arms_with_and_without_steps_are_drawn(tmp_path):
    cloned = run(0, [(5.0, 0, 0.3)], seconds=5.0, steps=0, rate=0.3)
    results = {
        "learned": {"title": "learned", "success_rate": 0.7, "runs": RUNS},
        "cloned": {"title": "cloned", "success_rate": 0.3, "runs": [cloned]},
    }
    path = tmp_path / "arms.png"
    plot_arms(results, path, wanted=0.95)
    assert path.read_bytes().startswith(b"\x89PNG")
