import pytest
import torch

from robo_rl.agents.backbones import ARCHITECTURES, Backbone, BackboneSpec, spatial_softmax
from robo_rl.errors import UserError


def pictures(n: int, size: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(256, (n, size, size, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("architecture", "shape"),
    [("conv", (32, 8, 8)), ("keypoints", (64, 1, 1)), ("resnet10", (512, 2, 2)), ("resnet18", (512, 2, 2))],
)
def test_maps_have_the_promised_shape_and_each_image_its_own(architecture, shape):
    net = Backbone(BackboneSpec(architecture, (64, 64)), torch.Generator().manual_seed(0))
    assert net.map_shape == shape
    both = pictures(2, 64)
    with torch.no_grad():
        maps = net(both)
        alone = net(both[1:])
    assert maps.shape == (2, *shape)
    torch.testing.assert_close(maps[1:], alone, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(maps[0], maps[1])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_initial_weights_come_from_the_generator_alone(architecture):
    def weights(seed: int) -> torch.Tensor:
        torch.randn(5)
        net = Backbone(BackboneSpec(architecture, (32, 32)), torch.Generator().manual_seed(seed))
        return torch.cat([p.flatten() for p in net.parameters()]).detach()

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_bytes_become_normalised_colours():
    spec = BackboneSpec("conv", (8, 8), mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0))
    net = Backbone(spec)
    net.net = torch.nn.Identity()
    white = net(torch.full((1, 8, 8, 3), 255, dtype=torch.uint8))
    torch.testing.assert_close(white[0, :, 0, 0], torch.tensor([1.0, 3.0, 1.0]))
    black = net(torch.zeros(1, 8, 8, 3, dtype=torch.uint8))
    torch.testing.assert_close(black[0, :, 3, 5], torch.tensor([-1.0, -1.0, 0.0]))


def test_a_spatial_softmax_finds_a_peak_between_pixels():
    maps = torch.full((1, 2, 5, 9), -50.0)
    maps[0, 0, 1, 6] = 50.0  # row 1 of 0..4 is -0.5, column 6 of 0..8 is 0.5
    maps[0, 1, 4, 2:4] = 50.0  # between columns 2 and 3: (-0.5 - 0.25) / 2
    torch.testing.assert_close(spatial_softmax(maps)[0], torch.tensor([[0.5, -0.5], [-0.375, 1.0]]))


def test_what_does_not_exist_or_fit_is_refused():
    with pytest.raises(UserError, match="did you mean 'resnet18'"):
        BackboneSpec("resnet19", (64, 64))
    with pytest.raises(UserError, match="images of 2x2 pixels are too small for keypoints"):
        Backbone(BackboneSpec("keypoints", (2, 2)))
