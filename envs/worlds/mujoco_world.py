"""The MuJoCo world: B copies of a scene, stepped by CPU threads."""

from __future__ import annotations

import copy
import os
import time
from concurrent.futures import ThreadPoolExecutor

import mujoco
import numpy as np
import torch

from envs.worlds.base import SimulatedWorld
from envs.worlds.law import LawDrive
from envs.worlds.looks import Looks
from envs.worlds.mjcf import Fidelity
from envs.worlds.rendering import CameraRig, Renderer, close, make_renderer
from robo_rl import geometry
from robo_rl.contracts import Command, RobotSpec, SceneSpec, Start
from robo_rl.errors import unknown_name

_NO_SENSORS = int(mujoco.mjtDisableBit.mjDSBL_SENSOR)


class MujocoWorld(SimulatedWorld):
    """A :class:`robo_rl.contracts.World` in MuJoCo's C engine.

    Each copy has a model of its own, because where a fixture stands and how a tool is held are model fields. Physics
    runs outside Python's lock, so threads really run side by side.

    Args:
        robot: the arm.
        scene: what is around it.
        num_envs: B.
        threads: physics threads; if None, all cores but no more than B, and one for the law, which is in Python.
        cameras: whether to read the cameras of the scene at each step. Without it, nothing touches OpenGL.
        fidelity: ``engine``, the tool's spring as actuators of the engine, fast; or ``law``, the law of
            :mod:`controllers.impedance` itself at 1 kHz.

    Attributes:
        models: of each copy.
        datas: of each copy.
        render_seconds: that reading the cameras has taken so far.
    """

    def __init__(
        self,
        robot: RobotSpec,
        scene: SceneSpec,
        *,
        num_envs: int = 1,
        threads: int | None = None,
        cameras: bool = False,
        fidelity: Fidelity = "engine",
    ) -> None:
        super().__init__(robot, scene, num_envs=num_envs, device=torch.device("cpu"), fidelity=fidelity)
        self.models = [copy.copy(self.model) for _ in range(num_envs)]
        self.datas = [mujoco.MjData(model) for model in self.models]
        self._law = LawDrive(robot, self.models, self.datas) if fidelity == "law" else None
        threads = min(threads or (1 if self._law else os.cpu_count() or 1), num_envs)
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self._shares = np.array_split(np.arange(num_envs), threads)
        self._sensors = np.zeros((num_envs, self.model.nsensordata))
        self._renderers: dict[tuple[int, int], Renderer] = {}  # by size, for pictures that are asked for one by one
        self.render_seconds = 0.0
        self._looks: Looks | None = None
        self._rig = CameraRig(self.model, scene.cameras) if cameras and scene.cameras else None
        if self._rig:
            self.provides |= {f"camera.{camera.name}.rgb" for camera in scene.cameras}

    def render(self, camera: str, env_index: int, width: int, height: int) -> np.ndarray:
        """Draw copy ``env_index`` as ``camera`` sees it, (height, width, 3) uint8.

        Raises:
            UserError: if the scene has no such camera.
        """
        names = [self.model.camera(i).name for i in range(self.model.ncam)]
        if camera not in names:
            raise unknown_name("camera", camera, names)
        if (width, height) not in self._renderers:
            self._renderers[width, height] = make_renderer(self.model, width, height)
        renderer = self._renderers[width, height]
        renderer.update_scene(self.datas[env_index], camera)
        return renderer.render().copy()

    def vary_looks(self, rng: np.random.Generator, strength: float) -> None:
        """Draw colours, lights and mountings of cameras anew, from the next step on; see :class:`Looks`."""
        if self._looks is None:
            self._looks = Looks(self.model, self.models)
        self._looks.vary(rng, strength)

    def close(self) -> None:
        """Stop the threads and free the renderers."""
        if self._pool is not None:
            self._pool.shutdown()
        for renderer in self._renderers.values():
            close(renderer)
        self._renderers = {}
        if self._rig is not None:
            self._rig.close()

    def _place(self, rows: torch.Tensor, joints: np.ndarray, start: Start) -> None:
        for k, i in enumerate(rows.tolist()):
            self._place_one(self.models[i], self.datas[i], k, joints[k], start)

    def _place_one(self, model: mujoco.MjModel, data: mujoco.MjData, k: int, joints: np.ndarray, start: Start) -> None:
        mujoco.mj_resetData(model, data)
        dof = self.robot.dof
        data.qpos[:dof] = joints
        # The posture that the null space is pulled to is the one it started in.
        model.tendon_lengthspring[self._posture] = (self._null_space @ joints)[:, None]
        if self._has_gripper:
            data.qpos[dof : dof + 2] = float(start.gripper_width[k, 0]) / 2
        for item in self.scene.objects:
            if item.name not in start.objects:
                continue
            pose = start.objects[item.name]
            pos, quat = pose.pos[k].numpy(), geometry.to_quat_wxyz(pose.rot[k].double().numpy())
            if item.mount == "free":
                address = model.joint(item.name).qposadr[0]
                data.qpos[address : address + 3], data.qpos[address + 3 : address + 7] = pos, quat
            else:
                body = model.body(item.name)
                body.pos[:], body.quat[:] = pos, quat

    def _settle(self, rows: torch.Tensor, target: Command) -> None:
        self._aim(target)
        for i in rows.tolist():
            self._push_ctrl(i)
            mujoco.mj_forward(self.models[i], self.datas[i])
            if self._law is not None:
                self._law.reset(i)
                mujoco.mj_forward(self.models[i], self.datas[i])
            self._sensors[i] = self.datas[i].sensordata

    def _advance(self, target: Command) -> None:
        self._aim(target)
        if self._pool is None:
            self._advance_share(self._shares[0])
        else:
            list(self._pool.map(self._advance_share, self._shares))

    def _aim(self, target: Command) -> None:
        """Keep the target as the copies take it."""
        self._width = target.gripper.numpy()
        if self._law is not None:
            self._pos, self._rot = target.pos.double().numpy(), target.rot.double().numpy()
        else:
            self._pos, self._quat = target.pos.numpy(), geometry.to_quat_wxyz(target.rot.numpy())

    def _push_ctrl(self, i: int) -> None:
        """Hand the target to the actuators of copy ``i``."""
        data = self.datas[i]
        if self._law is None:
            data.ctrl[:3] = self._pos[i]
            data.mocap_quat[0] = self._quat[i]
        if self._has_gripper:
            data.ctrl[-1] = self._width[i, 0]

    def _advance_share(self, share: np.ndarray) -> None:
        for i in share:
            self._push_ctrl(i)
            if self._law is None:
                self._step_physics(self.models[i], self.datas[i])
        if self._law is not None:
            self._law.run(share, self._pos[share], self._rot[share], self.substeps)
        for i in share:
            self._sensors[i] = self.datas[i].sensordata

    def _step_physics(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """One control period of one copy; its sensors, a tenth of the work, are computed in the last step only."""
        flags = model.opt.disableflags
        model.opt.disableflags = flags | _NO_SENSORS
        mujoco.mj_step(model, data, self.substeps - 1)
        model.opt.disableflags = flags
        mujoco.mj_step(model, data)

    def _sensordata(self) -> np.ndarray:
        return self._sensors.astype(np.float32)

    def _images(self) -> dict[str, torch.Tensor]:
        if self._rig is None:
            return {}
        began = time.perf_counter()
        images = self._rig.read(self.datas)
        self.render_seconds += time.perf_counter() - began
        return images
