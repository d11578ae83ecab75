from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from robo_rl.agents.behaviour_cloning import BehaviourCloning, BehaviourCloningConfig
from robo_rl.contracts.learning import Batch

OBSERVATIONS = gymnasium.spaces.Dict(state=gymnasium.spaces.Box(-2, 2, (2,), np.float32))
ACTIONS = gymnasium.spaces.Box(-1, 1, (2,), np.float32)


class Demonstrations:
    """An expert that pushes towards the origin, mostly at full speed."""

    def __init__(self, shuffled: bool = False) -> None:
        self.generator = torch.Generator().manual_seed(0)
        self.shuffled = shuffled

    def sample(self, n: int) -> Batch:
        state = 2 * torch.rand(n, 2, generator=self.generator) - 1
        action = (-4 * state).clamp(-1, 1)
        if self.shuffled:
            action = action[torch.randperm(n, generator=self.generator)]
        return Batch({"state": state}, action, torch.zeros(n), {"state": state}, torch.ones(n))


def agent(seed: int = 0) -> BehaviourCloning:
    config = BehaviourCloningConfig(hidden=(32, 32), learning_rate=3e-3)
    return BehaviourCloning(OBSERVATIONS, ACTIONS, config, seed=seed)


def error(bc: BehaviourCloning) -> float:
    held_out = Demonstrations().sample(500)
    return (bc.act(held_out.obs, explore=False) - held_out.action).square().mean().item()


def test_learns_an_expert_that_saturates() -> None:
    bc = agent()
    before = error(bc)
    metrics = bc.fit(Demonstrations().sample, steps=400)
    assert error(bc) < 0.02 < before
    assert metrics["actor_loss"].shape == ()
    assert metrics["actor_loss"].item() == pytest.approx(error(bc), abs=0.01)


def test_learns_nothing_from_shuffled_actions() -> None:
    bc = agent()
    bc.fit(Demonstrations(shuffled=True).sample, steps=400)
    assert error(bc) > 0.4


def test_explore_changes_nothing() -> None:
    bc, obs = agent(), {"state": torch.ones(3, 2)}
    assert torch.equal(bc.act(obs, explore=True), bc.act(obs, explore=False))


def test_goes_on_bit_for_bit_after_save_and_load(tmp_path: Path) -> None:
    bc, other = agent(), agent(seed=1)
    bc.update(Demonstrations().sample(64), utd=2)
    save_file(bc.state_dict(), tmp_path / "bc.safetensors")
    other.load_state_dict(load_file(tmp_path / "bc.safetensors"))
    for one in (bc, other):
        one.update(Demonstrations().sample(64), utd=4)
    assert bc.updates == 6
    obs = Demonstrations().sample(10).obs
    assert torch.equal(bc.act(obs, explore=False), other.act(obs, explore=False))
    third = agent(seed=2)
    third.load_policy_state(bc.policy_state())
    assert torch.equal(bc.act(obs, explore=False), third.act(obs, explore=False))


def test_what_cannot_be_done_is_refused() -> None:
    with pytest.raises(ValueError, match="equal parts"):
        agent().update(Demonstrations().sample(10), utd=3)
    with pytest.raises(ValueError, match="steps"):
        agent().fit(Demonstrations().sample, steps=0)
