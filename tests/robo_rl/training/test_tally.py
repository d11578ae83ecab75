import torch

from robo_rl.contracts.learning import Step
from robo_rl.training.tally import EpisodeTally


def step(reward, terminated, truncated, success):
    flags = [torch.tensor(values) for values in (terminated, truncated)]
    return Step({}, torch.tensor(reward), *flags, {"success": torch.tensor(success)})


def test_episodes_are_counted_as_they_end():
    tally = EpisodeTally(2, torch.device("cpu"))
    assert tally.figures() == {"success": None, "return": None, "length": None}
    assert tally.add(step([1.0, 2.0], [False, False], [False, False], [False, False])) is None
    assert tally.add(step([1.0, 2.0], [True, False], [False, False], [True, False])) == 2.0
    assert tally.add(step([1.0, 2.0], [False, False], [True, True], [False, False])) == 6.0
    assert tally.episodes == 3
    assert tally.figures() == {"success": 1 / 3, "return": 3.0, "length": 2.0}
    again = EpisodeTally(2, torch.device("cpu"))
    again.load(tally.state())
    assert again.state() == tally.state()
    assert again.figures() == tally.figures()


def test_only_the_latest_episodes_are_told_of():
    tally = EpisodeTally(1, torch.device("cpu"))
    for episode in range(60):
        tally.add(step([0.0], [True], [False], [episode >= 10]))
    assert tally.episodes == 60
    assert tally.figures()["success"] == 1.0
