import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import pad

from robo_rl.agents.augmentation import Augmentation, draw_variant, jitter_colours, random_shift


def images(n: int, height: int = 7, width: int = 5, channels: int = 3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (n, height, width, channels), generator=generator, dtype=torch.uint8)


@given(
    n=st.integers(1, 6), height=st.integers(1, 9), width=st.integers(1, 9), channels=st.integers(1, 3),
    pixels=st.integers(1, 5), seed=st.integers(0, 2**31), strided=st.booleans(),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_a_shift_is_a_crop_of_the_replicated_image(n, height, width, channels, pixels, seed, strided):
    before = images(n, height, width, channels, seed)
    given_images = before.transpose(1, 2).contiguous().transpose(1, 2) if strided else before
    after = random_shift(given_images, pixels, torch.Generator().manual_seed(seed))
    reach = 2 * pixels + 1
    dy, dx = torch.randint(reach, (2, n), generator=torch.Generator().manual_seed(seed))
    for i in range(n):
        padded = pad(before[i].permute(2, 0, 1).float(), (pixels,) * 4, mode="replicate").byte().permute(1, 2, 0)
        assert torch.equal(after[i], padded[dy[i] : dy[i] + height, dx[i] : dx[i] + width])


def test_every_shift_comes_and_rows_are_shifted_by_themselves():
    dot = torch.zeros(2000, 9, 9, 1, dtype=torch.uint8)
    dot[:, 4, 4] = 255
    places = random_shift(dot, 2, torch.Generator().manual_seed(0)).flatten(1).float().argmax(1)
    counts = places.bincount(minlength=81).view(9, 9)
    assert (counts[2:7, 2:7] > 40).all()
    assert counts.sum() == counts[2:7, 2:7].sum()


def test_jitter_changes_colours_of_each_image_but_not_what_it_shows():
    before = images(50, 6, 6)
    after = jitter_colours(before, 0.3, torch.Generator().manual_seed(0))
    assert after.dtype == torch.uint8
    assert after.shape == before.shape
    change = (after.float() - before.float()).abs()
    assert change.mean() > 10
    # Brighter stays brighter, within an image and a colour.
    order = before[0, :, :, 0].flatten().argsort()
    assert (after[0, :, :, 0].flatten()[order].float().diff() >= 0).all()
    grey = torch.full((1, 1, 1, 3), 128, dtype=torch.uint8)
    shades = jitter_colours(grey.expand(400, 1, 1, 3), 0.2, torch.Generator().manual_seed(1)).float()
    assert shades.min() >= 127.5 * 0.8 - 1
    assert shades.max() <= 127.5 * 1.2 + 1
    assert shades.std() > 5


def test_one_of_the_variants_is_drawn_for_each_row():
    maps = torch.arange(4.0).view(1, 4, 1, 1, 1).expand(400, 4, 3, 2, 2).to(torch.float16)
    drawn = draw_variant(maps, torch.Generator().manual_seed(0))
    assert drawn.shape == (400, 1, 3, 2, 2)
    assert (drawn.float().std(dim=(1, 2, 3, 4)) == 0).all()
    assert (drawn[:, 0, 0, 0, 0].long().bincount(minlength=4) > 60).all()


def test_only_images_and_maps_are_changed():
    obs = {
        "camera": images(8),
        "maps": torch.arange(4.0).view(1, 4, 1, 1, 1).repeat(8, 1, 2, 1, 1).to(torch.float16),
        "proprio": torch.randn(8, 3),
    }
    found = Augmentation(shift=2)(obs, torch.Generator().manual_seed(0))
    assert torch.equal(found["proprio"], obs["proprio"])
    assert not torch.equal(found["camera"], obs["camera"])
    assert found["maps"].shape == (8, 1, 2, 1, 1)


@pytest.mark.parametrize("augment", [Augmentation(shift=3), Augmentation(colour_jitter=0.4)])
def test_draws_come_from_the_generator_alone(augment):
    obs = {"camera": images(8)}
    first, second, other = (augment(obs, torch.Generator().manual_seed(seed))["camera"] for seed in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_no_augmentation_leaves_images_as_they_are():
    before = images(4)
    assert torch.equal(Augmentation(shift=0).images(before, torch.Generator()), before)
