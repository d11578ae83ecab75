import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robo_rl.agents.heads import HLGaussHead, ScalarHead

BOUNDS = st.sampled_from([(0.0, 1.0), (-100.0, 0.0), (-3.0, 7.0)])


@given(bounds=BOUNDS, share=st.floats(0.0, 1.0), bins=st.sampled_from([21, 51, 101]))
@settings(deadline=None)
def test_hl_gauss_keeps_values_anywhere_between_the_bounds(
    bounds: tuple[float, float], share: float, bins: int
) -> None:
    head = HLGaussHead(*bounds, bins)
    y = torch.tensor(bounds[0] + share * (bounds[1] - bounds[0]))
    histogram = head.project(y)
    width = (head.edges[1] - head.edges[0]).item()
    assert histogram.sum().item() == pytest.approx(1.0, abs=1e-4)
    assert abs((histogram @ head.centers - y).item()) <= 0.01 * width + 1e-5 * max(map(abs, bounds))


def test_hl_gauss_histogram_by_hand() -> None:
    # A value in the middle of its bin, sigma 0.75 widths: 2 Phi(2/3) - 1 there, Phi(2) - Phi(2/3) beside.
    head = HLGaussHead(0.0, 1.0)
    histogram = head.project(head.centers[50])
    assert histogram[50].item() == pytest.approx(0.495015, abs=1e-3)
    assert histogram[51].item() == pytest.approx(0.229742, abs=1e-3)
    assert histogram[49].item() == pytest.approx(histogram[51].item(), abs=1e-3)


@pytest.mark.parametrize("y", [-1e6, -5.0, 1.0 + 1e-6, 5.0, 1e6])
def test_hl_gauss_is_safe_outside_the_bounds(y: float) -> None:
    head = HLGaussHead(0.0, 1.0)
    histogram = head.project(torch.tensor(y))
    assert torch.isfinite(histogram).all()
    assert torch.equal(histogram, head.project(torch.tensor(min(max(y, 0.0), 1.0))))


def test_hl_gauss_loss_is_cross_entropy_and_smallest_at_the_target() -> None:
    head = HLGaussHead(0.0, 1.0)
    target = torch.tensor([0.2, 0.9])
    histogram = head.project(target)
    fitted = histogram.clamp_min(1e-30).log().expand(3, 2, 101)
    entropy = -(histogram * histogram.clamp_min(1e-30).log()).sum(-1)
    torch.testing.assert_close(head.loss(fitted, target), entropy.expand(3, 2))
    assert (head.loss(torch.zeros(3, 2, 101), target) > entropy).all()
    torch.testing.assert_close(head.value(fitted), target.expand(3, 2), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("bounds", "start"), [((0.0, 1.0), 0.0), ((-100.0, 0.0), 0.0), ((2.0, 4.0), 2.0)])
def test_hl_gauss_starts_near_zero(bounds: tuple[float, float], start: float) -> None:
    head = HLGaussHead(*bounds)
    value = head.value(head.initial_bias().expand(1, 1, -1)).item()
    assert value == pytest.approx(start, abs=0.01 * (bounds[1] - bounds[0]))


def test_scalar_head_is_squared_error() -> None:
    outputs = torch.tensor([[[1.0], [2.0]], [[3.0], [5.0]]])
    assert ScalarHead().value(outputs).tolist() == [[1.0, 2.0], [3.0, 5.0]]
    assert ScalarHead().loss(outputs, torch.tensor([1.0, 0.0])).tolist() == [[0.0, 4.0], [4.0, 25.0]]
