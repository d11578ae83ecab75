"""Pictures without OpenGL: MuJoCo's own ray casting, shaded.

A machine without a graphics library (a bare container, a robot PC) still gets its evaluation video. One ray per
sample and one shadow ray per hit; primitives are exact, meshes are cast as meshes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import mujoco

_LIGHT = np.array([0.6, -0.9, 2.2])  # a lamp over the table, base frame, m
SKY, HORIZON = (0.45, 0.60, 0.78), (0.86, 0.90, 0.95)
"""Colours of the background, above and at the horizon; of every renderer."""
_SKY, _HORIZON = np.array(SKY), np.array(HORIZON)
_AMBIENT = 0.42
_FAR = 20.0  # m
_DRAWN = np.array([1, 1, 1, 0, 0, 0], dtype=np.uint8)  # groups of geoms that OpenGL draws, too


class RayRenderer:
    """Renders fixed cameras of a model; the same three calls as ``mujoco.Renderer``.

    Example:
        >>> renderer = RayRenderer(model, height=240, width=320)      # doctest: +SKIP
        >>> renderer.update_scene(data, camera="overview")            # doctest: +SKIP
        >>> image = renderer.render()                                 # doctest: +SKIP

    Args:
        model: compiled model.
        height: pixels.
        width: pixels.
        samples: rays per pixel along each image axis; 2 smooths the edges at four times the cost.
    """

    def __init__(self, model: mujoco.MjModel, height: int, width: int, samples: int = 1) -> None:
        import mujoco

        self._mujoco = mujoco
        self.height, self.width, self._samples = height, width, samples
        self._model = model
        self._data: mujoco.MjData | None = None
        self._camera = -1
        rows, columns = height * samples, width * samples
        right, up = np.meshgrid(np.arange(columns) - (columns - 1) / 2, (rows - 1) / 2 - np.arange(rows))
        self._plane = np.stack([right, up], axis=-1).reshape(-1, 2) * (2.0 / rows)  # (rays, 2), 1 at the upper edge
        self._rgb = model.geom_rgba[:, :3].copy()
        dressed = model.geom_matid >= 0
        self._rgb[dressed] = model.mat_rgba[model.geom_matid[dressed], :3]
        self._is_plane = model.geom_type == int(mujoco.mjtGeom.mjGEOM_PLANE)

    def update_scene(self, data: mujoco.MjData, camera: int | str) -> None:
        """Take the poses of ``data`` (after ``mj_forward``) and look through ``camera``.

        Raises:
            ValueError: if the model has no such camera.
        """
        index = camera
        if isinstance(camera, str):
            index = self._mujoco.mj_name2id(self._model, self._mujoco.mjtObj.mjOBJ_CAMERA, camera)
        if not 0 <= int(index) < self._model.ncam:
            raise ValueError(f"the model has no camera {camera!r}")
        self._data, self._camera = data, int(index)

    def render(self, out: np.ndarray | None = None) -> np.ndarray:
        """Return the picture, (height, width, 3) uint8, in ``out`` if that is given."""
        if self._data is None:
            raise ValueError("call update_scene before render")
        rotation = self._data.cam_xmat[self._camera].reshape(3, 3)
        eye = self._data.cam_xpos[self._camera].copy()
        scale = np.tan(np.radians(self._model.cam_fovy[self._camera]) / 2)
        rays = np.concatenate([self._plane * scale, np.full((len(self._plane), 1), -1.0)], axis=1) @ rotation.T
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)

        geom, distance, normal = self._cast(eye, rays)
        colour = _HORIZON + (_SKY - _HORIZON) * np.clip(rays[:, 2:] * 2.0, 0.0, 1.0)
        hit = np.flatnonzero(geom >= 0)
        colour[hit] = self._shade(geom[hit], eye + distance[hit, None] * rays[hit], rays[hit], normal[hit])

        n = self._samples
        colour = colour.reshape(self.height, n, self.width, n, 3).mean(axis=(1, 3))
        picture = np.clip(colour * 255.0 + 0.5, 0, 255).astype(np.uint8)
        if out is None:
            return picture
        out[:] = picture
        return out

    def close(self) -> None:
        """Forget the scene; nothing else is held."""
        self._data = None

    def _cast(self, origin: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        count = len(rays)
        geom, distance, normal = np.full(count, -1, np.int32), np.full(count, -1.0), np.zeros((count, 3))
        if count:
            self._mujoco.mj_multiRay(
                self._model, self._data, origin, np.ascontiguousarray(rays).reshape(-1), _DRAWN, 1, -1,
                geom, distance, normal.reshape(-1), count, _FAR,
            )  # fmt: skip
        return geom, distance, normal

    def _shade(self, geom: np.ndarray, point: np.ndarray, ray: np.ndarray, normal: np.ndarray) -> np.ndarray:
        normal = np.where(np.sum(normal * ray, axis=1, keepdims=True) > 0, -normal, normal)
        from_light = point - _LIGHT
        span = np.linalg.norm(from_light, axis=1)
        from_light /= span[:, None]
        _, first, _ = self._cast(_LIGHT, from_light)  # all shadow rays start at the lamp
        lit = first >= span - 2e-3
        diffuse = np.clip(-np.sum(normal * from_light, axis=1), 0.0, 1.0) * np.where(lit, 1.0, 0.25)
        base = self._rgb[geom].copy()
        checker = (np.floor(point[:, 0] * 10.0) + np.floor(point[:, 1] * 10.0)) % 2 > 0
        base[self._is_plane[geom] & checker] *= 0.85
        return base * (_AMBIENT + (1.0 - _AMBIENT) * diffuse)[:, None]
