"""Reach: bring the tool centre point to a goal. The shortest task there is; read it first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from controllers.reference import ToolDelta
from envs.tool_task import ToolTask, tool_down, uniform
from robo_rl.contracts import Obs, Pose, Reading, Reward, SceneObject, SceneSpec, Shape, Start


@dataclass(frozen=True)
class Reach(ToolTask):
    """Bring the tool to a goal position."""

    name: ClassVar[str] = "reach"

    horizon: int = 50
    """Control steps after which an episode is truncated."""
    tolerance: float = 0.01
    """Distance from the goal at which it is reached, m."""

    observed = frozenset({"tcp_pos", "tcp_linvel", "target_pos", "fixture.goal.pos"})
    privileged_readings = frozenset({"object.goal.pos"})
    reward_scales: ClassVar = {"distance": 0.1}
    state_size = 9

    @property
    def tool_delta(self) -> ToolDelta:
        """Translation only, in the base frame."""
        return ToolDelta(translation=0.03)

    def scene(self) -> SceneSpec:
        """An empty table and the goal marker."""
        marker = Shape("sphere", (0.01,), rgba=(0.1, 0.7, 0.3, 0.7))
        goal = SceneObject("goal", (marker,), "fixture", solid=False, calibrated=True)
        return SceneSpec(objects=(goal,), locked_opening=self.robot.gripper.min_width)

    def start(self, generator: torch.Generator, n: int) -> Start:
        """Tool and goal anywhere in a box over the work space."""
        goal, tool = self._points(generator, n), self._points(generator, n)
        upright = tool_down(torch.zeros(n))
        return Start(
            tool=Pose(tool, upright),
            gripper_width=torch.full((n, 1), self.robot.gripper.min_width),
            objects={"goal": Pose(goal, torch.eye(3).expand(n, 3, 3))},
        )

    def observe(self, reading: Reading) -> Obs:
        """State: way to the goal (3), lead of the target (3), velocity (3)."""
        pos = reading["tcp_pos"]
        limits = self.robot.impedance
        parts = [
            (reading["fixture.goal.pos"] - pos) / 0.1,
            (reading["target_pos"] - pos) / limits.clip,
            reading["tcp_linvel"] / 0.2,
        ]
        return {"state": torch.cat(parts, dim=-1)}

    def reward(self, reading: Reading) -> Reward:
        """Success within the tolerance; dense: minus the distance, in decimetres."""
        distance = (reading["object.goal.pos"] - reading["tcp_pos"]).norm(dim=-1)
        reached = distance < self.tolerance
        return Reward(success=reached, failure=torch.zeros_like(reached), terms=lambda: {"distance": -10.0 * distance})

    def assume(self, reading: Reading) -> dict[str, torch.Tensor]:
        """The goal is where it is said to be."""
        return {"object.goal.pos": reading["fixture.goal.pos"]}

    def expert(self, reading: Reading) -> torch.Tensor:
        """Straight to the goal."""
        return self.action_towards(
            reading["object.goal.pos"], reading["target_rot"], reading["gripper_target"], reading
        )

    def _points(self, generator: torch.Generator, n: int) -> torch.Tensor:
        s = self.robot.reach_scale
        box = uniform(generator, n, [-0.12 * s, -0.15 * s, 0.08 * s], [0.12 * s, 0.15 * s, 0.35 * s])
        return box + torch.tensor(self.robot.work_center)
