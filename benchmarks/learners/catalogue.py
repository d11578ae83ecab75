"""Who is timed, at what, and how each is installed and started."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers import PeerError, make_venv
from benchmarks.report import ROOT

TORCH = "torch==2.13.0"

CASES: dict[str, str] = {
    "block_10": "RLPD block, 10 critics: 20 updates of them, one of policy and temperature",
    "block_2": "the same with 2 critics",
    "sac": "one update of plain SAC, sampling included",
    "pixels": "one update from two cameras, convolutions learned, sampling and augmentation included",
    "cached_keypoints": "one update of 10 critics from cached codes of the keypoint encoder, two cameras",
    "cached_resnet10": "one update of 10 critics from cached 512x4x4 maps of a ResNet-10, two cameras",
    "act": "one action for one vector",
    "act_exported": "the same by an exported policy",
    "act_pixels": "one action for two images, convolutions",
    "act_features": "one action for two images, keypoint encoder",
    "replay": "a batch of vectors",
    "replay_images": "a batch with two cameras, shifted at random where the library can",
}
"""What is timed, by name."""

STORES: dict[str, str] = {
    "state": "vectors",
    "state_shared": "vectors, next observations not stored where the library has a mode for it",
    "images": "two cameras",
    "images_shared": "two cameras, next observations not stored where the library has a mode for it",
}
"""Replay memories that are weighed, by name."""


@dataclass(frozen=True)
class Ours:
    """Our learner with some of its options; ``only``: cases where they make a difference, all if empty."""

    options: Mapping[str, Any] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    weighed: bool = False
    devices: tuple[str, ...] = ("cpu", "cuda")

    def command(self, setup: str, venvs: Path) -> list[str]:
        """What starts it."""
        return [sys.executable, "-m", "benchmarks.learners.ours", setup, json.dumps(dict(self.options))]


@dataclass(frozen=True)
class Floor:
    """What nothing can be faster than."""

    dtype: str
    weighed: bool = False
    devices: tuple[str, ...] = ("cpu", "cuda")

    def command(self, setup: str, venvs: Path) -> list[str]:
        """What starts it."""
        return [sys.executable, "-m", "benchmarks.learners.floor", setup, self.dtype]


@dataclass(frozen=True)
class Peer:
    """Somebody else's library, in a virtual environment of its own.

    Attributes:
        script: in this folder, without its ending.
        packages: what pip installs.
        alone: what pip installs afterwards, without what it asks for.
        cuda: what pip installs instead of ``packages`` to learn on a GPU; None: it cannot, or the same.
        checkout: environment variable that names a checkout of what is on no package index; and a folder inside.
        weighed: whether its replay memory is weighed.
        devices: that it can learn on.
    """

    script: str
    packages: tuple[str, ...]
    alone: tuple[str, ...] = ()
    cuda: tuple[str, ...] | None = None
    checkout: tuple[str, str] | None = None
    weighed: bool = False
    devices: tuple[str, ...] = ("cpu", "cuda")

    def python(self, venvs: Path, *, cuda: bool) -> Path:
        """Its Python; installed if need be."""
        if cuda and self.cuda is not None:
            return make_venv(venvs / f"{self.script}-cuda", self.cuda, self.alone)
        return make_venv(venvs / self.script, self.packages, self.alone)

    def command(self, setup: str, venvs: Path) -> list[str]:
        """What starts it.

        Raises:
            PeerError: if it cannot be installed, or its checkout is not there.
        """
        if self.checkout is not None:
            variable, inside = self.checkout
            if not (Path(os.environ.get(variable, "")) / inside).is_dir():
                raise PeerError(f"{variable} names no folder with {inside} in it: give a checkout, or go without")
        python = self.python(venvs, cuda=json.loads(setup)["device"] == "cuda")
        return [str(python), str(ROOT / "benchmarks" / "learners" / f"{self.script}.py"), setup]


_UPDATES = ("block_10", "block_2", "sac", "pixels", "cached_keypoints", "cached_resnet10")
_SUITE = (
    "array-api-compat>=1.12,<2", "matplotlib>=3.9,<4", "mujoco==3.17.0", "rich>=13.9,<16", "tensorboard>=2.18,<3",
    "tyro>=1.0,<2",
)  # fmt: skip
"""What our environments take beside what LeRobot takes, so that it can learn in them."""
_RLPD = (
    "flax==0.10.2", "optax==0.2.4", "tensorflow-probability==0.25.0", "gym==0.26.2", "numpy<2", "scipy<1.14",
)  # fmt: skip

LEARNERS: dict[str, Ours | Floor | Peer] = {
    "ours": Ours(weighed=True),
    "ours_bf16": Ours({"bfloat16": True}, _UPDATES),
    "ours_compiled": Ours({"compile": True}, _UPDATES),
    "ours_compiled_bf16": Ours({"compile": True, "bfloat16": True}, _UPDATES),
    "ours_compiled_no_graphs": Ours({"compile": True, "cuda_graphs": False}, _UPDATES, devices=("cuda",)),
    "floor": Floor("float32"),
    "floor_bf16": Floor("bfloat16"),
    "sb3": Peer("sb3", (TORCH, "stable-baselines3==2.9.2"), weighed=True),
    "lerobot": Peer(
        "lerobot_sac",
        (
            TORCH, *_SUITE, "accelerate>=1.10,<2", "av>=15,<16", "datasets>=4,<5", "deepdiff>=7,<9", "draccus==0.10.0",
            "einops<0.9", "gymnasium>=1.1.1,<2", "huggingface-hub>=0.34.2,<0.36", "imageio<3", "jsonlines",
            "opencv-python-headless<4.13", "packaging<26", "pillow", "pyserial>=3.5,<4", "safetensors", "termcolor",
            "tqdm",
        ),
        alone=("diffusers==0.35.2", "torchvision==0.28.0", "lerobot==0.4.4"),
        weighed=True,
    ),
    "rlpd_jax": Peer(
        "rlpd_jax",
        ("jax==0.4.38", "jaxlib==0.4.38", *_RLPD),
        cuda=("jax[cuda12]==0.4.38", *_RLPD),
        checkout=("RLPD_ROOT", "rlpd/agents"),
        weighed=True,
    ),
    "sbx": Peer(
        "sbx_sac",
        (TORCH, "stable-baselines3==2.9.2", "sbx-rl==0.28.0"),
        cuda=(TORCH, "stable-baselines3==2.9.2", "sbx-rl==0.28.0", "jax[cuda12]==0.10.2"),
    ),
    "torchrl": Peer("torchrl_redq", (TORCH, "torchrl==0.14.1", "gymnasium<2"), weighed=True),
    "cpprb": Peer("cpprb_replay", ("cpprb==11.0.0",), weighed=True, devices=("cpu",)),
}  # fmt: skip
"""Who is timed, by name. RLPD itself is on no package index: give its checkout in RLPD_ROOT."""

OURS = tuple(name for name, entry in LEARNERS.items() if isinstance(entry, Ours))
FLOORS = tuple(name for name, entry in LEARNERS.items() if isinstance(entry, Floor))
