"""What the page's cameras see: drawn from a simulator, or received from the cameras of a cell, beside the loop."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from robo_rl.errors import Stale

if TYPE_CHECKING:
    from robo_rl.cockpit.cockpit import Cockpit

_OVERVIEW = "overview"
_WIDTH, _HEIGHT = 320, 240
_POSES = (
    "xpos", "xquat", "xmat", "geom_xpos", "geom_xmat", "site_xpos", "site_xmat", "cam_xpos", "cam_xmat", "light_xpos",
    "light_xdir",
)  # fmt: skip


class DrawnPictures:
    """Draws copy 0 of a simulated world in a thread of its own; the loop only copies where everything is.

    Args:
        world: in MuJoCo, on CPU threads.
        cameras: of its scene; an overview is added where there are fewer than two.
        cockpit: where the pictures go.
        fps: pictures a second of each camera, at most.
    """

    def __init__(self, world: Any, cameras: list[str], cockpit: Cockpit, fps: float) -> None:
        import mujoco

        self._world, self._cockpit, self._period = world, cockpit, 1.0 / fps
        self._cameras = cameras if len(cameras) >= 2 else [*cameras, _OVERVIEW]
        self._data = mujoco.MjData(world.models[0])
        self._poses: list[Any] | None = None
        self._new = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None

    def take(self) -> None:
        """Copy where everything is now, to be drawn."""
        data = self._world.datas[0]
        self._poses = [getattr(data, name).copy() for name in _POSES]
        self._new.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="cockpit-pictures", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the thread. Once more is no error."""
        self._closing = True
        self._new.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        from envs.worlds.rendering import close, make_renderer

        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)  # behind the loop, and so what draws
        renderer = make_renderer(self._world.model, _WIDTH, _HEIGHT)
        try:
            while not self._closing:
                self._new.wait()
                self._new.clear()
                poses, began = self._poses, time.monotonic()
                if poses is None:
                    continue
                for name, value in zip(_POSES, poses, strict=True):
                    getattr(self._data, name)[:] = value
                for camera in self._cameras:
                    if self._closing:
                        break
                    renderer.update_scene(self._data, camera)
                    self._cockpit.show_picture(camera, renderer.render(), began)
                time.sleep(max(0.0, self._period - (time.monotonic() - began)))
        finally:
            close(renderer)


def drawn_pictures(env: Any, cockpit: Cockpit, fps: float) -> DrawnPictures | None:
    """Return what draws an environment's cameras; None where its readings have pictures, or nothing can be drawn."""
    from envs.worlds.mujoco_world import MujocoWorld

    world = getattr(env, "world", None)
    if not isinstance(world, MujocoWorld) or any(name.startswith("camera.") for name in world.provides):
        return None
    return DrawnPictures(world, [camera.name for camera in env.task.scene().cameras], cockpit, fps)


@contextlib.contextmanager
def received(cameras: Mapping[str, Any], cockpit: Cockpit, fps: float) -> Iterator[None]:
    """Pass the newest pictures of a cell's cameras on, in a thread of its own."""
    closing = threading.Event()

    def look() -> None:
        shown: dict[str, float] = {}
        while not closing.wait(1.0 / fps):
            for name, camera in cameras.items():
                with contextlib.suppress(Stale):
                    frame = camera.read(1.0)
                    if shown.get(name) != frame.stamp:
                        shown[name] = frame.stamp
                        cockpit.show_picture(name, frame.rgb, frame.stamp)

    thread = threading.Thread(target=look, name="cockpit-pictures", daemon=True)
    thread.start()
    try:
        yield
    finally:
        closing.set()
        thread.join()
