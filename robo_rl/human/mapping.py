"""From the directions of a device in a person's hand to the actions of a task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, cast

import numpy as np
import torch

from robo_rl.contracts.human import Deflection
from robo_rl.contracts.scene import CameraSpec
from robo_rl.errors import UserError

FRAMES = ("base", "tool")
"""Frames that every arm has; the cameras of a task's scene are others."""


class ToolActions(Protocol):
    """What is asked of the meaning of a task's actions; :class:`controllers.reference.ToolDelta` answers it."""

    rotation_axes: tuple[int, ...]
    frame: str
    gripper: bool
    max_width: float
    switch: bool

    @property
    def size(self) -> int:
        """Entries of an action."""
        ...


class ActionMap:
    """Turns what a device says into actions of a task.

    The person's axes are x away from them, y to their left, z up. In the frame ``base`` these are the axes of the
    robot's base, for a person who stands behind it; in ``tool`` the tool's own; in the frame of a camera, for a person
    who looks at its picture, x goes into the picture, y to its left, z to its top. A device that is pushed all the way
    along an axis gives the largest action there is. Where the axes of the frame are not those of the action, a vector
    is turned, and shortened if one of its components would leave [-1, 1]: its direction stays. Rotations that the task
    does not make are left out.

    Actions of a task whose meaning is not known (one of Gymnasium's) take x, y, z and the rotations about them in
    order, and have no frame.

    Args:
        actions: meaning of the task's actions, None if it is not known.
        size: entries of an action.
        frame: ``base``, ``tool`` or the name of a camera; that of the task's actions if None.
        cameras: of the task's scene.

    Raises:
        UserError: if there is no such frame.
    """

    def __init__(
        self,
        actions: ToolActions | None,
        size: int,
        *,
        frame: str | None = None,
        cameras: tuple[CameraSpec, ...] = (),
    ) -> None:
        self.size = size
        self._actions = actions
        self._camera: CameraSpec | None = None
        by_name = {camera.name: camera for camera in cameras}
        known = [*FRAMES, *by_name] if actions is not None else []
        if frame is not None and frame not in known:
            remedy = (
                f"choose one of {', '.join(known)}" if known else "the actions of this task have none; leave it out"
            )
            raise UserError(f"frame: {frame!r} is no frame here; {remedy}")
        self.frame = frame or (actions.frame if actions is not None else None)
        if self.frame in by_name:
            self._camera = by_name[self.frame]

    @staticmethod
    def of(env: Any, frame: str | None = None) -> ActionMap:
        """Return the map of an environment's task.

        Raises:
            UserError: if there is no such frame.
        """
        task = getattr(env, "task", None)
        actions = cast("ToolActions | None", getattr(task, "tool_delta", None))
        cameras = tuple(task.scene().cameras) if task is not None and actions is not None else ()
        (size,) = env.action_space.shape
        return ActionMap(actions, size, frame=frame, cameras=cameras)

    @property
    def gripper(self) -> bool:
        """Whether the last entry of an action is the gripper's."""
        return self._actions is not None and self._actions.gripper

    def neutral(self, reading: Mapping[str, torch.Tensor], row: int = 0) -> torch.Tensor:
        """Return the action (A,) that leaves the target and the gripper where they are told to be.

        Args:
            reading: of the world; ``gripper_target`` is asked for where an opening is told absolutely.
            row: of the environment in it.
        """
        action = torch.zeros(self.size)
        if self._actions is not None and self._actions.gripper and not self._actions.switch:
            action[-1] = 2.0 * float(reading["gripper_target"][row, 0]) / self._actions.max_width - 1.0
        return action

    def action(self, said: Deflection, reading: Mapping[str, torch.Tensor], row: int = 0) -> torch.Tensor:
        """Return the action (A,) that a device asks for; see the class.

        Args:
            said: what the device says.
            reading: of the world, with the orientations of tool and target.
            row: of the environment in it.
        """
        action = self.neutral(reading, row)
        if self._actions is None:
            entries = (*said.translation, *said.rotation)[: self.size]
            action[: len(entries)] = torch.tensor(entries)
            return action.clamp(-1.0, 1.0)
        turn = self._turn(reading, row)
        action[:3] = shortened(turn @ torch.tensor(said.translation))
        axes = list(self._actions.rotation_axes)
        if axes:
            action[3 : 3 + len(axes)] = shortened(turn @ torch.tensor(said.rotation))[axes]
        if self._actions.gripper and said.gripper is not None:
            action[-1] = said.gripper
        return action.clamp(-1.0, 1.0)

    def _turn(self, reading: Mapping[str, torch.Tensor], row: int) -> torch.Tensor:
        """Rotation (3, 3) from the person's axes to those of the action."""
        assert self._actions is not None
        if self.frame == self._actions.frame:
            return torch.eye(3)
        T_base_person = torch.eye(3)
        if self._camera is not None:
            T_base_person = torch.from_numpy(viewing_axes(self._camera))
            if self._camera.on_tool:
                T_base_person = reading["tcp_rot"][row].cpu() @ T_base_person
        elif self.frame == "tool":
            T_base_person = reading["tcp_rot"][row].cpu()
        if self._actions.frame == "tool":  # whose deltas are made in the axes of the target
            return reading["target_rot"][row].cpu().mT @ T_base_person
        return T_base_person


def shortened(vector: torch.Tensor) -> torch.Tensor:
    """Return a vector (3,) whose largest component is at most 1, in the same direction."""
    return vector / vector.abs().max().clamp_min(1.0)


def viewing_axes(camera: CameraSpec) -> np.ndarray:
    """Return the axes (3, 3) float32 of a person who looks at a camera's picture, as columns: into it, left, up.

    In the frame that the camera is mounted in. The top of the picture is where z points, as far as it can.
    """
    forward = np.subtract(camera.look_at, camera.pos).astype(np.float64)
    forward /= np.linalg.norm(forward)
    up = np.array([0.0, 0.0, 1.0])
    if abs(forward @ up) >= 0.99:  # looks along z: its top is where x points
        up = np.array([1.0, 0.0, 0.0])
    left = np.cross(up, forward)
    left /= np.linalg.norm(left)
    return np.stack([forward, left, np.cross(forward, left)], axis=1).astype(np.float32)
