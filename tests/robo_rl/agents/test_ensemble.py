import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robo_rl.agents.ensemble import EnsembleMLP
from robo_rl.agents.ensemble_kernel import MemberwiseMLP
from robo_rl.agents.heads import HLGaussHead, ScalarHead


def ensemble(members: int = 4, outputs: int = 3, norm: str = "layer", dropout: float = 0.0) -> EnsembleMLP:
    generator = torch.Generator().manual_seed(0)
    net = EnsembleMLP(members, 5, (16, 8), outputs, norm=norm, dropout=dropout, generator=generator)
    for parameter in (*net.scales, *net.shifts, *net.gains):
        parameter.data.normal_(generator=generator)  # so that an affine part in the wrong place shows
    return net


def inputs(rows: int = 7) -> torch.Tensor:
    return torch.randn(rows, 5, generator=torch.Generator().manual_seed(1))


class TestEnsemble:
    @pytest.mark.parametrize("norm", ["layer", "weight", "none"])
    @pytest.mark.parametrize("members", [None, torch.tensor([3, 1])])
    def test_both_drivers_give_the_same_numbers_and_gradients(self, norm: str, members: torch.Tensor | None) -> None:
        net = ensemble(norm=norm)
        x = torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
        one, batched = net.one_by_one(x, members), net.batched(x, members)
        assert one.shape == (4 if members is None else 2, 7, 3)
        torch.testing.assert_close(one, batched)
        parameters = list(net.parameters())
        for a, b in zip(
            torch.autograd.grad(one.square().sum(), parameters),
            torch.autograd.grad(batched.square().sum(), parameters),
            strict=True,
        ):
            torch.testing.assert_close(a, b)

    def test_is_what_a_list_of_modules_computes(self) -> None:
        net = ensemble()
        x = torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
        for e in range(net.members):
            layers: list[torch.nn.Module] = []
            for i, (weight, bias) in enumerate(zip(net.weights, net.biases, strict=True)):
                linear = torch.nn.Linear(weight.shape[1], weight.shape[2])
                linear.weight.data, linear.bias.data = weight[e].T, bias[e]
                layers.append(linear)
                if i < 2:
                    norm = torch.nn.LayerNorm(weight.shape[2])
                    norm.weight.data, norm.bias.data = net.scales[i][e], net.shifts[i][e]
                    layers += [norm, torch.nn.ReLU()]
            torch.testing.assert_close(net(x)[e], torch.nn.Sequential(*layers)(x))

    @pytest.mark.parametrize("norm", ["layer", "none"])
    @pytest.mark.parametrize("members", [[0, 1, 2, 3], [3, 1]])
    @pytest.mark.parametrize("dropout", [False, True])
    def test_the_backward_pass_is_the_derivative(self, norm: str, members: list[int], dropout: bool) -> None:
        net = ensemble(norm=norm).double()
        x = inputs().double().requires_grad_()
        masks = None
        if dropout:
            generator = torch.Generator().manual_seed(2)
            shapes = [(len(members), 7, width) for width in net.hidden]
            masks = [torch.empty(shape, dtype=torch.float64).bernoulli_(0.7, generator=generator) for shape in shapes]
        assert torch.autograd.gradcheck(
            lambda x, *parameters: MemberwiseMLP.apply(x, members, masks, torch.float64, norm == "layer", *parameters),
            (x, *net.weights, *net.biases, *net.scales, *net.shifts),
        )

    @pytest.mark.parametrize("norm", ["layer", "none"])
    def test_bfloat16_is_near_and_no_more(self, norm: str) -> None:
        exact, rounded = ensemble(norm=norm), ensemble(norm=norm)
        rounded.precision = torch.bfloat16
        for way in ("one_by_one", "batched"):
            a, b = getattr(exact, way)(inputs(64)), getattr(rounded, way)(inputs(64))
            assert b.dtype == torch.float32
            assert not torch.equal(a, b)
            torch.testing.assert_close(a, b, rtol=0.05, atol=0.05)
            for one, other in zip(
                torch.autograd.grad(a.square().sum(), list(exact.parameters())),
                torch.autograd.grad(b.square().sum(), list(rounded.parameters())),
                strict=True,
            ):
                assert other.dtype == torch.float32
                assert (one - other).norm() < 0.06 * one.norm()

    @pytest.mark.parametrize("norm", ["layer", "weight", "none"])
    @pytest.mark.parametrize("outputs", [1, 101])
    @pytest.mark.parametrize("dropout", [0.0, 0.3])
    @pytest.mark.parametrize("stacked", [False, True])
    def test_regression_is_the_derivative_of_its_loss(
        self, norm: str, outputs: int, dropout: float, stacked: bool, monkeypatch
    ) -> None:
        """Without autograd, driver by driver; by autograd is what it has to agree with."""
        head = ScalarHead() if outputs == 1 else HLGaussHead(0.0, 1.0)
        net, x, target = ensemble(outputs=outputs, norm=norm, dropout=dropout), inputs(), torch.rand(7)
        masks = net.draw_masks(7, torch.Generator().manual_seed(3), 4)
        x.requires_grad_()
        expected = net.one_by_one(x, None, masks)
        head.loss(expected, target).mean(dim=1).sum().backward()
        right = [p.grad.clone() for p in (x, *net.parameters())]
        if stacked:
            monkeypatch.setattr(net, "_memberwise", lambda x: False)
        for _ in range(2):  # nothing is left over from the update before
            x.grad = None
            found = net.regress(x, target, head, masks)
            torch.testing.assert_close(found, expected.detach())
            for gradient, parameter in zip(right, (x, *net.parameters()), strict=True):
                torch.testing.assert_close(parameter.grad, gradient)

    def test_regression_in_bfloat16_is_near(self) -> None:
        exact, rounded, x, target = ensemble(outputs=1), ensemble(outputs=1), inputs(64), torch.rand(64)
        rounded.precision = torch.bfloat16
        a, b = (net.regress(x, target, ScalarHead()) for net in (exact, rounded))
        torch.testing.assert_close(a, b, rtol=0.05, atol=0.05)
        for one, other in zip(exact.parameters(), rounded.parameters(), strict=True):
            assert other.grad.dtype == torch.float32
            assert not torch.equal(one.grad, other.grad)
            assert (one.grad - other.grad).norm() < 0.06 * one.grad.norm()

    def test_a_subset_is_those_members_in_that_order(self) -> None:
        net = ensemble()
        x = torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
        assert torch.equal(net(x, torch.tensor([2, 0])), net(x)[[2, 0]])

    @given(member=st.integers(0, 3))
    @settings(max_examples=4, deadline=None)
    def test_a_members_loss_moves_no_other_member(self, member: int) -> None:
        net = ensemble()
        net(torch.ones(7, 5))[member].square().sum().backward()
        for parameter in net.parameters():
            touched = parameter.grad.flatten(1).abs().sum(1) > 0
            assert touched.tolist() == [e == member for e in range(4)]

    def test_starts_like_linear_layers_and_members_differ(self) -> None:
        net = EnsembleMLP(50, 16, (64,), 1, norm="layer", generator=torch.Generator().manual_seed(0))
        weight = net.weights[0]
        assert weight.abs().max() <= 0.25  # 1 / sqrt(16)
        assert weight.std().item() == pytest.approx(0.25 / math.sqrt(3), rel=0.02)
        assert not torch.equal(weight[0], weight[1])


class TestWeightNorm:
    def test_scaling_a_units_weights_changes_nothing(self) -> None:
        net = ensemble(norm="weight")
        before = net(inputs())
        with torch.no_grad():
            net.weights[0].mul_(torch.rand(4, 1, 16, generator=torch.Generator().manual_seed(2)) + 0.5)
        torch.testing.assert_close(net(inputs()), before)

    def test_by_hand(self) -> None:
        net = EnsembleMLP(1, 2, (), 1, norm="weight", generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            net.weights[0].copy_(torch.tensor([[[3.0], [4.0]]]))
            net.gains[0].fill_(10.0)
            net.biases[0].fill_(1.0)
        # w = 10 * (3, 4) / 5 = (6, 8); 6 * 1 + 8 * 2 + 1
        assert net(torch.tensor([[1.0, 2.0]])).item() == pytest.approx(23.0)

    def test_starts_as_the_plain_network(self) -> None:
        plain, normed = (
            EnsembleMLP(3, 5, (16,), 2, norm=norm, generator=torch.Generator().manual_seed(0))
            for norm in ("none", "weight")
        )
        torch.testing.assert_close(plain(inputs()), normed(inputs()))


class TestDropout:
    def test_without_noise_every_unit_takes_part(self) -> None:
        assert torch.equal(ensemble(dropout=0.5)(inputs()), ensemble()(inputs()))

    def test_with_noise_the_chosen_share_is_left_out_and_the_rest_scaled_up(self) -> None:
        net = EnsembleMLP(2, 5, (400,), 1, norm="none", dropout=0.25, generator=torch.Generator().manual_seed(0))
        masks = net.draw_masks(50, torch.Generator().manual_seed(0), 2)
        assert [mask.shape for mask in masks] == [(2, 50, 400)]
        assert masks[0].unique().tolist() == [0.0, pytest.approx(4 / 3)]
        assert (masks[0] == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
        assert not torch.equal(masks[0][0], masks[0][1])
        assert not torch.equal(masks[0][0, 0], masks[0][0, 1])

    def test_it_comes_before_the_normalisation(self) -> None:
        net = EnsembleMLP(1, 5, (8,), 1, norm="layer", dropout=0.5, generator=torch.Generator().manual_seed(0))
        x = inputs()
        masks = net.draw_masks(len(x), torch.Generator().manual_seed(3), 1)
        hidden = (x @ net.weights[0][0] + net.biases[0][0]) * masks[0][0]
        expected = torch.nn.functional.layer_norm(hidden, (8,)).relu() @ net.weights[1][0] + net.biases[1][0]
        torch.testing.assert_close(net(x, noise=torch.Generator().manual_seed(3))[0], expected)

    @pytest.mark.parametrize("members", [None, torch.tensor([3, 1])])
    def test_both_drivers_leave_out_the_same_units(self, members: torch.Tensor | None) -> None:
        net = ensemble(dropout=0.5)
        masks = net.draw_masks(7, torch.Generator().manual_seed(3), 4 if members is None else 2)
        torch.testing.assert_close(net.one_by_one(inputs(), members, masks), net.batched(inputs(), members, masks))
