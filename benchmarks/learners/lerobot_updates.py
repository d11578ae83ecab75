"""LeRobot's SAC, updated as its learner does it: gradients clipped, target networks by its own method.

It asks for a torch older than ours and for torchvision, whose published build for Linux wants CUDA. It is installed
beside our torch without its dependencies; two operations of torchvision that LeRobot's SAC never calls are declared, so
that torchvision can be imported without its library.

Imported by scripts that run in LeRobot's virtual environment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

if torch.version.cuda is None:
    LIBRARY = torch.library.Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        LIBRARY.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.sac.configuration_sac import SACConfig
from lerobot.policies.sac.modeling_sac import SACPolicy
from lerobot.rl.buffer import ReplayBuffer, concatenate_batch_transitions

__all__ = ["STATE", "Learner", "ReplayBuffer", "concatenate_batch_transitions"]

STATE = "observation.state"


class Learner:
    """A policy with the optimisers that its learner gives it.

    Args:
        obs: numbers of the vector.
        actions: numbers of an action.
        critics: how many; of more than two, two make the target.
        device: where it learns.
        images: shapes (3, H, W) of cameras by their keys.
        settings: further ones of its SACConfig.
    """

    def __init__(
        self,
        obs: int,
        actions: int,
        *,
        critics: int = 2,
        device: str = "cpu",
        images: Mapping[str, tuple[int, ...]] | None = None,
        **settings: Any,
    ) -> None:
        inputs = {STATE: PolicyFeature(FeatureType.STATE, (obs,))}
        stats: dict[str, Any] = {
            STATE: {"min": [-1.0] * obs, "max": [1.0] * obs},
            "action": {"min": [-1.0] * actions, "max": [1.0] * actions},
        }
        for key, shape in (images or {}).items():
            inputs[key] = PolicyFeature(FeatureType.VISUAL, shape)
            stats[key] = {"mean": [0.5] * 3, "std": [0.25] * 3}
        # Its compiled critics are off: by its own issue list they do not converge.
        config = SACConfig(
            input_features=inputs,
            output_features={"action": PolicyFeature(FeatureType.ACTION, (actions,))},
            dataset_stats=stats, device=device, num_critics=critics,
            num_subsample_critics=2 if critics > 2 else None, freeze_vision_encoder=False, use_torch_compile=False,
            **settings,
        )  # fmt: skip
        self.policy: Any = SACPolicy(config=config).to(device)
        self.policy.train()
        self.clip = config.grad_clip_norm
        self.parameters = {
            "critic": list(self.policy.critic_ensemble.parameters()),
            "actor": [p for name, p in self.policy.actor.named_parameters() if not name.startswith("encoder")],
            "temperature": [self.policy.log_alpha],
        }
        self.optimisers = {name: torch.optim.Adam(each, 3e-4) for name, each in self.parameters.items()}

    def step(self, batch: Mapping[str, Any], part: str) -> None:
        """One gradient step of one part."""
        loss = self.policy.forward(batch, model=part)[f"loss_{part}"]
        self.optimisers[part].zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters[part], max_norm=self.clip)
        self.optimisers[part].step()

    def updates(self, batches: Sequence[Mapping[str, Any]]) -> None:
        """One update of the critics for each batch, then one of policy and temperature."""
        for batch in batches:
            self.step(batch, "critic")
            self.policy.update_target_networks()
        self.step(batches[-1], "actor")
        self.step(batches[-1], "temperature")
