"""Who is in control: the person takes over by moving and hands back by letting go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from robo_rl.contracts.human import AUTHORITIES, DEVICES, HumanInput, View, device_code
from robo_rl.errors import UserError


@dataclass(frozen=True)
class AuthoritySettings:
    """When a person is in control, and of how much."""

    mode: Literal["override", "blend", "residual"] = "override"
    """override: the person's action in place of the policy's; blend: a weighted mean of both; residual: the policy's
    action plus a scaled one of the person's."""

    threshold: float = 0.05
    """Largest component of the person's action, of 1, above which they take over."""

    hold: float = 0.3
    """Seconds after letting go at which control is handed back; until then, overridden, the tool rests."""

    share: float = 0.5
    """Weight of the person's action in a blend."""

    scale: float = 0.5
    """What the person's action is multiplied by as a residual."""

    max_change: float = 1.0
    """Largest change of a component of the executed action from one control period to the next while a person pushes;
    the gripper's is free."""

    max_latency: float = 0.5
    """Seconds after which what a person said is too old: hands off."""

    budget: int | None = None
    """Steps in which people may have a say, all environments together; after these they have their hands off."""
    veto: float = 1.0
    """Seconds that the loop waits for a person's verdict after a success classifier saw a success."""

    def __post_init__(self) -> None:
        if self.budget is not None and self.budget < 0:
            raise UserError(f"budget: must not be negative, got {self.budget}")
        for name, low, high in (("threshold", 0.0, 1.0), ("share", 0.0, 1.0), ("scale", 0.0, 1.0)):
            if not low <= getattr(self, name) <= high:
                raise UserError(f"{name}: must lie in [{low:g}, {high:g}], got {getattr(self, name)}")
        for name in ("hold", "veto"):
            if not 0.0 <= getattr(self, name) <= 10.0:
                raise UserError(f"{name}: must lie in [0, 10] s, got {getattr(self, name)}")
        for name in ("max_change", "max_latency"):
            if not getattr(self, name) > 0.0:
                raise UserError(f"{name}: must be above 0, got {getattr(self, name)}")


@dataclass(frozen=True)
class Decision:
    """What is done in one control period, and who decided it; see :class:`robo_rl.contracts.Provenance`.

    Attributes:
        action: (A,), to be carried out.
        human_action: (A,).
        authority: code.
        active: whether the person pushes.
        segment: number, -1 outside of any.
        onset: whether the segment begins here.
        offset: whether one ended just before.
        device: code.
        latency: s.
    """

    action: torch.Tensor
    human_action: torch.Tensor
    authority: int
    active: bool
    segment: int
    onset: bool
    offset: bool
    device: int
    latency: float


class Authority:
    """Decides, one control period after the other, who is in control of one environment.

    The person has a say from the first period in which a component of their action, the gripper's apart, is more than
    ``threshold`` away from rest, or in which they wish for an opening of the gripper; and until ``hold`` seconds have
    passed since the last such period. One who is silent, lost, too old or not finite has their hands off: what they
    said before is never carried out again. In the periods of a segment in which nobody pushes, an overridden tool rests
    at once, and otherwise the policy acts alone.

    With p the policy's action and h the person's, each component in [-1, 1]::

        override: h        blend: (1 - share) p + share h        residual: p + scale h

    then at most ``max_change`` away from the action before, so that taking over is no jerk. The gripper's entry is the
    person's where they wish for an opening; else in an override it stays, otherwise it is the policy's.

    Args:
        settings: of it.
        gripper: whether the last entry of an action is the gripper's.
    """

    def __init__(self, settings: AuthoritySettings, *, gripper: bool) -> None:
        self.settings = settings
        self._arm = slice(0, -1) if gripper else slice(None)
        self._gripper = gripper
        self.begin()

    def begin(self) -> None:
        """A new episode begins, with the policy in control."""
        self._segments = 0  # begun so far in this episode
        self._in_segment = False
        self._idle = 0.0  # s since the person last pushed
        self._before: torch.Tensor | None = None  # what was last carried out

    def decide(self, view: View, said: HumanInput | None) -> Decision:
        """Decide one control period.

        Args:
            view: what the person saw.
            said: what they said, None if nobody is there.

        Raises:
            UserError: if the person's action is of another size than the task's.
        """
        said = self._heard(said, view)
        wish = None if said is None else said.gripper
        moved = said is not None and said.action is not None and self._moved(said.action, view.neutral)
        active = moved or (wish is not None and self._gripper)
        was = self._in_segment
        if active:
            self._idle = 0.0
        elif was:
            self._idle += view.control_dt
            if self._idle > self.settings.hold + 1e-9:
                self._in_segment = False
        if active and not was:
            self._in_segment = True
            self._segments += 1
        person = self._person(said if active else None, view)
        action = self._executed(view.policy_action, person, wish, active, view)
        self._before = action
        inside = self._in_segment
        return Decision(
            action=action,
            human_action=person if inside else torch.zeros_like(person),
            authority=AUTHORITIES.index(self.settings.mode) if inside else 0,
            active=active,
            segment=self._segments - 1 if inside else -1,
            onset=inside and not was,
            offset=was and not inside,
            device=device_code(said.device) if inside and said is not None else DEVICES.index("none"),
            latency=said.latency if inside and said is not None else 0.0,
        )

    def _heard(self, said: HumanInput | None, view: View) -> HumanInput | None:
        """What counts of what was said: nothing, if it is too old or not finite."""
        if said is None or not 0.0 <= said.latency <= self.settings.max_latency:
            return None
        action, shape = said.action, view.policy_action.shape
        if action is None:
            return said
        if action.shape != shape:
            raise UserError(f"{said.device}: an action of shape {tuple(action.shape)}, the task's are {tuple(shape)}")
        return said if bool(action.isfinite().all()) else None

    def _moved(self, action: torch.Tensor, neutral: torch.Tensor) -> bool:
        push = (action - neutral)[self._arm]
        return bool(push.numel()) and float(push.abs().max()) > self.settings.threshold

    def _person(self, said: HumanInput | None, view: View) -> torch.Tensor:
        """The person's whole action: what they push, or rest; and the gripper as they wish it."""
        if said is None:
            return view.neutral.clone()
        action = (view.neutral if said.action is None else said.action.to(view.neutral)).clamp(-1.0, 1.0)
        if self._gripper and said.action is None and said.gripper is not None:
            action = action.clone()
            action[-1] = max(-1.0, min(1.0, said.gripper))
        return action

    def _executed(
        self, policy: torch.Tensor, person: torch.Tensor, wish: float | None, active: bool, view: View
    ) -> torch.Tensor:
        settings = self.settings
        if not self._in_segment:
            return policy.clamp(-1.0, 1.0)
        if not active:
            return person if settings.mode == "override" else policy.clamp(-1.0, 1.0)
        policy = policy.clamp(-1.0, 1.0)
        action = person.clone()
        if settings.mode == "blend":
            action = (1.0 - settings.share) * policy + settings.share * person
        elif settings.mode == "residual":
            action = policy + settings.scale * person
        before = torch.zeros_like(action) if self._before is None else self._before
        limit = settings.max_change
        action[self._arm] = action[self._arm].clamp(before[self._arm] - limit, before[self._arm] + limit)
        if self._gripper:
            alone = settings.mode != "override" and wish is None
            action[-1] = policy[-1] if alone else person[-1]
        return action.clamp(-1.0, 1.0)
