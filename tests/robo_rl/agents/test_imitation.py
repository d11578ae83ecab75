"""A cloned policy that proposes actions (IBRL): who acts, what is bootstrapped from, and what it is worth."""

import dataclasses
from collections.abc import Callable

import gymnasium
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from robo_rl.agents.auxiliary import AuxiliaryConfig
from robo_rl.agents.critic_step import Ahead
from robo_rl.agents.imitation import IBRLConfig
from robo_rl.agents.mailbox import PolicyMailbox
from robo_rl.agents.sac import SAC, SACConfig
from robo_rl.contracts.learning import Batch
from robo_rl.errors import UserError

OBSERVATIONS = gymnasium.spaces.Dict(state=gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32))
ACTIONS = gymnasium.spaces.Box(-1, 1, (2,), np.float32)


def agent(choice: str = "greedy", *, seed: int = 0, ibrl: IBRLConfig | None = None, **settings: object) -> SAC:
    config = {"critics": 3, "target_subset": 2, "hidden": (16, 16), "ibrl": ibrl or IBRLConfig(choice=choice)}
    return SAC(OBSERVATIONS, ACTIONS, SACConfig(**(config | settings)), seed=seed)


def demonstrations(n: int) -> Batch:
    """An expert who pushes towards the origin."""
    state = 2 * torch.rand(n, 2, generator=torch.Generator().manual_seed(n)) - 1
    return Batch({"state": state}, (-4 * state).clamp(-1, 1), torch.zeros(n), {"state": state}, torch.ones(n))


def batch(rows: int = 32, seed: int = 0) -> Batch:
    g = torch.Generator().manual_seed(seed)
    state, after = torch.randn(2, rows, 2, generator=g)
    reward, discount = torch.rand(2, rows, generator=g)
    return Batch({"state": state}, torch.rand(rows, 2, generator=g) * 2 - 1, reward, {"state": after}, discount)


class Likes(torch.nn.Module):
    """Critics that value an action by its first entry times ``sign``; as many as are asked."""

    def __init__(self, sign: float, members: int = 3) -> None:
        super().__init__()
        self.sign, self.members = torch.nn.Parameter(torch.tensor(sign)), members

    def compute(self, x: Tensor, members: Tensor | None = None, masks: object = None) -> Tensor:
        return (self.sign * x[:, 2]).expand(self.members if members is None else len(members), -1)[..., None]


def fixed(sac: SAC, sign: float) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Let critics like large first entries (or small ones); return both policies' actions."""
    sac.imitation.proposed.critic = Likes(sign)
    obs = {"state": torch.randn(50, 2, generator=torch.Generator().manual_seed(3))}
    return sac.policy.act(obs), sac.imitation.proposed.cloned.act(obs), obs


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_who_is_worth_more_acts(sign: float) -> None:
    sac = agent()
    own, proposed, obs = fixed(sac, sign)
    acted = sac.act(obs, explore=False)
    better = sign * proposed[:, :1] > sign * own[:, :1]
    assert 0 < better.sum() < 50  # either is, somewhere
    assert torch.equal(acted, torch.where(better, proposed, own))


def test_softly_either_acts_the_likelier_the_more_it_is_worth() -> None:
    sac = agent(ibrl=IBRLConfig(choice="soft", temperature=0.5))
    own, proposed, obs = fixed(sac, 1.0)
    with torch.no_grad():
        sac.policy.output.bias[2:] = -10.0  # hardly any noise: whose action it was can be told
        sac.policy.output.weight[2:] = 0.0
    own = sac.policy.act(obs)
    cloned = torch.zeros(50)
    for _ in range(400):
        acted = sac.act(obs, explore=True)
        cloned += (acted - proposed).abs().amax(dim=1) < 1e-6
    wanted = torch.sigmoid((proposed[:, 0] - own[:, 0]) / 0.5)
    assert (cloned / 400 - wanted).abs().max() < 0.12
    greedy = torch.where((proposed[:, 0] > own[:, 0])[:, None], proposed, own)
    assert torch.equal(sac.act(obs, explore=False), greedy)


def test_targets_are_made_of_the_better_action_by_the_critics_that_are_asked() -> None:
    sac = agent()
    state = torch.randn(20, 2, generator=torch.Generator().manual_seed(4))
    own = torch.rand(20, 2, generator=torch.Generator().manual_seed(5)) * 2 - 1
    members = torch.tensor([2, 0])
    ahead = Ahead(torch.cat([state, own], dim=1), torch.zeros(20), members)
    found = sac.imitation.proposed.look_ahead(ahead, sac.learning)
    proposed = sac.imitation.proposed.cloned.act({"state": state})
    assert sac.target_critic is not None
    values = [
        sac.target_critic(torch.cat([state, action], dim=1), members).amin(dim=0)[:, 0] for action in (own, proposed)
    ]
    better = values[1] > values[0]
    assert 0 < better.sum() < 20
    assert torch.equal(found.inputs[:, 2:], torch.where(better[:, None], proposed, own))
    # so that the target is the larger of both minima, never the smaller
    after = sac.target_critic(found.inputs, members).amin(dim=0)[:, 0]
    assert torch.allclose(after, torch.maximum(*values))


def test_the_cloned_policy_learns_the_demonstrations_and_nothing_after() -> None:
    sac = agent(actor_lr=3e-3)
    held_out = demonstrations(333)

    def error() -> float:
        cloned = sac.imitation.proposed.cloned.act(held_out.obs)
        return (cloned - held_out.action).square().mean().item()

    before = error()
    sac.imitate(demonstrations, 300)
    after = error()
    assert after < 0.03 < before
    policy = sac.policy.act(held_out.obs)
    assert (policy - held_out.action).square().mean() > 0.1  # only the one that proposes
    for seed in range(3):
        sac.update(batch(seed=seed), utd=2)
    assert error() == after
    assert not torch.equal(sac.policy.act(held_out.obs), policy)


def test_a_good_proposal_is_acted_on_where_the_critics_know_better_than_the_policy() -> None:
    """With a good clone and trained critics it acts well although its own policy has never moved."""
    states = torch.rand(2000, 2, generator=torch.Generator().manual_seed(6)) * 2 - 1
    actions = torch.rand(2000, 2, generator=torch.Generator().manual_seed(7)) * 2 - 1
    reward = -(actions - (-4 * states).clamp(-1, 1)).square().sum(dim=1)

    def wrong(n: int) -> Batch:
        return dataclasses.replace(demonstrations(n), action=torch.ones(n, 2))

    def returns(choice: str, demos: Callable[[int], Batch] = demonstrations) -> float:
        sac = agent(choice, critic_lr=3e-3, actor_lr=3e-3)
        if choice != "off":
            sac.imitate(demos, 400)
        sac.actor_optimiser.param_groups[0]["lr"] = 0.0
        g = torch.Generator().manual_seed(8)
        for _ in range(150):
            rows = torch.randint(2000, (256,), generator=g)
            obs = {"state": states[rows]}
            sac.update(Batch(obs, actions[rows], reward[rows], obs, torch.zeros(256)), utd=1)
        test = {"state": states[:200]}
        acted = sac.act(test, explore=False)
        return -(acted - (-4 * test["state"]).clamp(-1, 1)).square().sum(dim=1).mean().item()

    alone, proposed, misled = returns("off"), returns("greedy"), returns("greedy", wrong)
    assert proposed > alone + 0.5
    assert misled < proposed - 0.3  # a bad clone gives little to choose from
    assert misled > alone - 0.2  # and is not followed blindly


def test_the_mailbox_copies_the_critics_that_choose_and_not_the_clone() -> None:
    sac = agent("soft")
    mailbox = PolicyMailbox(sac)
    obs = {"state": torch.randn(30, 2)}
    first = mailbox.act(obs, explore=False)
    copied = mailbox._acting.network
    own = next(sac.imitation.proposed.cloned.parameters())
    assert next(copied.cloned.parameters()) is own
    sac.update(batch(), utd=4)
    assert torch.equal(mailbox.act(obs, explore=False), first)
    mailbox.publish()
    mailbox.adopt()
    assert torch.equal(mailbox.act(obs, explore=False), sac.act(obs, explore=False))


def test_goes_on_bit_for_bit_after_save_and_load(tmp_path) -> None:
    sac, other = agent("soft"), agent("soft", seed=1)
    sac.imitate(demonstrations, 20)
    sac.update(batch(), utd=2)
    save_file(sac.state_dict(), tmp_path / "sac.safetensors")
    other.load_state_dict(load_file(tmp_path / "sac.safetensors"))
    for one in (sac, other):
        one.update(batch(seed=1), utd=2)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in sac.state_dict().items())
    third, obs = agent("soft", seed=2), {"state": torch.randn(20, 2)}
    third.load_policy_state(sac.policy_state())
    assert torch.equal(third.act(obs, explore=False), sac.act(obs, explore=False))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"critic_norm": "batch"}, "critic_norm"),
        ({"entropy_backup": True}, "entropy_backup"),
        ({"auxiliary": AuxiliaryConfig(loss="curl")}, "auxiliary"),
    ],
)
def test_what_does_not_go_together_is_refused(settings: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        SACConfig(ibrl=IBRLConfig(choice="greedy"), **settings)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match=r"ibrl\.temperature"):
        IBRLConfig(temperature=0.2)
    with pytest.raises(UserError, match="does nothing"):
        IBRLConfig(choice="greedy", temperature=0.2)
    with pytest.raises(UserError, match="above 0"):
        IBRLConfig(choice="soft", temperature=0.0)
    with pytest.raises(ValueError, match="off"):
        agent("off").imitate(demonstrations, 1)
    images = gymnasium.spaces.Dict({"camera.front.rgb": gymnasium.spaces.Box(0, 255, (32, 32, 3), np.uint8)})
    with pytest.raises(UserError, match="vectors only"):
        SAC(images, ACTIONS, SACConfig(critics=2, ibrl=IBRLConfig(choice="greedy")))
