"""Domain randomisation of pictures: colours, lights and mountings of cameras (Tobin et al. 2017). Physics stays."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

_COLOUR = 0.15  # largest change of each colour, of 0 to 1
_LIGHT = 0.5  # largest change of a light's brightness, of what it is
_LAMP = 0.5  # m; largest displacement of a lamp along each axis
_MOUNT = 0.003  # m; largest displacement of a camera along each axis
_TILT = np.radians(1.0)  # largest turn of a camera about each axis


class Looks:
    """Changes what pictures of a scene look like.

    Args:
        shared: the model that is drawn; colours and lights are its.
        models: of the copies; where lamps and cameras are is theirs, and shows after their next step.
    """

    def __init__(self, shared: mujoco.MjModel, models: Sequence[mujoco.MjModel]) -> None:
        self._shared, self._models = shared, models
        self._colours = shared.geom_rgba.copy()
        self._diffuse, self._lamps = shared.light_diffuse.copy(), shared.light_pos.copy()
        self._head = {name: getattr(shared.vis.headlight, name).copy() for name in ("ambient", "diffuse")}
        self._places, self._quats = shared.cam_pos.copy(), shared.cam_quat.copy()

    def vary(self, rng: np.random.Generator, strength: float) -> None:
        """Draw looks anew around those of the scene, by ``strength`` from 0, as it is, to 1."""

        def around(value: np.ndarray, most: float) -> np.ndarray:
            return value + strength * most * rng.uniform(-1.0, 1.0, value.shape)

        shared = self._shared
        shared.geom_rgba[:, :3] = np.clip(around(self._colours[:, :3], _COLOUR), 0.0, 1.0)
        shared.light_diffuse[:] = self._diffuse * (1.0 + strength * _LIGHT * rng.uniform(-1.0, 1.0))
        for name, value in self._head.items():
            getattr(shared.vis.headlight, name)[:] = value * (1.0 + strength * _LIGHT * rng.uniform(-1.0, 1.0))
        for model in self._models:
            model.light_pos[:] = around(self._lamps, _LAMP)
            model.cam_pos[:] = around(self._places, _MOUNT)
            for i, quat in enumerate(self._quats):
                turn, axis = np.empty(4), strength * _TILT * rng.uniform(-1.0, 1.0, 3)
                mujoco.mju_axisAngle2Quat(turn, axis / max(np.linalg.norm(axis), 1e-9), float(np.linalg.norm(axis)))
                mujoco.mju_mulQuat(model.cam_quat[i], quat, turn)
