"""Gamepads, through SDL (pygame-ce), which knows the layouts of nearly all of them."""

from __future__ import annotations

import os
import time
from typing import Any

from hardware.teleop.buttons import Presses, check_dead_band, dead_band
from robo_rl.contracts.human import Deflection
from robo_rl.errors import MissingExtra, UserError

BUTTONS = {
    "LEFTSHOULDER": "close", "RIGHTSHOULDER": "open", "A": "success", "B": "failure", "X": "discard",
    "START": "pause", "Y": "reset", "BACK": "stop",
}  # fmt: skip
"""What its buttons mean, by SDL's names; see :data:`hardware.teleop.buttons.MEANINGS`."""

_RETRY = 0.5  # s between two looks for a gamepad that is lost
_FULL = 32767.0


class Gamepad:
    """A :class:`robo_rl.contracts.InputDevice`: a gamepad, found again by itself after it was unplugged.

    The left stick moves away, back, left and right, the triggers up (right) and down (left); the right stick turns
    about the vertical (left, right) and about the left axis (up, down), the cross of buttons about the axis that points
    away. Made, read and closed by one thread.

    Args:
        which: number of it among those that are connected, or part of its name; the first one if None.
        band: dead-band of each stick and trigger, of 1.

    Raises:
        UserError: if there is no such gamepad; says which are connected.
        MissingExtra: if pygame-ce is not installed.
    """

    name = "gamepad"

    def __init__(self, which: str | None = None, *, band: float = 0.15) -> None:
        check_dead_band(band)
        self._which, self._band = which, band
        self._pygame, self._controllers = _sdl()
        self._presses = Presses()
        self._held: set[str] = set()
        self._pad: Any = None
        self._tried = 0.0
        self._instance: int | None = None
        if not self._find():
            raise UserError(f"gamepad{f' {which!r}' if which else ''} is not there; connected: {connected()}")

    def read(self) -> Deflection | None:
        """Return what is pushed now, None while it is unplugged."""
        self._pygame.event.pump()
        self._pygame.event.clear()
        if self._pad is not None and not self._pad.attached():
            self._pad.quit()
            self._pad = None
            self._held = set()
            self._presses.forget()
        now = time.monotonic()
        if self._pad is None and (now - self._tried < _RETRY or not self._find()):
            return None
        pad, pygame = self._pad, self._pygame
        for name, meaning in BUTTONS.items():
            down = bool(pad.get_button(getattr(pygame, f"CONTROLLER_BUTTON_{name}")))
            if down and name not in self._held:
                self._presses.press(meaning)
            (self._held.add if down else self._held.discard)(name)

        def axis(name: str) -> float:
            return dead_band(pad.get_axis(getattr(pygame, f"CONTROLLER_AXIS_{name}")) / _FULL, self._band)

        def button(name: str) -> float:
            return float(pad.get_button(getattr(pygame, f"CONTROLLER_BUTTON_{name}")))

        # SDL counts to the right and downwards.
        translation = (-axis("LEFTY"), -axis("LEFTX"), axis("TRIGGERRIGHT") - axis("TRIGGERLEFT"))
        rotation = (button("DPAD_RIGHT") - button("DPAD_LEFT"), -axis("RIGHTY"), -axis("RIGHTX"))
        return self._presses.tell(now, tuple(v + 0.0 for v in translation), tuple(v + 0.0 for v in rotation))  # type: ignore[arg-type]

    def close(self) -> None:
        """Let go of it."""
        if self._pad is not None:
            self._pad.quit()
            self._pad = None

    def _find(self) -> bool:
        """Open it if it is connected."""
        self._tried = time.monotonic()
        for index, name in _connected(self._pygame, self._controllers):
            if self._which is None or self._which == str(index) or (self._which.lower() in name.lower()):
                self._pad = self._controllers.Controller(index)
                return True
        return False


def connected() -> str:
    """Return the gamepads that are connected, for people.

    Raises:
        MissingExtra: if pygame-ce is not installed.
    """
    pygame, controllers = _sdl()
    pygame.event.pump()
    there = [f"{index} ({name})" for index, name in _connected(pygame, controllers)]
    return ", ".join(there) or "no gamepad"


def _connected(pygame: Any, controllers: Any) -> list[tuple[int, str]]:
    indices = filter(controllers.is_controller, range(pygame.joystick.get_count()))
    return [(index, pygame.joystick.Joystick(index).get_name()) for index in indices]


def _sdl() -> tuple[Any, Any]:
    """SDL without window and sound, reading gamepads though it has no focus."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
    os.environ["SDL_JOYSTICK_ALLOW_BACKGROUND_EVENTS"] = "1"
    os.environ["SDL_NO_SIGNAL_HANDLERS"] = "1"  # Ctrl-C is the command's
    os.environ["PYGAME_HIDE_SUPPORT_PROMPT"] = "1"
    try:
        import pygame
        from pygame._sdl2 import controller
    except ImportError as error:
        raise MissingExtra("a gamepad", "teleop") from error
    if not pygame.display.get_init():
        pygame.display.init()
    pygame.joystick.init()
    controller.init()
    return pygame, controller
