import math

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robo_rl.agents.encoders import Encoder
from robo_rl.agents.networks import EnsembleMLP, Policy, action_width, tanh_gaussian_log_prob
from robo_rl.errors import UserError


def box(*shape: int, dtype: type = np.float32) -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(0, 255 if dtype == np.uint8 else 1, shape, dtype)


def ensemble(members: int = 4, outputs: int = 3, layer_norm: bool = True, seed: int = 0) -> EnsembleMLP:
    generator = torch.Generator().manual_seed(seed)
    net = EnsembleMLP(members, 5, (16, 8), outputs, layer_norm=layer_norm, generator=generator)
    for parameter in (*net.scales, *net.shifts):
        parameter.data.normal_(generator=generator)  # so that an affine part in the wrong place shows
    return net


def policy(keys: dict[str, gymnasium.Space] | None = None, layer_norm: bool = False) -> Policy:
    encoder = Encoder(gymnasium.spaces.Dict(keys or {"state": box(3)}))
    return Policy(encoder, 2, (16, 16), layer_norm=layer_norm, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("space", [gymnasium.spaces.Discrete(2), gymnasium.spaces.Box(-2, 2, (3,)), box(2, 2)])
def test_actions_must_be_a_unit_box(space: gymnasium.Space) -> None:
    assert action_width(gymnasium.spaces.Box(-1, 1, (3,))) == 3
    with pytest.raises(UserError, match="action_space"):
        action_width(space)


class TestEnsemble:
    @pytest.mark.parametrize("layer_norm", [False, True])
    @pytest.mark.parametrize("members", [None, torch.tensor([3, 1])])
    def test_both_drivers_give_the_same_numbers_and_gradients(
        self, layer_norm: bool, members: torch.Tensor | None
    ) -> None:
        net = ensemble(layer_norm=layer_norm)
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
        net = EnsembleMLP(50, 16, (64,), 1, layer_norm=True, generator=torch.Generator().manual_seed(0))
        weight = net.weights[0]
        assert weight.abs().max() <= 0.25  # 1 / sqrt(16)
        assert weight.std().item() == pytest.approx(0.25 / math.sqrt(3), rel=0.02)
        assert not torch.equal(weight[0], weight[1])


class TestPolicy:
    def test_log_prob_is_that_of_the_transformed_distribution(self) -> None:
        generator = torch.Generator().manual_seed(0)
        mean, log_std, noise = (torch.randn(64, 3, generator=generator, dtype=torch.float64) for _ in range(3))
        u = mean + log_std.exp() * noise
        density = torch.distributions.Normal(mean, log_std.exp()).log_prob(u)
        expected = density - torch.distributions.TanhTransform().log_abs_det_jacobian(u, u.tanh())
        torch.testing.assert_close(tanh_gaussian_log_prob(u, noise, log_std), expected.sum(-1))

    def test_log_prob_by_hand(self) -> None:
        # u = 0.5, mean = 0, std = 1: log N = -0.125 - 0.918939, log(1 - tanh(0.5)^2) = log(0.786448) = -0.240229
        one = torch.tensor([[0.5]], dtype=torch.float64)
        assert tanh_gaussian_log_prob(one, one, torch.zeros(1, 1)).item() == pytest.approx(-0.803710, abs=1e-5)

    def test_log_prob_is_finite_at_saturation(self) -> None:
        u = torch.tensor([[-80.0], [80.0]])
        assert torch.isfinite(tanh_gaussian_log_prob(u, torch.zeros(2, 1), torch.zeros(2, 1))).all()

    def test_density_integrates_to_one(self) -> None:
        mean, std = 0.3, 0.7
        a = torch.linspace(-1, 1, 20003, dtype=torch.float64)[1:-1]
        u = torch.atanh(a)[:, None]
        density = tanh_gaussian_log_prob(u, (u - mean) / std, torch.full_like(u, math.log(std))).exp()
        assert torch.trapezoid(density, a).item() == pytest.approx(1.0, abs=1e-4)

    @pytest.mark.parametrize("layer_norm", [False, True])
    def test_acts_within_bounds_and_without_explore_by_the_mode(self, layer_norm: bool) -> None:
        net = policy(layer_norm=layer_norm)
        obs = {"state": 100 * torch.randn(50, 3, generator=torch.Generator().manual_seed(1))}
        mode = net.act(obs)
        drawn = net.act(obs, torch.Generator().manual_seed(2))
        mean, _ = net(net.encoder(obs))
        assert mode.shape == drawn.shape == (50, 2)
        assert mode.abs().max() <= 1
        assert drawn.abs().max() <= 1
        torch.testing.assert_close(mode, torch.tanh(mean).detach())
        assert not torch.equal(mode, drawn)
        assert torch.equal(drawn, net.act(obs, torch.Generator().manual_seed(2)))

    def test_actions_may_be_changed_in_place(self) -> None:
        policy().act({"state": torch.zeros(1, 3)}).clamp_(-0.5, 0.5).add_(1.0)

    def test_samples_follow_mean_and_std(self) -> None:
        net = policy()
        features = torch.full((20000, 3), 0.3)
        mean, log_std = net(features[:1])
        action, log_prob, std = net.sample(features, torch.Generator().manual_seed(0))
        u = torch.atanh(action.double())
        torch.testing.assert_close(u.mean(0).float(), mean[0], atol=0.03, rtol=0)
        torch.testing.assert_close(u.std(0).float(), log_std[0].exp(), atol=0.03, rtol=0)
        torch.testing.assert_close(std[0], log_std[0].exp())
        assert log_prob.requires_grad
        assert action.requires_grad
