import threading

import gymnasium
import numpy as np
import pytest
import torch

from robo_rl.agents.auxiliary import AuxiliaryConfig
from robo_rl.agents.experts import ExpertsConfig
from robo_rl.agents.mailbox import PolicyMailbox
from robo_rl.agents.sac import SAC, SACConfig
from robo_rl.contracts.learning import Batch

OBSERVATIONS = gymnasium.spaces.Dict(state=gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32))
ACTIONS = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
OBS = {"state": torch.ones(4, 3)}


def agent(**settings: object) -> SAC:
    return SAC(OBSERVATIONS, ACTIONS, SACConfig(**({"critics": 2, "hidden": (16, 16)} | settings)))


def learn(sac: SAC, utd: int = 2, seed: int = 0) -> None:
    g = torch.Generator().manual_seed(seed)
    state, after = torch.randn(2, 32, 3, generator=g)
    action = torch.rand(32, 2, generator=g) * 2 - 1
    reward, discount = torch.rand(2, 32, generator=g)
    sac.update(Batch({"state": state}, action, reward, {"state": after}, discount), utd=utd)


def test_what_acts_stays_as_it_is_until_the_next_one_is_adopted() -> None:
    sac = agent()
    mailbox, first = PolicyMailbox(sac), sac.act(OBS, explore=False)
    assert not mailbox.adopt()
    learn(sac)
    assert torch.equal(mailbox.act(OBS, explore=False), first)
    assert mailbox.publish() == 2
    second = sac.act(OBS, explore=False)
    learn(sac)
    assert torch.equal(mailbox.act(OBS, explore=False), first)
    assert (mailbox.version, mailbox.behind) == (0, 2)
    assert mailbox.adopt()
    assert (mailbox.version, mailbox.behind) == (2, 0)
    assert torch.equal(mailbox.act(OBS, explore=False), second)
    assert not mailbox.adopt()
    assert not torch.equal(first, second)


def test_of_several_the_newest_is_adopted() -> None:
    sac = agent()
    mailbox = PolicyMailbox(sac)
    for seed in range(3):
        learn(sac, seed=seed)
        mailbox.publish()
    assert mailbox.adopt()
    assert mailbox.version == 6
    assert torch.equal(mailbox.act(OBS, explore=False), sac.act(OBS, explore=False))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"dormant_exploration": 1.0},
        {"experts": ExpertsConfig(count=4, active=2, width=16)},
        {"auxiliary": AuxiliaryConfig(loss="curl", width=8)},
        {"actor_layer_norm": True},
    ],
)
def test_it_acts_as_the_agent_does(settings: dict[str, object]) -> None:
    sac, twin = agent(**settings), agent(**settings)
    mailbox = PolicyMailbox(sac)
    for _ in range(2):
        learn(sac)
        learn(twin)
        mailbox.publish()
        mailbox.adopt()
        for explore in (False, True, True):
            assert torch.equal(mailbox.act(OBS, explore=explore), twin.act(OBS, explore=explore))


def test_weights_that_are_never_learned_are_not_copied() -> None:
    sac = agent(hidden=(16, 16))
    sac.policy.layers[0].weight.requires_grad_(False)
    mailbox = PolicyMailbox(sac)
    copied = mailbox._acting.network
    assert copied.layers[0].weight is sac.policy.layers[0].weight
    assert copied.layers[1].weight.data_ptr() != sac.policy.layers[1].weight.data_ptr()


def test_a_policy_is_never_seen_half_changed() -> None:
    """The learner's thread sets all weights to one number after the other; a mixture would show two."""
    sac = agent(hidden=(64, 64))
    sac.updates.fill_(0)
    for parameter in sac.policy.parameters():
        parameter.data.fill_(0.0)
    mailbox, stop = PolicyMailbox(sac), threading.Event()

    def learner() -> None:
        for version in range(1, 10_000):
            for parameter in sac.policy.parameters():
                parameter.data.fill_(float(version))
            sac.updates.fill_(version)
            mailbox.publish()
            if stop.is_set():
                return

    thread = threading.Thread(target=learner)
    thread.start()
    try:
        adopted: list[int] = []
        while len(adopted) < 40 and thread.is_alive():
            if mailbox.adopt():
                adopted.append(mailbox.version)
                for parameter in mailbox._acting.network.parameters():
                    assert (parameter == float(mailbox.version)).all()
    finally:
        stop.set()
        thread.join()
    assert len(adopted) == 40
    assert adopted == sorted(set(adopted))
