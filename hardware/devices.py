"""Opens what a cell file names: arms behind their guard, cameras, emergency stops; and checks how they are set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robo_rl.errors import UserError
from robo_rl.robots import robot as find_robot
from robo_rl.settings import from_json

if TYPE_CHECKING:
    from hardware.arm import Arm
    from hardware.arms.drive import Drive
    from hardware.cell import Cell
    from hardware.inputs.stop_inputs import StopInput
    from robo_rl.contracts import Camera


def check_settings(cell: Cell) -> None:
    """Check the settings of every device, and that its driver fits it. Nothing is opened, and no SDK is needed.

    Raises:
        UserError: names the field, its value and what is expected.
    """
    for name in cell.arms:
        _drive(cell, name, settings_of(cell, name))
    for name in (*cell.cameras, *cell.emergency_stops):
        settings_of(cell, name)


def make_arm(cell: Cell, name: str, *, fault_folder: Path | None = None) -> Arm:
    """Return an arm of a cell behind its guard; entering it connects.

    Raises:
        UserError: if a setting does not fit.
        MissingExtra: if the SDK is not installed.
    """
    from hardware.arm import Arm

    settings = settings_of(cell, name)
    if isinstance(settings, SimulatedSettings):
        settings.require(cell, name)
    drive = _drive(cell, name, settings)
    equip(drive, cell, name)
    return Arm(drive, cell.limits_of(name), fault_folder=fault_folder)


def control_rate(cell: Cell, name: str) -> float:
    """Cycles per second that the control loop of an arm is meant to have, Hz."""
    return _drive(cell, name, settings_of(cell, name)).rate


def equip(drive: Drive, cell: Cell, name: str) -> None:
    """Tell the drive of an arm, before it is opened, what calibrations have found: its tool's tip, what it carries.

    Raises:
        UserError: if the drive cannot be told what it carries.
    """
    from hardware.arms.drive import LoadedDrive

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
    entry, settings = cell.cameras[name], settings_of(cell, name)
    try:
        if entry.driver == "simulated":
            from hardware.cameras.emulated import EmulatedCamera

            return EmulatedCamera(name, settings.require(cell, name))
        if entry.driver == "realsense":
            from hardware.cameras.realsense import realsense_camera

            return realsense_camera(
                name, settings.serial, entry.width, entry.height, fovy=settings.fovy, settings=settings
            )
        if entry.driver == "emulated_realsense":
            from hardware.emulation.realsense import emulated_realsense

            return emulated_realsense(name, settings, entry.width, entry.height)
        from hardware.cameras.opencv import video_file, webcam

        return (webcam if entry.driver == "webcam" else video_file)(name, settings, entry.width, entry.height)
    except UserError as error:
        raise UserError(f"cameras.{name}: {error}") from error


def make_stop_input(cell: Cell, name: str) -> StopInput:
    """Return what an emergency stop of a cell is pressed by; it is not open yet.

    Raises:
        UserError: if a setting does not fit.
    """
    source: StopInput = settings_of(cell, name)
    return source


def settings_of(cell: Cell, name: str) -> Any:
    """What the settings of a device say: a dataclass, or the driver itself, not opened, where it is made of them alone.

    Raises:
        UserError: names the field, its value and what is expected.
    """
    group, entry = next(
        (group, getattr(cell, group)[name])
        for group in ("arms", "cameras", "emergency_stops")
        if name in getattr(cell, group)
    )
    where = f"{group}.{name}.settings"
    return from_json(_KINDS[entry.driver](), entry.settings, where=where)


@dataclass(frozen=True)
class SimulatedSettings:
    """Of an arm or a camera of a simulated cell."""

    folder: str = ""
    """Of the simulation; whoever starts it fills this in."""

    def require(self, cell: Cell, name: str) -> Path:
        """The folder.

        Raises:
            UserError: if nobody has filled it in.
        """
        if not self.folder:
            raise UserError(f"{name}: settings.folder is missing; start cell {cell.name!r} by `robo-rl cell up`")
        return Path(self.folder)


def _drive(cell: Cell, name: str, settings: Any) -> Drive:
    """The drive of an arm, not connected; ``settings`` as of :func:`settings_of`."""
    entry, spec, where = cell.arms[name], cell.spec_of(name), f"arms.{name}"
    if entry.driver in ("widowx250s", "trossen"):
        drive: Drive = settings
        if drive.spec.name != find_robot(entry.robot).name:
            raise UserError(f"{where}: the driver {entry.driver} drives a {drive.spec.name}, robot is {entry.robot!r}")
        return drive
    if entry.driver == "simulated":
        from hardware.arms.emulated import EmulatedDrive

        return EmulatedDrive(spec, settings.folder)
    if entry.driver in ("pylibfranka", "franky"):
        from hardware.arms.franka_franky import FrankyDrive
        from hardware.arms.franka_pylibfranka import PylibfrankaDrive

        if spec.dof != 7:
            raise UserError(f"{where}: the driver {entry.driver} drives an fr3 or a panda, robot is {entry.robot!r}")
        if entry.driver == "franky":
            return FrankyDrive(spec, settings, cell.limits_of(name))
        return PylibfrankaDrive(spec, settings)
    from hardware.ros.layouts.trajectory import TrajectoryDrive

    try:
        layout = settings.layout_of(spec)
        domain = cell.ros.domain if settings.domain is None else settings.domain
        if domain == cell.ros.domain and {f"/{name}/joint_states", f"{name}/joint_states"} & {
            layout.joint_states,
            layout.finger_states,
        }:
            raise UserError(f"its driver publishes /{name}/joint_states, as our node would; give the arm another name")
        return TrajectoryDrive(spec, layout, rate=settings.rate, domain=domain, interfaces=cell.ros.interfaces)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _franka() -> Any:
    from hardware.arms.franka import FrankaSettings

    return FrankaSettings


def _widowx() -> Any:
    from hardware.arms.widowx import WidowX

    return WidowX


def _trossen() -> Any:
    from hardware.arms.trossen import WidowXAI

    return WidowXAI


def _franka_ros2() -> Any:
    from hardware.ros.layouts.franka_ros2 import FrankaRos2Settings

    return FrankaRos2Settings


def _interbotix() -> Any:
    from hardware.ros.layouts.interbotix import InterbotixSettings

    return InterbotixSettings


def _trajectory() -> Any:
    from hardware.ros.layouts.trajectory import TrajectorySettings

    return TrajectorySettings


def _realsense() -> Any:
    from hardware.cameras.realsense import RealSenseEntry

    return RealSenseEntry


def _emulated_realsense() -> Any:
    from hardware.emulation.realsense import EmulatedRealSenseSettings

    return EmulatedRealSenseSettings


def _webcam() -> Any:
    from hardware.cameras.opencv import WebcamSettings

    return WebcamSettings


def _video_file() -> Any:
    from hardware.cameras.opencv import VideoFileSettings

    return VideoFileSettings


def _evdev() -> Any:
    from hardware.inputs.stop_inputs import EvdevInput

    return EvdevInput


def _gpio() -> Any:
    from hardware.inputs.stop_inputs import GpioInput

    return GpioInput


_KINDS: dict[str, Callable[[], Any]] = {
    "pylibfranka": _franka, "franky": _franka, "widowx250s": _widowx, "trossen": _trossen,
    "franka_ros2": _franka_ros2, "interbotix": _interbotix, "trajectory": _trajectory,
    "realsense": _realsense, "emulated_realsense": _emulated_realsense, "webcam": _webcam, "video_file": _video_file,
    "evdev": _evdev, "gpio": _gpio, "simulated": lambda: SimulatedSettings,
}  # fmt: skip
"""What the settings of each driver are: a dataclass, or the driver itself."""
