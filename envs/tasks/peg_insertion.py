"""Peg insertion: find a hole by touch and put a square peg into it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import radians
from typing import ClassVar

import numpy as np
import torch
from array_api_compat import array_namespace

from controllers.reference import ToolDelta
from envs.tasks.pick_cube import table_cameras
from envs.tool_task import ToolTask, as_tensor, in_disk, quick, small_rotation, tool_down, uniform
from robo_rl import geometry
from robo_rl.contracts import Obs, Pose, Reading, Reward, SceneObject, SceneSpec, Shape, Start

_DOWN = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # a tool that points into the hole, in the hole's frame


@dataclass(frozen=True)
class PegInsertion(ToolTask):
    """Insert a square peg into a hole whose pose, like the peg's in the gripper, is known only roughly.

    The hole's frame lies in the middle of its rim, z up; the peg's in the tool centre point, z towards its tip.
    """

    name: ClassVar[str] = "peg_insertion"

    clearance: float = 0.001
    """Width of the hole minus width of the peg, m."""
    peg_width: float = 0.016
    """Edge of the peg's square section, m."""
    peg_length: float = 0.05
    """From the tool centre point to the tip of the peg, m."""
    depth: float = 0.02
    """Depth of the hole, m."""
    hole_error: float = 0.001
    """Largest error of the observed hole, in its plane and in height, m; drawn anew each episode, hidden."""
    hole_angle_error: float = 0.3
    """Largest error of the observed hole's orientation, degrees."""
    grasp_error: float = 0.001
    """Largest offset of the peg in the gripper, across and along it, m; hidden."""
    grasp_angle_error: float = 1.0
    """Largest tilt of the peg in the gripper, degrees."""

    observed = frozenset(
        {"tcp_pos", "tcp_rot", "tcp_linvel", "tcp_angvel", "tcp_force", "tcp_torque", "target_pos", "target_rot",
         "time", "fixture.hole.pos", "fixture.hole.rot"}
    )  # fmt: skip
    privileged_readings = frozenset({"object.peg.pos", "object.peg.rot", "object.hole.pos", "object.hole.rot"})
    reward_scales: ClassVar = {"align": 0.02, "insert": 0.1}
    state_size = 28

    @property
    def tool_delta(self) -> ToolDelta:
        """Translation and rotation, in the tool's frame."""
        return ToolDelta(translation=0.01, rotation=0.04, rotation_axes=(0, 1, 2), frame="tool")

    def scene(self) -> SceneSpec:
        """A block with a square hole, its bottom on the table, and the peg in the closed gripper."""
        hole, wall = (self.peg_width + self.clearance) / 2, 0.02
        mid, height = hole + wall / 2, self.depth / 2
        block = (0.35, 0.42, 0.5, 1.0)
        walls = tuple(
            Shape("box", size, pos, rgba=block, friction=0.3)
            for size, pos in (
                ((wall / 2, hole + wall, height), (mid, 0.0, -height)),
                ((wall / 2, hole + wall, height), (-mid, 0.0, -height)),
                ((hole, wall / 2, height), (0.0, mid, -height)),
                ((hole, wall / 2, height), (0.0, -mid, -height)),
            )
        )
        above = 0.012  # what stands out of the gripper on its other side
        peg = Shape(
            "box", (self.peg_width / 2, self.peg_width / 2, (self.peg_length + above) / 2),
            (0.0, 0.0, (self.peg_length - above) / 2), rgba=(0.9, 0.6, 0.15, 1.0), friction=0.3,
        )  # fmt: skip
        return SceneSpec(
            objects=(
                SceneObject("hole", walls, "fixture", calibrated=True),
                SceneObject("peg", (peg,), "tool", mass=0.05),
            ),
            cameras=table_cameras(self.robot, distance=0.42, fovy=33.0, tool_fovy=45.0),
            locked_opening=self.peg_width,
        )

    def start(self, generator: torch.Generator, n: int) -> Start:
        """Hole placed anew, peg tip 10 to 30 mm above where the hole is believed to be and up to 15 mm beside it."""
        s = self.robot.reach_scale
        place = uniform(generator, n, [-0.05 * s, -0.05 * s, self.depth], [0.05 * s, 0.05 * s, self.depth])
        hole_pos = place + torch.tensor(self.robot.work_center)
        heading = uniform(generator, n, -0.2, 0.2)[:, 0]
        hole_rot = geometry.yaw(heading)
        believed_pos = hole_pos + self._offset(generator, n, self.hole_error)
        believed_rot = hole_rot @ small_rotation(generator, n, radians(self.hole_angle_error))

        beside = uniform(generator, n, [-0.015, -0.015, 0.01], [0.015, 0.015, 0.03])
        tool_pos = believed_pos + beside + torch.tensor([0.0, 0.0, self.peg_length])
        tool_rot = tool_down(heading + uniform(generator, n, -0.08, 0.08)[:, 0])
        peg = Pose(
            self._offset(generator, n, self.grasp_error), small_rotation(generator, n, radians(self.grasp_angle_error))
        )
        return Start(
            tool=Pose(tool_pos, tool_rot),
            gripper_width=torch.full((n, 1), self.peg_width),
            objects={"hole": Pose(hole_pos, hole_rot), "peg": peg},
            fixtures={"hole": Pose(believed_pos, believed_rot)},
        )

    def observe(self, reading: Reading) -> Obs:
        """State, in the frame of a tool that is in the believed hole.

        Tip of the nominal peg (3), the same magnified near the hole (3), lead of the target (3), velocity (3), angular
        velocity (3), force (3), torque (3), rotation (3), lead of the target's rotation (3), share of the episode that
        is over (1).
        """
        names = (
            "tcp_pos", "tcp_rot", "target_pos", "target_rot", "fixture.hole.pos", "fixture.hole.rot",
            "tcp_linvel", "tcp_angvel", "tcp_force", "tcp_torque", "time",
        )  # fmt: skip
        pos, rot, target_pos, target_rot, hole_pos, hole, *motion, time = (quick(reading[name]) for name in names)
        xp, device = array_namespace(pos), getattr(pos, "device", None)
        tip = pos + self.peg_length * rot[:, :, 2]
        # Rows of vectors are turned into the hole's frame by multiplication from the right; the half turn from there to
        # the tool's is in the signs of the scales.
        vectors = xp.stack([tip - hole_pos, target_pos - pos, *motion], axis=1) @ hole
        skew, skew_down, scales = (xp.asarray(value, device=device) for value in (_SKEW, _SKEW_DOWN, self._scales))
        parts = [
            xp.reshape(vectors, (-1, 18)),
            xp.reshape(geometry.transpose(hole) @ rot, (-1, 9)) @ skew_down,
            xp.reshape(geometry.transpose(rot) @ target_rot, (-1, 9)) @ skew,
            time,
        ]
        state = (xp.concat(parts, axis=-1) * scales).clip(-3.0, 3.0)
        near = xp.tanh(state[:, :3] * (0.02 / 0.003))
        return {"state": as_tensor(xp.concat([near, state], axis=-1))}

    @cached_property
    def _scales(self) -> np.ndarray:
        """What the entries of the observation are multiplied by, so that each is of the order of one."""
        limits = self.robot.impedance
        lengths = (0.02, limits.clip, 0.1, 0.5, 10.0, 1.0, 0.1, limits.rotational_clip)
        signs = [_DOWN.diagonal().numpy()] * 6 + [np.ones(3)] * 2
        scales = [sign / size for sign, size in zip(signs, lengths, strict=True)]
        return np.concatenate([*scales, [self.robot.control_rate / self.horizon]], dtype=np.float32)

    def reward(self, reading: Reading) -> Reward:
        """Success when the tip is in the hole to nine tenths of its depth; dense: nearness of the axes, depth."""
        tip = self._tip_in_hole(reading)
        low, high = self._goal.to(tip.device)
        success = ((tip > low) & (tip < high)).all(-1)

        def terms() -> dict[str, torch.Tensor]:
            aside, depth = tip[:, :2], -tip[:, 2]
            inside = (aside.abs() < high[:2]).all(-1)
            return {
                "align": 1.0 - (aside.norm(dim=-1) / 0.005).tanh(),
                "insert": inside * (depth / self.depth).clamp(0.0, 1.0),
            }

        return Reward(success, torch.zeros_like(success), terms)

    @cached_property
    def _goal(self) -> torch.Tensor:
        """Corners (2, 3) of the box, in the hole's frame, that the tip of an inserted peg is in, m."""
        aside = self.clearance + 0.0005
        return torch.tensor([[-aside, -aside, -torch.inf], [aside, aside, -0.9 * self.depth]])

    def assume(self, reading: Reading) -> dict[str, torch.Tensor]:
        """The hole is where it is believed to be, and the peg held upright, as near to the axis as its errors allow.

        A tip below the rim is in the hole, however far from the believed axis the unknown errors make it seem.
        """
        hole_pos, hole_rot = reading["fixture.hole.pos"], reading["fixture.hole.rot"]
        rot = reading["tcp_rot"]
        reach = self.peg_length * rot[:, :, 2]
        tip = ((reading["tcp_pos"] + reach - hole_pos)[:, None] @ hole_rot)[:, 0]
        angles = radians(self.hole_angle_error + self.grasp_angle_error)
        slack = self.hole_error + self.grasp_error + self.peg_length * angles
        aside = tip[:, :2].norm(dim=-1, keepdim=True)
        tip = torch.cat([tip[:, :2] * (1.0 - slack / aside.clamp_min(slack)), tip[:, 2:]], dim=-1)
        return {
            "object.hole.pos": hole_pos,
            "object.hole.rot": hole_rot,
            "object.peg.pos": hole_pos + geometry.rotate(hole_rot, tip) - reach,
            "object.peg.rot": rot,
        }

    def expert(self, reading: Reading) -> torch.Tensor:
        """With the true poses: over the hole, aligned, then down, correcting as long as the rim is felt."""
        tip = self._tip_in_hole(reading)
        turn = _DOWN.to(tip.device) @ geometry.transpose(reading["object.hole.rot"]) @ reading["object.peg.rot"]
        hole_rot = reading["object.hole.rot"]
        aside = tip[:, :2].norm(dim=-1)
        height = tip[:, 2]
        straight = axis_of(turn).norm(dim=-1) < 0.01
        down = straight & ((aside < 0.3 * self.clearance) | ((height < 0.001) & (aside < 0.001 + self.clearance)))
        inside = height < -0.001
        # How the tip shall move, in the hole's frame: slowly towards the rim, faster inside.
        lower = torch.where(inside, -0.008, -0.004)
        rise = height.clamp(0.002, 0.005) - height
        move = torch.cat([-tip[:, :2], torch.where(down, lower, rise)[:, None]], dim=-1)
        # Turn the peg, held as it is, upright about its tip.
        peg_rot, pos = reading["object.peg.rot"], reading["tcp_pos"]
        level = hole_rot @ _DOWN.to(pos.device) @ geometry.transpose(peg_rot)
        lever = pos - reading["object.peg.pos"] - self.peg_length * peg_rot[:, :, 2]
        # Near the axis the target itself is moved, which in the long run cancels whatever pulls the tool aside.
        near = (aside < 0.002)[:, None]
        origin = torch.cat([torch.where(near, reading["target_pos"], pos)[:, :2], pos[:, 2:]], dim=-1)
        pos = origin + geometry.rotate(level, lever) - lever + geometry.rotate(hole_rot, move)
        return self.action_towards(pos, level @ reading["tcp_rot"], reading["gripper_target"], reading)

    def _tip_in_hole(self, reading: Reading) -> torch.Tensor:
        """True tip of the peg (B, 3), m, in the true hole's frame."""
        tip = torch.add(reading["object.peg.pos"], reading["object.peg.rot"][:, :, 2], alpha=self.peg_length)
        return ((tip - reading["object.hole.pos"])[:, None] @ reading["object.hole.rot"])[:, 0]

    @staticmethod
    def _offset(generator: torch.Generator, n: int, size: float) -> torch.Tensor:
        """Offsets (n, 3) in a cylinder of radius and half height ``size``, m."""
        return torch.cat([in_disk(generator, n, size), uniform(generator, n, -size, size)], dim=-1)


@dataclass(frozen=True)
class PegInsertionHard(PegInsertion):
    """Peg insertion with half the clearance and twice the errors."""

    name: ClassVar[str] = "peg_insertion_hard"

    clearance: float = 0.0005
    """Width of the hole minus width of the peg, m."""
    hole_error: float = 0.002
    """Largest error of the observed hole, in its plane and in height, m."""
    grasp_error: float = 0.002
    """Largest offset of the peg in the gripper, m."""


def axis_of(rot: torch.Tensor) -> torch.Tensor:
    """Axis (B, 3) of a rotation (B, 3, 3) times the sine of its angle: the rotation vector where it is small."""
    return rot.flatten(1) @ torch.as_tensor(_SKEW, device=rot.device)


# Picks (r21 - r12, r02 - r20, r10 - r01) / 2 out of a matrix written as a row.
_SKEW = np.zeros((9, 3), np.float32)
_SKEW[[7, 2, 3], [0, 1, 2]] = 0.5
_SKEW[[5, 6, 1], [0, 1, 2]] = -0.5
# The same of the matrix after the half turn to a tool that points down.
_SKEW_DOWN = np.kron(_DOWN.numpy(), np.eye(3, dtype=np.float32)) @ _SKEW
