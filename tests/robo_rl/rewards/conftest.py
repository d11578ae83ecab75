"""Pictures of a task that is done when a bright square lies in the left half, and episodes of it."""

from __future__ import annotations

import pytest
import torch

from robo_rl.agents.backbones import Backbone, BackboneSpec
from robo_rl.contracts.human import LABELS
from robo_rl.data.episodes import Episode
from robo_rl.rewards.calibration import Platt
from robo_rl.rewards.classifier import SuccessClassifier, SuccessNet
from robo_rl.rewards.rule import RuleSettings

SIZE = 24
CAMERA = "camera.front.rgb"


def pictures(success: torch.Tensor, generator: torch.Generator, camera: str = CAMERA) -> dict[str, torch.Tensor]:
    """Pictures (N, 24, 24, 3): noise, and a square on the left where ``success`` (N,), on the right elsewhere."""
    images = torch.randint(0, 60, (len(success), SIZE, SIZE, 3), generator=generator, dtype=torch.uint8)
    for row, done in enumerate(success.tolist()):
        left = int(torch.randint(1, 5, (), generator=generator)) + (0 if done else SIZE // 2)
        images[row, 8:16, left : left + 6] = 220
    return {camera: images}


def make_episode(
    generator: torch.Generator, *, wins: bool, steps: int = 10, label: str = "none", camera: str = CAMERA
) -> Episode:
    """An episode that is at its goal for its last three frames if it ``wins``; judged by a person if ``label``."""
    done = torch.zeros(steps + 1, dtype=torch.bool)
    done[-3:] = wins
    over = torch.zeros(steps, dtype=torch.bool)
    last = over.clone()
    last[-1] = True
    provenance = {}
    if label != "none":
        codes = torch.zeros(steps, dtype=torch.uint8)
        codes[-1] = LABELS.index(label)
        provenance = {"label": codes}
    action = torch.zeros(steps, 2)
    return Episode(
        pictures(done, generator, camera), action, action.clone(), done[1:].float(), over, last, done[1:],
        {"task": "square", "robot": "panda"}, provenance,
    )  # fmt: skip


def make_classifier(
    cameras: tuple[str, ...] = (CAMERA,), *, architecture: str = "conv", frozen: bool = False, version: int = 1
) -> SuccessClassifier:
    """A classifier with drawn weights."""
    generator = torch.Generator().manual_seed(0)
    backbones = {key: Backbone(BackboneSpec(architecture, (SIZE, SIZE)), generator) for key in cameras}
    net = SuccessNet(backbones, frozen=frozen, generator=generator).eval()
    return SuccessClassifier(net, Platt(2.0, 0.1), 0.3, RuleSettings(2, 0.5), version, {"task": "square"})


@pytest.fixture
def episodes():
    """Sixty episodes, every other of which wins."""
    generator = torch.Generator().manual_seed(1)
    return [make_episode(generator, wins=number % 2 == 0) for number in range(60)]


@pytest.fixture
def play():
    """Makes one episode; see :func:`make_episode`."""
    return make_episode


@pytest.fixture
def drawn_classifier():
    """Makes a classifier with drawn weights; see :func:`make_classifier`."""
    return make_classifier
