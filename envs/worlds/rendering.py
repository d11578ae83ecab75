"""Pictures of a MuJoCo scene. The only file that touches OpenGL, and only when a picture is asked for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

import mujoco
import numpy as np
import torch

from envs.worlds.raycast import RayRenderer
from robo_rl.contracts import CameraSpec

logger = logging.getLogger(__name__)


class Renderer(Protocol):
    """What draws a model: MuJoCo's OpenGL renderer or our ray caster."""

    def update_scene(self, data: mujoco.MjData, camera: str) -> None:
        """Look at ``data`` through ``camera``."""
        ...

    def render(self, *, out: np.ndarray | None = None) -> np.ndarray:
        """Return the picture (H, W, 3) uint8, in ``out`` if given."""
        ...


def make_renderer(model: mujoco.MjModel, width: int, height: int) -> Renderer:
    """Open an off-screen renderer without shadow maps and reflections, which a software renderer takes long for.

    Where this machine has no OpenGL, pictures are ray cast: slower, but they need nothing (`robo-rl doctor` tells).
    """
    try:
        renderer = mujoco.Renderer(model, height, width)
    except Exception as error:
        logger.warning("no OpenGL (%s); pictures are ray cast, which is slow; `robo-rl doctor` names the remedy", error)
        return RayRenderer(model, height, width)
    for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
        renderer.scene.flags[flag] = 0
    return renderer


class CameraRig:
    """Reads the cameras of a scene in every copy of the world.

    Args:
        model: the model that the copies share.
        cameras: which to read; cameras of one size share a renderer.
    """

    def __init__(self, model: mujoco.MjModel, cameras: Sequence[CameraSpec]) -> None:
        self._cameras = tuple(cameras)
        sizes = {(camera.width, camera.height) for camera in cameras}
        self._renderers = {size: make_renderer(model, *size) for size in sizes}

    def read(self, datas: Sequence[mujoco.MjData]) -> dict[str, torch.Tensor]:
        """Return ``camera.NAME.rgb``, (B, H, W, 3) uint8, for each camera."""
        images = {}
        for camera in self._cameras:
            renderer = self._renderers[camera.width, camera.height]
            stack = np.empty((len(datas), camera.height, camera.width, 3), dtype=np.uint8)
            for i, data in enumerate(datas):
                renderer.update_scene(data, camera.name)
                renderer.render(out=stack[i])
            images[f"camera.{camera.name}.rgb"] = torch.from_numpy(stack)
        return images

    def close(self) -> None:
        """Free the OpenGL contexts."""
        for renderer in self._renderers.values():
            close(renderer)


def close(renderer: Renderer) -> None:
    """Free what a renderer holds of OpenGL."""
    if isinstance(renderer, mujoco.Renderer):
        renderer.close()
