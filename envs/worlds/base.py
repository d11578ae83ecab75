"""What worlds that run a MuJoCo model share, whatever engine runs it: starts, targets, limits and readings."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch

from controllers.kinematics import Chain
from envs.worlds.layout import SensorLayout
from envs.worlds.mjcf import Fidelity, build_model, null_space
from robo_rl.contracts import Command, Pose, Reading, RobotSpec, SceneSpec, Start
from robo_rl.errors import InvalidAction, UserError


class SimulatedWorld(ABC):
    """A :class:`robo_rl.contracts.World` over a MuJoCo model; an engine fills in the five methods at the end.

    Args:
        robot: the arm.
        scene: what is around it.
        num_envs: B.
        device: where its tensors live.
        fidelity: see :func:`envs.worlds.mjcf.build_model`.

    Attributes:
        model: as compiled; engines keep what differs from copy to copy themselves.
        substeps: physics steps of one control period.
    """

    def __init__(
        self,
        robot: RobotSpec,
        scene: SceneSpec,
        *,
        num_envs: int,
        device: torch.device,
        fidelity: Fidelity = "engine",
    ) -> None:
        self.robot, self.scene, self.num_envs, self.device = robot, scene, num_envs, device
        self.control_dt = 1.0 / robot.control_rate
        self.model = build_model(robot, scene, fidelity=fidelity)
        self.substeps = round(self.control_dt / self.model.opt.timestep)
        self._layout = SensorLayout(self.model, robot, scene, device)
        self._chain = Chain(robot)
        self._null_space = null_space(robot) if fidelity == "engine" else np.zeros((0, robot.dof))
        self._posture = [self.model.tendon(f"posture{k}").id for k in range(len(self._null_space))]
        corners = robot.workspace_low, robot.workspace_high
        self._low, self._high = (torch.tensor(corner, device=device) for corner in corners)
        self._has_gripper = scene.locked_opening is None
        identity = torch.eye(3, device=device).repeat(num_envs, 1, 1)
        self._target = Command(
            torch.zeros(num_envs, 3, device=device), identity, torch.zeros(num_envs, 1, device=device)
        )
        self._time = torch.zeros(num_envs, 1, device=device)
        self._begun = False
        self._fixtures = {
            item.name: Pose(torch.zeros(num_envs, 3, device=device), identity)
            for item in scene.objects
            if item.calibrated
        }
        names = set(self._layout.provides) | {"time", "target_pos", "target_rot", "gripper_target"}
        names |= {f"fixture.{name}.{part}" for name in self._fixtures for part in ("pos", "rot")}
        self.provides = frozenset(names)

    def reset(self, mask: torch.Tensor, start: Start) -> Reading:
        """Start the worlds in ``mask`` from ``start``; see :class:`robo_rl.contracts.World`.

        Raises:
            UserError: if the arm cannot reach a start pose, or an object of the scene has no claimed pose.
        """
        rows = torch.nonzero(mask).flatten()
        if len(rows):
            self._check_start(len(rows), start)
            joints = self._solve(start)
            self._place(rows, joints, start)
            self._seed(rows, joints, start)
            self._settle(rows, self._target)
            self._begun = True
        return self._reading()

    def carry_on(self, mask: torch.Tensor) -> Reading:
        """Begin new episodes in ``mask`` with everything where it is; see :class:`robo_rl.contracts.World`.

        Raises:
            UserError: before the first reset.
        """
        if not self._begun:
            raise UserError("the world has not been reset; call reset before carry_on")
        self._time = torch.where(mask.to(self.device)[:, None], 0.0, self._time)
        return self._reading()

    def step(self, command: Command) -> Reading:
        """Pursue ``command`` for one control period; see :class:`robo_rl.contracts.World`.

        Raises:
            InvalidAction: if the command is not finite; nothing has moved then.
        """
        if not self._sum_is_finite(command):
            finite = [torch.isfinite(part).flatten(1).all(1) for part in (command.pos, command.rot, command.gripper)]
            bad = torch.nonzero(~(finite[0] & finite[1] & finite[2])).flatten().tolist()
            if bad:  # or a sum of huge numbers has overflowed
                raise InvalidAction(f"command of env {bad} is not finite; it was not carried out")
        pos = torch.clamp(command.pos, self._low, self._high)
        self._target = Command(pos, command.rot, command.gripper)
        self._advance(self._target)
        self._time = self._time + self.control_dt
        return self._reading()

    def _sum_is_finite(self, command: Command) -> bool:
        """Whether the sum of all numbers is finite, which it is not if one of them is not."""
        parts = (command.pos, command.rot, command.gripper)
        if self.device.type == "cpu":
            return math.isfinite(sum(float(part.numpy().sum()) for part in parts))
        return math.isfinite(sum(part.sum() for part in parts))

    def _check_start(self, n: int, start: Start) -> None:
        if len(start) != n:
            raise UserError(f"start: has {len(start)} rows, but {n} environments are reset")
        for name in self._fixtures:
            if name not in start.fixtures and name not in start.objects:
                raise UserError(f"start.fixtures: no pose is claimed for the calibrated object {name!r}")

    def _solve(self, start: Start) -> Any:
        """Joint positions (n, dof) float64 that put the tool where ``start`` wants it, in NumPy if on the CPU."""
        pos, rot = start.tool.pos.to(self.device).double(), start.tool.rot.to(self.device).double()
        home = torch.tensor(self.robot.home, dtype=torch.float64, device=self.device).expand(len(pos), -1)
        wanted: tuple[Any, Any, Any] = (pos, rot, home)
        if self.device.type == "cpu":
            wanted = (pos.numpy(), rot.numpy(), home.numpy())
        joints, reached = self._chain.inverse(*wanted, iterations=8)  # enough for tasks that stay over their table
        if not bool(reached.all()):
            joints, reached = self._chain.inverse(*wanted)
        if not bool(reached.all()):
            k = int(np.nonzero(~np.asarray(torch.as_tensor(reached).cpu()))[0][0])
            place = np.round(pos[k].tolist(), 3).tolist()
            raise UserError(
                f"start.tool: {self.robot.name} cannot reach {place} m with the given orientation (row {k})"
            )
        return joints

    def _seed(self, rows: torch.Tensor, joints: Any, start: Start) -> None:
        """Aim worlds ``rows`` at where their tools really are, and begin their time."""
        pos, rot = (torch.as_tensor(part) for part in self._chain.forward(joints))

        def put(old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
            fresh = old.clone()
            fresh[rows] = new.to(old)
            return fresh

        target = self._target
        self._target = Command(put(target.pos, pos), put(target.rot, rot), put(target.gripper, start.gripper_width))
        self._time = put(self._time, torch.zeros(len(start), 1))
        for name, old in self._fixtures.items():
            claimed = start.fixtures.get(name, start.objects.get(name))
            assert claimed is not None  # _check_start has refused it
            self._fixtures[name] = Pose(put(old.pos, claimed.pos), put(old.rot, claimed.rot))

    def _reading(self) -> Reading:
        values = self._layout.read(self._sensordata())
        if self.device.type == "cpu":  # NumPy's arrays, whose memory is shared
            values = {name: torch.from_numpy(value) for name, value in values.items()}
        target = self._target
        values |= {
            "time": self._time, "target_pos": target.pos, "target_rot": target.rot, "gripper_target": target.gripper,
        }  # fmt: skip
        for name, pose in self._fixtures.items():
            values[f"fixture.{name}.pos"], values[f"fixture.{name}.rot"] = pose.pos, pose.rot
        return Reading(values | self._images())

    def _images(self) -> dict[str, torch.Tensor]:
        """Pictures of the cameras that are read, by name of reading."""
        return {}

    @abstractmethod
    def _place(self, rows: torch.Tensor, joints: Any, start: Start) -> None:
        """Put the arms of worlds ``rows`` (n,) at rest at ``joints`` (n, dof), and the objects where ``start`` says."""

    @abstractmethod
    def _settle(self, rows: torch.Tensor, target: Command) -> None:
        """Make worlds ``rows`` pursue ``target`` and their sensors true, without time passing."""

    @abstractmethod
    def _advance(self, target: Command) -> None:
        """Pursue ``target`` for one control period."""

    @abstractmethod
    def _sensordata(self) -> Any:
        """Sensors of all worlds (B, n) float32, NumPy's or torch's, in memory that later steps leave alone."""

    @abstractmethod
    def close(self) -> None:
        """Free what the world holds; it cannot be used afterwards."""
