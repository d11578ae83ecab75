"""LeRobot's SAC, updated as its learner does it: gradients clipped, target networks by its own method."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.sac.configuration_sac import SACConfig
from lerobot.policies.sac.modeling_sac import SACPolicy
from lerobot.rl.buffer import ReplayBuffer
from timing import ACTIONS, BATCH, OBS, TRANSITIONS, UTD, serve

STATE = "observation.state"


class Learner:
    """A policy with the optimisers that its learner gives it."""

    def __init__(self, critics: int) -> None:
        low, high = [-1.0] * OBS, [1.0] * OBS
        config = SACConfig(
            input_features={STATE: PolicyFeature(FeatureType.STATE, (OBS,))},
            output_features={"action": PolicyFeature(FeatureType.ACTION, (ACTIONS,))},
            dataset_stats={
                STATE: {"min": low, "max": high}, "action": {"min": [-1.0] * ACTIONS, "max": [1.0] * ACTIONS},
            },
            device="cpu", num_critics=critics, num_subsample_critics=2 if critics > 2 else None,
            use_torch_compile=False,
        )  # fmt: skip
        self.policy: Any = SACPolicy(config=config)
        self.policy.train()
        self.clip = config.grad_clip_norm
        self.parameters = {
            "critic": list(self.policy.critic_ensemble.parameters()),
            "actor": [p for name, p in self.policy.actor.named_parameters() if not name.startswith("encoder")],
            "temperature": [self.policy.log_alpha],
        }
        self.optimisers = {name: torch.optim.Adam(each, 3e-4) for name, each in self.parameters.items()}

    def step(self, batch: dict[str, Any], part: str) -> None:
        """One gradient step of one part."""
        loss = self.policy.forward(batch, model=part)[f"loss_{part}"]
        self.optimisers[part].zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters[part], max_norm=self.clip)
        self.optimisers[part].step()

    def block(self, batches: list[dict[str, Any]]) -> None:
        """Critic updates, then one of policy and temperature."""
        for batch in batches:
            self.step(batch, "critic")
            self.policy.update_target_networks()
        self.step(batches[-1], "actor")
        self.step(batches[-1], "temperature")


def filled() -> ReplayBuffer:
    """A buffer of random transitions."""
    memory = ReplayBuffer(capacity=TRANSITIONS, device="cpu", state_keys=[STATE], storage_device="cpu", use_drq=False)
    for _ in range(TRANSITIONS):
        memory.add(
            state={STATE: torch.randn(1, OBS)}, action=torch.rand(1, ACTIONS), reward=0.0,
            next_state={STATE: torch.randn(1, OBS)}, done=False, truncated=False,
        )  # fmt: skip
    return memory


def main() -> None:
    """Serve."""
    memory = filled()

    def batch() -> dict[str, Any]:
        return dict(memory.sample(BATCH))

    batches = [batch() for _ in range(UTD)]
    ten, two, plain = Learner(10), Learner(2), Learner(2)
    obs = {STATE: torch.randn(1, OBS)}
    serve(
        {
            "block_10": partial(ten.block, batches),
            "block_2": partial(two.block, batches),
            "sac": lambda: plain.block([batch()]),
            "act": partial(plain.policy.select_action, obs),
            "replay": batch,
        },
        ("lerobot", "torch"),
    )


if __name__ == "__main__":
    main()
