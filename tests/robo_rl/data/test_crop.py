import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robo_rl.contracts import LABELS
from robo_rl.data.crop import crop, crop_idle
from robo_rl.errors import UserError
from tests.robo_rl.data.drawn import ENDS, differences, make_episode


@settings(max_examples=80, deadline=None)
@given(
    steps=st.integers(1, 9),
    first=st.integers(-10, 10),
    stop=st.none() | st.integers(-10, 10),
    end=st.sampled_from(ENDS),
)
def test_the_steps_that_are_kept_are_those_of_a_list(steps, first, stop, end):
    episode = make_episode(1, steps, ("state", "front.rgb"), end, human=True)
    wanted = list(range(steps))[first:stop]
    if not wanted:
        with pytest.raises(UserError, match="first, stop"):
            crop(episode, first, stop)
        return
    before = dataclasses.replace(episode, provenance={k: v.clone() for k, v in episode.provenance.items()})
    short = crop(episode, first, stop)
    assert differences(before, episode) == []  # it stays as it was
    assert torch.equal(short.action, episode.action[wanted])
    assert torch.equal(short.reward, episode.reward[wanted])
    for key, value in episode.obs.items():
        assert torch.equal(short.obs[key], value[[*wanted, wanted[-1] + 1]])
    whole = wanted[-1] == steps - 1
    assert bool(short.terminated[-1]) == (whole and end == "terminated")
    assert bool(short.truncated[-1]) == ((whole and end == "truncated") or not whole)
    assert not short.terminated[:-1].any()
    assert not short.truncated[:-1].any()


def test_a_segment_that_is_cut_begins_with_the_first_step():
    episode = make_episode(steps=6, human=True)
    segment = torch.tensor([0, 0, -1, 1, 1, -1])
    flags = {
        "segment": segment,
        "onset": torch.tensor([True, False, False, True, False, False]),
        "offset": torch.tensor([False, False, True, False, False, True]),
    }
    episode = dataclasses.replace(episode, provenance=dict(episode.provenance) | flags)
    said = crop(episode, 4).provenance
    assert said["segment"].tolist() == [0, -1]
    assert said["onset"].tolist() == [True, False]
    assert said["offset"].tolist() == [False, True]
    assert crop(episode, 2).provenance["offset"].tolist() == [False, False, False, True]
    assert crop(episode, 2).provenance["onset"].tolist() == [False, True, False, False]


def still_from(moment, steps=8, end="terminated", human=False):
    episode = make_episode(steps=steps, end=end, human=human)
    state = torch.arange(steps + 1, dtype=torch.float32).clamp(max=moment)[:, None].expand(-1, 3).clone()
    return dataclasses.replace(episode, obs={"state": state})


@pytest.mark.parametrize("end", ENDS)
def test_the_idle_end_is_cut_and_the_outcome_stays(end):
    episode = still_from(5, end=end, human=True)
    episode.provenance["label"][-1] = LABELS.index("success")
    short = crop_idle(episode, 0.1)
    assert len(short) == 5
    assert short.obs["state"][:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    for name in ("reward", "terminated", "truncated", "success"):
        assert getattr(short, name)[-1] == getattr(episode, name)[-1]
    assert LABELS[int(short.provenance["label"][-1])] == "success"
    assert torch.equal(short.reward[:-1], episode.reward[:4])


def test_what_moves_by_less_than_the_tolerance_is_idle():
    assert len(crop_idle(still_from(5), 1.0)) == 4
    assert len(crop_idle(still_from(5), 100.0)) == 1
    assert len(crop_idle(still_from(8), 0.5)) == 8  # nothing idle in it


def test_pictures_alone_do_not_tell():
    with pytest.raises(UserError, match="images only"):
        crop_idle(make_episode(keys=("front.rgb",)), 0.1)
