"""The MuJoCo world: B copies of a scene, stepped by CPU threads."""

from __future__ import annotations

import copy
import os
from concurrent.futures import ThreadPoolExecutor

import mujoco
import numpy as np
import torch

from controllers.kinematics import Chain
from envs.worlds.layout import SensorLayout
from envs.worlds.mjcf import TIMESTEP, build_model, reference_rotation
from envs.worlds.rendering import CameraRig
from robo_rl import geometry
from robo_rl.contracts import Command, Pose, Reading, RobotSpec, SceneSpec, Start
from robo_rl.errors import InvalidAction, UserError


class MujocoWorld:
    """A :class:`robo_rl.contracts.World` in MuJoCo's C engine.

    Each copy has a model of its own, because where a fixture stands and how a tool is held are model fields. Physics
    runs outside Python's lock, so threads really run side by side.

    Args:
        robot: the arm.
        scene: what is around it.
        num_envs: B.
        threads: physics threads; all cores, but no more than B, if None.
        cameras: whether to read the cameras of the scene at each step. Without it, nothing touches OpenGL.
    """

    def __init__(
        self, robot: RobotSpec, scene: SceneSpec, *, num_envs: int = 1, threads: int | None = None, cameras: bool = False
    ) -> None:
        self.robot, self.num_envs, self.device = robot, num_envs, torch.device("cpu")
        self.control_dt = 1.0 / robot.control_rate
        self.substeps = round(self.control_dt / TIMESTEP)
        self.scene = scene
        self.model = build_model(robot, scene)
        self.models = [copy.copy(self.model) for _ in range(num_envs)]
        self.datas = [mujoco.MjData(model) for model in self.models]
        self._layout = SensorLayout(self.model, robot, scene)
        self._chain = Chain(robot)
        self._rot_ref = reference_rotation(robot)
        self._low, self._high = (torch.tensor(corner) for corner in (robot.workspace_low, robot.workspace_high))
        self._has_gripper = scene.locked_opening is None
        threads = min(threads or os.cpu_count() or 1, num_envs)
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self._shares = np.array_split(np.arange(num_envs), threads)
        self._sensors = np.zeros((num_envs, self.model.nsensordata))
        self._ctrl = np.zeros((num_envs, self.model.nu))
        self._rig = CameraRig(self.model, scene.cameras) if cameras and scene.cameras else None
        self._target_pos = torch.zeros(num_envs, 3)
        self._target_rot = torch.eye(3).repeat(num_envs, 1, 1)
        self._target_width = torch.zeros(num_envs, 1)
        self._time = torch.zeros(num_envs, 1)
        self._fixtures = {item.name: Pose(torch.zeros(num_envs, 3), torch.eye(3).repeat(num_envs, 1, 1))
                          for item in scene.objects if item.calibrated}  # fmt: skip
        names = set(self._layout.provides) | {"time", "target_pos", "target_rot", "gripper_target"}
        names |= {f"fixture.{name}.{part}" for name in self._fixtures for part in ("pos", "rot")}
        names |= {f"camera.{camera.name}.rgb" for camera in scene.cameras} if self._rig else set()
        self.provides = frozenset(names)

    def reset(self, mask: torch.Tensor, start: Start) -> Reading:
        """Start the worlds in ``mask`` from ``start``; see :class:`robo_rl.contracts.World`.

        Raises:
            UserError: if the arm cannot reach a start pose.
        """
        rows = torch.nonzero(mask).flatten().tolist()
        if rows:
            joints = self._solve(start)
            for k, i in enumerate(rows):
                self._place(i, k, joints[k], start)
            self._seed_targets(mask, start)
            ctrl = self._to_ctrl(self._target_pos, self._target_rot, self._target_width)
            for i in rows:
                self.datas[i].ctrl[:] = ctrl[i]
                mujoco.mj_forward(self.models[i], self.datas[i])
                self._sensors[i] = self.datas[i].sensordata
        return self._reading()

    def step(self, command: Command) -> Reading:
        """Pursue ``command`` for one control period; see :class:`robo_rl.contracts.World`."""
        pos = torch.clamp(command.pos, self._low, self._high)
        ctrl = self._to_ctrl(pos, command.rot, command.gripper)
        if not np.isfinite(ctrl).all():
            bad = np.nonzero(~np.isfinite(ctrl).all(axis=1))[0].tolist()
            raise InvalidAction(f"command of env {bad} is not finite; it was not carried out")
        self._target_pos, self._target_rot, self._target_width = pos, command.rot, command.gripper
        self._ctrl = ctrl
        if self._pool is None:
            self._advance(self._shares[0])
        else:
            list(self._pool.map(self._advance, self._shares))
        self._time = self._time + self.control_dt
        return self._reading()

    def close(self) -> None:
        """Stop the threads and free the renderer."""
        if self._pool is not None:
            self._pool.shutdown()
        if self._rig is not None:
            self._rig.close()

    def _advance(self, share: np.ndarray) -> None:
        for i in share:
            data = self.datas[i]
            data.ctrl[:] = self._ctrl[i]
            mujoco.mj_step(self.models[i], data, self.substeps)
            self._sensors[i] = data.sensordata

    def _solve(self, start: Start) -> np.ndarray:
        """Joint positions (n, dof) that put the tool where ``start`` wants it."""
        pos, rot = start.tool.pos.double().numpy(), start.tool.rot.double().numpy()
        joints, reached = self._chain.inverse(pos, rot, np.broadcast_to(np.asarray(self.robot.home), (len(pos), self.robot.dof)))
        if not reached.all():
            k = int(np.nonzero(~reached)[0][0])
            raise UserError(f"start.tool: {self.robot.name} cannot reach {np.round(pos[k], 3).tolist()} m with the given orientation")
        return joints

    def _place(self, i: int, k: int, joints: np.ndarray, start: Start) -> None:
        model, data = self.models[i], self.datas[i]
        mujoco.mj_resetData(model, data)
        dof = self.robot.dof
        data.qpos[:dof] = joints
        model.qpos_spring[:dof] = joints  # the posture that the null space is pulled to is the one it started in
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

    def _seed_targets(self, mask: torch.Tensor, start: Start) -> None:
        def put(old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
            fresh = old.clone()
            fresh[mask] = new.to(old.dtype)
            return fresh

        self._target_pos, self._target_rot = put(self._target_pos, start.tool.pos), put(self._target_rot, start.tool.rot)
        self._target_width = put(self._target_width, start.gripper_width)
        self._time = put(self._time, torch.zeros(len(start), 1))
        for name, old in self._fixtures.items():
            claimed = start.fixtures.get(name, start.objects.get(name))
            if claimed is None:
                raise UserError(f"start.fixtures: no pose is claimed for the calibrated object {name!r}")
            self._fixtures[name] = Pose(put(old.pos, claimed.pos), put(old.rot, claimed.rot))

    def _to_ctrl(self, pos: torch.Tensor, rot: torch.Tensor, width: torch.Tensor) -> np.ndarray:
        """Actuator commands (B, nu): the target in the frame of the tool's spring, and the opening."""
        parts = [pos.numpy() @ self._rot_ref, geometry.log(self._rot_ref.T @ rot.numpy())]
        if self._has_gripper:
            parts.append(width.numpy())
        return np.concatenate(parts, axis=1)

    def _reading(self) -> Reading:
        values = self._layout.read(torch.from_numpy(self._sensors).float())
        values |= {
            "time": self._time, "target_pos": self._target_pos, "target_rot": self._target_rot, "gripper_target": self._target_width,
        }  # fmt: skip
        for name, pose in self._fixtures.items():
            values[f"fixture.{name}.pos"], values[f"fixture.{name}.rot"] = pose.pos, pose.rot
        if self._rig is not None:
            values |= self._rig.read(self.datas)
        return Reading(values)
