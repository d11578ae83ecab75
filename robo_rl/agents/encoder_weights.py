"""Files of encoder weights: safetensors whose metadata says what network they are of and which images it takes.

Files without such metadata are read too where they hold a residual network as torchvision, timm or Hugging Face's
transformers name its layers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robo_rl.agents.backbones import Backbone, BackboneSpec
from robo_rl.errors import MissingExtra, UserError

FORMAT = "robo_rl encoder 1"
"""Name and version of the file format."""

HUB_PREFIX = "timm:"
"""What ``agent.encoder_weights`` begins with where it names a checkpoint that timm downloads."""

_IMAGENET: dict[str, tuple[float, ...]] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_HUGGING_FACE = re.compile(
    r"(?:resnet\.)?(?:embedder\.embedder|encoder\.stages\.(\d)\.layers\.(\d)\.(?:layer\.(\d)|shortcut))"
    r"\.(convolution|normalization)\.(\w+)"
)


@dataclass(frozen=True)
class EncoderWeights:
    """Weights of backbones.

    Attributes:
        spec: of the backbone.
        tensors: weights by name; each name begins with its camera's observation key and ``/`` if there are ``cameras``.
        cameras: observation keys of the cameras that have weights of their own; empty if all share one backbone.
        notes: what else is known of them: task, robot, held-out errors.
    """

    spec: BackboneSpec
    tensors: Mapping[str, Tensor]
    cameras: tuple[str, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)

    def backbone(self, key: str, size: tuple[int, int]) -> Backbone:
        """Return the backbone of the images of ``size`` (height, width) that are observed as ``key``.

        Raises:
            UserError: if there are no weights for them, or they do not fit the architecture.
        """
        if self.cameras and key not in self.cameras:
            raise UserError(
                f"agent.encoder_weights: they are for {', '.join(self.cameras)}, not for {key!r}; "
                "make some for this task with robo-rl pretrain-encoder"
            )
        if size != self.spec.size and "hub" not in self.notes:  # those of a hub have seen all sizes
            (here, wide), (there, broad) = size, self.spec.size
            raise UserError(
                f"agent.encoder_weights: they are for images of {broad}x{there} pixels, but {key!r} has {wide}x{here}; "
                "make some for this task with robo-rl pretrain-encoder"
            )
        prefix = f"{key}/" if self.cameras else ""
        own = {name.removeprefix(prefix): value for name, value in self.tensors.items() if name.startswith(prefix)}
        backbone = Backbone(replace(self.spec, size=size))
        try:
            backbone.net.load_state_dict(own)
        except RuntimeError as error:
            line = " ".join(str(error).split())[:200]
            raise UserError(f"agent.encoder_weights: they do not fit {self.spec.architecture}: {line}") from None
        return backbone

    def save(self, path: Path) -> None:
        """Store them in the file ``path``.

        Raises:
            OSError: if that cannot be done; put it into :func:`robo_rl.training.durable.write_file`.
        """
        from safetensors.torch import save_file

        header = {"format": FORMAT, **asdict(self.spec), "cameras": self.cameras, "notes": dict(self.notes)}
        tensors = {name: value.detach().cpu().contiguous().clone() for name, value in self.tensors.items()}
        save_file(tensors, str(path), metadata={"robo_rl": json.dumps(header, sort_keys=True)})


def weights_of(backbones: Mapping[str, Backbone], notes: Mapping[str, Any]) -> EncoderWeights:
    """Return the weights of one backbone for each camera, by observation key."""
    spec = next(iter(backbones.values())).spec
    tensors = {f"{key}/{name}": value for key, net in backbones.items() for name, value in net.net.state_dict().items()}
    return EncoderWeights(spec, tensors, tuple(sorted(backbones)), notes)


def load_weights(source: str) -> EncoderWeights:
    """Read a file that :meth:`EncoderWeights.save` wrote or another library did, or have timm download a checkpoint.

    Args:
        source: path of the file, or ``timm:NAME``.

    Raises:
        UserError: if there is no such file or checkpoint, or it cannot be used.
        MissingExtra: if timm is not installed.
    """
    if source.startswith(HUB_PREFIX):
        return _from_timm(source.removeprefix(HUB_PREFIX))
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(source, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("robo_rl", "{}"))
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a dict)
    except FileNotFoundError:
        raise UserError(
            f"agent.encoder_weights: there is no {source}; give a file, timm:NAME, or make one with "
            "robo-rl pretrain-encoder TASK"
        ) from None
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(f"agent.encoder_weights: {source} cannot be read: {error}") from None
    if header.get("format") != FORMAT:
        weights = _residual_network(tensors, _IMAGENET, {"hub": Path(source).name})
        if weights is None:
            raise UserError(
                f"agent.encoder_weights: {source} neither says what network it is of (metadata {FORMAT!r}) nor holds a "
                "residual network of 10 or 18 layers with batch normalisation as torchvision, timm or Hugging Face "
                "name its layers; make one with robo-rl pretrain-encoder TASK"
            )
        return weights
    names = [each.name for each in fields(BackboneSpec) if each.name in header]  # older files lack the newer ones
    said: dict[str, Any] = {name: tuple(value) if isinstance(value := header[name], list) else value for name in names}
    spec = BackboneSpec(**said)
    return EncoderWeights(spec, tensors, tuple(header["cameras"]), header["notes"])


def _from_timm(name: str) -> EncoderWeights:
    """Download a residual network with batch normalisation, and fold that into its convolutions."""
    try:
        import timm
    except ImportError:
        raise MissingExtra(f"agent.encoder_weights {HUB_PREFIX}{name}", "timm") from None
    try:
        model = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # timm raises whatever its downloader does
        line = " ".join(str(error).split())[:200]
        raise UserError(f"agent.encoder_weights: timm cannot give {name!r}: {line}") from error
    about = getattr(model, "pretrained_cfg", {})
    colours = {key: tuple(about[key]) for key in ("mean", "std") if key in about}
    weights = _residual_network(model.state_dict(), _IMAGENET | colours, {"hub": name})
    if weights is None:
        raise UserError(
            f"agent.encoder_weights: {name!r} is no residual network of 10 or 18 layers with a plain stem; "
            "timm:resnet18.a1_in1k is one"
        )
    return weights


def _residual_network(
    state: Mapping[str, Tensor], colours: Mapping[str, tuple[float, ...]], notes: Mapping[str, Any]
) -> EncoderWeights | None:
    """Return the weights of a network with batch normalisation, folded into its convolutions; None if it is no such."""
    tensors = fold_batch_norm({_as_torchvision(name): value for name, value in state.items()})
    architecture = "resnet18" if "layer1.1.conv1.weight" in tensors else "resnet10"
    spec = BackboneSpec(architecture, (224, 224), colours["mean"], colours["std"], norm="none")
    weights = EncoderWeights(spec, tensors, notes=notes)
    try:
        weights.backbone("", (64, 64))
    except UserError:
        return None
    return weights


def _as_torchvision(name: str) -> str:
    """Return what torchvision calls the weight of a residual network that Hugging Face's transformers call ``name``."""
    found = _HUGGING_FACE.fullmatch(name)
    if found is None:
        return name
    stage, block, layer, kind, leaf = found.groups()
    plain = {"convolution": "conv", "normalization": "bn"}[kind]
    if stage is None:
        return f"{plain}1.{leaf}"
    place = f"layer{int(stage) + 1}.{block}"
    if layer is None:
        return f"{place}.downsample.{0 if plain == 'conv' else 1}.{leaf}"
    return f"{place}.{plain}{int(layer) + 1}.{leaf}"


def fold_batch_norm(state: Mapping[str, Tensor], eps: float = 1e-5) -> dict[str, Tensor]:
    """Return the weights of a torchvision or timm ResNet with its batch normalisation in the convolutions.

    ``gamma (W x - mean) / sqrt(var + eps) + beta = (gamma W / sqrt(var + eps)) x + (beta - gamma mean / sqrt(...))``
    """
    folded = {}
    for name, weight in state.items():
        layer = name.removesuffix(".weight")
        if weight.ndim != 4 or layer == name:
            continue
        norm = layer[:-1] + "1" if layer.endswith("downsample.0") else layer.replace("conv", "bn")
        if f"{norm}.running_var" not in state:
            return {}
        gain = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + eps)
        folded[name] = weight * gain.view(-1, 1, 1, 1)
        folded[f"{layer}.bias"] = state[f"{norm}.bias"] - gain * state[f"{norm}.running_mean"]
    return folded
