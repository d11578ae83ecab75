"""From an engine's sensor array to a reading: the same columns, the same meaning, in every MuJoCo-based world."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import torch

from robo_rl import geometry
from robo_rl.contracts import RobotSpec, SceneSpec

Array = Any

GRAVITY = 9.81


class SensorLayout:
    """Where each reading stands in ``sensordata``.

    The wrist sensor is turned into the wrench of the surroundings on the tool: its sign is reversed and the weight of
    everything beyond the wrist (hand, fingers, nominal tool) is taken away, as an arm that knows its payload does.

    Args:
        model: built by :func:`envs.worlds.mjcf.build_model`.
        robot: the arm.
        scene: what is around it.
        device: where the sensor arrays live.
    """

    def __init__(
        self, model: mujoco.MjModel, robot: RobotSpec, scene: SceneSpec, device: torch.device | str = "cpu"
    ) -> None:
        self._columns = {
            model.sensor(i).name: slice(int(model.sensor_adr[i]), int(model.sensor_adr[i] + model.sensor_dim[i]))
            for i in range(model.nsensor)
        }
        dof = robot.dof
        self._joint_pos = slice(self._columns["joint_pos.0"].start, self._columns["joint_pos.0"].start + dof)
        self._joint_vel = slice(self._columns["joint_vel.0"].start, self._columns["joint_vel.0"].start + dof)
        self._objects = [item.name for item in scene.objects]
        self._tracked = [item.name for item in scene.objects if item.tracked]
        self._locked = scene.locked_opening
        mass, com = payload(model)
        # The weight's wrench about the tool centre point is linear in the direction of gravity, seen from the tool.
        weight = GRAVITY * mass * np.concatenate([np.eye(3), _hat(com).T], axis=1)
        self._weight: Array = weight.astype(np.float32)
        if torch.device(device).type != "cpu":
            self._weight = torch.tensor(self._weight, device=device)
        names = {
            "joint_pos", "joint_vel", "tcp_pos", "tcp_rot", "tcp_linvel", "tcp_angvel", "tcp_force", "tcp_torque",
            "gripper_width",
        }  # fmt: skip
        names |= {f"object.{name}.{part}" for name in self._objects for part in ("pos", "rot")}
        names |= {f"tracked.{name}.{part}" for name in self._tracked for part in ("pos", "rot")}
        self.provides = frozenset(names)

    def read(self, sensors: Array) -> dict[str, Array]:
        """Return the readings, by name, that are in ``sensors`` (B, nsensordata) float32, of NumPy or torch alike."""
        tcp_rot = self._rot(sensors, "tcp")
        start = self._columns["wrist_force"].start  # force and torque stand one after the other
        wrench = tcp_rot[:, 2] @ self._weight - sensors[:, start : start + 6]
        wrench = wrench.reshape(-1, 2, 3) @ geometry.transpose(tcp_rot)
        reading = {
            "joint_pos": sensors[:, self._joint_pos],
            "joint_vel": sensors[:, self._joint_vel],
            "tcp_pos": sensors[:, self._columns["tcp.pos"]],
            "tcp_rot": tcp_rot,
            "tcp_linvel": sensors[:, self._columns["tcp_linvel"]],
            "tcp_angvel": sensors[:, self._columns["tcp_angvel"]],
            "tcp_force": wrench[:, 0],
            "tcp_torque": wrench[:, 1],
            "gripper_width": self._width(sensors),
        }
        for name in self._objects:
            reading[f"object.{name}.pos"] = sensors[:, self._columns[f"object.{name}.pos"]]
            reading[f"object.{name}.rot"] = self._rot(sensors, f"object.{name}")
        for name in self._tracked:
            for part in ("pos", "rot"):
                reading[f"tracked.{name}.{part}"] = reading[f"object.{name}.{part}"]
        return reading

    def _rot(self, sensors: Array, name: str) -> Array:
        start = self._columns[f"{name}.rot.x"].start  # the three axes stand one after the other: columns of the matrix
        return geometry.transpose(sensors[:, start : start + 9].reshape(-1, 3, 3))

    def _width(self, sensors: Array) -> Array:
        if self._locked is not None:
            return 0.0 * sensors[:, :1] + self._locked
        left, right = self._columns["finger_left.pos"], self._columns["finger_right.pos"]
        return sensors[:, left] + sensors[:, right]


def _hat(v: np.ndarray) -> np.ndarray:
    """Matrix (3, 3) that crosses ``v`` (3,) with what it multiplies."""
    return np.array([[0.0, -v[2], v[1]], [v[2], 0.0, -v[0]], [-v[1], v[0], 0.0]])


def payload(model: mujoco.MjModel) -> tuple[float, np.ndarray]:
    """Mass (kg) and centre (3,) in the tool's frame (m) of all that the wrist carries."""
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    hand, tcp = model.body("hand").id, model.site("tcp").id
    rot = data.site_xmat[tcp].reshape(3, 3)
    return float(model.body_subtreemass[hand]), rot.T @ (data.subtree_com[hand] - data.site_xpos[tcp])
