"""Images and feature maps that are changed while they are copied, against the plain way."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import pad

from robo_rl.agents.augmentation import Augmentation, draw_shifts, jitter_colours
from robo_rl.contracts import Step
from robo_rl.replay.buffer import ReplayBuffer
from robo_rl.replay.frames import Frames
from robo_rl.replay.mixing import MixedReplay
from robo_rl.replay.storage import Storage

ACTION = gym.spaces.Box(-1, 1, (1,))


def cropped(image, dy, dx):
    """The image (H, W, C) padded by its edges and cropped ``dy`` lower and ``dx`` to the right."""
    reach = max(abs(dy), abs(dx))
    padded = pad(image.permute(2, 0, 1).float(), (reach,) * 4, mode="replicate").byte().permute(1, 2, 0)
    height, width, _ = image.shape
    return padded[reach + dy : reach + dy + height, reach + dx : reach + dx + width]


@given(
    height=st.integers(1, 12), width=st.integers(1, 12), channels=st.integers(1, 4), rows=st.integers(1, 9),
    count=st.integers(0, 12), pixels=st.integers(0, 14), period=st.integers(1, 3), seed=st.integers(0, 2**31),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_a_shifted_copy_is_a_crop_of_the_padded_image(height, width, channels, rows, count, pixels, period, seed):
    generator = torch.Generator().manual_seed(seed)
    frames = Frames(gym.spaces.Box(0, 255, (height, width, channels), np.uint8), rows, "frames", Storage())
    frames.rows.copy_(torch.randint(256, frames.rows.shape, generator=generator))
    slots = torch.randint(rows, (count,), generator=generator)
    dy, dx = draw_shifts(count, pixels, generator)
    room = torch.zeros((count * period, height, width, channels), dtype=torch.uint8)
    frames.shifted(slots, dy, dx, room[::period])
    for i in range(count):
        assert torch.equal(room[i * period], cropped(frames.rows[slots[i]], int(dy[i]), int(dx[i])))
    untouched = torch.ones(len(room), dtype=torch.bool)
    untouched[::period] = False
    assert not room[untouched].any()


def filled(space, count=30, seed=0):
    buffer = ReplayBuffer(space, ACTION, capacity=50, seed=seed)
    generator = torch.Generator().manual_seed(seed)

    def seen(t):
        obs = {}
        for key, box in space.spaces.items():
            if box.dtype == np.uint8:
                obs[key] = torch.randint(256, (1, *box.shape), dtype=torch.uint8, generator=generator)
            elif box.dtype == np.float16:
                obs[key] = (t * 10 + torch.arange(box.shape[0])).view(1, -1, 1, 1, 1).expand(1, *box.shape).half()
            else:
                obs[key] = torch.full((1, *box.shape), float(t))
        return obs

    obs, flag = seen(0), torch.zeros(1, dtype=torch.bool)
    history = [obs]
    for t in range(1, count + 1):
        after = seen(t)
        buffer.add(obs, torch.full((1, 1), float(t)), Step(after, torch.zeros(1), flag, flag, {}))
        obs = after
        history.append(obs)
    return buffer, history


VIEWS = gym.spaces.Dict(
    front=gym.spaces.Box(0, 255, (9, 8, 3), np.uint8),
    state=gym.spaces.Box(-np.inf, np.inf, (2,)),
    wrist=gym.spaces.Box(0, 255, (7, 9, 3), np.uint8),
)


def is_shift_of(image, original, pixels):
    reach = range(-pixels, pixels + 1)
    return any(torch.equal(image, cropped(original, dy, dx)) for dy in reach for dx in reach)


def test_each_image_of_a_batch_is_shifted_by_itself_and_the_rest_stays():
    buffer, history = filled(VIEWS)
    batch = buffer.sample(40, augment=Augmentation(shift=2))
    assert batch.augmented
    moved = 0
    for obs, ahead in ((batch.obs, 0), (batch.next_obs, 1)):
        for i in range(40):
            t = int(batch.obs["state"][i, 0])
            assert obs["state"][i].tolist() == [t + ahead] * 2
            for key in ("front", "wrist"):
                original = history[t + ahead][key][0]
                assert is_shift_of(obs[key][i], original, 2)
                moved += not torch.equal(obs[key][i], original)
    assert moved > 120  # 24 of 25 shifts move, of 160 images


def test_shifts_are_as_frequent_as_those_of_padding_and_cropping():
    space = gym.spaces.Dict(dot=gym.spaces.Box(0, 255, (9, 9, 1), np.uint8))
    buffer = ReplayBuffer(space, ACTION, capacity=4)
    dot = torch.zeros(1, 9, 9, 1, dtype=torch.uint8)
    dot[0, 4, 4] = 255
    flag = torch.zeros(1, dtype=torch.bool)
    buffer.add({"dot": dot}, torch.zeros(1, 1), Step({"dot": dot}, torch.zeros(1), flag, flag, {}))
    batch = buffer.sample(5000, augment=Augmentation(shift=2))
    for shown in (batch.obs["dot"], batch.next_obs["dot"]):
        counts = shown.flatten(1).float().argmax(1).bincount(minlength=81).view(9, 9)
        assert counts[2:7, 2:7].sum() == 5000
        assert (counts[2:7, 2:7] - 200).abs().max() < 5 * 200**0.5
    first, second = (shown.flatten(1).float().argmax(1) for shown in (batch.obs["dot"], batch.next_obs["dot"]))
    assert (first == second).float().mean() < 0.08  # 1 of 25 by chance


def test_colours_are_changed_after_the_shift():
    buffer, _ = filled(VIEWS)
    twin, _ = filled(VIEWS)
    slots = torch.tensor([0, 5, 9])
    room = torch.empty((3, 9, 8, 3), dtype=torch.uint8)
    buffer._frames["front"].draw(slots, room, Augmentation(2, 0.3), torch.Generator().manual_seed(4))
    generator = torch.Generator().manual_seed(4)
    plain = torch.empty_like(room)
    twin._frames["front"].shifted(slots, *draw_shifts(3, 2, generator), plain)
    assert torch.equal(room, jitter_colours(plain, 0.3, generator))
    assert not torch.equal(room, plain)


MAPS = gym.spaces.Dict(
    front=gym.spaces.Box(-np.inf, np.inf, (4, 3, 2, 2), np.float16), state=gym.spaces.Box(-np.inf, np.inf, (1,))
)


def test_one_of_the_maps_is_drawn_before_it_is_copied():
    buffer, _ = filled(MAPS)
    batch = buffer.sample(800, augment=Augmentation())
    assert batch.obs["front"].shape == (800, 1, 3, 2, 2)
    moments = batch.obs["state"][:, 0]
    for obs, ahead in ((batch.obs, 0), (batch.next_obs, 1)):
        variant = obs["front"].float().flatten(1) - 10 * (moments + ahead)[:, None]
        assert (variant == variant[:, :1]).all()
        counts = variant[:, 0].long().bincount(minlength=4)
        assert len(counts) == 4
        assert (counts > 140).all()


@pytest.mark.parametrize(("ratio", "parts"), [(0.5, 3), (0.25, 2), (0.3, 1)])
def test_mixed_batches_are_augmented_in_their_places(ratio, parts):
    own, history = filled(VIEWS, seed=1)
    demos, shown = filled(VIEWS, count=20, seed=2)
    mixed = MixedReplay(own, demos, ratio, augment=Augmentation(shift=1))
    batch = mixed.sample(20, parts)
    assert batch.augmented
    for part in batch.split(parts):
        assert part.augmented
        of_demos = 0
        for i in range(20):
            t = int(part.obs["state"][i, 0])
            image = part.obs["front"][i]
            fits = [t < len(past) and is_shift_of(image, past[t]["front"][0], 1) for past in (history, shown)]
            assert sum(fits) == 1
            of_demos += not fits[0]
            past = (history, shown)[fits.index(True)]
            assert is_shift_of(part.next_obs["wrist"][i], past[t + 1]["wrist"][0], 1)
        assert of_demos == round(20 * ratio)
