"""The person beside the robot: what they see, what they say, and what a transition keeps of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch

    from robo_rl.contracts.learning import Obs

Label = Literal["success", "failure", "discard"]
"""A person's verdict on an episode; it ends the episode.

``success``: the goal is reached; the step is terminal and worth 1. ``failure``: it is not, whatever the task or a
classifier says; the episode is truncated, for a person who gives up does not prove that nothing more could come.
``discard``: nobody shall learn from this episode.
"""

Request = Literal["pause", "resume", "stop", "reset"]
"""What a person wants of the loop: wait, go on, end the session, or begin anew (this episode is truncated and kept)."""

AUTHORITIES = ("policy", "override", "blend", "residual")
"""Who decided the executed action, by code: the policy alone; the person alone; a weighted mean of both; the policy's
action plus a scaled one of the person's."""

DEVICES = ("none", "scripted", "simulated", "keyboard", "gamepad", "spacemouse", "cockpit", "other")
"""What a person's action came from, by code. Only ever appended to: the codes are on disk."""

LABELS = ("none", "success", "failure", "discard")
"""Verdicts, by code."""


def device_code(name: str) -> int:
    """Return the code of a device; one that has none of its own is ``other``."""
    return DEVICES.index(name if name in DEVICES else "other")


@dataclass(frozen=True)
class View:
    """What a person has before their eyes at the beginning of a control period, of one environment.

    Attributes:
        obs: the observation, each (...), without a batch dimension.
        reading: the world's newest reading, each (1, ...); empty where the environment has none.
        policy_action: (A,), what the policy is about to do.
        step: steps of the episode so far.
        control_dt: seconds of one control period.
        neutral: (A,), the action that holds the tool where it is commanded to be and leaves the gripper alone.
        expert: what one who knows the task would do now, (A,); None where nothing tells.
        progress: how near the goal is, as the task's dense reward terms have it; None where nothing tells. Only
            simulated people ask for the last two.
    """

    obs: Obs
    reading: Mapping[str, torch.Tensor]
    policy_action: torch.Tensor
    step: int
    control_dt: float
    neutral: torch.Tensor
    expert: Callable[[], torch.Tensor] | None = None
    progress: Callable[[], float] | None = None


@dataclass(frozen=True)
class HumanInput:
    """What a person says at one instant.

    Attributes:
        action: (A,) in the task's normalised space, each in [-1, 1], the gripper's entry included if there is one;
            None while the hands are off.
        gripper: the opening that is wished for, -1 closed to 1 open, None without a wish. It is part of ``action``
            already; given without an action, it moves the gripper alone.
        label: verdict on the episode.
        request: what the loop shall do.
        device: what it came from, one of :data:`DEVICES` or a name of its own.
        latency: seconds since the device said so.
    """

    action: torch.Tensor | None = None
    gripper: float | None = None
    label: Label | None = None
    request: Request | None = None
    device: str = "other"
    latency: float = 0.0


@runtime_checkable
class Human(Protocol):
    """A person at a device, or one who is simulated. Read once in every control period; no method waits.

    A person who is not there (no device, a lost one, one that has fallen silent while pushed) is None. What was said
    before is never said again: a label or a request is told once, an action only as long as the device stands by it.

    Example:
        >>> said = human.read(view)                                              # doctest: +SKIP
        >>> if said is not None and said.action is not None:                     # doctest: +SKIP
        ...     action = said.action

    Attributes:
        device: name of the device.
    """

    device: str

    def begin(self) -> None:
        """A new episode begins: what was said about the last one is over."""
        ...

    def read(self, view: View) -> HumanInput | None:
        """Return what the person says now, None if nobody is there."""
        ...

    def close(self) -> None:
        """Let go of the device. Once more is no error."""
        ...


@dataclass(frozen=True, slots=True)
class Deflection:
    """What a device in a person's hand says at one instant, in its own terms.

    The axes are the person's: x away from them, y to their left, z up. Which directions of the robot these are is
    decided by the frame that the person chose, see :class:`robo_rl.human.mapping.ActionMap`.

    Attributes:
        stamp: when the device said so, s of ``time.monotonic()``.
        translation: along x, y and z, each in [-1, 1], the dead-band taken out: exact zeros at rest.
        rotation: about the same axes, right-handed, likewise.
        gripper: wished opening, -1 closed to 1 open, None without a wish.
        label: verdict, in the first reading after it was given.
        request: likewise.
    """

    stamp: float
    translation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rotation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    gripper: float | None = None
    label: Label | None = None
    request: Request | None = None

    @property
    def moved(self) -> bool:
        """Whether the device is pushed."""
        return any(self.translation) or any(self.rotation)


@runtime_checkable
class InputDevice(Protocol):
    """A device in a person's hand. No method waits; a lost device is found again by itself once it is back.

    Attributes:
        name: of its kind, one of :data:`DEVICES` or a name of its own.
    """

    name: str

    def read(self) -> Deflection | None:
        """Return the newest state, None while the device is lost."""
        ...

    def close(self) -> None:
        """Let go of it. Once more is no error."""
        ...


@dataclass(frozen=True)
class Provenance:
    """Where the executed actions of a step came from, for B environments: the entries of ``Step.info`` by these names.

    A segment is a stretch of steps in which a person had a say, without a break, numbered from 0 in each episode.

    Attributes:
        policy_action: (B, A), what the policy asked for.
        human_action: (B, A), what the person asked for; the neutral action in steps of a segment in which they let go;
            zeros elsewhere.
        authority: (B,) uint8, code in :data:`AUTHORITIES`.
        active: (B,) bool, the person pushed in this step; false while a segment waits whether they let go for good.
        segment: (B,) int64, number of the segment, -1 outside of any.
        onset: (B,) bool, first step of a segment.
        offset: (B,) bool, first step after a segment: control was handed back just before it.
        device: (B,) uint8, code in :data:`DEVICES`.
        latency: (B,) float32, seconds from the device to the command; 0 outside of segments.
        label: (B,) uint8, code in :data:`LABELS`.
    """

    policy_action: torch.Tensor
    human_action: torch.Tensor
    authority: torch.Tensor
    active: torch.Tensor
    segment: torch.Tensor
    onset: torch.Tensor
    offset: torch.Tensor
    device: torch.Tensor
    latency: torch.Tensor
    label: torch.Tensor

    def to_info(self) -> dict[str, torch.Tensor]:
        """Return the entries of ``Step.info``."""
        return {name: getattr(self, name) for name in PROVENANCE}

    @staticmethod
    def of(info: Mapping[str, torch.Tensor]) -> Provenance | None:
        """Return what ``Step.info`` (or ``Episode.provenance``) tells, None if it tells nothing."""
        if not all(name in info for name in PROVENANCE):
            return None
        return Provenance(**{name: info[name] for name in PROVENANCE})


PROVENANCE = tuple(each.name for each in fields(Provenance))
"""Names of the entries of ``Step.info`` that tell where an action came from."""
