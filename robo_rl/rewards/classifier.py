"""The success classifier: camera images of one instant to the probability that the task is done."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from robo_rl.agents.backbones import Backbone, BackboneSpec, draw_weights
from robo_rl.agents.encoders import IMAGE_FEATURES, ImageHead
from robo_rl.contracts.reward_source import Transitions
from robo_rl.errors import UserError
from robo_rl.rewards.calibration import Platt
from robo_rl.rewards.rule import RuleSettings
from robo_rl.training.durable import write_file

if TYPE_CHECKING:
    from robo_rl.contracts.learning import Obs

FORMAT = "robo_rl success classifier 1"
"""Name and version of the file format."""

_HIDDEN = 128
_DROPOUT = 0.1
_CHUNK = 64  # images in one pass


class SuccessNet(nn.Module):
    """A backbone and an image head for each camera, and a small network from all features to one logit.

    Args:
        backbones: by observation key.
        frozen: whether the backbones stay as they are.
        generator: draws the initial weights of everything else.
    """

    def __init__(self, backbones: Mapping[str, Backbone], *, frozen: bool, generator: torch.Generator) -> None:
        super().__init__()
        self.keys = tuple(sorted(backbones))
        self.specs = tuple(backbones[key].spec for key in self.keys)
        self.frozen = frozen
        self.backbones = nn.ModuleList([backbones[key].requires_grad_(not frozen) for key in self.keys])
        self.heads = nn.ModuleList([ImageHead(backbones[key].map_shape, generator) for key in self.keys])
        self.out = nn.Sequential(
            nn.Linear(IMAGE_FEATURES * len(self.keys), _HIDDEN), nn.ReLU(), nn.Dropout(_DROPOUT), nn.Linear(_HIDDEN, 1)
        )
        draw_weights(self.out, generator)

    def forward(self, images: Mapping[str, Tensor]) -> Tensor:
        """Return logits (B,) of images, each (B, H, W, 3) uint8."""
        features = []
        for key, backbone, head in zip(self.keys, self.backbones, self.heads, strict=True):
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
                maps = backbone(images[key])
            features.append(head(maps))
        return self.out(torch.cat(features, dim=-1))[:, 0]

    @torch.no_grad()
    def logits(self, images: Mapping[str, Tensor]) -> Tensor:
        """Return the logits (N,) float64, on the CPU, of any number of images; without dropout."""
        was, device = self.training, next(self.parameters()).device
        self.eval()
        count = len(next(iter(images.values())))
        parts = [
            self({key: images[key][at : at + _CHUNK].to(device) for key in self.keys}).cpu()
            for at in range(0, count, _CHUNK)
        ]
        self.train(was)
        return torch.cat(parts).double() if parts else torch.zeros(0, dtype=torch.float64)


@dataclass(frozen=True)
class SuccessClassifier:
    """A trained network with its calibration; a :class:`robo_rl.contracts.RewardSource`.

    Attributes:
        net: the network.
        platt: calibration of its logits.
        threshold: calibrated logit at or above which a frame counts as success.
        rule: when frames make a success.
        version: see the contract.
        notes: task, robot, metrics, digest of the frames it was learned from, and what else is known.

    Example:
        >>> classifier = SuccessClassifier.load(path)                       # doctest: +SKIP
        >>> classifier.probability({"camera.wrist.rgb": images})            # doctest: +SKIP
    """

    net: SuccessNet
    platt: Platt
    threshold: float
    rule: RuleSettings = field(default_factory=RuleSettings)
    version: int = 1
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def observes(self) -> tuple[str, ...]:
        """Observation keys of its cameras."""
        return self.net.keys

    @property
    def threshold_probability(self) -> float:
        """The threshold as a probability."""
        return 1.0 / (1.0 + math.exp(-self.threshold))

    def logits(self, obs: Obs) -> Tensor:
        """Return the calibrated logits (B,) float64 of observations, on the CPU.

        Raises:
            UserError: if the images of a camera are not there, or of another size.
        """
        for key, spec in zip(self.net.keys, self.net.specs, strict=True):
            there = obs.get(key)
            if there is None:
                raise UserError(
                    f"classifier: it looks at {', '.join(self.observes)}, and {key!r} is not observed here; use the "
                    "cameras that it was trained with"
                )
            wanted = (*spec.size, 3)
            if tuple(there.shape[1:]) != wanted or there.dtype != torch.uint8:
                raise UserError(
                    f"classifier: it takes images {wanted} uint8 of {key!r}, these are {tuple(there.shape[1:])} "
                    f"{there.dtype}; train one for this camera"
                )
        return self.platt(self.net.logits({key: obs[key] for key in self.observes}))

    def probability(self, obs: Obs) -> Tensor:
        """Return the probability (B,) float32 that the task is done, where the observations live."""
        return self.logits(obs).sigmoid().to(obs[self.observes[0]].device, torch.float32)

    def label(self, transitions: Transitions) -> Tensor:
        """Return 1 where the frame after the step counts as success, 0 elsewhere, (N,) float32; without the rule."""
        found = self.logits(transitions.next_obs) >= self.threshold
        return found.to(transitions.next_obs[self.observes[0]].device, torch.float32)

    def save(self, path: Path) -> None:
        """Store it in the file ``path``, whole or not at all.

        Raises:
            StorageError: if it could not be stored.
        """
        from safetensors.torch import save_file

        header = {
            "format": FORMAT,
            "version": self.version,
            "cameras": self.observes,
            "backbones": [asdict(spec) for spec in self.net.specs],
            "frozen": self.net.frozen,
            "platt": asdict(self.platt),
            "threshold": self.threshold,
            "rule": asdict(self.rule),
            "notes": dict(self.notes),
        }
        tensors = {name: value.detach().cpu().contiguous().clone() for name, value in self.net.state_dict().items()}
        text = {"robo_rl": json.dumps(header, sort_keys=True)}
        write_file(path, lambda unfinished: save_file(tensors, str(unfinished), metadata=text))

    @staticmethod
    def load(path: Path) -> SuccessClassifier:
        """Read a file that :meth:`save` wrote.

        Raises:
            UserError: if there is no such file, or it holds no classifier.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="pt") as file:
                header = json.loads((file.metadata() or {}).get("robo_rl", "{}"))
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a dict)
        except FileNotFoundError:
            raise UserError(f"classifier: there is no {path}; make one with: robo-rl reward train TASK") from None
        except (OSError, SafetensorError, ValueError) as error:
            raise UserError(f"classifier: {path} cannot be read: {error}") from None
        if header.get("format") != FORMAT:
            raise UserError(f"classifier: {path} holds none ({FORMAT!r}); make one with: robo-rl reward train TASK")
        try:
            specs = [BackboneSpec(**{**spec, "size": tuple(spec["size"])}) for spec in header["backbones"]]
            backbones = {key: Backbone(spec) for key, spec in zip(header["cameras"], specs, strict=True)}
            net = SuccessNet(backbones, frozen=header["frozen"], generator=torch.Generator())
            net.load_state_dict(tensors)
            net.eval()
            return SuccessClassifier(
                net, Platt(**header["platt"]), header["threshold"], RuleSettings(**header["rule"]),
                header["version"], header["notes"],
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            line = " ".join(str(error).split())[:200]
            raise UserError(f"classifier: {path} is damaged: {line}") from None

    def noted(self, **notes: Any) -> SuccessClassifier:
        """Return the same classifier with more notes."""
        return replace(self, notes={**self.notes, **notes})
