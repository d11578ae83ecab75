import pytest
import torch
from torch import Tensor, nn

from robo_rl.agents.perturbation import Perturbation, PerturbationConfig, Snapshots, kept_share, perturb


class Net(nn.Module):
    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(3, 2, generator=generator))
        self.scale = nn.Parameter(torch.rand(2, generator=generator))

    def linear_parameters(self) -> list[nn.Parameter]:
        return [self.weight]


def net(seed: int = 0) -> Net:
    return Net(torch.Generator().manual_seed(seed))


def perturbation(network: Net, optimiser: torch.optim.Optimizer | None = None, **settings: object) -> Perturbation:
    config = PerturbationConfig(**({"every": 10} | settings))
    return Perturbation(config, [network], [optimiser] if optimiser else [], lambda g: [Net(g)], seed=7)


def stepped(network: Net) -> torch.optim.Optimizer:
    optimiser = torch.optim.Adam(network.parameters())
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    return optimiser


def test_keeping_all_is_the_identity_and_keeping_none_the_others() -> None:
    a, b = net(0), net(1)
    before = a.weight.clone()
    perturb([a.weight], [b.weight], 1.0)
    assert torch.equal(a.weight, before)
    perturb([a.weight], [b.weight], 0.25)
    torch.testing.assert_close(a.weight, 0.25 * before + 0.75 * b.weight)
    perturb([a.weight], [b.weight], 0.0)
    assert torch.equal(a.weight, b.weight)


@pytest.mark.parametrize(("ratio", "share"), [(0.0, 0.9), (0.05, 0.9), (0.2, 0.6), (0.4, 0.2), (0.9, 0.2)])
def test_the_more_sleeps_the_less_is_kept(ratio: float, share: float) -> None:
    assert kept_share(torch.tensor(ratio), PerturbationConfig(every=1)).item() == pytest.approx(share)


def test_fresh_weights_come_in_and_momentum_goes() -> None:
    network = net()
    optimiser = stepped(network)
    before, scale = network.weight.clone(), network.scale.clone()
    fresh = net(7).weight
    assert perturbation(network, optimiser).after_updates(9, 10, torch.tensor(0.25))
    torch.testing.assert_close(network.weight, 0.5 * before + 0.5 * fresh)
    assert torch.equal(network.scale, scale)
    assert not optimiser.state


@pytest.mark.parametrize(("before", "now", "due"), [(0, 4, False), (8, 12, True), (9, 10, True), (10, 19, False)])
def test_it_is_due_when_a_multiple_is_passed(before: int, now: int, due: bool) -> None:
    network = net()
    was = network.weight.clone()
    assert perturbation(network).after_updates(before, now, torch.tensor(1.0)) is due
    assert torch.equal(network.weight, was) is not due


def test_each_perturbation_draws_anew() -> None:
    network = net()
    perturbing = perturbation(network, least_kept=0.0)
    perturbing.after_updates(0, 10, torch.tensor(1.0))
    first = network.weight.clone()
    perturbing.after_updates(10, 20, torch.tensor(1.0))
    assert not torch.equal(first, network.weight)


class TestSnapshots:
    def filled(self, *returns: float, size: int = 3) -> Snapshots:
        snapshots = Snapshots(size, 2)
        for value in returns:
            snapshots.add(value, torch.full((2,), value))
        return snapshots

    def test_keeps_the_best_and_of_equals_the_newest(self) -> None:
        snapshots = self.filled(5.0, 1.0, 3.0, 2.0, 0.0)
        assert sorted(snapshots.returns.tolist()) == [2.0, 3.0, 5.0]
        assert torch.equal(snapshots.weights[:, 0], snapshots.returns)
        snapshots.add(2.0, torch.tensor([9.0, 9.0]))
        assert sorted(snapshots.weights[:, 0].tolist()) == [3.0, 5.0, 9.0]

    def test_draws_around_their_mean_with_their_deviation(self) -> None:
        snapshots = Snapshots(3, 4000)
        for value in (1.0, 2.0, 3.0):
            snapshots.add(value, torch.full((4000,), value))
        drawn = snapshots.draw(torch.Generator().manual_seed(0))
        assert drawn.mean().item() == pytest.approx(2.0, abs=0.05)
        assert drawn.std().item() == pytest.approx((2 / 3) ** 0.5, abs=0.05)

    def test_of_one_it_draws_that_one(self) -> None:
        torch.testing.assert_close(self.filled(4.0).draw(torch.Generator()), torch.full((2,), 4.0))

    def test_of_none_it_cannot_draw(self) -> None:
        with pytest.raises(ValueError, match="no episode"):
            self.filled().draw(torch.Generator())


class TestTowardsTheBest:
    def test_moves_towards_what_the_best_episode_was_played_with(self) -> None:
        network = net()
        perturbing = perturbation(network, towards="best", snapshots=1, least_kept=0.0)
        best = network.weight.detach().clone()
        perturbing.remember(1.0)
        with torch.no_grad():
            network.weight.add_(1.0)
        perturbing.remember(0.5)  # worse, so forgotten
        assert perturbing.after_updates(0, 10, torch.tensor(0.25))
        torch.testing.assert_close(network.weight, best + 0.5)

    def test_before_the_first_episode_nothing_moves(self) -> None:
        network = net()
        was = network.weight.clone()
        assert not perturbation(network, towards="best").after_updates(0, 10, torch.tensor(1.0))
        assert torch.equal(network.weight, was)

    def test_what_is_remembered_is_a_copy(self) -> None:
        network = net()
        perturbing = perturbation(network, towards="best")
        perturbing.remember(1.0)
        kept: Tensor = perturbing.parts()["snapshots"].weights.clone()
        with torch.no_grad():
            network.weight.zero_()
        assert torch.equal(perturbing.parts()["snapshots"].weights, kept)
