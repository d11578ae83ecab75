"""Every optional piece in the whole learner: what it moves, stores and refuses; and without them nothing is new."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from robo_rl.agents.auxiliary import AuxiliaryConfig
from robo_rl.agents.experts import ExpertsConfig
from robo_rl.agents.perturbation import PerturbationConfig
from robo_rl.agents.sac import SAC, SACConfig
from robo_rl.contracts.learning import Batch, Following
from robo_rl.errors import UserError

OBSERVATIONS = gymnasium.spaces.Dict(state=gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32))
ACTIONS = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
STEPS = 3

OPTIONS: dict[str, dict[str, object]] = {
    "none": {},
    "weight_norm": {"critic_norm": "weight"},
    "no_norm": {"critic_norm": "none"},
    "crossq": {"critic_norm": "batch", "critic_hidden": (32, 32), "adam_beta1": 0.5},
    "droq": {"critic_dropout": 0.2, "critics": 2},
    "adan": {"optimiser": "adan"},
    "experts": {"experts": ExpertsConfig(count=4, active=2, width=16)},
    "drm": {"perturb": PerturbationConfig(every=3), "dormant_exploration": 1.0},
    "mentor": {
        "experts": ExpertsConfig(count=4, active=2, width=16),
        "perturb": PerturbationConfig(every=3, towards="best", snapshots=2),
        "dormant_exploration": 0.8,
    },
    "curl": {"auxiliary": AuxiliaryConfig(loss="curl", width=8)},
    "taco": {"auxiliary": AuxiliaryConfig(loss="taco", width=8, hidden=16, steps=STEPS)},
    "prediction": {"auxiliary": AuxiliaryConfig(loss="prediction", width=8, hidden=16, steps=STEPS)},
    "adan_crossq_prediction": {
        "optimiser": "adan",
        "critic_norm": "batch",
        "auxiliary": AuxiliaryConfig(loss="prediction", width=8, steps=STEPS),
        "perturb": PerturbationConfig(every=2),
    },
}


def agent(seed: int = 0, **settings: object) -> SAC:
    return SAC(OBSERVATIONS, ACTIONS, SACConfig(**({"critics": 3, "hidden": (16, 16)} | settings)), seed=seed)


def batch(n: int, seed: int = 0) -> Batch:
    g = torch.Generator().manual_seed(seed)
    state, next_state = torch.randn(2, n, 3, generator=g)
    action = torch.rand(n, STEPS, 2, generator=g) * 2 - 1
    reward, discount = torch.rand(2, n, generator=g)
    path = torch.randn(n, STEPS, 3, generator=g)
    following = Following(action, {"state": path}, reward, torch.rand(n, STEPS, generator=g) > 0.1)
    return Batch({"state": state}, action[:, 0], reward, {"state": next_state}, discount, following)


def moved(a: dict[str, Tensor], b: dict[str, Tensor]) -> set[str]:
    """First two parts of the names of the entries that are not equal bit for bit."""
    changed = [key for key in a.keys() & b.keys() if not torch.equal(a[key], b[key])]
    return {".".join(key.split(".")[:2]) for key in [*changed, *(a.keys() ^ b.keys())]}


def test_without_options_the_numbers_are_those_of_the_plain_learner() -> None:
    """Recorded before there were any options: after three blocks, one number of each kind."""
    sac = SAC(OBSERVATIONS, ACTIONS, SACConfig(critics=3, hidden=(16, 16)), seed=0)
    for i in range(3):
        g = torch.Generator().manual_seed(i)
        state, next_state = torch.randn(2, 32, 3, generator=g)
        action = torch.rand(32, 2, generator=g) * 2 - 1
        reward, discount = torch.rand(2, 32, generator=g)
        metrics = sac.update(Batch({"state": state}, action, reward, {"state": next_state}, discount), utd=2)
    state = sac.state_dict()
    found = {name: value.item() for name, value in metrics.items()}
    found |= {key: state[key].double().sum().item() for key in FINGERPRINT if "." in key}
    assert found.keys() == FINGERPRINT.keys()
    for name, value in FINGERPRINT.items():
        assert found[name] == pytest.approx(value, abs=1e-7, rel=1e-6), name


FINGERPRINT = {
    "critic_loss": 0.35261228680610657,
    "q_mean": -0.2806803286075592,
    "q_max": 0.7398121953010559,
    "td_error": 0.4644429683685303,
    "actor_loss": 0.29389598965644836,
    "entropy": 1.277492880821228,
    "policy_std": 1.11104154586792,
    "temperature": 0.0099909957498312,
    "policy.output.weight": 2.3408558312803507,
    "critic.weights.0": -1.4937304249033332,
    "critic.scales.1": 47.97902822494507,
    "target_critic.weights.2": -1.4411587697686628,
    "actor_optimiser.0.exp_avg": -0.0006826782778261986,
}


@pytest.mark.parametrize("name", OPTIONS)
def test_goes_on_bit_for_bit_after_save_and_load(name: str, tmp_path: Path) -> None:
    sac, obs = agent(**OPTIONS[name]), {"state": torch.ones(4, 3)}
    for i in range(3):
        sac.update(batch(32, seed=i), utd=2)
        sac.act(obs, explore=True)
        sac.remember_episode(float(i))
    save_file(sac.state_dict(), tmp_path / "agent.safetensors")
    other = agent(seed=7, **OPTIONS[name])
    other.update(batch(32, seed=99), utd=1)
    other.load_state_dict(load_file(tmp_path / "agent.safetensors"))
    for i in range(4):
        assert torch.equal(sac.act(obs, explore=True), other.act(obs, explore=True))
        for one in (sac, other):
            one.update(batch(32, seed=10 + i), utd=2)
            one.remember_episode(1.5)
    assert not moved(sac.state_dict(), other.state_dict())


@pytest.mark.parametrize("name", OPTIONS)
def test_policy_state_is_enough_to_act(name: str) -> None:
    sac, other, obs = agent(**OPTIONS[name]), agent(seed=1, **OPTIONS[name]), {"state": torch.ones(4, 3)}
    sac.update(batch(32), utd=2)
    other.load_policy_state(sac.policy_state())
    assert torch.equal(sac.act(obs, explore=False), other.act(obs, explore=False))
    other.acting.set_state(sac.acting.get_state())
    assert torch.equal(sac.act(obs, explore=True), other.act(obs, explore=True))


@pytest.mark.parametrize("name", OPTIONS)
def test_learns_finite_numbers_and_metrics_are_scalars_without_a_graph(name: str) -> None:
    sac = agent(**OPTIONS[name])
    before = sac.state_dict()
    for i in range(3):
        metrics = sac.update(batch(32, seed=i), utd=2)
    for value in metrics.values():
        assert value.shape == ()
        assert not value.requires_grad
        assert torch.isfinite(value)
    after = sac.state_dict()
    for network in ("policy", "critic"):
        weights = [key for key in before if key.startswith(f"{network}.") and "weight" in key]
        assert weights
        assert all(torch.isfinite(after[key]).all() for key in weights)
    assert {"policy.output", "critic.weights", "log_temperature"} <= moved(before, after)


@pytest.mark.parametrize("name", OPTIONS)
def test_optimisers_move_only_what_they_own(name: str) -> None:
    sac, data = agent(**OPTIONS[name]), batch(32)
    sac.update(data, utd=2)  # so that every optimiser has momentum
    encoded = sac._features(data)

    def moved_by(step: object) -> set[str]:
        before = sac.state_dict()
        step()
        return {key.split(".")[0] for key in moved(before, sac.state_dict())}

    targets = {"target_critic"} if sac.target_critic is not None else set()
    assert (
        moved_by(lambda: sac.critic_step(encoded, sac.look_ahead(encoded, 1)[0], sac.learning))
        == {"critic", "critic_optimiser", "learning"} | targets
    )
    assert moved_by(lambda: sac._update_actor(encoded)) == {"policy", "actor_optimiser", "learning"}
    assert moved_by(lambda: sac._update_temperature(torch.tensor(0.3))) == {"log_temperature", "temperature_optimiser"}


@pytest.mark.parametrize("name", ["curl", "taco", "prediction"])
def test_only_the_auxiliary_loss_moves_the_trunk_and_it_moves_no_more(name: str) -> None:
    sac, data = agent(**OPTIONS[name]), batch(32)
    sac.update(data, utd=2)
    encoded = sac._features(data)
    before = sac.state_dict()
    sac.critic_step(encoded, sac.look_ahead(encoded, 1)[0], sac.learning)
    sac._update_actor(encoded)
    assert "policy.encoder" not in moved(before, sac.state_dict())
    before = sac.state_dict()
    sac.auxiliary.update(data, sac.learning)
    after = moved(before, sac.state_dict())
    assert "policy.encoder" in after
    assert {key.split(".")[0] for key in after - {"policy.encoder"}} <= {"auxiliary", "auxiliary_optimiser", "learning"}


class TestDropout:
    def test_critic_policy_and_target_each_draw_their_own(self) -> None:
        sac, data = agent(critic_dropout=0.5), batch(32)
        seen: list[object] = []
        for network in (sac.critic, sac.target_critic):
            plain = network.draw_masks
            network.draw_masks = lambda rows, noise, members, plain=plain: (
                seen.append(noise) or plain(rows, noise, members)
            )
        sac.update(data, utd=1)
        assert seen == [sac.learning] * 3  # the target, the critics' update, the policy's

    def test_values_that_nobody_learns_from_are_without(self) -> None:
        sac, x = agent(critic_dropout=0.5), torch.ones(4, 5)
        assert torch.equal(sac.critic(x), sac.critic(x))
        assert not torch.equal(sac.critic(x, noise=sac.learning), sac.critic(x, noise=sac.learning))

    def test_acting_has_none(self) -> None:
        sac, obs = agent(critic_dropout=0.5), {"state": torch.ones(4, 3)}
        assert torch.equal(sac.act(obs, explore=False), sac.act(obs, explore=False))


class TestDormancy:
    def test_exploration_keeps_a_deviation_while_units_sleep(self) -> None:
        sac, obs = agent(dormant_exploration=1.0), {"state": torch.zeros(4000, 3)}
        with torch.no_grad():
            sac.policy.output.weight.zero_()
            sac.policy.output.bias.copy_(torch.tensor([0.0, 0.0, -8.0, -8.0]))
        for ratio, floor in ((0.2, 0.5), (1.0, 1 / (1 + np.exp(-8.0)))):
            sac.dormant_ratio.fill_(ratio)
            u = torch.atanh(sac.act(obs, explore=True).double().clamp(-1 + 1e-9, 1 - 1e-9))
            assert u.std().item() == pytest.approx(floor, rel=0.05)
        assert sac.act(obs, explore=False).abs().max() == 0.0

    def test_a_policy_that_explores_more_by_itself_is_left_alone(self) -> None:
        floored, plain = agent(dormant_exploration=1e-6), agent()
        obs = {"state": torch.zeros(5, 3)}
        assert torch.equal(floored.act(obs, explore=True), plain.act(obs, explore=True))

    def test_the_ratio_is_told_and_learning_is_the_same(self) -> None:
        watching, plain = agent(dormant_exploration=1.0), agent()
        metrics = watching.update(batch(32), utd=2)
        plain.update(batch(32), utd=2)
        assert 0.0 <= metrics["dormant_ratio"].item() <= 1.0
        assert moved(watching.state_dict(), plain.state_dict()) == {"dormant_ratio"}

    def test_perturbation_shrinks_towards_fresh_weights_and_clears_the_optimisers(self) -> None:
        sac = agent(perturb=PerturbationConfig(every=4, least_kept=0.0, most_kept=0.0))
        sac.update(batch(33), utd=3)
        assert "critic_optimiser.0.step" in sac.state_dict()
        sac.update(batch(32), utd=1)
        state = sac.state_dict()
        assert not [key for key in state if key.startswith(("critic_optimiser.", "actor_optimiser."))]
        # Nothing is kept, so these are new draws; critics and targets each have their own.
        assert state["critic.weights.0"].abs().max() <= 1 / 5**0.5
        assert not torch.equal(state["critic.weights.0"], state["target_critic.weights.0"])

    def test_keeping_all_changes_no_weight(self) -> None:
        kept, plain = agent(perturb=PerturbationConfig(every=1, least_kept=1.0, most_kept=1.0)), agent()
        kept.update(batch(32), utd=1)
        plain.update(batch(32), utd=1)
        different = {key.split(".")[0] for key in moved(kept.state_dict(), plain.state_dict())}
        assert different == {"critic_optimiser", "actor_optimiser", "dormant_ratio", "perturbing"}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SACConfig(critic_dropout=1.0), "critic_dropout must lie"),
        (lambda: SACConfig(critic_norm="batch", critic_dropout=0.1), "critic_dropout spoils"),
        (lambda: SACConfig(critic_norm="batch", tau=0.01), "tau does nothing"),
        (lambda: SACConfig(optimiser="adan", adam_beta1=0.5), "adam_beta1 does nothing"),
        (lambda: SACConfig(adam_beta1=1.0), "adam_beta1 must lie"),
        (lambda: SACConfig(dormant_exploration=-1.0), "dormant_exploration"),
        (lambda: SACConfig(hidden=(), experts=ExpertsConfig(count=4)), "give hidden at least one"),
        (lambda: ExpertsConfig(active=2), "experts.active does nothing while experts.count is 0"),
        (lambda: ExpertsConfig(count=3), "experts.active must lie in 1..count"),
        (lambda: ExpertsConfig(count=8, balance=-1.0), "experts.balance"),
        (lambda: PerturbationConfig(least_kept=0.5), "perturb.least_kept does nothing while perturb.every is 0"),
        (lambda: PerturbationConfig(every=9, least_kept=0.95), "perturb.least_kept and most_kept must rise"),
        (lambda: PerturbationConfig(every=9, snapshots=3), "perturb.snapshots does nothing"),
        (lambda: PerturbationConfig(every=-1), "perturb.every"),
        (lambda: AuxiliaryConfig(width=9), "auxiliary.width does nothing while auxiliary.loss is 'none'"),
        (lambda: AuxiliaryConfig(loss="curl", steps=3), "auxiliary.steps does nothing with auxiliary.loss 'curl'"),
        (lambda: AuxiliaryConfig(loss="taco", tau=0.1), "auxiliary.tau does nothing"),
        (lambda: AuxiliaryConfig(loss="prediction", noise=0.1), "auxiliary.noise does nothing"),
        (lambda: AuxiliaryConfig(loss="taco", steps=0), "must be at least 1"),
        (lambda: AuxiliaryConfig(loss="curl", tau=0.0), "auxiliary.tau must lie"),
        (lambda: AuxiliaryConfig(loss="curl", noise=0.0), "auxiliary.noise must be positive"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_one_line(make: object, says: str) -> None:
    with pytest.raises(UserError, match=says) as refused:
        make()
    assert "\n" not in str(refused.value)
