"""What a command has to look like before anything else happens to it."""

from __future__ import annotations

import math

import numpy as np

from robo_rl.contracts import MAX_VALIDITY, ToolCommand
from robo_rl.errors import InvalidAction

_ROTATION_TOLERANCE = 1e-3  # of RᵀR = 1, entry by entry


def checked(command: ToolCommand) -> ToolCommand:
    """Return a copy of a command, in float64, if it is well formed.

    Raises:
        InvalidAction: with the field at fault.
    """
    try:
        pos, rot = np.array(command.pos, dtype=float), np.array(command.rot, dtype=float)
        gripper, valid_for, number = float(command.gripper), float(command.valid_for), int(command.id)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidAction(f"command is malformed: {error}") from error
    for name, value, shape in (("pos", pos, (3,)), ("rot", rot, (3, 3))):
        if value.shape != shape:
            raise InvalidAction(f"command.{name} has shape {value.shape}; it must be {shape}")
    if not (np.isfinite(pos).all() and np.isfinite(rot).all() and math.isfinite(gripper)):
        raise InvalidAction("command holds NaN or infinity; send finite numbers only")
    if not 0 < number < 2**63:
        raise InvalidAction(f"command.id is {number}; it must be above 0 and below 2**63")
    if not 0.0 < valid_for <= MAX_VALIDITY:
        raise InvalidAction(f"command.valid_for is {valid_for} s; it must be above 0 and at most {MAX_VALIDITY}")
    if np.abs(rot).max() > 2.0 or np.abs(rot.T @ rot - np.eye(3)).max() > _ROTATION_TOLERANCE or np.linalg.det(rot) < 0:
        raise InvalidAction("command.rot is not a rotation: its columns must be orthonormal and right-handed")
    return ToolCommand(number, pos, rot, gripper, valid_for)
