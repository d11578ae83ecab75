import gymnasium
import numpy as np
import pytest
import torch

from robo_rl.agents.encoders import Encoder
from robo_rl.agents.experts import ExpertsConfig, MixtureOfExperts
from robo_rl.agents.networks import Policy


def mixture(seed: int = 0, **settings: float) -> MixtureOfExperts:
    config = ExpertsConfig(**({"count": 6, "active": 2, "width": 16} | settings))
    return MixtureOfExperts(5, 4, config, generator=torch.Generator().manual_seed(seed))


def rows(n: int = 32) -> torch.Tensor:
    return torch.randn(n, 5, generator=torch.Generator().manual_seed(1))


def send_to(net: MixtureOfExperts, logits: list[float]) -> MixtureOfExperts:
    """Make the router say the same of every row."""
    net.router[2].weight.data.zero_()
    net.router[2].bias.data.copy_(torch.tensor(logits))
    return net


def test_weights_are_those_of_the_likeliest_and_sum_to_one() -> None:
    weights, log_probs = mixture().route(rows())
    assert ((weights > 0).sum(1) == 2).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(32))
    best = log_probs.exp().topk(2, dim=1)
    torch.testing.assert_close(weights.gather(1, best.indices), best.values / best.values.sum(1, keepdim=True))


def test_the_output_is_their_weighted_sum() -> None:
    net, x = mixture(), rows(3)
    weights, _ = net.route(x)
    for b in range(3):
        expected = torch.zeros(4)
        for e in range(6):
            hidden = (x[b] @ net.first.weight[e] + net.first.bias[e, 0]).relu()
            expected += weights[b, e] * (hidden @ net.second.weight[e] + net.second.bias[e, 0])
        torch.testing.assert_close(net(x)[b], expected)


def test_gradients_reach_only_the_chosen_experts() -> None:
    net = send_to(mixture(), [0.0, 5.0, 0.0, 0.0, 6.0, 0.0])
    net(rows()).square().sum().backward()
    for parameter in (*net.first.parameters(), *net.second.parameters()):
        reached = parameter.grad.flatten(1).abs().sum(1) > 0
        assert reached.tolist() == [False, True, False, False, True, False]


def test_the_router_learns_which_of_them_is_better() -> None:
    net = send_to(mixture(), [1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    net(rows()).square().sum().backward()
    assert net.router[2].bias.grad[:2].abs().min() > 0


def test_balance_is_one_where_all_get_alike_and_falls_towards_that() -> None:
    even = mixture(active=6, balance=1.0, decision=0.0)
    assert send_to(even, [0.0] * 6).routing_loss(rows()).item() == pytest.approx(1.0)
    # All rows to the first two, with probabilities 0.4 each: 6 * (0.5 * 0.4 + 0.5 * 0.4)
    logits = np.log([0.4, 0.4, 0.05, 0.05, 0.05, 0.05]).tolist()
    crowded = send_to(mixture(balance=1.0, decision=0.0), logits)
    loss = crowded.routing_loss(rows())
    assert loss.item() == pytest.approx(2.4, abs=1e-5)
    loss.backward()
    assert (crowded.router[2].bias.grad[:2] > 0).all()  # downhill is away from the crowded ones
    assert (crowded.router[2].bias.grad[2:] < 0).all()


def test_decision_is_the_routers_entropy() -> None:
    net = send_to(mixture(balance=0.0, decision=0.5), [0.0] * 6)
    assert net.routing_loss(rows()).item() == pytest.approx(0.5 * np.log(6), abs=1e-5)


def test_training_on_the_loss_spreads_rows_over_experts() -> None:
    net = mixture(seed=3, balance=1.0, decision=0.0)
    send_to(net, [3.0, 3.0, 0.0, 0.0, 0.0, 0.0])
    optimiser = torch.optim.Adam(net.router.parameters(), 0.01)
    for _ in range(300):
        optimiser.zero_grad()
        net.routing_loss(rows(256)).backward()
        optimiser.step()
    shares = (net.route(rows(256))[0] > 0).float().mean(0)
    assert shares.max() < 0.8  # at first, 1 for two of them and 0 for the others
    assert (shares > 0.1).sum() > 2


class TestPolicy:
    def policy(self, count: int) -> Policy:
        space = gymnasium.spaces.Dict(state=gymnasium.spaces.Box(-1, 1, (3,)))
        experts = ExpertsConfig(count=count, active=2, width=16) if count else ExpertsConfig()
        generator = torch.Generator().manual_seed(0)
        return Policy(Encoder(space), 2, (16, 24), layer_norm=False, experts=experts, generator=generator)

    def test_experts_take_the_place_of_all_layers_but_the_first(self) -> None:
        net = self.policy(4)
        assert [layer.out_features for layer in net.layers] == [16]
        assert net.experts.second.weight.shape == (4, 16, 24)
        mean, log_std = net(torch.zeros(7, 3))
        assert mean.shape == log_std.shape == (7, 2)
        assert len(net.linear_parameters()) == len(list(net.parameters()))

    def test_without_there_are_none(self) -> None:
        net = self.policy(0)
        assert net.experts is None
        assert net.routing_loss(torch.zeros(7, 3)).item() == 0.0
        assert self.policy(4).routing_loss(torch.zeros(7, 3)).item() > 0.0
