"""Pictures of a MuJoCo scene. The only file that touches OpenGL, and only when a picture is asked for."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np
import torch

from robo_rl.contracts import CameraSpec
from robo_rl.errors import UserError

_REMEDY = (
    "install EGL (Debian: apt-get install libegl1 libgl1-mesa-dri) and set MUJOCO_GL=egl; `robo-rl doctor` tells more"
)


def make_renderer(model: mujoco.MjModel, width: int, height: int) -> mujoco.Renderer:
    """Open an off-screen renderer without shadows and reflections.

    Raises:
        UserError: if this machine cannot render, with the remedy.
    """
    try:
        renderer = mujoco.Renderer(model, height, width)
    except Exception as error:  # the backends raise whatever they like: ImportError, AttributeError, FatalError
        raise UserError(f"cannot render here ({error}); {_REMEDY}") from error
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
            renderer.close()
