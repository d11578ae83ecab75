"""What every reward source promises. A new one earns these by one entry."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from robo_rl.agents.backbones import Backbone, BackboneSpec
from robo_rl.contracts import RewardSource, Transitions
from robo_rl.errors import UserError
from robo_rl.rewards.calibration import Platt
from robo_rl.rewards.classifier import SuccessClassifier, SuccessNet

SIZE = 24
FRONT, WRIST = "camera.front.rgb", "camera.wrist.rgb"


def classifier(architecture: str, *cameras: str, frozen: bool = False) -> SuccessClassifier:
    generator = torch.Generator().manual_seed(0)
    backbones = {key: Backbone(BackboneSpec(architecture, (SIZE, SIZE)), generator) for key in cameras}
    net = SuccessNet(backbones, frozen=frozen, generator=generator)
    with torch.no_grad():  # in the middle of what it says, so that its verdicts differ
        centre = net.logits(transitions(64).next_obs).median()
    return SuccessClassifier(net, Platt(3.0, 0.0), float(3.0 * centre))


def transitions(count: int, seed: int = 0) -> Transitions:
    generator = torch.Generator().manual_seed(seed)

    def obs() -> dict[str, torch.Tensor]:
        shape = (count, SIZE, SIZE, 3)
        seen = {key: torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8) for key in (FRONT, WRIST)}
        return seen | {"proprio": torch.rand(count, 5, generator=generator)}

    return Transitions(obs(), torch.rand(count, 3, generator=generator), obs())


SOURCES: dict[str, Callable[[], RewardSource]] = {
    "classifier": lambda: classifier("conv", FRONT),
    "classifier of two cameras": lambda: classifier("keypoints", FRONT, WRIST),
    "classifier on frozen backbones": lambda: classifier("conv", WRIST, frozen=True),
}


@pytest.fixture(params=SOURCES)
def source(request):
    return SOURCES[request.param]()


def test_it_is_a_reward_source(source):
    assert isinstance(source, RewardSource)
    assert source.version >= 1
    assert source.observes
    assert set(source.observes) <= {FRONT, WRIST, "proprio"}


def test_one_finite_number_for_each_transition(source):
    reward = source.label(transitions(64))
    assert reward.shape == (64,)
    assert reward.dtype == torch.float32
    assert bool(reward.isfinite().all())
    assert len(reward.unique()) > 1, "a source that says the same of everything proves nothing here"


def test_a_transition_is_judged_by_itself(source):
    """Not by the others of the batch, not by what was judged before."""
    given = transitions(70)
    together = source.label(given)
    source.label(transitions(5, seed=9))

    def row(values, at):
        return {key: value[at : at + 1] for key, value in values.items()}

    alone = [
        source.label(Transitions(row(given.obs, at), given.action[at : at + 1], row(given.next_obs, at)))
        for at in range(0, 70, 7)
    ]
    assert torch.equal(torch.cat(alone), together[::7])


def test_it_leaves_no_trace(source):
    given = transitions(8)
    copies = {key: value.clone() for key, value in given.next_obs.items()}
    first = source.label(given)
    assert all(torch.equal(copies[key], given.next_obs[key]) for key in copies)
    assert torch.equal(source.label(given), first)
    assert not first.requires_grad


def test_it_needs_no_more_than_it_says(source):
    given = transitions(8)
    only = {key: given.next_obs[key] for key in source.observes}
    assert torch.equal(source.label(Transitions(only, given.action, only)), source.label(given))


def test_nothing_to_judge_is_no_error(source):
    assert source.label(transitions(0)).shape == (0,)


def test_what_is_missing_is_named(source):
    given = transitions(4)
    key = source.observes[0]
    less = {name: value for name, value in given.next_obs.items() if name != key}
    with pytest.raises(UserError, match=key):
        source.label(Transitions(less, given.action, less))


def test_images_of_another_size_are_refused(source):
    given = transitions(4)
    key = source.observes[0]
    other = {**given.next_obs, key: given.next_obs[key][:, :-1]}
    with pytest.raises(UserError, match=key):
        source.label(Transitions(given.obs, given.action, other))
