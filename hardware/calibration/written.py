"""What calibrations have written into a cell file, checked and read back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hardware.calibration.poses import inverse, pose
from hardware.cameras.view import Crop, Intrinsics, fit_intrinsics
from robo_rl import geometry
from robo_rl.contracts import RobotSpec
from robo_rl.errors import UserError

AGAIN = "take this entry out and calibrate again"
SLACK = 0.15  # m that a fixture may stand beside the box of the tool: tools reach down to them, and they have a size

_FARTHEST = {"T_base_camera": 3.0, "T_tcp_camera": 0.5}  # m that a camera may be away from base or tool
_LOWEST = -0.05  # m that a camera may be below the table
_LONGEST_TOOL = 0.3  # m that a tool's tip may be away from that of the arm's own gripper
_HEAVIEST = 20.0  # kg


@dataclass(frozen=True)
class Payload:
    """What an arm carries besides its gripper.

    Attributes:
        mass: kg.
        com: (3,) centre of mass in the flange's frame, m: it stands where the hand is mounted, and is turned as the
            last link is.
    """

    mass: float
    com: np.ndarray


@dataclass(frozen=True)
class CameraPose:
    """Where a camera is.

    Attributes:
        of: name of the entry: ``T_base_camera`` of one that stands still, ``T_tcp_camera`` of one on the tool.
        T: (4, 4) that pose; the camera's frame is OpenCV's: x right, y down, z forward.
        arm: whose base or tool it is; None if the file does not say.
    """

    of: Literal["T_base_camera", "T_tcp_camera"]
    T: np.ndarray
    arm: str | None


def numbers(where: str, values: Any, count: int) -> np.ndarray:
    """Return ``values`` as (count,) float64.

    Raises:
        UserError: unless they are that many finite numbers.
    """
    given = isinstance(values, list | tuple) and len(values) == count
    if not given or not all(type(each) in (int, float) and math.isfinite(each) for each in values):
        raise UserError(f"{where} is {values!r}; {count} finite numbers expected, {AGAIN}")
    return np.array(values, dtype=float)


def pose_of(where: str, found: Any) -> np.ndarray:
    """Return the pose (4, 4) of an entry with ``pos``, m, and ``quat`` wxyz.

    Raises:
        UserError: if it has none, or ``quat`` is no rotation.
    """
    fields = found if isinstance(found, Mapping) else {}
    pos = numbers(f"{where}: pos", fields.get("pos"), 3)
    quat = numbers(f"{where}: quat", fields.get("quat"), 4)
    if abs(math.hypot(*quat) - 1.0) > 1e-3:
        raise UserError(f"{where}: quat is {fields['quat']}, whose length is not 1: that is no rotation; {AGAIN}")
    return pose(pos, geometry.from_quat_wxyz(quat / np.linalg.norm(quat)))


def entries(calibration: Mapping[str, Any], kind: str) -> Mapping[str, Mapping[str, Any]]:
    """Return what a calibration holds of one kind (``cameras``, ``arms``, ``fixtures``), by name.

    Raises:
        UserError: if that is no fields with fields below them.
    """
    found = calibration.get(kind, {})
    expected = "a pose by name is" if kind == "fixtures" else "fields by name are"
    if not isinstance(found, Mapping):
        raise UserError(f"calibration.{kind} is {found!r}; {expected} expected, calibrate them again")
    for name, each in found.items():
        if not isinstance(each, Mapping):
            raise UserError(f"calibration.{kind}.{name} is {each!r}; {expected} expected, {AGAIN}")
    return found


def intrinsics(calibration: Mapping[str, Any], camera: str, width: int, height: int) -> Intrinsics | None:
    """Return the calibrated lens of a camera for its pictures of ``width`` x ``height`` pixels; None if there is none.

    Raises:
        UserError: if the entry cannot be that of a lens, or is of pictures with other proportions.
    """
    where = f"calibration.cameras.{camera}.intrinsics"
    found = entries(calibration, "cameras").get(camera, {}).get("intrinsics")
    if found is None:
        return None
    if not isinstance(found, Mapping):
        raise UserError(f"{where} is {found!r}; fields such as fx and fy are expected, {AGAIN}")
    size = [found.get("width", width), found.get("height", height)]
    if not all(type(each) is int and each > 0 for each in size):
        raise UserError(f"{where}: width and height are {size}; whole numbers of pixels expected, {AGAIN}")
    values = numbers(f"{where}: [fx, fy, cx, cy]", [found.get(name) for name in ("fx", "fy", "cx", "cy")], 4)
    distortion = found.get("distortion", [])
    bent = numbers(f"{where}: distortion", distortion, 5) if distortion else ()
    for name, value, side in zip(("fx", "fy"), values[:2], size, strict=True):
        if not 0.2 * side < value < 20.0 * side:
            raise UserError(
                f"{where}: {name} is {value:g}; {0.2 * side:g} to {20.0 * side:g} pixels are expected of pictures of "
                f"{size[0]}x{size[1]}, {AGAIN}"
            )
    for name, value, side in zip(("cx", "cy"), values[2:], size, strict=True):
        if not 0.0 < value < side:
            raise UserError(f"{where}: {name} is {value:g}; it must lie in the picture, 0 to {side} pixels; {AGAIN}")
    if size[0] * height != size[1] * width:
        raise UserError(
            f"{where} is of pictures of {size[0]}x{size[1]}, those of the camera are {width}x{height} and show another "
            f"part of the scene; {AGAIN}"
        )
    fx, fy, cx, cy = values.tolist()
    lens = Intrinsics(size[0], size[1], fx, fy, cx, cy, tuple(float(each) for each in bent))
    return fit_intrinsics(lens, Crop(0, 0, size[0], size[1]), width, height)


def camera_pose(calibration: Mapping[str, Any], camera: str) -> CameraPose | None:
    """Return where a camera is, None if that was not calibrated.

    Raises:
        UserError: if the entry has no pose.
    """
    found = entries(calibration, "cameras").get(camera, {})
    kinds: tuple[Literal["T_base_camera", "T_tcp_camera"], ...] = ("T_base_camera", "T_tcp_camera")
    for of in kinds:
        if of in found:
            T = pose_of(f"calibration.cameras.{camera}.{of}", found[of])
            return CameraPose(of, T, found.get("arm"))
    return None


def check_camera_pose(camera: str, found: CameraPose, spec: RobotSpec) -> None:
    """Refuse where a camera cannot be: below the table, metres away, or looking the other way as swapped frames do.

    Raises:
        UserError: with field, value, expectation and remedy.
    """
    where = f"calibration.cameras.{camera}.{found.of}"
    pos = np.round(found.T[:3, 3], 3).tolist()
    farthest, of = _FARTHEST[found.of], found.of.split("_")[1]
    swapped = (
        f"{where}: pos is {pos} m and the camera looks away from {{}}; frames are swapped: it holds T_camera_{of}, "
        f"give its inverse or {AGAIN}"
    )
    seen = np.array(spec.work_center) if of == "base" else np.zeros(3)
    what = "the work space" if of == "base" else "the tool's tip"

    def looks(T: np.ndarray) -> bool:
        x, y, z, _ = inverse(T) @ np.append(seen, 1.0)
        aside = math.hypot(x, y) > z  # beyond 45 degrees; what the tool carries may look past its tip
        far = float(np.linalg.norm(T[:3, 3])) > farthest
        return bool(z > 0.0) and not far and not (of == "base" and (aside or T[2, 3] < _LOWEST))

    if looks(found.T):
        return
    if looks(inverse(found.T)):
        raise UserError(swapped.format(what))
    distance = float(np.linalg.norm(found.T[:3, 3]))
    if distance > farthest:
        raise UserError(
            f"{where}: pos is {pos} m, {distance:.2f} m from the {of}; at most {farthest:g} m are "
            f"expected: is it in millimetres? {AGAIN}"
        )
    if of == "base" and found.T[2, 3] < _LOWEST:
        raise UserError(f"{where}: pos is {pos} m, below the table; z of 0 m or more is expected, {AGAIN}")
    raise UserError(f"{where}: pos is {pos} m and {what} is not in view; it must be in front of the camera, {AGAIN}")


def tool_tip(calibration: Mapping[str, Any], arm: str, spec: RobotSpec) -> np.ndarray | None:
    """Return the calibrated tip (3,) of an arm's tool in the hand's frame, m; None if it was not calibrated.

    Raises:
        UserError: if it is none, or too far from the tip of the arm's own gripper to be one.
    """
    found = entries(calibration, "arms").get(arm, {}).get("tool")
    if found is None:
        return None
    where = f"calibration.arms.{arm}.tool"
    tip = numbers(f"{where}: tcp_pos", found.get("tcp_pos") if isinstance(found, Mapping) else None, 3)
    off = float(np.linalg.norm(tip - np.array(spec.gripper.tcp_pos)))
    if off > _LONGEST_TOOL:
        raise UserError(
            f"{where}: tcp_pos is {tip.tolist()} m, {off:.2f} m from where {spec.name} has its tip; at most "
            f"{_LONGEST_TOOL:g} m are accepted: is it in millimetres, or in another frame than the hand's? {AGAIN}"
        )
    return tip


def payload(calibration: Mapping[str, Any], arm: str) -> Payload | None:
    """Return what an arm carries, as weighed; None if it was not.

    Raises:
        UserError: if that cannot be.
    """
    found = entries(calibration, "arms").get(arm, {}).get("payload")
    if found is None:
        return None
    where = f"calibration.arms.{arm}.payload"
    fields = found if isinstance(found, Mapping) else {}
    (mass,) = numbers(f"{where}: [mass]", [fields.get("mass")], 1)
    com = numbers(f"{where}: com_in_flange", fields.get("com_in_flange"), 3)
    if not 0.0 <= mass <= _HEAVIEST:
        raise UserError(f"{where}: mass is {mass:g} kg; 0 to {_HEAVIEST:g} kg are expected, {AGAIN}")
    if np.linalg.norm(com) > 1.0:
        raise UserError(
            f"{where}: com_in_flange is {com.tolist()} m, over 1 m from the flange; is it in millimetres? {AGAIN}"
        )
    return Payload(float(mass), com)


def check_fixture(where: str, pos: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Refuse a fixture (3,) m that stands farther from the box ``low``, ``high`` of the tool than tools reach.

    Raises:
        UserError: with field, value, expectation and remedy.
    """
    for axis, here, least, most in zip("xyz", pos.tolist(), low.tolist(), high.tolist(), strict=True):
        if not least - SLACK <= here <= most + SLACK:
            raise UserError(
                f"{where}: {axis} is {here:.3f} m, outside of the arm's work space of {least:g} to {most:g} m; "
                f"move it, widen limits.workspace_low and workspace_high, or {AGAIN} with the arm that reaches it"
            )
