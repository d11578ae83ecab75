import copy
import math

import gymnasium
import numpy as np
import pytest
import torch

from robo_rl.agents.auxiliary import AuxiliaryConfig, AuxiliaryLearner, Features, info_nce
from robo_rl.agents.encoders import Encoder
from robo_rl.contracts.learning import Batch, Following

SPACE = gymnasium.spaces.Dict(state=gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32))
LOSSES = ["curl", "taco", "prediction"]
STEPS = 3


def data(n: int, seed: int = 0, shuffled: bool = False) -> Batch:
    """Points that actions push: s' = s + 0.5 a. Shuffled, what followed was another row's."""
    g = torch.Generator().manual_seed(seed)
    state = torch.randn(n, 3, generator=g)
    action = torch.randn(n, STEPS, 3, generator=g)
    path = state[:, None] + 0.5 * action.cumsum(1)
    reward = path[:, -1].sum(-1)
    if shuffled:
        order = torch.randperm(n, generator=g)
        path, reward = path[order], reward[order]
    following = Following(action, {"state": path}, reward, torch.ones(n, STEPS, dtype=torch.bool))
    return Batch({"state": state}, action[:, 0], torch.zeros(n), {"state": path[:, 0]}, torch.ones(n), following)


def learner(loss: str, **settings: float) -> AuxiliaryLearner:
    if loss != "curl":
        settings["steps"] = STEPS
    config = AuxiliaryConfig(**({"loss": loss, "width": 16, "hidden": 32, "learning_rate": 3e-3} | settings))
    generator = torch.Generator().manual_seed(0)
    return AuxiliaryLearner(Features(Encoder(SPACE), 16, generator=generator), 3, config, generator=generator)


def held_out(learned: AuxiliaryLearner, shuffled: bool = False) -> float:
    with torch.no_grad():
        batch = data(128, seed=99, shuffled=shuffled)
        return learned.module.loss(learned.features, batch, torch.Generator().manual_seed(5)).item()


def train(learned: AuxiliaryLearner, steps: int, shuffled: bool = False) -> AuxiliaryLearner:
    noise = torch.Generator().manual_seed(1)
    for i in range(steps):
        learned.update(data(128, seed=i, shuffled=shuffled), noise)
    return learned


@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_falls_on_data_that_it_has_not_seen(loss: str) -> None:
    learned = learner(loss)
    before = held_out(learned)
    assert held_out(train(learned, 300)) < 0.6 * before


def test_taco_finds_what_actions_lead_to_and_not_where_they_lead_nowhere() -> None:
    learned, control = train(learner("taco"), 400), train(learner("taco"), 400, shuffled=True)

    def temporal(one: AuxiliaryLearner, shuffled: bool) -> float:
        batch, taco = data(128, seed=99, shuffled=shuffled), one.module
        with torch.no_grad():
            z = one.features.latent(batch.obs)
            ahead = one.features.latent({"state": batch.following.obs["state"][:, -1]})
            codes = taco.sequence(taco.action(batch.following.action).flatten(1))
            return info_nce(taco.outcome(torch.cat([z, codes], dim=-1)), ahead, taco.similarity).item()

    assert temporal(learned, shuffled=False) < 0.6 * math.log(128)
    assert temporal(control, shuffled=True) > 0.95 * math.log(128)


def test_prediction_needs_the_actions() -> None:
    learned = train(learner("prediction"), 300)
    batch = data(128, seed=99)
    still = copy.copy(batch.following)
    object.__setattr__(still, "action", torch.zeros_like(batch.following.action))
    without = Batch(batch.obs, batch.action, batch.reward, batch.next_obs, batch.discount, still)
    with torch.no_grad():
        ignorant = learned.module.loss(learned.features, without, torch.Generator()).item()
    assert held_out(learned) < 0.5 * ignorant


def test_latents_do_not_all_become_one() -> None:
    learned = train(learner("prediction"), 300)
    with torch.no_grad():
        assert learned.features.latent(data(128, seed=99).obs).std(0).mean() > 0.1


class TestInfoNCE:
    def test_by_chance_it_is_the_logarithm_of_the_number(self) -> None:
        assert info_nce(torch.zeros(8, 4), torch.ones(8, 4), torch.eye(4)).item() == pytest.approx(math.log(8))

    def test_by_hand(self) -> None:
        # Logits [[2, 0], [0, 1]]: -log(e^2 / (e^2 + 1)) = 0.126928 and -log(e / (e + 1)) = 0.313262
        anchors, positives = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.eye(2)
        assert info_nce(anchors, positives, torch.eye(2)).item() == pytest.approx(0.220095, abs=1e-5)

    def test_rows_that_are_not_valid_are_neither_anchors_nor_candidates(self) -> None:
        g = torch.Generator().manual_seed(0)
        anchors, positives = torch.randn(2, 6, 4, generator=g)
        anchors.requires_grad_()
        valid = torch.tensor([True, False, True, True, False, True])
        loss = info_nce(anchors, positives, torch.eye(4), valid)
        torch.testing.assert_close(loss, info_nce(anchors[valid], positives[valid], torch.eye(4)))
        loss.backward()
        assert torch.isfinite(anchors.grad).all()
        assert (anchors.grad[~valid] == 0).all()

    def test_of_no_valid_row_it_is_zero(self) -> None:
        none = torch.zeros(4, dtype=torch.bool)
        assert info_nce(torch.ones(4, 2), torch.ones(4, 2), torch.eye(2), none).item() == 0.0


class TestMask:
    @pytest.mark.parametrize("loss", ["taco", "prediction"])
    def test_what_lies_beyond_an_episodes_end_changes_nothing(self, loss: str) -> None:
        learned, batch = learner(loss), data(32)
        batch.following.valid[:20, -1] = False
        results = []
        for junk in (0.0, 100.0):
            batch.following.obs["state"][:20, -1] = junk
            batch.following.action[:20, -1] = junk
            view = copy.deepcopy(learned)
            results.append(view.update(batch, torch.Generator().manual_seed(0))["auxiliary_loss"])
        assert torch.equal(*results)

    @pytest.mark.parametrize("loss", ["taco", "prediction"])
    def test_without_following_steps_it_says_what_is_missing(self, loss: str) -> None:
        batch = data(8)
        bare = Batch(batch.obs, batch.action, batch.reward, batch.next_obs, batch.discount)
        with pytest.raises(ValueError, match="following"):
            learner(loss).update(bare, torch.Generator())


class TestTargets:
    @pytest.mark.parametrize("loss", ["curl", "prediction"])
    @pytest.mark.parametrize("tau", [0.25, 1.0])
    def test_follow_by_tau(self, loss: str, tau: float) -> None:
        learned = learner(loss, tau=tau)
        before = [p.clone() for p in learned.module.target.parameters()]
        learned.update(data(32), torch.Generator().manual_seed(0))
        for old, target, source in zip(
            before, learned.module.target.parameters(), learned.features.parameters(), strict=True
        ):
            torch.testing.assert_close(target, old + tau * (source - old))
            assert not torch.equal(target, old)

    @pytest.mark.parametrize("loss", ["curl", "prediction"])
    def test_no_gradient_moves_them(self, loss: str) -> None:
        learned = learner(loss)
        assert not any(p.requires_grad for p in learned.module.target.parameters())
        owned = {id(p) for group in learned.optimiser.param_groups for p in group["params"]}
        assert not owned & {id(p) for p in learned.module.target.parameters()}
        assert {id(p) for p in learned.features.parameters()} <= owned


class TestFeatures:
    def test_policy_and_critics_see_the_vectors_with_the_latents_beside_them_as_constants(self) -> None:
        features = Features(Encoder(SPACE), 8, generator=torch.Generator().manual_seed(0))
        obs = data(4).obs
        seen = features(obs)
        assert features.width == 11
        assert torch.equal(seen[:, :3], obs["state"])
        assert torch.equal(seen[:, 3:], features.latent(obs))
        assert not seen.requires_grad
        assert features.latent(obs).requires_grad

    def test_an_encoder_with_weights_is_what_they_see_and_learns_from_the_loss_too(self) -> None:
        class Learned(Encoder):
            def __init__(self) -> None:
                super().__init__(SPACE)
                self.width = 5
                self.layer = torch.nn.Linear(3, 5)

            def forward(self, obs: dict[str, torch.Tensor]) -> torch.Tensor:
                return self.layer(super().forward(obs))

        encoder = Learned()
        features = Features(encoder, 8, generator=torch.Generator().manual_seed(0))
        obs = data(4).obs
        assert features.width == 5
        assert torch.equal(features(obs), encoder(obs))
        config = AuxiliaryConfig(loss="curl", width=8)
        learned = AuxiliaryLearner(features, 3, config, generator=torch.Generator().manual_seed(0))
        before = encoder.layer.weight.clone()
        learned.update(data(32), torch.Generator().manual_seed(0))
        assert not torch.equal(before, encoder.layer.weight)

    def test_views_differ_by_noise_in_proportion_to_the_spread(self) -> None:
        features = Features(Encoder(SPACE), 3, generator=torch.Generator().manual_seed(0))
        features.trunk = torch.nn.Identity()
        spread = torch.tensor([1.0, 10.0, 0.0])
        obs = {"state": spread * torch.randn(5000, 3, generator=torch.Generator().manual_seed(0))}
        moved = features.latent(obs, 0.1, torch.Generator().manual_seed(1)) - obs["state"]
        assert moved.std(0).tolist() == pytest.approx([0.1, 1.0, 0.0], rel=0.05)
