"""Backbones: camera images to spatial feature maps.

``conv`` is a small strided network (as in DrQ, Kostrikov et al. 2020), ``resnet10`` and ``resnet18`` are residual
networks (He et al. 2015) with group normalisation (Wu and He 2018), and ``keypoints`` ends in a spatial softmax (Levine
et al. 2016): its map has a single place, and its channels are a code that poses can be read from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from robo_rl.errors import UserError, unknown_name

Architecture = Literal["conv", "keypoints", "resnet10", "resnet18"]
ARCHITECTURES: tuple[str, ...] = get_args(Architecture)

_GROUPS = 4  # of group normalisation, as in SERL (Luo et al. 2024)


@dataclass(frozen=True)
class BackboneSpec:
    """What a backbone is and which images it takes.

    Attributes:
        architecture: one of :data:`ARCHITECTURES`.
        size: height and width of the images, pixels.
        mean: of each colour, 0 to 1; taken off before the first layer.
        std: of each colour; divided by.
        norm: of residual networks: ``group``, or ``none`` where batch normalisation was folded into the convolutions.
        code: of keypoints: how many entries their code has, and how many sines after them.
    """

    architecture: str
    size: tuple[int, int]
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.25, 0.25, 0.25)
    norm: str = "group"
    code: tuple[int, int] = (64, 0)

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise unknown_name("architecture", self.architecture, ARCHITECTURES)


class Backbone(nn.Module):
    """Images to feature maps.

    Args:
        spec: see :class:`BackboneSpec`.
        generator: draws the initial weights; torch's own if None.

    Attributes:
        map_shape: (C, h, w) of the feature map of one image.

    Raises:
        UserError: if the images are too small for the architecture.
    """

    def __init__(self, spec: BackboneSpec, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.net: nn.Module
        if spec.architecture == "conv":
            self.net = _conv()
        elif spec.architecture == "keypoints":
            self.net = Keypoints(code=spec.code)
        else:
            self.net = ResNet((1, 1, 1, 1) if spec.architecture == "resnet10" else (2, 2, 2, 2), spec.norm)
        draw_weights(self.net, generator)
        # One multiplication and one addition take a byte to what the first layer wants.
        std = torch.tensor(spec.std).view(3, 1, 1)
        self.scale: Tensor
        self.offset: Tensor
        self.register_buffer("scale", 1.0 / (255.0 * std), persistent=False)
        self.register_buffer("offset", -torch.tensor(spec.mean).view(3, 1, 1) / std, persistent=False)
        try:
            with torch.no_grad():
                shape = self(torch.zeros(1, *spec.size, 3, dtype=torch.uint8)).shape[1:]
        except RuntimeError:
            raise UserError(
                f"agent.encoder: images of {spec.size[1]}x{spec.size[0]} pixels are too small for {spec.architecture}"
            ) from None
        self.map_shape: tuple[int, int, int] = (shape[0], shape[1], shape[2])

    def forward(self, images: Tensor) -> Tensor:
        """Return feature maps (B, C, h, w) float32 of images (B, H, W, 3) uint8."""
        pixels = images.permute(0, 3, 1, 2).to(torch.float32)  # memory stays channels last, which convolutions like
        return self.net(pixels * self.scale + self.offset)


def draw_weights(module: nn.Module, generator: torch.Generator | None) -> None:
    """Draw the weights of all convolutions and linear layers as He et al. 2015 do, uniformly; biases become 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = math.sqrt(6.0 / layer.weight[0].numel())
            layer.weight.data.uniform_(-bound, bound, generator=generator)
            if layer.bias is not None:
                layer.bias.data.zero_()


def _conv() -> nn.Module:
    """Four convolutions, the first three with stride 2: 32 maps of an eighth of the image's size."""
    layers: list[nn.Module] = []
    for inputs, stride in ((3, 2), (32, 2), (32, 2), (32, 1)):
        layers += [nn.Conv2d(inputs, 32, 3, stride, padding=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class Keypoints(nn.Module):
    """Convolutions, spatial softmax, and two layers that make a code of the points.

    Each of 32 maps p of a quarter of the image's size becomes the point ``sum_xy softmax(p)_xy (x, y)``, in [-1, 1]; it
    tells where something is to a fraction of a pixel. The code has its entries at one place, as channels; of the last
    ones the sine is taken.

    Args:
        points: maps.
        code: entries that are taken as they are, and entries whose sine is.
    """

    def __init__(self, points: int = 32, code: tuple[int, int] = (64, 0)) -> None:
        super().__init__()
        self._plain = code[0]
        self.maps = nn.Sequential(
            nn.Conv2d(3, 32, 6, stride=4, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(32, 32, 3, padding=2, dilation=2), nn.ReLU(inplace=True),
            nn.Conv2d(32, points, 1),
        )  # fmt: skip
        self.code = nn.Sequential(nn.Linear(2 * points, 128), nn.ReLU(inplace=True), nn.Linear(128, sum(code)))

    def forward(self, images: Tensor) -> Tensor:
        """Return codes (B, code, 1, 1) of normalised images (B, 3, H, W)."""
        code = self.code(spatial_softmax(self.maps(images)).flatten(1))
        code = torch.cat([code[:, : self._plain], code[:, self._plain :].sin()], dim=-1)
        return code[:, :, None, None]


def spatial_softmax(maps: Tensor) -> Tensor:
    """Return the points (B, C, 2), x and y in [-1, 1], that maps (B, C, h, w) expect (Levine et al. 2016, eq. 2)."""
    height, width = maps.shape[-2:]
    weight = maps.flatten(2).softmax(-1).unflatten(2, (height, width))
    x = torch.linspace(-1.0, 1.0, width, device=maps.device)
    y = torch.linspace(-1.0, 1.0, height, device=maps.device)
    return torch.stack([weight.sum(2) @ x, weight.sum(3) @ y], dim=-1)


class ResNet(nn.Module):
    """A residual network of basic blocks; layers are named as in torchvision, so that its weights fit.

    Args:
        blocks: number of blocks in each of the four stages; (1, 1, 1, 1) has 10 layers, (2, 2, 2, 2) has 18.
        norm: see :class:`BackboneSpec`.
    """

    def __init__(self, blocks: Sequence[int], norm: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=norm == "none")
        self.norm1 = _norm(norm, 64)
        self.pool = nn.MaxPool2d(3, 2, 1)
        inputs = 64
        for stage, count in enumerate(blocks, start=1):
            width = 32 * 2**stage
            first = _Block(inputs, width, 1 if stage == 1 else 2, norm)
            others = (_Block(width, width, 1, norm) for _ in range(count - 1))
            self.add_module(f"layer{stage}", nn.Sequential(first, *others))
            inputs = width

    def forward(self, images: Tensor) -> Tensor:
        """Return maps (B, 512, h, w), a 32nd of the size of the images (B, 3, H, W)."""
        x: Any = self.pool(self.norm1(self.conv1(images)).relu_())
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        return x


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, norm: str) -> None:
        super().__init__()
        bias = norm == "none"
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=bias)
        self.norm1 = _norm(norm, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=bias)
        self.norm2 = _norm(norm, outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=bias), _norm(norm, outputs))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm1(self.conv1(x)).relu_()
        return (self.norm2(self.conv2(h)) + self.downsample(x)).relu_()


def _norm(norm: str, channels: int) -> nn.Module:
    return nn.GroupNorm(_GROUPS, channels) if norm == "group" else nn.Identity()
