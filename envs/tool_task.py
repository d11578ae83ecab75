"""What tasks share whose actions move the tool: the meaning of an action, and random numbers for their starts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import gymnasium
import numpy as np
import torch

from controllers.reference import Array, ToolDelta, leash
from robo_rl import geometry
from robo_rl.contracts import Command, Reading, RobotSpec, Task

_TARGETS = frozenset({"tcp_pos", "tcp_rot", "target_pos", "target_rot", "gripper_target"})


@dataclass(frozen=True)
class ToolTask(Task):
    """A task whose action changes the tool's target pose and, if it moves, the opening of the gripper."""

    robot: RobotSpec
    """The arm."""
    horizon: int = 80
    """Control steps after which an episode is truncated."""

    training_defaults: ClassVar[Mapping[str, object]] = {
        "agent.critics": 2,
        "agent.initial_temperature": 0.01,
        "agent.q_bounds": (0.0, 1.0),
        "discount": 0.98,
        "n_step": 3,
        "utd": 4.0,
        "warmup_steps": 200,
        "steps": 40_000,
        "eval_every": 1_000,
    }
    """Settings of ``robo-rl train`` that suit a sparse reward in [0, 1] and episodes of some tens of steps."""
    pixel_training_defaults: ClassVar[Mapping[str, object]] = {
        "batch_size": 128,
        "replay_capacity": 20_000,
        "eval_every": 2_000,
        "sync": False,  # drawing and encoding go on beside learning
    }
    """What differs from them where the policy looks through cameras (``--obs pixels``)."""

    observed_gripper: ClassVar[Mapping[str, int]] = {"proprio": 25}
    """Where observations tell the opening that was commanded last, -1 closed to 1 open: place by name."""

    @property
    @abstractmethod
    def tool_delta(self) -> ToolDelta:
        """The meaning of an action."""

    @property
    @abstractmethod
    def observed(self) -> frozenset[str]:
        """Names of the readings that ``observe`` uses."""

    @property
    @abstractmethod
    def state_size(self) -> int:
        """Entries of the observation ``state``."""

    @cached_property
    def action_space(self) -> gymnasium.spaces.Box:
        """A box of [-1, 1]; see :class:`controllers.reference.ToolDelta` for the order of the entries."""
        return gymnasium.spaces.Box(-1.0, 1.0, (self.tool_delta.size,), np.float32)

    @cached_property
    def observation_space(self) -> gymnasium.spaces.Dict:
        """One vector, ``state``."""
        return gymnasium.spaces.Dict({"state": gymnasium.spaces.Box(-np.inf, np.inf, (self.state_size,), np.float32)})

    @cached_property
    def proprioception_space(self) -> gymnasium.spaces.Box:
        """A vector; see :meth:`proprioception`."""
        return gymnasium.spaces.Box(-np.inf, np.inf, (27,), np.float32)

    def proprioception(self, reading: Reading) -> torch.Tensor:
        """Return what the arm knows of itself, (B, 27), each entry of the order of one.

        Position over the middle of the work space (3), turn against a tool that points straight down (3), lead of the
        target (3) and of its rotation (3), velocity (3), angular velocity (3), force (3), torque (3), gripper and its
        command (2), share of the episode that is over (1). Directions are seen in the frame that actions are in, the
        position in the base's.
        """
        pos, rot = reading["tcp_pos"], reading["tcp_rot"]
        limits, width = self.robot.impedance, max(self.robot.gripper.max_width, 1e-3)
        vectors = torch.stack(
            [
                (reading["target_pos"] - pos) / limits.clip, reading["tcp_linvel"] / 0.1, reading["tcp_angvel"] / 0.5,
                reading["tcp_force"] / 10.0, reading["tcp_torque"],
            ], dim=1,
        )  # fmt: skip
        if self._delta.frame == "tool":
            vectors = vectors @ rot
        down = torch.tensor([1.0, -1.0, -1.0], device=pos.device)[:, None]
        parts = [
            sines(down * rot) / 0.3,
            sines(rot.mT @ reading["target_rot"]) / limits.rotational_clip,
            vectors.flatten(1),
            2.0 * reading["gripper_width"] / width - 1.0,
            2.0 * reading["gripper_target"] / width - 1.0,
            reading["time"] * (self.robot.control_rate / self.horizon),
        ]
        place = (pos - torch.tensor(self.robot.work_center, device=pos.device)) / 0.05
        return torch.cat([place, torch.cat(parts, dim=-1).clamp(-3.0, 3.0)], dim=-1)

    @cached_property
    def readings(self) -> frozenset[str]:
        """What the observation and the command need."""
        return self.observed | _TARGETS

    @cached_property
    def _delta(self) -> ToolDelta:
        return self.tool_delta

    def command(self, action: torch.Tensor, reading: Reading) -> Command:
        """Move the previous target by ``action`` and leash it to the measured pose."""
        names = ("target_pos", "target_rot", "gripper_target", "tcp_pos", "tcp_rot")
        values = (action, *(reading[name] for name in names))
        pos, rot, width = map(as_tensor, self._leashed(*map(quick, values)))
        return Command(pos, rot, width)

    def _leashed(
        self, action: Array, pos: Array, rot: Array, width: Array, tcp_pos: Array, tcp_rot: Array
    ) -> tuple[Array, ...]:
        limits = self.robot.impedance
        pos, rot, width = self._delta.apply(action, pos, rot, width)
        return *leash(pos, rot, tcp_pos, tcp_rot, limits.clip, limits.rotational_clip), width

    def action_of(self, command: Command, reading: Reading) -> torch.Tensor:
        """The action that leads from the previous target to ``command``; beyond [-1, 1] if that is too far for one."""
        return self._delta.invert(
            reading["target_pos"], reading["target_rot"], reading["gripper_target"],
            command.pos, command.rot, command.gripper,
        )  # fmt: skip

    def action_towards(
        self, pos: torch.Tensor, rot: torch.Tensor, width: torch.Tensor, reading: Reading
    ) -> torch.Tensor:
        """The action (B, A), clipped to [-1, 1], whose target comes nearest to a pose: what scripted experts speak."""
        return self.action_of(Command(pos, rot, width), reading).clamp(-1.0, 1.0)


def sines(rot: torch.Tensor) -> torch.Tensor:
    """Axis (B, 3) of rotations (B, 3, 3) times the sine of their angle: the rotation vector where that is small."""
    return 0.5 * (rot[:, [2, 0, 1], [1, 2, 0]] - rot[:, [1, 2, 0], [2, 0, 1]])


def quick(value: torch.Tensor) -> Array:
    """The same values, where they lie, in the namespace that calculates soonest: NumPy's costs a third on the CPU."""
    return value.numpy() if value.is_cpu else value


def as_tensor(values: Array) -> torch.Tensor:
    """The way back from :func:`quick`."""
    return torch.from_numpy(values) if isinstance(values, np.ndarray) else values


def uniform(generator: torch.Generator, n: int, low: float | list[float], high: float | list[float]) -> torch.Tensor:
    """Draw (n, k) uniformly between ``low`` and ``high``, k being their length (1 if they are numbers)."""
    a, b = torch.atleast_1d(torch.as_tensor(low)), torch.atleast_1d(torch.as_tensor(high))
    return a + (b - a) * torch.rand(n, a.numel(), generator=generator)


def small_rotation(generator: torch.Generator, n: int, max_angle: float) -> torch.Tensor:
    """Draw rotations (n, 3, 3) about a uniformly random axis by an angle uniform in [0, max_angle] rad."""
    axis = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=-1)
    return geometry.exp(axis * max_angle * torch.rand(n, 1, generator=generator))


def in_disk(generator: torch.Generator, n: int, radius: float) -> torch.Tensor:
    """Draw points (n, 2) uniformly in a disk of ``radius`` m."""
    angle = 2.0 * torch.pi * torch.rand(n, generator=generator)
    distance = radius * torch.rand(n, generator=generator).sqrt()
    return torch.stack([distance * angle.cos(), distance * angle.sin()], dim=-1)


def tool_down(heading: torch.Tensor) -> torch.Tensor:
    """Orientation (n, 3, 3) of a tool that points straight down, turned by ``heading`` (n,) rad about the vertical."""
    down = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    return geometry.yaw(heading) @ down
