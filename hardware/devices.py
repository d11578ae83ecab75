"""Opens what a cell file names: arms behind their guard, and cameras."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardware.arm import Arm
from hardware.arms.drive import Drive, LoadedDrive
from hardware.cell import ArmEntry, CameraEntry, Cell, parse
from hardware.safety.limits import SafetyLimits
from robo_rl.contracts import Camera, RobotSpec
from robo_rl.errors import UserError

if TYPE_CHECKING:
    from hardware.inputs.stop_inputs import StopInput


def make_arm(cell: Cell, name: str, *, fault_folder: Path | None = None) -> Arm:
    """Return an arm of a cell behind its guard; entering it connects.

    Raises:
        UserError: if a setting does not fit.
        MissingExtra: if the SDK is not installed.
    """
    entry, limits = cell.arms[name], cell.limits_of(name)
    drive = _DRIVES[entry.driver](entry, cell.spec_of(name), limits, f"arms.{name}.settings")
    equip(drive, cell, name)
    return Arm(drive, limits, fault_folder=fault_folder)


def equip(drive: Drive, cell: Cell, name: str) -> None:
    """Tell the drive of an arm, before it is opened, what calibrations have found: its tool's tip, what it carries.

    Raises:
        UserError: if the drive cannot be told what it carries.
    """
    drive.spec = cell.spec_of(name)
    payload = cell.payload_of(name)
    if payload is None:
        return
    if not isinstance(drive, LoadedDrive):
        raise UserError(
            f"calibration.arms.{name}.payload: mass is {payload.mass:g} kg, of which the driver "
            f"{cell.arms[name].driver} cannot be told; set it where that arm is set up, and take this entry out"
        )
    drive.carry(payload.mass, payload.com)


def open_camera(cell: Cell, name: str) -> Camera:
    """Open a camera of a cell.

    Raises:
        UserError: if it cannot be found, or a setting does not fit.
        MissingExtra: if the SDK is not installed.
    """
    entry = cell.cameras[name]
    return _CAMERAS[entry.driver](entry, name, f"cameras.{name}.settings")


def make_stop_input(cell: Cell, name: str) -> StopInput:
    """Return what an emergency stop of a cell is pressed by; it is not open yet.

    Raises:
        UserError: if a setting does not fit.
    """
    from hardware.inputs.stop_inputs import EvdevInput, GpioInput

    entry = cell.emergency_stops[name]
    kind = {"evdev": EvdevInput, "gpio": GpioInput}[entry.driver]
    source: StopInput = _call(kind, entry.settings, f"emergency_stops.{name}.settings")
    return source


def _pylibfranka(entry: ArmEntry, spec: RobotSpec, limits: SafetyLimits, where: str) -> Drive:
    from hardware.arms.franka import FrankaSettings
    from hardware.arms.franka_pylibfranka import PylibfrankaDrive

    return PylibfrankaDrive(spec, parse(FrankaSettings, entry.settings, where))


def _franky(entry: ArmEntry, spec: RobotSpec, limits: SafetyLimits, where: str) -> Drive:
    from hardware.arms.franka import FrankaSettings
    from hardware.arms.franka_franky import FrankyDrive

    return FrankyDrive(spec, parse(FrankaSettings, entry.settings, where), limits)


def _widowx250s(entry: ArmEntry, spec: RobotSpec, limits: SafetyLimits, where: str) -> Drive:
    from hardware.arms.widowx import WidowX

    return _call(WidowX, entry.settings, where)


def _trossen(entry: ArmEntry, spec: RobotSpec, limits: SafetyLimits, where: str) -> Drive:
    from hardware.arms.trossen import WidowXAI

    return _call(WidowXAI, entry.settings, where)


def _simulated_arm(entry: ArmEntry, spec: RobotSpec, limits: SafetyLimits, where: str) -> Drive:
    from hardware.arms.emulated import EmulatedDrive

    return EmulatedDrive(spec, _folder(entry, where))


def _realsense(entry: CameraEntry, name: str, where: str) -> Camera:
    from hardware.cameras.realsense import RealSenseSettings, realsense_camera

    settings = dict(entry.settings)
    serial, fovy = settings.pop("serial", ""), settings.pop("fovy", None)
    if not isinstance(serial, str):
        raise UserError(f"{where}: serial: {serial!r} given, text expected; put it in quotes")
    return realsense_camera(
        name, serial, entry.width, entry.height, fovy=fovy, settings=parse(RealSenseSettings, settings, where)
    )


def _webcam(entry: CameraEntry, name: str, where: str) -> Camera:
    from hardware.cameras.opencv import webcam

    return _call(webcam, {"name": name, "width": entry.width, "height": entry.height, **entry.settings}, where)


def _video_file(entry: CameraEntry, name: str, where: str) -> Camera:
    from hardware.cameras.opencv import video_file

    return _call(video_file, {"name": name, "width": entry.width, "height": entry.height, **entry.settings}, where)


def _simulated_camera(entry: CameraEntry, name: str, where: str) -> Camera:
    from hardware.cameras.emulated import EmulatedCamera

    return EmulatedCamera(name, _folder(entry, where))


_DRIVES: dict[str, Any] = {
    "pylibfranka": _pylibfranka, "franky": _franky, "widowx250s": _widowx250s, "trossen": _trossen,
    "simulated": _simulated_arm,
}  # fmt: skip
_CAMERAS: dict[str, Any] = {
    "realsense": _realsense, "webcam": _webcam, "video_file": _video_file, "simulated": _simulated_camera,
}  # fmt: skip


def _folder(entry: ArmEntry | CameraEntry, where: str) -> Path:
    folder = entry.settings.get("folder")
    if not isinstance(folder, str):
        raise UserError(f"{where}: folder is missing; start the cell by `robo-rl cell up`, which fills it in")
    return Path(folder)


def _call(make: Any, settings: Any, where: str) -> Any:
    """Call ``make`` with settings by name; an unknown one is told by name."""
    import inspect

    from robo_rl.errors import unknown_name

    known = list(inspect.signature(make).parameters)
    for key in settings:
        if key not in known:
            raise unknown_name(f"field in {where}:", key, known)
    try:
        return make(**settings)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    except TypeError as error:
        raise UserError(f"{where}: {error}") from error
