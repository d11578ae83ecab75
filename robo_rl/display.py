"""Chooses how MuJoCo draws, before it is imported: it reads ``MUJOCO_GL`` at import."""

from __future__ import annotations

import ctypes
import os


def configure() -> None:
    """Choose EGL where there is no screen but the library, unless somebody has chosen already.

    Where there is neither, nothing is chosen and pictures are ray cast (:mod:`envs.worlds.raycast`).
    """
    if any(os.environ.get(name) for name in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY")):
        return
    try:
        ctypes.CDLL("libEGL.so.1")
    except OSError:
        return
    os.environ["MUJOCO_GL"] = "egl"
