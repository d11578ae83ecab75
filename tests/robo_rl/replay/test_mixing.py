"""Mini-batches hold their share of demonstrations exactly, block by block."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from robo_rl.contracts import Step
from robo_rl.errors import UserError
from robo_rl.replay.buffer import ReplayBuffer
from robo_rl.replay.mixing import MixedReplay

SPACE = gym.spaces.Dict(
    cam=gym.spaces.Box(0, 255, (2, 2, 3), np.uint8),
    state=gym.spaces.Box(-1, 1, (2,)),
    pose=gym.spaces.Box(-1, 1, (2, 2)),
)
ACTION = gym.spaces.Box(-1, 1, (1,))


def filled(mark, count):
    """A buffer of which every number is ``mark``, so that a row tells where it comes from."""
    buffer = ReplayBuffer(SPACE, ACTION, capacity=50, discount=0.5)
    obs = {
        "cam": torch.full((1, 2, 2, 3), mark, dtype=torch.uint8),
        "state": torch.full((1, 2), float(mark)),
        "pose": torch.full((1, 2, 2), float(mark)),
    }
    for _ in range(count):
        flag = torch.zeros(1, dtype=torch.bool)
        buffer.add(obs, torch.full((1, 1), float(mark)), Step(obs, torch.full((1,), float(mark)), flag, flag, {}))
    return buffer


def sources(batch):
    """The mark of each row, after a check that all of a row comes from the same source."""
    marks = batch.reward
    for obs in (batch.obs, batch.next_obs):
        for value in obs.values():
            assert torch.equal(value.flatten(1).float(), marks[:, None].expand(-1, value[0].numel()))
    assert torch.equal(batch.action[:, 0], marks)
    assert batch.discount.tolist() == [0.5] * len(marks)
    return marks


@pytest.mark.parametrize(("ratio", "demos"), [(0.5, 8), (0.25, 4), (0.0, 0), (1.0, 16), (0.1, 2)])
@pytest.mark.parametrize("parts", [1, 5])
def test_each_block_holds_its_share(ratio, demos, parts):
    mixed = MixedReplay(filled(1, 7), filled(2, 40), ratio)
    batch = mixed.sample(16, parts)
    assert len(batch.reward) == 16 * parts
    sources(batch)
    for part in batch.split(parts):
        assert len(part.reward) == 16
        assert (sources(part) == 2).sum() == demos


def test_demonstrations_stand_in_while_there_is_no_experience():
    assert sources(MixedReplay(filled(1, 0), filled(2, 3)).sample(6, parts=2)).tolist() == [2] * 12
    assert sources(MixedReplay(filled(1, 0), filled(2, 3), demo_ratio=0.0).sample(6)).tolist() == [2] * 6


@pytest.mark.parametrize("demonstrations", [None, 0])
def test_without_demonstrations_all_is_experience(demonstrations):
    demos = None if demonstrations is None else filled(2, 0)
    assert sources(MixedReplay(filled(1, 3), demos).sample(6, parts=2)).tolist() == [1] * 12


def test_nothing_to_draw_and_bad_ratios_are_refused():
    with pytest.raises(ValueError, match="empty"):
        MixedReplay(filled(1, 0), None).sample(4)
    with pytest.raises(UserError, match="demo_ratio"):
        MixedReplay(filled(1, 1), None, 1.5)


def test_following_steps_are_mixed_as_the_rest():
    mixed = MixedReplay(filled(1, 7), filled(2, 40), 0.25, following=3)
    batch = mixed.sample(16, parts=2)
    marks = sources(batch)
    following = batch.following
    assert following.action.shape == (32, 3, 1)
    assert following.valid.shape == (32, 3)
    assert torch.equal(following.action[:, 0, 0], marks)
    for value in following.obs.values():
        assert torch.equal(value.flatten(1).float(), marks[:, None].expand(-1, value[0].numel()))
    assert MixedReplay(filled(1, 7), filled(2, 40)).sample(16).following is None
