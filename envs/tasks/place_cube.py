"""Place cube: put a held cube down on the table and withdraw; what undoes pick cube."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import ClassVar

import torch

from envs.tasks.pick_cube import PickCube
from envs.tool_task import tool_down, uniform
from robo_rl import geometry
from robo_rl.contracts import Pose, Reading, Reward, Start

_RESTS = 0.004  # m above its place on the table at which a cube lies on it
_OPEN = 0.01  # m that the gripper must be wider than the cube to have let go of it
_SQUEEZE = 0.002  # m that the gripper starts narrower than the cube, so that it holds it


@dataclass(frozen=True)
class PlaceCube(PickCube):
    """Put a held cube down where a cube may lie, let go and withdraw.

    Scene, observation and actions are those of :class:`PickCube`. It ends where that one may begin, so that the two
    make each other's starts.
    """

    name: ClassVar[str] = "place_cube"

    clearance: float = 0.08
    """Height over the cube up to which the open gripper has to withdraw, m."""

    reward_scales: ClassVar = {"lower": 0.1, "withdraw": 0.1}

    def start(self, generator: torch.Generator, n: int) -> Start:
        """A cube in the closed gripper, a little off its middle, lifted anywhere over the square."""
        s, center = self.robot.reach_scale, torch.tensor(self.robot.work_center)
        low = self.lift_height + self.cube_size / 2
        tool = center + uniform(generator, n, [-0.1 * s, -0.1 * s, low], [0.1 * s, 0.1 * s, low + 0.05])
        off = uniform(generator, n, [-0.004, -0.004, -0.004], [0.004, 0.004, 0.004])
        heading = uniform(generator, n, -pi / 4, pi / 4)[:, 0]
        return Start(
            tool=Pose(tool, tool_down(heading)),
            gripper_width=torch.full((n, 1), self.cube_size - _SQUEEZE),
            objects={"cube": Pose(tool + geometry.rotate(geometry.yaw(heading), off), geometry.yaw(heading))},
        )

    def reward(self, reading: Reading) -> Reward:
        """Success when it lies in the square and the open gripper is away; dense: how low it is, and how far that."""
        cube, pos = reading["object.cube.pos"], reading["tcp_pos"]
        height = cube[:, 2] - self.cube_size / 2
        away = pos[:, 2] - cube[:, 2]
        placed = (height < _RESTS) & self._let_go(reading)
        lost = super().reward(reading).failure
        done = placed & (away > self.clearance) & self._inside(cube)
        return Reward(
            success=done,
            failure=lost & ~done,
            terms=lambda: {
                "lower": 1.0 - (height / self.lift_height).clamp(0.0, 1.0),
                "withdraw": torch.where(placed, (away / self.clearance).clamp(0.0, 1.0), 0.0),
            },
        )

    def expert(self, reading: Reading) -> torch.Tensor:
        """Over the square, down, open, up; where it is in that sequence follows from the reading alone."""
        pos, cube = reading["tcp_pos"], reading["object.cube.pos"]
        s, center = self.robot.reach_scale, torch.tensor(self.robot.work_center, device=pos.device)
        held = ((cube - pos).norm(dim=-1) < 0.02) & (reading["gripper_width"][:, 0] < self.cube_size + 0.003)
        low = cube[:, 2] - self.cube_size / 2 < 2.5 * _RESTS  # one that hangs askew does not come down all the way
        inside = self._inside(cube, 0.095 * s)

        place = pos.clone()
        place[:, :2] = center[:2] + (pos[:, :2] - center[:2]).clamp(-0.09 * s, 0.09 * s)
        down = torch.where(inside, pos[:, 2] - (cube[:, 2] - self.cube_size / 2) - 0.002, pos[:, 2])
        place[:, 2] = down
        up = pos + torch.tensor([0.0, 0.0, 0.05], device=pos.device)
        carrying = held & ~(low & inside)
        leaving = ~carrying & self._let_go(reading)
        target = torch.where(carrying[:, None], place, torch.where(leaving[:, None], up, pos))
        width = torch.where(carrying, 0.0, self.robot.gripper.max_width)[:, None]
        return self.action_towards(target, reading["target_rot"], width, reading)

    def _let_go(self, reading: Reading) -> torch.Tensor:
        """Whether the gripper (B,) is open wider than the cube."""
        return reading["gripper_width"][:, 0] > self.cube_size + _OPEN

    def _inside(self, cube: torch.Tensor, half: float | None = None) -> torch.Tensor:
        """Whether the cube (B, 3) is in the square that it may lie in, (B,)."""
        half = 0.1 * self.robot.reach_scale if half is None else half
        center = torch.tensor(self.robot.work_center[:2], device=cube.device)
        return ((cube[:, :2] - center).abs() < half).all(dim=-1)
