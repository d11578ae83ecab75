"""What a simulator must build around the robot. A real cell ignores it: its scene is already there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Vec3 = tuple[float, float, float]
Quat = tuple[float, float, float, float]
RGBA = tuple[float, float, float, float]


@dataclass(frozen=True)
class Shape:
    """One primitive of an object.

    Attributes:
        kind: box, cylinder, capsule or sphere.
        size: half extents (box), radius and half length (cylinder, capsule) or radius (sphere), in metres.
        pos: centre in the frame of the object, in metres.
        quat: orientation in the frame of the object, wxyz.
        rgba: colour.
        friction: sliding friction coefficient.
    """

    kind: Literal["box", "cylinder", "capsule", "sphere"]
    size: tuple[float, ...]
    pos: Vec3 = (0.0, 0.0, 0.0)
    quat: Quat = (1.0, 0.0, 0.0, 0.0)
    rgba: RGBA = (0.8, 0.2, 0.2, 1.0)
    friction: float = 0.6


@dataclass(frozen=True)
class SceneObject:
    """A body in the scene.

    Attributes:
        name: its name in readings (``object.NAME.pos``) and in starts.
        shapes: what it is made of; empty for a frame without matter, such as a goal marker.
        mount: ``free`` moves, ``fixture`` stands where a start puts it, ``tool`` is held at the tool centre point.
        mass: in kg; ignored for fixtures.
        solid: whether it touches other things; a goal marker does not.
        calibrated: whether a calibration claims its pose, so that it is also read as ``fixture.NAME.*``.
        tracked: whether a tracker (markers, motion capture) reports its pose, so that it is also read as
            ``tracked.NAME.*``.
    """

    name: str
    shapes: tuple[Shape, ...]
    mount: Literal["free", "fixture", "tool"]
    mass: float = 0.05
    solid: bool = True
    calibrated: bool = False
    tracked: bool = False


@dataclass(frozen=True)
class CameraSpec:
    """A pinhole camera.

    Attributes:
        name: its name in readings (``camera.NAME.rgb``).
        pos: position in metres, in the base frame or, if ``on_tool``, in the hand's frame.
        look_at: point that its optical axis passes through, same frame.
        fovy: vertical field of view in degrees.
        width: pixels.
        height: pixels.
        on_tool: whether it is carried by the hand.
    """

    name: str
    pos: Vec3
    look_at: Vec3
    fovy: float = 50.0
    width: int = 128
    height: int = 128
    on_tool: bool = False


@dataclass(frozen=True)
class SceneSpec:
    """What stands around the robot; the table top is the plane z = 0 of the base frame.

    Attributes:
        objects: bodies.
        cameras: cameras.
        locked_opening: the fingers hold still at this opening, m, because they hold a ``tool`` object or have nothing
            to do; None if they move.
    """

    objects: tuple[SceneObject, ...] = ()
    cameras: tuple[CameraSpec, ...] = ()
    locked_opening: float | None = None
