from __future__ import annotations

from pathlib import Path

from benchmarks import overlap
from robo_rl.commands.train import read_request


def test_every_variant_is_a_command_that_train_understands():
    configs = {}
    for variant in overlap.VARIANTS:
        command = overlap.make_command(overlap.Options(), "state", variant, Path("runs"))
        assert command[1:4] == ["-m", "robo_rl.cli", "train"]
        configs[variant], _ = read_request(command[4:])
    assert [config.overlaps for config in configs.values()] == [False, False, True, True]
    assert len({(config.utd, config.steps, config.seed) for config in configs.values()}) == 1


def test_ratios_are_taken_within_a_round():
    def figures(seconds):
        return {"train_seconds": seconds, "processor_seconds": 1.0, "updates": 4}

    first, second = list(overlap.VARIANTS)[:2]
    rounds = [{first: figures(10.0), second: figures(5.0)}, {first: figures(30.0), second: figures(10.0)}]
    found = overlap.summarise(rounds)
    assert found[first]["times_as_fast"] == 1.0
    assert found[second] == {"train_seconds": 7.5, "processor_seconds": 1.0, "updates": 4, "times_as_fast": 2.5}
