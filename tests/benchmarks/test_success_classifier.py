"""What the benchmark runs is what the command line knows, and what it promises is judged right."""

import copy
from pathlib import Path

import pytest

from benchmarks.success_classifier import Options, classifier_command, judge, policy_command, targets
from robo_rl.commands.arguments import known_options
from robo_rl.commands.reward import RewardTrainArguments
from robo_rl.training.config import TrainConfig


def test_every_option_that_is_given_exists():
    for command, default in (
        (classifier_command(Options(), "reach", 1, Path("x")), RewardTrainArguments("reach")),
        (policy_command(Options(), "reach", 1, Path("x"), "file"), TrainConfig("reach")),
    ):
        given = {word for word in command if word.startswith("--")}
        assert given <= set(known_options(type(default), default))


GOOD = {
    "classifier": {
        "test": {
            "episodes": 30,
            "by_frame": {"true_positives": 990, "false_positives": 5, "false_negatives": 10},
            "rule": {"claimed": 20, "truly": 20},
        }
    },
    "policy": {"episodes": 100, "success_rate": 0.96, "classified_rate": 0.97},
}


def test_what_is_wanted_is_reached():
    found = judge([GOOD, GOOD])
    assert found["reached"] == {"classifier": True, "not_exploited": True}
    assert found["precision"] == pytest.approx(990 / 995, abs=1e-6)
    assert found["true_success_rate"] == 0.96
    assert [line["met"] for line in targets("reach", found)] == [True, True]


@pytest.mark.parametrize(
    ("path", "value", "judged"),
    [
        (("classifier", "test", "by_frame", "false_positives"), 20, "classifier"),
        (("classifier", "test", "by_frame", "false_negatives"), 100, "classifier"),
        (("policy", "success_rate"), 0.9, "not_exploited"),  # seven points are exploited
        (("policy", "classified_rate"), 0.2, "not_exploited"),  # nothing was learned
    ],
)
def test_what_is_missed_is_said(path, value, judged):
    row = copy.deepcopy(GOOD)
    at = row
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    reached = judge([row])["reached"]
    assert [name for name, good in reached.items() if not good] == [judged]
