"""The MuJoCo Warp world: B copies of a scene in one batch, on a GPU or (single-threaded, for tests) on the CPU."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import mujoco
import numpy as np
import torch

from envs.worlds.base import SimulatedWorld
from envs.worlds.raycast import HORIZON
from robo_rl import geometry
from robo_rl.contracts import Command, RobotSpec, SceneSpec, Start
from robo_rl.errors import MissingExtra, UserError

logger = logging.getLogger(__name__)

CONTACTS = 48
"""Contacts per copy that there is room for; the tasks of the suite have at most 12 at once."""


class WarpWorld(SimulatedWorld):
    """A :class:`robo_rl.contracts.World` in MuJoCo Warp: the same model, sensors and control as ``MujocoWorld``.

    All copies share one model; what differs between them (where fixtures stand, how a tool is held, the posture of the
    start) has a leading world dimension. Physics runs as a captured graph, on CUDA a whole control period at once. A
    command is checked before anything moves, which costs one number from the device per step.

    The first world on a machine compiles Warp's kernels, which takes a minute or two; they are kept in
    ``WARP_CACHE_PATH``.

    Args:
        robot: the arm.
        scene: what is around it.
        num_envs: B.
        device: such as ``cuda:0`` or ``cpu``; the first GPU, or the CPU where there is none, if None.
        cameras: whether to read the cameras of the scene at each step, by Warp's ray tracer, which needs no OpenGL.
        contacts: contacts per copy that there is room for. The copies share it: one may have more if others have less.
            Those that find no room are left out, which is told as a ``RuntimeWarning``.

    Raises:
        MissingExtra: if MuJoCo Warp is not installed.
        UserError: if there is no such device.
    """

    def __init__(
        self,
        robot: RobotSpec,
        scene: SceneSpec,
        *,
        num_envs: int = 1,
        device: str | None = None,
        cameras: bool = False,
        contacts: int = CONTACTS,
    ) -> None:
        try:
            import mujoco_warp
            import warp
        except ImportError as error:
            raise MissingExtra("world 'warp'", "warp") from error
        self._wp, self._mjw = warp, mujoco_warp
        warp.config.log_level = warp.LOG_WARNING  # it tells of every kernel otherwise
        self._device = self._find_device(device)
        super().__init__(robot, scene, num_envs=num_envs, device=torch.device(warp.device_to_torch(self._device)))
        kinds = mujoco_warp.OverflowType
        self._overflows = kinds.NEFC | kinds.NJMAX_NNZ | kinds.BROADPHASE | kinds.NARROWPHASE | kinds.CCD
        self._warned = False
        with self._on_device():
            self._build(contacts)
            self._graph, self._launches = self._capture()
            self._tracer = self._open_tracer() if cameras and scene.cameras else None
        if self._tracer is not None:
            self.provides |= {f"camera.{camera.name}.rgb" for camera in scene.cameras}

    def close(self) -> None:
        """Tell of contacts that found no room, and free the graph."""
        self._tell_overflow()
        self._graph = self._tracer = None

    def _find_device(self, name: str | None) -> Any:
        cuda = self._wp.is_cuda_available() and torch.cuda.is_available()
        if name is None:
            name = "cuda:0" if cuda else "cpu"
        elif name.startswith("cuda") and not cuda:
            raise UserError(f"device: no CUDA device is usable here, so {name!r} is not; use 'cpu'")
        try:
            return self._wp.get_device(name)
        except ValueError as error:
            known = ", ".join(repr(device.alias) for device in self._wp.get_devices())
            raise UserError(f"device: there is no {name!r}; use one of {known}") from error

    @contextmanager
    def _on_device(self) -> Iterator[None]:
        """Launch on our device and, on CUDA, in the order of torch's own work."""
        with self._wp.ScopedDevice(self._device):
            if self._device.is_cuda:
                with self._wp.ScopedStream(self._wp.stream_from_torch(self.device)):
                    yield
            else:
                yield

    def _build(self, contacts: int) -> None:
        logger.info("MuJoCo Warp on %s: the first world on a machine compiles for a minute or two", self._device)
        wp, mjw, model = self._wp, self._mjw, self.model
        # With this flag, boxes touch boxes by the C engine's own algorithm; nothing else changes.
        model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_NATIVECCD)
        per_copy = ("body_pos", "body_quat", "tendon_lengthspring")
        self._m = mjw.put_model(model, batch_sizes=dict.fromkeys(per_copy, self.num_envs))
        self._m.opt.warn_overflow = 0  # we tell ourselves, see _tell_overflow
        rows = 3 * contacts + model.njnt + model.neq + model.ntendon  # elliptic cones: three rows each
        self._d = mjw.make_data(model, nworld=self.num_envs, nconmax=contacts, njmax=rows)
        view = wp.to_torch  # zero-copy, all of them
        self._qpos, self._ctrl, self._live = view(self._d.qpos), view(self._d.ctrl), view(self._d.sensordata)
        self._target_quat = view(self._d.mocap_quat)[:, 0]
        self._body_pos, self._body_quat = view(self._m.body_pos), view(self._m.body_quat)
        self._geom_pos, self._geom_rot = view(self._d.geom_xpos), view(self._d.geom_xmat)
        self._spring_length = view(self._m.tendon_lengthspring) if self._posture else None
        self._overflow = view(self._d.overflow)
        self._directions = torch.tensor(self._null_space, device=self.device)
        self._sensors = torch.zeros_like(self._live)

    def _capture(self) -> tuple[Any, int]:
        """Physics as a graph, which costs Python nothing to run, and how often to run it in a control period."""
        wp, cuda = self._wp, self._device.is_cuda
        # On the CPU a graph of one step is as fast, and made sooner.
        steps = self.substeps if cuda else 1
        # Torch's usual stream cannot be captured.
        apart = wp.ScopedStream(wp.Stream(self._device), sync_enter=True, sync_exit=True) if cuda else nullcontext()
        with apart:
            self._mjw.step(self._m, self._d)  # compiles and loads every kernel, which must not happen while capturing
            with wp.ScopedCapture(self._device) as capture:
                for _ in range(steps):
                    self._mjw.step(self._m, self._d)
            self._mjw.reset_data(self._m, self._d)
        return capture.graph, self.substeps // steps

    def _place(self, rows: torch.Tensor, joints: Any, start: Start) -> None:
        self._tell_overflow()  # a reset clears it
        mask = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        mask[rows] = True
        with self._on_device():
            self._mjw.reset_data(self._m, self._d, reset=self._wp.from_torch(mask))
        dof, joints = self.robot.dof, torch.as_tensor(joints)
        self._qpos[rows, :dof] = joints.to(self._qpos)
        if self._spring_length is not None:
            # The posture that the null space is pulled to is the one it started in.
            lengths = (joints @ self._directions.T).to(self._spring_length)
            for k, tendon in enumerate(self._posture):
                self._spring_length[rows, tendon] = lengths[:, k, None]
        if self._has_gripper:
            self._qpos[rows, dof : dof + 2] = (start.gripper_width / 2).to(self._qpos)
        for item in self.scene.objects:
            if item.name not in start.objects:
                continue
            pose = start.objects[item.name]
            pos, quat = pose.pos.to(self._qpos), geometry.to_quat_wxyz(pose.rot.double()).to(self._qpos)
            if item.mount == "free":
                address = int(self.model.joint(item.name).qposadr[0])
                self._qpos[rows, address : address + 3] = pos
                self._qpos[rows, address + 3 : address + 7] = quat
            else:
                body = self.model.body(item.name).id
                self._body_pos[rows, body], self._body_quat[rows, body] = pos, quat
                if item.mount == "fixture":
                    self._place_geoms(rows, body, pos, pose.rot.to(self._qpos))

    def _place_geoms(self, rows: torch.Tensor, body: int, pos: torch.Tensor, rot: torch.Tensor) -> None:
        """Put the geoms of a body at rest where it is: the engine does so only once, when its data is made."""
        first, count = self.model.body_geomadr[body], self.model.body_geomnum[body]
        for geom in range(first, first + count):
            offset = torch.tensor(self.model.geom_pos[geom]).to(pos)
            turn = torch.tensor(geometry.from_quat_wxyz(self.model.geom_quat[geom])).to(rot)
            self._geom_pos[rows, geom] = pos + geometry.rotate(rot, offset)
            self._geom_rot[rows, geom] = rot @ turn

    def _settle(self, rows: torch.Tensor, target: Command) -> None:
        self._aim(target)
        with self._on_device():
            self._mjw.forward(self._m, self._d)  # of all copies, but nothing of the others depends on it
        self._sensors = self._sensors.clone()
        self._sensors[rows] = self._live[rows]

    def _advance(self, target: Command) -> None:
        self._aim(target)
        with self._on_device():
            for _ in range(self._launches):
                self._wp.capture_launch(self._graph)
        if self.device.type == "cpu":
            self._tell_overflow()
        self._sensors = self._live.clone()  # the engine goes on writing there

    def _aim(self, target: Command) -> None:
        self._ctrl[:, :3] = target.pos
        self._target_quat.copy_(geometry.to_quat_wxyz(target.rot))
        if self._has_gripper:
            self._ctrl[:, -1:] = target.gripper

    def _sensordata(self) -> Any:
        return self._sensors.numpy() if self.device.type == "cpu" else self._sensors

    def _open_tracer(self) -> Any:
        cameras = self.scene.cameras
        return self._mjw.create_render_context(
            self.model,
            nworld=self.num_envs,
            cam_res=[(camera.width, camera.height) for camera in cameras],
            cam_active=[camera.name for camera in cameras],
            render_rgb=True,
            render_depth=False,
            use_textures=False,
            background_color=(*HORIZON, 1.0),
        )

    def _images(self) -> dict[str, torch.Tensor]:
        if self._tracer is None:
            return {}
        with self._on_device():
            self._mjw.refit_bvh(self._m, self._d, self._tracer)
            self._mjw.render(self._m, self._d, self._tracer)
        # A pixel is one number, 0xAARRGGBB, so its bytes are B, G, R, A.
        pixels = self._wp.to_torch(self._tracer.rgb_data).view(torch.uint8).reshape(self.num_envs, -1, 4)
        images, begin = {}, 0
        for camera in self.scene.cameras:
            end = begin + camera.width * camera.height
            image = pixels[:, begin:end, :3].reshape(-1, camera.height, camera.width, 3).flip(-1)
            images[f"camera.{camera.name}.rgb"], begin = image, end
        return images

    def _tell_overflow(self) -> None:
        """Warn, once, if contacts or their constraints found no room. Waits for the device."""
        if self._warned:
            return
        flags = int(np.bitwise_or.reduce(self._overflow.cpu().numpy()))
        if flags & self._overflows:
            self._warned = True
            warnings.warn(
                f"MuJoCo Warp had no room for all contacts and left some out ({self._mjw.OverflowType(flags).name}); "
                f"build WarpWorld with a larger 'contacts'",
                RuntimeWarning,
                stacklevel=4,
            )
