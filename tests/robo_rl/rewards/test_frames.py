"""Labels of frames, and their division by whole episodes."""

import pytest
import torch

from robo_rl.data.episodes import Episode
from robo_rl.errors import UserError
from robo_rl.rewards.frames import EMPHASIS, Split, frames_of, join, split, thin

CAMERA = "camera.front.rgb"


def test_each_frame_has_the_success_of_the_step_that_led_to_it(play):
    generator = torch.Generator().manual_seed(0)
    frames = frames_of([play(generator, wins=True), play(generator, wins=False)])
    assert len(frames) == 22
    assert frames.success.nonzero()[:, 0].tolist() == [8, 9, 10]
    assert frames.episode.tolist() == [0] * 11 + [1] * 11
    assert frames.step.tolist() == [*range(11), *range(11)]
    assert frames.emphasis[:11].tolist() == [1.0] * 4 + [EMPHASIS] * 7
    assert frames.emphasis[11:].tolist() == [1.0] * 11


def test_a_veto_makes_negatives_of_all_its_frames(play):
    """A person said failure, whatever the task or a classifier took for a success."""
    frames = frames_of([play(torch.Generator(), wins=True, label="failure")])
    assert not bool(frames.success.any())
    assert bool((frames.emphasis == EMPHASIS).all())
    assert frames.corrected == {0}


def test_a_success_that_was_missed_makes_a_positive(play):
    """Nobody said when it was reached, so the frames just before are neither."""
    frames = frames_of([play(torch.Generator(), wins=False, label="success")])
    assert frames.step.tolist() == [0, 1, 2, 3, 4, 5, 10]
    assert frames.success.tolist() == [False] * 6 + [True]


def test_of_corrections_only_what_was_judged_counts(play):
    generator = torch.Generator().manual_seed(0)
    given = [play(generator, wins=True), play(generator, wins=True, label="failure")]
    assert frames_of(given, judged_only=True).digests == frames_of(given[1:]).digests
    with pytest.raises(UserError, match="no labelled episode"):
        frames_of(given[:1], judged_only=True)


def test_an_episode_that_is_there_twice_counts_once(play):
    generator = torch.Generator().manual_seed(0)
    one, two = play(generator, wins=True), play(generator, wins=False)
    assert len(frames_of([one, two, one]).digests) == 2
    joined = join([frames_of([one, two]), frames_of([two])])
    assert joined.digest == frames_of([two, one]).digest
    assert len(joined) == 22


def test_the_digest_tells_one_pixel_and_one_label(play):
    one = play(torch.Generator().manual_seed(0), wins=True)
    image = one.obs[CAMERA].clone()
    image[0, 0, 0, 0] += 1
    pixel = Episode({CAMERA: image}, *(getattr(one, name) for name in _NAMES))
    label = Episode(one.obs, *(getattr(one, name) for name in _NAMES[:-1]), torch.zeros_like(one.success))
    digests = {frames_of([each]).digest for each in (one, pixel, label)}
    assert len(digests) == 3


_NAMES = ("action", "executed_action", "reward", "terminated", "truncated", "success")


@pytest.mark.parametrize("seed", range(5))
def test_parts_share_no_episode_and_are_alike(episodes, seed):
    frames = frames_of(episodes)
    parts = split(frames, calibrate=0.2, test=0.2, seed=seed)
    rows = torch.cat([parts.train, parts.calibrate, parts.test])
    assert torch.equal(rows.sort().values, torch.arange(len(frames)))
    found = [set(frames.episode[each].tolist()) for each in (parts.train, parts.calibrate, parts.test)]
    assert [len(each) for each in found] == [36, 12, 12]
    assert not found[0] & found[1] | found[0] & found[2] | found[1] & found[2]
    for each in found:  # half of them win, in every part
        assert sum(number % 2 == 0 for number in each) == len(each) / 2


def test_a_split_by_frames_is_refused(episodes):
    frames = frames_of(episodes)
    shuffled = torch.randperm(len(frames), generator=torch.Generator().manual_seed(0))
    with pytest.raises(UserError, match="divide the frames by whole episodes"):
        Split(frames, shuffled[:400], shuffled[400:500], shuffled[500:])


def test_recording_more_moves_few_episodes(episodes):
    """What one version has learned from is, but for few, not what the next is measured on."""
    few, all_of_them = frames_of(episodes[:50]), frames_of(episodes)
    learned = {few.digests[number] for number in few.episode[split(few).train].tolist()}
    measured = {all_of_them.digests[number] for number in all_of_them.episode[split(all_of_them).test].tolist()}
    assert len(learned & measured) <= 3


def test_what_is_emphasised_is_never_thinned_out(play):
    frames = frames_of([play(torch.Generator(), wins=True)])
    assert frames.step[thin(frames, torch.arange(11), 3)].tolist() == [0, 3, 4, 5, 6, 7, 8, 9, 10]


def test_what_cannot_be_used_is_named(play):
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(UserError, match=r"camera\.wrist\.rgb"):
        frames_of([play(generator, wins=True)], ["camera.wrist.rgb"])
    with pytest.raises(UserError, match="see different ones"):
        frames_of([play(generator, wins=True), play(generator, wins=True, camera="camera.wrist.rgb")])
    with pytest.raises(UserError, match="test"):
        split(frames_of([play(generator, wins=True)]), calibrate=0.5, test=0.6)
