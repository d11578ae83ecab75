"""Curves from lines of figures."""

import json

from robo_rl.cockpit.curves import Curves, Tail


def test_a_line_becomes_points():
    curves = Curves()
    row = {"kind": "train", "env_steps": 10, "success": 0.5, "return": 1.5, "q_mean": float("nan"), "loss": 3.0}
    assert curves.add(row) == {"success": [10.0, 0.5], "reward": [10.0, 1.5]}
    assert curves.add({"kind": "train", "success": 1.0}) == {}
    assert curves.add({"kind": "nothing", "env_steps": 1}) == {}
    assert curves.points == {"success": [[10.0, 0.5]], "reward": [[10.0, 1.5]]}


def test_long_curves_are_thinned_and_keep_their_ends():
    curves = Curves()
    for step in range(5000):
        curves.add({"kind": "train", "env_steps": step, "return": float(step)})
    points = curves.points["reward"]
    assert len(points) <= 2000
    assert points[-1] == [4999.0, 4999.0]
    assert points == sorted(points)


def test_a_file_is_read_line_by_line_as_it_grows(tmp_path):
    tail = Tail(tmp_path / "metrics.jsonl")
    assert list(tail.lines()) == []
    with open(tmp_path / "metrics.jsonl", "w") as file:
        file.write(json.dumps({"a": 1}) + "\nnonsense\n[1]\n" + '{"b": ')
        file.flush()
        assert list(tail.lines()) == [{"a": 1}]
        file.write("2}\n")
        file.flush()
        assert list(tail.lines()) == [{"b": 2}]
    assert list(tail.lines()) == []
