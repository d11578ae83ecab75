import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from robo_rl.agents.sac import SAC, SACConfig
from robo_rl.contracts.learning import Batch
from robo_rl.errors import UserError

OBSERVATIONS = gymnasium.spaces.Dict(state=gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32))
ACTIONS = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
SMALL = {"critics": 3, "hidden": (16, 16)}


def agent(seed: int = 0, **settings: object) -> SAC:
    return SAC(OBSERVATIONS, ACTIONS, SACConfig(**(SMALL | settings)), seed=seed)


def batch(n: int, seed: int = 0) -> Batch:
    g = torch.Generator().manual_seed(seed)
    state, next_state = torch.randn(2, n, 3, generator=g)
    action = torch.rand(n, 2, generator=g) * 2 - 1
    reward, discount = torch.rand(2, n, generator=g)
    return Batch({"state": state}, action, reward, {"state": next_state}, discount)


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> list[str]:
    """Names of the entries that are equal bit for bit."""
    assert a.keys() == b.keys()
    return [key for key in a if torch.equal(a[key], b[key])]


def moved(a: dict[str, Tensor], b: dict[str, Tensor]) -> set[str]:
    """First parts of the names of the entries that are not."""
    return {key.split(".")[0] for key in a.keys() - set(same(a, b))}


def with_target_values(sac: SAC, values: list[float]) -> SAC:
    """Make member e of the target critics say ``values[e]``, whatever it sees."""
    for parameter in sac.target_critic.parameters():
        parameter.data.zero_()
    sac.target_critic.biases[-1].data.copy_(torch.tensor(values)[:, None])
    return sac


def targets(sac: SAC, reward: list[float], discount: list[float]) -> Tensor:
    n = len(reward)
    state = {"features": torch.zeros(n, 3)}
    batch = Batch(state, torch.zeros(n, 2), torch.tensor(reward), state, torch.tensor(discount))
    (ahead,) = sac.look_ahead(batch, 1)
    return sac.critic_step.target(batch.reward, batch.discount, ahead.inputs, ahead.log_prob, ahead.critics)


def update_critics(sac: SAC, encoded: Batch) -> Tensor:
    (ahead,) = sac.look_ahead(encoded, 1)
    return sac.critic_step(encoded, ahead, sac.learning)[1]


class TestTarget:
    def test_by_hand(self) -> None:
        sac = with_target_values(agent(target_subset=3), [3.0, 1.0, 2.0])
        # r + discount * min(3, 1, 2): 0.5 + 0.9 * 1; terminal; 3 steps of gamma 0.9
        y = targets(sac, [0.5, 1.0, 0.0], [0.9, 0.0, 0.729])
        torch.testing.assert_close(y, torch.tensor([1.4, 1.0, 0.729]))

    def test_is_clamped_to_the_bounds(self) -> None:
        sac = with_target_values(agent(target_subset=3, q_bounds=(0.0, 1.0)), [3.0, 3.0, 3.0])
        assert targets(sac, [0.5, -9.0], [0.9, 0.9]).tolist() == [1.0, 0.0]

    def test_entropy_backup_by_hand(self) -> None:
        sac = with_target_values(agent(target_subset=3, entropy_backup=True, initial_temperature=0.2), [3.0, 1.0, 2.0])
        sac.policy.output.weight.data.zero_()
        sac.policy.output.bias.data.zero_()  # u ~ N(0, 1)
        u = torch.randn(1, 2, generator=torch.Generator().set_state(sac.learning.get_state())).double()
        log_prob = (-0.5 * u**2 - 0.5 * math.log(2 * math.pi) - torch.log(1 - torch.tanh(u) ** 2)).sum().item()
        assert targets(sac, [0.5], [0.9]).item() == pytest.approx(0.5 + 0.9 * (1.0 - 0.2 * log_prob), abs=1e-4)

    def test_each_pair_of_critics_is_drawn_equally_often(self) -> None:
        sac = with_target_values(agent(target_subset=2), [1.0, 2.0, 3.0])
        y = torch.cat([targets(sac, [0.0], [1.0]) for _ in range(600)])
        assert set(y.tolist()) == {1.0, 2.0}  # the minimum is 1 unless members 2 and 3 are drawn: one pair of three
        assert (y == 2.0).float().mean().item() == pytest.approx(1 / 3, abs=0.08)

    def test_hl_gauss_values_are_scalars_before_the_backup(self) -> None:
        sac = agent(target_subset=3, hl_gauss=True, q_bounds=(0.0, 1.0))
        for parameter in sac.target_critic.parameters():
            parameter.data.zero_()
        sac.target_critic.biases[-1].data.copy_(sac.head.project(torch.tensor([0.8, 0.5, 0.6])).clamp_min(1e-30).log())
        assert targets(sac, [0.1], [0.9]).item() == pytest.approx(0.1 + 0.9 * 0.5, abs=1e-3)


class TestUpdate:
    def test_optimisers_move_only_what_they_own(self) -> None:
        sac, data = agent(), batch(32)
        sac.update(data, utd=2)  # so that every optimiser has momentum
        encoded = Batch(
            {"features": data.obs["state"]}, data.action, data.reward, {"features": data.obs["state"]}, data.discount
        )
        before = sac.state_dict()
        update_critics(sac, encoded)
        after = sac.state_dict()
        assert moved(before, after) == {"critic", "critic_optimiser", "target_critic", "learning"}
        before = after
        sac._update_actor(encoded)
        after = sac.state_dict()
        assert moved(before, after) == {"policy", "actor_optimiser", "learning"}
        before = after
        sac._update_temperature(torch.tensor(0.3))
        assert moved(before, sac.state_dict()) == {"log_temperature", "temperature_optimiser"}

    @pytest.mark.parametrize(("utd", "actor_updates"), [(1, 1), (4, 1), (2, 3)])
    def test_counts(self, utd: int, actor_updates: int) -> None:
        sac = agent(actor_updates=actor_updates)
        sac.update(batch(32), utd=utd)
        state = sac.state_dict()
        assert state["updates"] == utd
        assert state["critic_optimiser.0.step"] == utd
        assert state["actor_optimiser.0.step"] == actor_updates
        assert state["temperature_optimiser.0.step"] == actor_updates

    def test_each_critic_update_has_its_own_part_of_the_batch(self) -> None:
        whole, parts, data = agent(actor_lr=1e-30), agent(actor_lr=1e-30), batch(32)
        whole.update(data, utd=2)
        # The policy stands still, so that the noise is all that an actor update between the halves would change.
        first, second = data.split(2)
        parts.update(first, utd=1)
        noise = torch.Generator().set_state(agent().learning.get_state())
        torch.randn(16, 2, generator=noise), torch.randperm(3, generator=noise)
        parts.learning.set_state(noise.get_state())
        parts.update(second, utd=1)
        for a, b in zip(whole.critic.parameters(), parts.critic.parameters(), strict=True):
            assert torch.equal(a, b)

    def test_targets_follow_by_tau(self) -> None:
        sac = agent(tau=0.25)
        old = [p.clone() for p in sac.target_critic.parameters()]
        sac.update(batch(32), utd=1)
        for before, target, critic in zip(old, sac.target_critic.parameters(), sac.critic.parameters(), strict=True):
            torch.testing.assert_close(target, 0.75 * before + 0.25 * critic)

    def test_a_member_learns_as_if_it_were_alone(self) -> None:
        three, alone = agent(), agent(critics=1, target_subset=1)
        for own, shared in zip(alone.critic.parameters(), three.critic.parameters(), strict=True):
            own.data.copy_(shared.data[1:2])
        data = replace(batch(32), discount=torch.zeros(32))  # so that the targets are the same
        three.update(data, utd=1)
        alone.update(data, utd=1)
        for own, shared in zip(alone.critic.parameters(), three.critic.parameters(), strict=True):
            assert torch.equal(own, shared[1:2])

    @pytest.mark.parametrize(("actor_q", "expected"), [("mean", 2.0), ("min", 1.0)])
    def test_the_policy_climbs_the_mean_or_the_minimum(self, actor_q: str, expected: float) -> None:
        sac = agent(actor_q=actor_q, initial_temperature=1e-12)
        for parameter in sac.critic.parameters():
            parameter.data.zero_()
        sac.critic.biases[-1].data.copy_(torch.tensor([[1.0], [2.0], [3.0]]))
        metrics = sac._update_actor(Batch({"features": torch.zeros(4, 3)}, *(torch.zeros(0),) * 2, {}, torch.zeros(0)))
        assert metrics["actor_loss"].item() == pytest.approx(-expected, abs=1e-5)

    @pytest.mark.parametrize(("entropy", "rises"), [(-5.0, True), (5.0, False)])
    def test_temperature_rises_when_entropy_is_short_of_the_target(self, entropy: float, rises: bool) -> None:
        sac = agent()
        before = sac.log_temperature.item()
        sac._update_temperature(torch.tensor(entropy))
        assert (sac.log_temperature.item() > before) is rises

    def test_target_entropy_is_minus_half_the_actions(self) -> None:
        assert agent().target_entropy == -1.0
        assert agent(target_entropy=-3.0).target_entropy == -3.0

    @pytest.mark.parametrize("settings", [{}, {"hl_gauss": True, "q_bounds": (0.0, 1.0)}, {"critic_norm": "none"}])
    def test_metrics_are_finite_scalars_without_a_graph(self, settings: dict[str, object]) -> None:
        metrics = agent(**settings).update(batch(32), utd=2)
        assert set(metrics) == {
            "critic_loss", "q_mean", "q_max", "td_error", "actor_loss", "entropy", "temperature", "policy_std",
        }  # fmt: skip
        for value in metrics.values():
            assert value.shape == ()
            assert not value.requires_grad
            assert torch.isfinite(value)

    @pytest.mark.parametrize("utd", [0, 3])
    def test_a_batch_that_cannot_be_cut_is_refused(self, utd: int) -> None:
        with pytest.raises(ValueError, match="equal parts"):
            agent().update(batch(32), utd=utd)

    def test_the_seed_decides_everything(self) -> None:
        def run(seed: int) -> dict[str, Tensor]:
            sac = agent(seed=seed)
            sac.update(batch(32), utd=2)
            return sac.state_dict()

        state = run(0)
        torch.randn(3)  # the global generator plays no part
        assert len(same(state, run(0))) == len(state)
        assert "policy.output.weight" not in same(state, run(1))

    def test_acting_between_updates_does_not_change_learning(self) -> None:
        a, b = agent(), agent()
        b.act({"state": torch.zeros(5, 3)}, explore=True)
        a.update(batch(32), utd=2)
        b.update(batch(32), utd=2)
        assert moved(a.state_dict(), b.state_dict()) == {"acting"}


class TestState:
    @pytest.mark.parametrize("updates", [0, 3])
    def test_goes_on_bit_for_bit_after_save_and_load(self, updates: int, tmp_path: Path) -> None:
        sac, obs = agent(), {"state": torch.ones(4, 3)}
        for i in range(updates):
            sac.update(batch(32, seed=i), utd=2)
            sac.act(obs, explore=True)
        save_file(sac.state_dict(), tmp_path / "agent.safetensors")
        other = agent(seed=7)
        other.update(batch(32, seed=99), utd=1)  # with moments of its own, which must go
        other.load_state_dict(load_file(tmp_path / "agent.safetensors"))
        for i in range(3):
            assert torch.equal(sac.act(obs, explore=True), other.act(obs, explore=True))
            sac.update(batch(32, seed=10 + i), utd=2)
            other.update(batch(32, seed=10 + i), utd=2)
        state = sac.state_dict()
        assert len(same(state, other.state_dict())) == len(state)

    def test_is_a_copy(self) -> None:
        sac = agent()
        state, policy = sac.state_dict(), sac.policy_state()
        kept, kept_policy = ({k: v.clone() for k, v in s.items()} for s in (state, policy))
        sac.update(batch(32), utd=1)
        assert len(same(state, kept)) == len(state)
        assert len(same(policy, kept_policy)) == len(policy)
        other = agent(seed=1)
        other.load_state_dict(state)
        other.update(batch(32), utd=1)
        assert len(same(state, kept)) == len(state)

    def test_policy_state_is_enough_to_act(self) -> None:
        sac, other, obs = agent(), agent(seed=1), {"state": torch.ones(4, 3)}
        assert not torch.equal(sac.act(obs, explore=False), other.act(obs, explore=False))
        other.load_policy_state(sac.policy_state())
        assert torch.equal(sac.act(obs, explore=False), other.act(obs, explore=False))

    @pytest.mark.parametrize(
        ("spoil", "says"),
        [
            (lambda s: s.pop("critic.weights.0"), "lacks 'critic.weights.0'"),
            (lambda s: s.update(extra=torch.zeros(1)), "also has 'extra'"),
            (lambda s: s.update({"policy.output.bias": torch.zeros(5)}), r"'policy.output.bias' is \(5,\), not \(4,\)"),
        ],
    )
    def test_a_foreign_state_is_refused_and_changes_nothing(
        self, spoil: Callable[[dict[str, Tensor]], object], says: str
    ) -> None:
        sac, state = agent(), agent(seed=1).state_dict()
        before = sac.state_dict()
        spoil(state)
        with pytest.raises(UserError, match=says):
            sac.load_state_dict(state)
        assert len(same(before, sac.state_dict())) == len(before)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"target_subset": 4}, "target_subset"),
        ({"target_subset": 0}, "target_subset"),
        ({"q_bounds": (1.0, 0.0)}, "q_bounds"),
        ({"q_bounds": (0.0, 1.0), "entropy_backup": True}, "entropy_backup"),
        ({"hl_gauss": True}, "q_bounds"),
        ({"hl_gauss": True, "q_bounds": (0.0, 1.0), "hl_gauss_bins": 5}, "hl_gauss_bins"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        agent(**settings)


def test_bfloat16_is_refused_where_it_would_be_slow(monkeypatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    with pytest.raises(UserError, match="bfloat16: this processor"):
        agent(bfloat16=True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    sac = agent(bfloat16=True)
    assert math.isfinite(float(sac.update(batch(32), utd=4)["critic_loss"]))
