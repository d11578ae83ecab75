"""People who are simulated: they watch, hesitate, push the right way or not quite, and let go too early."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import torch

from robo_rl.contracts.human import HumanInput, View
from robo_rl.errors import UserError


@dataclass(frozen=True)
class SimulatedSettings:
    """What kind of person is simulated."""

    patience: float = 1.5
    """Seconds without progress after which they want to help."""

    gain: float = 0.03
    """Progress that counts as such, as a share of all that they have ever seen."""

    setback: float = 0.15
    """Loss of what was reached in this episode, as the same share, at which they want to help at once."""

    relief: float = 0.1
    """Progress beyond what was reached before, as the same share, at which they let go."""

    reaction: float = 0.3
    """Seconds from wanting to help to pushing, and by which what they see is old when they push."""

    correction: float = 2.0
    """Seconds after which they let go in any case: corrections are short."""

    noise: float = 0.1
    """Standard deviation of the error of what they push, as a share of the push, in each component."""

    misjudgement: float = 0.1
    """Standard deviation of the error of the place they aim at during a correction, as a share of the way that the
    largest push moves the tool in a control period, in each component: people see where a hole is to a millimetre."""

    attention: float = 0.9
    """Chance, at each moment they could notice something, that they are looking."""

    mistakes: float = 0.05
    """Chance that a correction begins into a wrong direction, for as long as their reaction takes."""

    premature: float = 0.1
    """Chance that they let go half-way through a correction."""

    def __post_init__(self) -> None:
        for name in ("attention", "mistakes", "premature"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UserError(f"{name}: must lie in [0, 1], got {getattr(self, name)}")
        for name in ("gain", "setback", "relief", "reaction", "noise", "misjudgement"):
            if not getattr(self, name) >= 0.0:
                raise UserError(f"{name}: must not be negative, got {getattr(self, name)}")
        for name in ("patience", "correction"):
            if not getattr(self, name) > 0.0:
                raise UserError(f"{name}: must be above 0 s, got {getattr(self, name)}")


class SimulatedHuman:
    """A :class:`robo_rl.contracts.Human` who corrects a policy as the task's expert would, within human limits.

    They watch the progress of the task (:attr:`robo_rl.contracts.View.progress`). Where it stands still for
    ``patience`` seconds, or falls back, and they happen to look, they push after their ``reaction``, as the expert
    would from what they saw a reaction ago, less what they have pushed since: people know where their own hand has
    gone (a Smith predictor, Miall et al. 1993), or they would swing about whatever they aim at. The error of a push
    grows with it (Harris and Wolpert 1998), and the place they aim at is a little off during each correction: one who
    knew exactly what the policy cannot observe would teach it that whatever is done there is right. They let go once
    there is more progress than before they came, after ``correction`` seconds, or too early. Everything is drawn from a
    generator of their own.

    Args:
        settings: what kind of person.
        seed: of everything that is drawn.
        gripper: whether the last entry of an action is the gripper's, which is pushed without noise or delay.
    """

    device = "simulated"

    def __init__(self, settings: SimulatedSettings | None = None, *, seed: int = 0, gripper: bool = False) -> None:
        self.settings = settings or SimulatedSettings()
        self._gripper = gripper
        self._generator = torch.Generator().manual_seed(seed)
        self._lowest, self._highest = float("inf"), float("-inf")  # progress ever seen
        self.begin()

    def begin(self) -> None:
        """A new episode begins; they have their hands off."""
        self._best = float("-inf")  # progress of this episode
        self._since = 0.0  # s since it last grew
        self._waited: float | None = None  # s since they wanted to help, None if they do not
        self._pushing: float | None = None  # s that they have pushed, None if they do not
        self._goal = 0.0  # progress at which they let go
        self._ends = 0.0  # s of pushing after which they let go
        self._wrong: torch.Tensor | None = None
        self._amiss: torch.Tensor | float = 0.0
        self._seen: deque[torch.Tensor] = deque()  # what the expert would have done, for a reaction
        self._pushed: deque[torch.Tensor] = deque()  # what they have pushed since the oldest of these

    def read(self, view: View) -> HumanInput | None:
        """Return what they push now.

        Raises:
            UserError: if the task has no expert, or nothing tells its progress.
        """
        if view.expert is None or view.progress is None:
            raise UserError("a simulated person needs a task with an expert and dense reward terms; choose a device")
        lag = max(1, round(self.settings.reaction / view.control_dt) + 1)
        self._seen.append(view.expert())
        while len(self._seen) > lag:
            self._seen.popleft()
        while len(self._pushed) >= lag:
            self._pushed.popleft()
        self._watch(view.progress(), view.control_dt)
        if self._pushing is None:
            self._pushed.append(view.neutral)
            return HumanInput(device=self.device)
        return self._push(view)

    def close(self) -> None:
        """Nothing is held."""

    def _watch(self, progress: float, dt: float) -> None:
        """Notice what has come of the last period, and decide whether to begin or to end a correction."""
        self._lowest, self._highest = min(self._lowest, progress), max(self._highest, progress)
        span = self._highest - self._lowest
        self._since += dt
        if progress > self._best + self.settings.gain * span or self._best == float("-inf"):
            self._best, self._since = progress, 0.0
        if self._pushing is not None:
            self._pushing += dt
            if progress > self._goal or self._pushing >= self._ends - 1e-9:
                self._pushing, self._since = None, 0.0
        elif self._waited is not None:
            self._waited += dt
            if self._waited >= self.settings.reaction - 1e-9:
                self._begin_correction(span)
        else:
            stuck = self._since >= self.settings.patience - 1e-9
            lost = span > 0.0 and progress < self._best - self.settings.setback * span
            if (stuck or lost) and self._chance(self.settings.attention):
                self._waited = 0.0
                if self.settings.reaction == 0.0:
                    self._begin_correction(span)

    def _begin_correction(self, span: float) -> None:
        self._waited, self._pushing = None, 0.0
        self._goal = self._best + self.settings.relief * span
        self._ends = self.settings.correction * (0.5 if self._chance(self.settings.premature) else 1.0)
        wrong = self._chance(self.settings.mistakes)
        self._wrong = torch.randn(self._seen[0].shape, generator=self._generator).clamp(-1.0, 1.0) if wrong else None
        self._amiss = self.settings.misjudgement * torch.randn(self._seen[0].shape, generator=self._generator)

    def _push(self, view: View) -> HumanInput:
        assert self._pushing is not None
        aim = (self._seen[0] + self._amiss - sum(each - view.neutral for each in self._pushed)).clamp(-1.0, 1.0)
        if self._wrong is not None and self._pushing <= self.settings.reaction:
            aim = self._wrong
        error = self.settings.noise * (aim - view.neutral) * torch.randn(aim.shape, generator=self._generator)
        action = (aim + error).clamp(-1.0, 1.0)
        gripper = None
        if self._gripper:
            action[-1] = self._seen[-1][-1]
            gripper = float(action[-1])
        self._pushed.append(action)
        return HumanInput(action, gripper=gripper, device=self.device, latency=0.0)

    def _chance(self, probability: float) -> bool:
        return float(torch.rand((), generator=self._generator)) < probability
