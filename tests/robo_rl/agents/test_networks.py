import math

import gymnasium
import numpy as np
import pytest
import torch

from robo_rl.agents.encoders import Encoder
from robo_rl.agents.networks import Policy, action_width, tanh_gaussian_log_prob
from robo_rl.errors import UserError


def box(*shape: int, dtype: type = np.float32) -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(0, 255 if dtype == np.uint8 else 1, shape, dtype)


def policy(keys: dict[str, gymnasium.Space] | None = None, layer_norm: bool = False) -> Policy:
    encoder = Encoder(gymnasium.spaces.Dict(keys or {"state": box(3)}))
    return Policy(encoder, 2, (16, 16), layer_norm=layer_norm, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("space", [gymnasium.spaces.Discrete(2), gymnasium.spaces.Box(-2, 2, (3,)), box(2, 2)])
def test_actions_must_be_a_unit_box(space: gymnasium.Space) -> None:
    assert action_width(gymnasium.spaces.Box(-1, 1, (3,))) == 3
    with pytest.raises(UserError, match="action_space"):
        action_width(space)


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
        action, log_prob, std = net.sample(features, torch.randn(20000, 2, generator=torch.Generator().manual_seed(0)))
        u = torch.atanh(action.double())
        torch.testing.assert_close(u.mean(0).float(), mean[0], atol=0.03, rtol=0)
        torch.testing.assert_close(u.std(0).float(), log_std[0].exp(), atol=0.03, rtol=0)
        torch.testing.assert_close(std[0], log_std[0].exp())
        assert log_prob.requires_grad
        assert action.requires_grad
