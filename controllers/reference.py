"""The one meaning of an action, and the leash that bounds how far a target may lead the tool.

A task, a human's device and a hindsight label all speak through :class:`ToolDelta`::

    target = leash(*tool_delta.apply(action, *previous_target)[:2], pos, rot, clip, rotational_clip)

Because every target is leashed to the measured pose, the spring is never stretched further than its error clip, and the
angle between target and tool stays far from pi, where the direction of the shortest rotation flips.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from array_api_compat import array_namespace

from robo_rl import geometry
from robo_rl.errors import UserError

Array = Any


@dataclass(frozen=True)
class ToolDelta:
    """Actions in [-1, 1] that move the target pose of the tool and set the opening of its gripper.

    Translation and rotation are mapped separately: a translation never turns the tool and a rotation never moves the
    tool centre point. The entries of an action are 3 of translation, one per axis of rotation, and the gripper's.

    Example:
        >>> import numpy as np
        >>> delta = ToolDelta(translation=0.01, rotation=0.1, rotation_axes=(2,), frame="base")
        >>> delta.size
        4
        >>> pos, rot, gripper = delta.apply(np.array([0.0, 1.0, 0.0, 0.0]), np.zeros(3), np.eye(3), np.zeros(1))
        >>> pos.tolist()
        [0.0, 0.01, 0.0]

    Attributes:
        translation: m per unit of action.
        rotation: rad per unit of action.
        rotation_axes: axes of ``frame`` that the action turns about, ascending.
        frame: axes that deltas are expressed in: the tool's (of the previous target) or the base's.
        gripper: whether the last entry is the opening: -1 closed, +1 open at ``max_width``.
        switch: whether that entry is a switch instead: below -0.5 it closes, above 0.5 it opens, between them the
            gripper stays as it was told before, so that noise does not let go of what is held.
        max_width: opening of the gripper at +1, m.
    """

    translation: float
    rotation: float = 0.0
    rotation_axes: tuple[int, ...] = ()
    frame: Literal["tool", "base"] = "base"
    gripper: bool = False
    max_width: float = 0.0
    switch: bool = False

    def __post_init__(self) -> None:
        if not self.translation > 0.0:
            raise UserError(f"translation must be above 0 m per unit of action, not {self.translation}")
        if list(self.rotation_axes) != sorted(set(self.rotation_axes) & {0, 1, 2}):
            raise UserError(f"rotation_axes must be ascending and among 0, 1, 2, not {self.rotation_axes}")
        if self.rotation_axes and not self.rotation > 0.0:
            raise UserError(
                f"rotation must be above 0 rad per unit of action, not {self.rotation}; or clear rotation_axes"
            )
        if self.frame not in ("tool", "base"):
            raise UserError(f"frame must be 'tool' or 'base', not {self.frame!r}")
        if self.gripper and not self.max_width > 0.0:
            raise UserError(f"max_width must be above 0 m, not {self.max_width}; or set gripper to false")

    @property
    def size(self) -> int:
        """Number of entries of an action."""
        return 3 + len(self.rotation_axes) + int(self.gripper)

    def apply(self, action: Array, pos: Array, rot: Array, gripper: Array) -> tuple[Array, Array, Array]:
        """Move a target: to ``pos + d, exp(w) rot`` in the base frame, to ``pos + rot d, rot exp(w)`` in the tool's.

        Args:
            action: (..., size). Not checked: environments refuse actions that are not finite.
            pos: (..., 3) previous target of the tool centre point, base frame, m.
            rot: (..., 3, 3) previous target orientation.
            gripper: (..., 1) previous target opening, m; returned as it is if the action has no gripper entry.

        Returns:
            The new ``(pos, rot, gripper)``.
        """
        in_tool = self.frame == "tool"
        delta = action[..., :3] * self.translation
        new_pos = pos + (geometry.rotate(rot, delta) if in_tool else delta)
        new_rot = rot
        if self.rotation_axes:
            turn = geometry.exp(self._rotvec(action))
            new_rot = rot @ turn if in_tool else turn @ rot
        if self.gripper:
            entry = action[..., -1:]
            wanted = (entry + 1.0) * (0.5 * self.max_width)
            if self.switch:
                xp = array_namespace(action)
                ends = xp.where(entry > 0.0, xp.full_like(entry, self.max_width), xp.zeros_like(entry))
                wanted = xp.where(xp.abs(entry) > 0.5, ends, gripper)
            gripper = wanted
        return new_pos, new_rot, gripper

    def invert(
        self, pos: Array, rot: Array, gripper: Array, new_pos: Array, new_rot: Array, new_gripper: Array
    ) -> Array:
        """Return the action (..., size) that moves the first target to the second: the inverse of :meth:`apply`.

        Exact for every target that an action can reach by less than half a turn. Of any other, the rotation vector's
        components about axes that are not in ``rotation_axes`` are lost. Not limited to [-1, 1].
        """
        xp = array_namespace(pos, rot)
        in_tool = self.frame == "tool"
        delta = new_pos - pos
        inverse = geometry.transpose(rot) if in_tool or self.rotation_axes else None
        if in_tool:
            delta = geometry.rotate(inverse, delta)
        parts = [delta * (1.0 / self.translation)]
        if self.rotation_axes:
            rotvec = geometry.log(inverse @ new_rot if in_tool else new_rot @ inverse)
            if len(self.rotation_axes) < 3:
                rotvec = xp.concat([rotvec[..., i : i + 1] for i in self.rotation_axes], axis=-1)
            parts.append(rotvec * (1.0 / self.rotation))
        if self.gripper:
            entry = new_gripper * (2.0 / self.max_width) - 1.0
            if self.switch:
                entry = xp.where(new_gripper == gripper, xp.zeros_like(entry), xp.sign(entry))
            parts.append(entry)
        return xp.concat(parts, axis=-1) if len(parts) > 1 else parts[0]

    def _rotvec(self, action: Array) -> Array:
        """Rotation vector (..., 3), rad, of an action."""
        angles = action[..., 3 : 3 + len(self.rotation_axes)] * self.rotation
        if len(self.rotation_axes) == 3:
            return angles
        xp = array_namespace(action)
        entries = [xp.zeros_like(angles[..., :1])] * 3
        for i, axis in enumerate(self.rotation_axes):
            entries[axis] = angles[..., i : i + 1]
        return xp.concat(entries, axis=-1)


def pose_error(target_pos: Array, target_rot: Array, pos: Array, rot: Array) -> tuple[Array, Array]:
    """How far the target is from the tool, both in base axes.

    Returns:
        (..., 3) m, and the rotation vector (..., 3), rad, that turns the tool into the target, of at most pi.
    """
    return target_pos - pos, geometry.log(target_rot @ geometry.transpose(rot))


def leash(
    target_pos: Array, target_rot: Array, pos: Array, rot: Array, clip: float, rotational_clip: float
) -> tuple[Array, Array]:
    """Bring a target so near to the measured pose that no component of the error exceeds its clip.

    Each axis of the base frame is clipped on its own, so being held back on one does not hold back the others. An error
    rotation near pi is clipped like any other: what comes out is at most ``sqrt(3) * rotational_clip`` away from the
    tool, and from there on the shortest rotation is unambiguous. At pi itself either sense is as short, and the one
    taken is a function of the two orientations.

    Args:
        target_pos: (..., 3) m.
        target_rot: (..., 3, 3).
        pos: (..., 3) measured, m.
        rot: (..., 3, 3) measured.
        clip: largest component of the position error, m.
        rotational_clip: largest component of the rotation vector of the error, rad.

    Returns:
        The leashed ``(target_pos, target_rot)``; its rotation is orthonormal to rounding whatever drift came in.
    """
    translation, rotation = pose_error(target_pos, target_rot, pos, rot)
    return (
        pos + translation.clip(-clip, clip),
        geometry.exp(rotation.clip(-rotational_clip, rotational_clip)) @ rot,
    )
