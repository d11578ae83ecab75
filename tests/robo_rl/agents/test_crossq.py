import gymnasium
import numpy as np
import pytest
import torch

from robo_rl.agents.crossq import BatchRenorm, CrossQCritic
from robo_rl.agents.sac import SAC, SACConfig
from robo_rl.contracts.learning import Batch

OBSERVATIONS = gymnasium.spaces.Dict(state=gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32))
ACTIONS = gymnasium.spaces.Box(-1, 1, (2,), np.float32)


def rows(n: int, seed: int = 0, width: int = 5) -> torch.Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


def critic() -> CrossQCritic:
    return CrossQCritic(3, 5, (16, 8), 2, generator=torch.Generator().manual_seed(0))


class TestBatchRenorm:
    def test_learning_it_normalises_by_the_batch(self) -> None:
        y = BatchRenorm(2, 5)(3.0 * rows(64).expand(2, 64, 5) + 7.0, learn=True)
        torch.testing.assert_close(y.mean(1), torch.zeros(2, 5), atol=1e-5, rtol=0)
        torch.testing.assert_close(y.var(1, correction=0), torch.ones(2, 5), atol=1e-3, rtol=0)

    def test_otherwise_by_the_running_statistics(self) -> None:
        norm, x = BatchRenorm(1, 5), rows(64)[None] + 7.0
        torch.testing.assert_close(norm(x, learn=False), x / (1.0 + 1e-3) ** 0.5)
        for _ in range(1000):
            norm(x, learn=True)
        torch.testing.assert_close(norm(x, learn=False), norm(x, learn=True), atol=1e-2, rtol=0)

    def test_running_statistics_by_hand(self) -> None:
        norm = BatchRenorm(1, 1)
        norm(torch.tensor([[[1.0], [3.0]]]), learn=True)  # mean 2, variance 1
        assert norm.mean.item() == pytest.approx(0.99 * 0.0 + 0.01 * 2.0)
        assert norm.variance.item() == pytest.approx(0.99 * 1.0 + 0.01 * 1.0)

    def test_after_the_warm_up_it_stays_near_the_running_statistics(self) -> None:
        # Mean 2, deviation 1, against a running 0 and 1: r = 1, d = 2 within its bound of 5, so nothing is shifted.
        norm, x = BatchRenorm(1, 1, warmup=0), torch.tensor([[[1.0], [3.0]]])
        torch.testing.assert_close(norm(x, learn=True), x, atol=5e-3, rtol=0)
        assert BatchRenorm(1, 1)(x, learn=True).flatten().tolist() == pytest.approx([-1.0, 1.0], abs=1e-3)

    def test_the_correction_is_bounded(self) -> None:
        norm = BatchRenorm(1, 1, warmup=0)
        y = norm(torch.tensor([[[1000.0], [1200.0]]]), learn=True)  # s / S = 100, (m - M) / S = 1100
        assert y.flatten().tolist() == pytest.approx([-3.0 + 5.0, 3.0 + 5.0], abs=1e-3)


class TestCritic:
    def test_both_sides_are_normalised_as_one_batch(self) -> None:
        net, here, after = critic(), rows(8), rows(8, seed=1) + 4.0
        one, other = net.joint(here, after)
        assert one.shape == other.shape == (3, 8, 2)
        twin = critic()
        whole = twin._compute(torch.cat([here, after]), learn=True)
        assert torch.equal(torch.cat([one, other], dim=1), whole)
        alone = critic()._compute(here, learn=True)
        assert (one - alone).abs().max() > 0.1  # by itself, the first side would have other statistics

    def test_the_statistics_come_from_the_joint_batch(self) -> None:
        net, here, after = critic(), rows(8), rows(8, seed=1) + 4.0
        net.joint(here, after)
        expected = 0.01 * torch.cat([here, after]).mean(0)
        torch.testing.assert_close(net.renorms[0].mean, expected.expand(3, 1, 5))
        before = net.renorms[0].mean.clone()
        net(rows(8))
        assert torch.equal(net.renorms[0].mean, before)

    def test_a_subset_is_those_members_in_that_order(self) -> None:
        net = critic()
        assert torch.equal(net(rows(4), torch.tensor([2, 0])), net(rows(4))[[2, 0]])


class TestLearner:
    def agent(self) -> SAC:
        config = SACConfig(critics=3, hidden=(16, 16), critic_norm="batch", critic_hidden=(32,))
        return SAC(OBSERVATIONS, ACTIONS, config)

    def batch(self) -> Batch:
        state, next_state = rows(32, width=3), rows(32, seed=1, width=3)
        return Batch(
            {"state": state}, rows(32, 2, 2).tanh(), torch.ones(32), {"state": next_state}, torch.full((32,), 0.9)
        )

    def test_there_are_no_target_critics(self) -> None:
        sac = self.agent()
        assert sac.target_critic is None
        assert not [key for key in sac.state_dict() if key.startswith("target")]

    def test_gradients_do_not_flow_through_the_target(self) -> None:
        sac, data = self.agent(), self.batch()
        encoded = Batch(
            {"features": data.obs["state"]},
            data.action,
            data.reward,
            {"features": data.next_obs["state"]},
            data.discount,
        )
        _, target = sac.critic_step(encoded, sac.look_ahead(encoded, 1)[0], sac.learning)
        assert not target.requires_grad

    def test_each_critic_update_sees_one_joint_batch_and_the_policys_none(self) -> None:
        sac = self.agent()
        sac.update(self.batch(), utd=2)
        assert [norm.batches.item() for norm in sac.critic.renorms] == [2, 2]
