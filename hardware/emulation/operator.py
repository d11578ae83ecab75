"""The stand-in for the person who sets a simulated cell up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hardware.emulation.client import CellClient
from hardware.inputs.stop_key import CELL_STOP, KEY_PRESSED
from robo_rl.contracts.plant import Placement

if TYPE_CHECKING:
    from robo_rl.contracts import Pose, Start


BY_PERSON = (KEY_PRESSED, CELL_STOP)
"""Reasons of the fault ``stopped`` that a person at a terminal is behind."""


class SimulatedOperator:
    """A :class:`robo_rl.contracts.Operator`: puts the objects of a start where they truly are, fixtures and tools too.

    It never moves the arm: take the tool out of the way before a fixture is put where the tool is.

    Args:
        folder: of the simulated cell.
    """

    def __init__(self, folder: Path | str) -> None:
        self._cell = CellClient(folder)

    def arrange(self, start: Start) -> None:
        """Put the objects of ``start`` (one row) in place: ``tool`` objects into the gripper at their pose in it.

        Raises:
            UserError: if the scene lacks one of them, or the physics does not answer.
        """
        if start.objects:
            self._cell.place({name: _row(pose) for name, pose in start.objects.items()})

    def acknowledge(self, fault: str, reason: str) -> bool:
        """Unless a person has stopped it, who says when to go on: nobody is near a simulated arm."""
        return reason not in BY_PERSON

    def truth(self) -> dict[str, Placement]:
        """Return what a measurement of success may know: true poses, by object, and the tool's as ``tcp``.

        Raises:
            UserError: if the physics does not answer.
        """
        return self._cell.truth()


def _row(pose: Pose) -> Placement:
    # Rotations are in float32; the wire refuses what is not orthonormal, which they are to 1e-6.
    pos, rot = pose.pos[0].detach().cpu(), pose.rot[0].detach().cpu()
    return np.asarray(pos, dtype=float), np.asarray(rot, dtype=float)
