"""A classifier learns to tell success, and its negative controls do not."""

import dataclasses

import pytest
import torch

from robo_rl.errors import UserError
from robo_rl.rewards.frames import frames_of, join, split
from robo_rl.rewards.learning import ClassifierSettings, learn_classifier
from robo_rl.rewards.measures import measure
from robo_rl.rewards.rule import RuleSettings

QUICK = ClassifierSettings(updates=60, batch_size=32, learning_rate=3e-3)


@pytest.fixture(scope="module", autouse=True)
def _same_numbers():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_it_learns_what_success_looks_like(episodes, tmp_path):
    parts = split(frames_of(episodes))
    classifier = learn_classifier(parts, QUICK, RuleSettings(2))
    found = measure(classifier, parts.frames, parts.test)
    assert found.by_frame["precision"] >= 0.99
    assert found.by_frame["recall"] >= 0.95
    assert found.rule_precision == (6, 6)
    assert found.rule_recall == (6, 6)
    assert classifier.notes["digest"] == parts.frames.digest
    assert classifier.notes["dataset"]["test"] == {"frames": 132, "episodes": 12}
    again = learn_classifier(parts, QUICK, RuleSettings(2))
    assert again.threshold == classifier.threshold, "the same frames and seed give the same classifier"


def test_shuffled_labels_are_refused(episodes):
    frames = frames_of(episodes)
    shuffled = torch.randperm(len(frames), generator=torch.Generator().manual_seed(5))
    with pytest.raises(UserError, match=r"precision: .* cannot be had"):
        learn_classifier(split(dataclasses.replace(frames, success=frames.success[shuffled])), QUICK, RuleSettings())


def test_too_few_episodes_say_so(episodes):
    with pytest.raises(UserError, match="too few held-out episodes"):
        learn_classifier(split(frames_of(episodes[:12])), dataclasses.replace(QUICK, updates=2), RuleSettings())


def test_without_successes_there_is_nothing_to_learn(play):
    generator = torch.Generator().manual_seed(0)
    losses = [play(generator, wins=False) for _ in range(20)]
    with pytest.raises(UserError, match="0 are successes"):
        learn_classifier(split(frames_of(losses)), QUICK, RuleSettings())


def test_vetoes_teach_the_next_version(episodes, play):
    """What looks like success to the first version, and of which a person says that it is none, is learned."""
    generator = torch.Generator().manual_seed(2)

    def dimmed(episode, factor):
        """Episodes that are no success though a square is on the left: it is too dark."""
        obs = {key: (value.float() * factor).to(torch.uint8) for key, value in episode.obs.items()}
        return dataclasses.replace(episode, obs=obs)

    vetoed = frames_of([dimmed(play(generator, wins=True, label="failure"), 0.7) for _ in range(30)], judged_only=True)
    unseen = frames_of([dimmed(play(generator, wins=True, label="failure"), 0.7) for _ in range(20)], judged_only=True)
    settings = dataclasses.replace(QUICK, updates=120, colour_jitter=0.0)
    first = learn_classifier(split(frames_of(episodes)), settings, RuleSettings(2))
    fooled = float((first.logits(unseen.images) >= first.threshold).float().mean())
    assert fooled > 0.1, "the first version is not fooled: there is nothing to correct"
    parts = split(join([frames_of(episodes), vetoed]))
    second = learn_classifier(parts, settings, RuleSettings(2), before=first)
    assert second.version == 2
    assert float((second.logits(unseen.images) >= second.threshold).float().mean()) < 0.1 * fooled
    assert measure(second, parts.frames, parts.test).by_frame["recall"] > 0.9


def test_frozen_backbones_stay_as_they_are(episodes, drawn_classifier):
    from robo_rl.agents.encoder_weights import weights_of

    parts = split(frames_of(episodes))
    backbone = drawn_classifier().net.backbones[0]
    weights = weights_of({"camera.front.rgb": backbone}, {})
    classifier = learn_classifier(parts, QUICK, RuleSettings(2), weights=weights)
    for name, value in classifier.net.backbones[0].state_dict().items():
        assert torch.equal(value, backbone.state_dict()[name])
