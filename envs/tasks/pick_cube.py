"""Pick cube: grasp a cube from the table and lift it."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import ClassVar

import torch

from controllers.reference import ToolDelta
from envs.tool_task import ToolTask, tool_down, uniform
from robo_rl import geometry
from robo_rl.contracts import (
    CameraSpec,
    Obs,
    Pose,
    Reading,
    Reward,
    RobotSpec,
    SceneObject,
    SceneSpec,
    Shape,
    Start,
)


@dataclass(frozen=True)
class PickCube(ToolTask):
    """Grasp a cube that lies anywhere on the table and lift it."""

    name: ClassVar[str] = "pick_cube"

    cube_size: float = 0.035
    """Edge of the cube, m."""
    lift_height: float = 0.08
    """Height over its place on the table at which the cube counts as lifted, m."""

    observed = frozenset(
        {"tcp_pos", "tcp_rot", "tcp_linvel", "target_pos", "gripper_width", "gripper_target", "time", "tcp_force",
         "tracked.cube.pos", "tracked.cube.rot"}
    )  # fmt: skip
    privileged_readings = frozenset({"object.cube.pos", "object.cube.rot"})
    reward_scales: ClassVar = {"approach": 0.05, "lift": 0.1}
    state_size = 22
    observed_gripper: ClassVar = {"state": 16, "proprio": 25}

    @property
    def tool_delta(self) -> ToolDelta:
        """Translation and turn about the vertical, in the base frame, and the gripper."""
        return ToolDelta(
            translation=0.025, rotation=0.2, rotation_axes=(2,), gripper=True,
            max_width=self.robot.gripper.max_width, switch=True,
        )  # fmt: skip

    def scene(self) -> SceneSpec:
        """A cube on the table; one camera in front, one on the hand."""
        half = self.cube_size / 2
        cube = SceneObject(
            "cube",
            (Shape("box", (half, half, half), rgba=(0.85, 0.25, 0.2, 1.0), friction=1.0),),
            "free",
            mass=0.05,
            tracked=True,
        )
        return SceneSpec(objects=(cube,), cameras=table_cameras(self.robot))

    def start(self, generator: torch.Generator, n: int) -> Start:
        """Cube anywhere in a square, turned at will; open gripper over the middle."""
        s, center = self.robot.reach_scale, torch.tensor(self.robot.work_center)
        half = self.cube_size / 2
        cube = center + uniform(generator, n, [-0.1 * s, -0.1 * s, half], [0.1 * s, 0.1 * s, half])
        tool = center + uniform(generator, n, [-0.05 * s, -0.05 * s, 0.15], [0.05 * s, 0.05 * s, 0.2])
        heading = uniform(generator, n, -pi / 4, pi / 4)[:, 0]
        return Start(
            tool=Pose(tool, tool_down(torch.zeros(n))),
            gripper_width=torch.full((n, 1), self.robot.gripper.max_width),
            objects={"cube": Pose(cube, geometry.yaw(heading))},
        )

    def observe(self, reading: Reading) -> Obs:
        """State: way to the cube (3), its turn against the tool (2), heights of tool and cube (2), lead of the target
        (3), heading of the tool (2), velocity (3), gripper and its command (2), force (3), the cube's motion off the
        tool axis (1), share of the episode that is over (1).
        """  # noqa: D205
        pos, rot = reading["tcp_pos"], reading["tcp_rot"]
        cube = reading["tracked.cube.pos"]
        way = cube - pos
        width = self.robot.gripper.max_width
        parts = [
            way / 0.05,
            4.0 * self._misalignment(rot, reading["tracked.cube.rot"])[:, None],
            (way[:, :2].norm(dim=-1, keepdim=True) / 0.01).tanh(),
            pos[:, 2:] / 0.1,
            cube[:, 2:] / 0.1,
            (reading["target_pos"] - pos) / self.robot.impedance.clip,
            rot[:, :2, 0],
            reading["tcp_linvel"] / 0.2,
            2.0 * reading["gripper_width"] / width - 1.0,
            2.0 * reading["gripper_target"] / width - 1.0,
            (reading["tcp_force"] / 10.0).clamp(-2.0, 2.0),
            (way[:, 2:] / 0.01).tanh(),
            reading["time"] / (self.horizon / self.robot.control_rate),
        ]
        return {"state": torch.cat(parts, dim=-1)}

    def reward(self, reading: Reading) -> Reward:
        """Success when lifted; dense: nearness of the tool to the cube, height of the cube."""
        cube = reading["object.cube.pos"]
        height = cube[:, 2] - self.cube_size / 2
        distance = (cube - reading["tcp_pos"]).norm(dim=-1)
        reach = 0.3 * self.robot.reach_scale
        off_table = (cube[:, :2] - torch.tensor(self.robot.work_center[:2], device=cube.device)).norm(dim=-1) > reach
        lifted = (height > self.lift_height) & (distance < 0.03)
        return Reward(
            success=lifted,
            failure=off_table & ~lifted,
            terms=lambda: {
                "approach": 1.0 - (10.0 * distance).tanh(),
                "lift": (height / self.lift_height).clamp(0.0, 1.0),
            },
        )

    def assume(self, reading: Reading) -> dict[str, torch.Tensor]:
        """The cube is where the tracker sees it."""
        return {f"object.cube.{part}": reading[f"tracked.cube.{part}"] for part in ("pos", "rot")}

    def expert(self, reading: Reading) -> torch.Tensor:
        """Over the cube, turn, down, close, up; where it is in that sequence follows from the reading alone."""
        pos, rot, cube = reading["tcp_pos"], reading["tcp_rot"], reading["object.cube.pos"]
        aside = (cube - pos)[:, :2].norm(dim=-1)
        misaligned = self._misalignment(rot, reading["object.cube.rot"])
        ready = (aside < 0.006) & (misaligned.abs() < 0.08)
        down = (pos[:, 2] - cube[:, 2]).abs() < 0.006
        near = (aside < 0.012) & ((pos[:, 2] - cube[:, 2]).abs() < 0.015)
        closing = reading["gripper_target"][:, 0] < 0.5 * self.robot.gripper.max_width
        grasped = near & closing & (reading["gripper_width"][:, 0] < self.cube_size + 0.003)

        hover = cube + torch.tensor([0.0, 0.0, 0.06], device=cube.device)
        target = torch.where((ready | near)[:, None], cube, hover)
        target = torch.where(grasped[:, None], pos + torch.tensor([0.0, 0.0, 0.05], device=pos.device), target)
        close = (ready & down) | (near & closing)
        width = torch.where(close[:, None], 0.0, self.robot.gripper.max_width)
        heading = geometry.yaw(torch.where(close, torch.zeros_like(misaligned), misaligned))
        return self.action_towards(target, heading @ reading["target_rot"], width, reading)

    def _misalignment(self, tool: torch.Tensor, cube: torch.Tensor) -> torch.Tensor:
        """Angle (B,), rad in (-pi/4, pi/4], by which the tool must turn about z to face a side of the cube."""
        turn = torch.atan2(cube[:, 1, 0], cube[:, 0, 0]) - torch.atan2(tool[:, 1, 0], tool[:, 0, 0])
        return torch.remainder(turn + pi / 4, pi / 2) - pi / 4


def table_cameras(
    robot: RobotSpec, *, distance: float = 0.62, fovy: float = 45.0, tool_fovy: float = 70.0
) -> tuple[CameraSpec, ...]:
    """A camera in front of the work space, and one on the hand that looks past the fingers; 128 x 128 each.

    Args:
        robot: whose work space and hand they look at.
        distance: of the one in front from the middle of the work space, for an arm of full reach, m.
        fovy: its vertical field of view, degrees.
        tool_fovy: that of the one on the hand.
    """
    (x, y, _), reach, tcp = robot.work_center, distance * robot.reach_scale, robot.gripper.tcp_pos[2]
    return (
        CameraSpec(
            "front", pos=(x + 0.8 * reach, y - 0.25 * reach, 0.03 + 0.55 * reach), look_at=(x, y, 0.03), fovy=fovy
        ),
        # In front of the hand, not within it: the hand would hide half of what is below.
        CameraSpec("wrist", pos=(0.07, 0.0, tcp - 0.065), look_at=(0.0, 0.0, tcp + 0.04), fovy=tool_fovy, on_tool=True),
    )
