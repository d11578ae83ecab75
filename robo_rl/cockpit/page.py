"""The page as a device in a person's hand."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, cast, get_args

import torch

from robo_rl.contracts.human import Deflection, HumanInput, Label, Request, View
from robo_rl.human.mapping import FRAMES, ActionMap
from robo_rl.human.teleoperation import Teleoperator

SILENCE = 0.2
"""Seconds after which a page that was pushed when it last spoke has its hands off."""

LOST = 1.0
"""Seconds of silence after which a page is nobody."""

_WORDS = ("close", "open", *get_args(Label), *get_args(Request))


class Page:
    """A :class:`robo_rl.contracts.InputDevice`: what the page that holds control says.

    It says what is pushed again and again, with a stamp; a push is believed for :data:`SILENCE` seconds after it. While
    the emergency stop is latched, nothing that is pushed counts, the loop is paused, and does not go on.

    Attributes:
        frame: that the newest push is meant in; None: the one that was chosen when it began.
        stopped: whether the emergency stop is latched.
    """

    name = "cockpit"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pushed: tuple[float, list[float]] = (-math.inf, [0.0] * 6)
        self._heard = -math.inf
        self._words: list[str] = []
        self.frame: str | None = None
        self.stopped = False

    def push(self, stamp: float, axes: list[float], frame: str | None) -> None:
        """Take up what is pushed: three translations and three rotations, each in [-1, 1]; ``stamp`` is when, s."""
        if len(axes) != 6 or not all(math.isfinite(value) for value in (*axes, stamp)):
            return
        with self._lock:
            self._heard = time.monotonic()
            if stamp >= self._pushed[0]:  # what was held up on its way is over
                self._pushed = (min(stamp, self._heard), [min(1.0, max(-1.0, value)) for value in axes])
                self.frame = frame

    def press(self, word: str) -> None:
        """Take up a press: an end of the gripper, a label or a request; ``emergency`` and ``release`` of the stop."""
        with self._lock:
            if word == "emergency":
                self.stopped = True
                self._pushed = (self._pushed[0], [0.0] * 6)
                self._words.append("pause")
                return  # whoever watches may press it; that tells nothing of the one in control
            self._heard = time.monotonic()
            if word == "release":
                self.stopped = False
            elif word in _WORDS and not (self.stopped and word in ("resume", "reset", "open", "close")):
                self._words.append(word)

    def leave(self) -> None:
        """Nobody holds control any more: what was pushed is over, and what was pressed too."""
        with self._lock:
            self._heard = -math.inf
            self._pushed = (self._pushed[0], [0.0] * 6)
            self._words = [word for word in self._words if word in ("pause", "stop")]

    def read(self) -> Deflection | None:
        """Return what is pushed now, and the oldest press of each kind; None where nobody is there."""
        with self._lock:
            now = time.monotonic()
            stamp, axes = self._pushed
            there = now - self._heard <= LOST
            if not there and not self._words:
                return None
            if not there or self.stopped or now - stamp > SILENCE:
                stamp, axes = now, [0.0] * 6
            gripper = {"open": 1.0, "close": -1.0}.get(self._take("close", "open") or "")
            label = cast("Label | None", self._take(*get_args(Label)))
            request = cast("Request | None", self._take(*get_args(Request)))
        x, y, z, a, b, c = axes
        return Deflection(stamp, (x, y, z), (a, b, c), gripper, label, request)

    def close(self) -> None:
        """Nothing is held here: the page belongs to the session."""

    def _take(self, *kind: str) -> str | None:
        """Remove the oldest press among ``kind`` and return it."""
        for word in self._words:
            if word in kind:
                self._words.remove(word)
                return word
        return None


class FrameOfThePage(ActionMap):
    """An :class:`~robo_rl.human.mapping.ActionMap` in whose frames the page chooses with every push.

    Args:
        env: environment that is acted in.
        frame: in force where the page chooses none.
        chosen: says what it chooses.

    Attributes:
        frames: that there are to choose from.
    """

    def __init__(self, env: Any, frame: str | None, chosen: Callable[[], str | None]) -> None:
        usual = ActionMap.of(env, frame)
        self.__dict__.update(usual.__dict__)
        self._usual, self._chosen = usual, chosen
        task = getattr(env, "task", None)
        known = getattr(task, "tool_delta", None) is not None
        cameras = tuple(camera.name for camera in task.scene().cameras) if task is not None and known else ()
        self.frames = (*FRAMES, *cameras) if known else ()
        self._maps = {name: ActionMap.of(env, name) for name in self.frames}

    def action(self, said: Deflection, reading: Mapping[str, torch.Tensor], row: int = 0) -> torch.Tensor:
        """Return the action (A,) that the page asks for, in the frame that it was pushed in."""
        return self._maps.get(self._chosen() or "", self._usual).action(said, reading, row)


class AtThePage(Teleoperator):
    """A :class:`robo_rl.contracts.Human` at the page, who is shown what there is to see whenever they are asked.

    Args:
        page: the device.
        actions: what its directions mean.

    Attributes:
        show: shows them a view.
    """

    def __init__(self, page: Page, actions: ActionMap) -> None:
        super().__init__(page, actions)
        self.show: Callable[[View], None] = lambda view: None

    def read(self, view: View) -> HumanInput | None:
        """Return what they say now, as an action of the task."""
        self.show(view)
        return super().read(view)
