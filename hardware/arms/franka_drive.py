"""The drive of a Franka as far as it is the same whichever SDK speaks to the arm."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from types import ModuleType
from typing import Any

import numpy as np

from hardware.arms.franka import FrankaSettings, require_reachable
from hardware.arms.franka_hand import FrankaHand
from robo_rl.contracts import RobotSpec
from robo_rl.errors import UserError


class FrankaDrive(ABC):
    """Connection, hand and errors of a Franka; a :class:`hardware.arms.drive.Drive` once an SDK is added.

    Args:
        spec: the arm.
        settings: from the cell file.
    """

    def __init__(self, spec: RobotSpec, settings: FrankaSettings) -> None:
        self.spec = spec
        self._settings = settings
        self._hand = FrankaHand(settings, spec.gripper.max_width) if settings.hand else None
        self._sdk: ModuleType | None = None
        self._robot: Any = None  # of the SDK; None while there is no connection
        self._fault = ""  # what a command of ours was refused for
        self._lost = ""  # why there is no connection
        self._stamp = 0.0  # of the last state

    @abstractmethod
    def _connect(self) -> None:
        """Connect and set the arm up; raises UserError."""

    def carry(self, mass: float, com: np.ndarray) -> None:
        """As in :class:`hardware.arms.drive.LoadedDrive`: goes to the arm as its load, in place of the settings'."""
        x, y, z = np.asarray(com, dtype=float).tolist()
        self._settings = dataclasses.replace(self._settings, payload_mass=mass, payload_com=(x, y, z))

    def write_gripper(self, width: float) -> None:
        """Open or close the hand to ``width`` m, if there is one."""
        if self._hand is not None:
            self._hand.write(width)

    @property
    def _address(self) -> str:
        return self._settings.address

    def _hand_error(self) -> str:
        error = self._hand.error if self._hand is not None else ""
        return f"hand: {error}" if error else ""

    def _connect_again(self) -> ModuleType:
        """Connect to whatever of hand and arm is lost; returns the SDK."""
        if self._sdk is None:
            raise UserError(f"franka at {self._address}: not open")
        if self._hand is not None and self._hand.error:
            self._hand.start()
        if self._robot is None:
            require_reachable(self._address)
            self._connect()
        return self._sdk
