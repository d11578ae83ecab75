from pathlib import Path

import pytest
import torch

from robo_rl.agents.backbones import Backbone, BackboneSpec
from robo_rl.agents.encoder_weights import load_weights, weights_of
from robo_rl.agents.sac import SACConfig
from robo_rl.errors import UserError
from robo_rl.training.config import TrainConfig
from robo_rl.training.encoder_files import default_file, settled

FROZEN = SACConfig(encoder="frozen")


def store(path: Path, seed: int = 0, **notes: object) -> Path:
    net = Backbone(BackboneSpec("conv", (16, 16)), torch.Generator().manual_seed(seed))
    path.parent.mkdir(parents=True, exist_ok=True)
    weights_of({"camera.front.rgb": net}, {"seed": seed, **notes}).save(path)
    return path


def test_a_run_keeps_the_weights_that_it_began_with(tmp_path):
    config = TrainConfig("own.tasks:Push", robot="fr3", obs="pixels", agent=FROZEN, out=tmp_path / "runs")
    found = store(default_file(config.task, config.robot, config.out))
    assert found == tmp_path / "runs" / "encoders" / "own.tasks_Push-fr3.safetensors"
    run = tmp_path / "run"
    run.mkdir()
    first = settled(config, run)
    assert first.agent.encoder_weights == str(run / "encoder.safetensors")
    store(found, seed=1)
    again = settled(config, run)
    assert again == first
    assert load_weights(str(again.agent.encoder_weights)).notes == {"seed": 0}
    found.unlink()
    assert settled(config, run) == first


def test_named_weights_go_before_those_of_the_task(tmp_path):
    agent = SACConfig(encoder_weights=str(store(tmp_path / "mine", seed=2)))
    config = settled(TrainConfig("t", obs="pixels", agent=agent, out=tmp_path), None)
    assert config.agent == agent
    run = tmp_path / "run"
    run.mkdir()
    assert load_weights(str(settled(config, run).agent.encoder_weights)).notes == {"seed": 2}


def test_a_frozen_encoder_is_shown_images_shifted_as_far_as_it_was_made_for(tmp_path):
    file = str(store(tmp_path / "mine", random_shift=1))
    run = tmp_path / "run"
    run.mkdir()
    for shift, told in ((None, 1), (3, 3)):
        agent = SACConfig(encoder="frozen", encoder_weights=file, random_shift=shift)
        for _ in range(2):  # from the file named, and from the run's own
            found = settled(TrainConfig("t", obs="pixels", agent=agent), run).agent
            assert found.augmentation.shift == told
    learned = SACConfig(encoder="conv", encoder_weights=file)
    assert settled(TrainConfig("t", obs="pixels", agent=learned), None).agent.augmentation.shift == 4


def test_nothing_is_looked_for_where_nothing_is_needed(tmp_path):
    for config in (TrainConfig("t", out=tmp_path), TrainConfig("t", obs="pixels", out=tmp_path)):
        assert settled(config, tmp_path) is config
    assert list(tmp_path.iterdir()) == []


def test_missing_weights_are_told_with_the_command_that_makes_them(tmp_path):
    config = TrainConfig("pick_cube", robot="fr3", obs="pixels", agent=FROZEN, out=tmp_path)
    with pytest.raises(UserError, match=r"no weights .*pick_cube-fr3.* pretrain-encoder pick_cube --robot fr3,"):
        settled(config, None)


def test_weights_of_another_network_are_refused(tmp_path):
    agent = SACConfig(encoder="resnet18", encoder_weights=str(store(tmp_path / "mine")))
    with pytest.raises(UserError, match=r"of 'conv', not of 'resnet18'; give --agent\.encoder conv"):
        settled(TrainConfig("t", obs="pixels", agent=agent, out=tmp_path), None)
