import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robo_rl.agents.dormancy import dormant_ratio, exploration_floor
from robo_rl.agents.experts import StackedLinear

INPUTS = torch.randn(64, 6, generator=torch.Generator().manual_seed(1))


def network(dead: tuple[int, int], seed: int = 0) -> nn.Sequential:
    """Layers of 10 and 8 units, of which the first few each say 0 whatever they see."""
    g = torch.Generator().manual_seed(seed)
    layers = nn.Linear(6, 10), nn.Linear(10, 8)
    for layer, k in zip(layers, dead, strict=True):
        # Live units are alike in size, far above the threshold.
        layer.weight.data = torch.randn(layer.weight.shape, generator=g)
        layer.bias.data.fill_(1.0)
        layer.weight.data[:k] = 0.0
        layer.bias.data[:k] = 0.0
    return nn.Sequential(layers[0], nn.ReLU(inplace=True), layers[1])


@given(st.tuples(st.integers(0, 9), st.integers(0, 7)))
@settings(max_examples=30, deadline=None)
def test_counts_the_dead_units_of_all_layers(dead: tuple[int, int]) -> None:
    assert dormant_ratio(network(dead), INPUTS).item() == pytest.approx(sum(dead) / 18)


def test_a_layer_that_says_nothing_is_dormant_throughout() -> None:
    assert dormant_ratio(network((10, 0)), INPUTS).item() == pytest.approx(10 / 18)


@pytest.mark.parametrize("scale", [1e-4, 7.0, 1e4])
def test_the_scale_of_a_layer_does_not_matter(scale: float) -> None:
    net = network((3, 2))
    before = dormant_ratio(net, INPUTS)
    with torch.no_grad():
        for parameter in net[2].parameters():
            parameter.mul_(scale)
    assert dormant_ratio(net, INPUTS) == before


@pytest.mark.parametrize(("size", "dormant"), [(0.02, 1), (0.03, 0)])
def test_the_threshold_is_relative_to_the_mean_of_the_layer(size: float, dormant: int) -> None:
    layer = nn.Linear(1, 101)
    layer.weight.data.zero_()
    layer.bias.data.fill_(1.0)
    layer.bias.data[0] = size  # of a mean that is nearly 1
    assert dormant_ratio(layer, torch.zeros(4, 1)).item() == pytest.approx(dormant / 101)


def test_it_is_the_size_that_counts_not_the_sign_and_before_the_activation() -> None:
    layer = nn.Linear(1, 4)
    layer.weight.data.zero_()
    layer.bias.data.copy_(torch.tensor([1.0, -1.0, -1.0, 0.0]))
    assert dormant_ratio(nn.Sequential(layer, nn.ReLU(inplace=True)), torch.zeros(4, 1)).item() == 0.25


def test_each_of_several_stacked_layers_has_a_mean_of_its_own() -> None:
    stacked = StackedLinear(2, 1, 4, generator=torch.Generator().manual_seed(0))
    stacked.weight.data.zero_()
    stacked.bias.data.copy_(torch.tensor([[[1.0, 1.0, 1.0, 0.0]], [[1e-4, 1e-4, 1e-4, 1e-4]]]))
    assert dormant_ratio(stacked, torch.zeros(3, 1)).item() == pytest.approx(1 / 8)


def test_looking_leaves_no_trace() -> None:
    net = network((1, 1))
    dormant_ratio(net, INPUTS)
    assert not any(layer._forward_hooks for layer in net)
    with pytest.raises(RuntimeError):
        dormant_ratio(net, torch.zeros(2, 3))
    assert not any(layer._forward_hooks for layer in net)


def test_exploration_falls_as_the_network_wakes() -> None:
    assert exploration_floor(torch.tensor(0.2)).item() == pytest.approx(0.5)
    assert exploration_floor(torch.tensor(0.2), 0.8).item() == pytest.approx(0.4)
    assert exploration_floor(torch.tensor(0.0)).item() == pytest.approx(0.119203, abs=1e-5)
    floors = exploration_floor(torch.linspace(0, 1, 11))
    assert (floors.diff() > 0).all()
