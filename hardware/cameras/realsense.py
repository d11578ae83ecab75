"""Intel RealSense cameras, by the maker's SDK: colours, depth in the pixels of the colours, and hot-unplug."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardware.cameras.capture import CaptureSettings, ThreadedCamera
from hardware.cameras.source import Format, Lost, Shot
from hardware.cameras.view import Intrinsics
from robo_rl.errors import MissingExtra, UserError, unknown_name


def sdk() -> Any:
    """Import pyrealsense2.

    Its wheel needs ``libusb-1.0`` even where no camera is connected and does not bring it along; that of
    libusb-package is loaded first, so that no system package is needed.

    Raises:
        MissingExtra: if one of the two is not installed.
    """
    try:
        import libusb_package

        ctypes.CDLL(str(libusb_package.get_library_path()), mode=ctypes.RTLD_GLOBAL)
    except ImportError:
        pass  # the system's libusb will do, if there is one
    try:
        import pyrealsense2
    except ImportError as error:
        raise MissingExtra("a RealSense camera", "realsense") from error
    return pyrealsense2


class Bus:
    """The cameras that are plugged in, and how one of them is started. The emulated one takes its place."""

    def __init__(self) -> None:
        # The SDK could also look for cameras on the network, by DDS, if its own settings say so: not in a cell.
        self.context = sdk().context('{"dds": {"enabled": false}}')

    def connected(self) -> dict[str, str]:
        """Return the names of the cameras by serial number."""
        rs, found = sdk(), {}
        for device in self.context.query_devices():
            if device.supports(rs.camera_info.serial_number):  # a device in recovery mode has none
                found[device.get_info(rs.camera_info.serial_number)] = device.get_info(rs.camera_info.name)
        return found

    def start(self, serial: str, config: Any) -> tuple[Any, Any]:
        """Start the camera ``serial`` with the streams of ``config``; return the ``rs.pipeline`` and its profile."""
        config.enable_device(serial)
        pipeline = sdk().pipeline(self.context)
        return pipeline, pipeline.start(config)

    def stop(self, serial: str, pipeline: Any) -> None:
        """Stop what :meth:`start` started."""
        pipeline.stop()


@dataclass(frozen=True)
class RealSenseSettings:
    """How a RealSense takes its pictures."""

    width: int = 640
    """Of its colour pictures, pixels."""
    height: int = 480
    """Of its colour pictures, pixels."""
    fps: int = 30
    """Pictures per second."""
    depth: bool = True
    """Whether depth is taken as well."""
    preset: str = ""
    """Visual preset of the depth sensor: high_accuracy, high_density, hand, default, ...; empty leaves it."""
    exposure: float | None = None
    """Exposure of the colour sensor in the device's own unit (D435 100 us, D405 1 us); None for automatic."""
    gain: float | None = None
    """Gain of the colour sensor in the device's own unit; None leaves it."""
    laser: bool | None = None
    """Whether the depth sensor projects its pattern; None leaves it."""

    def __post_init__(self) -> None:
        for name in ("width", "height", "fps"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be above 0")


@dataclass(frozen=True)
class RealSenseEntry(RealSenseSettings):
    """What a cell file says of a RealSense: which one, and how it takes its pictures."""

    serial: str = ""
    """Of the camera; empty if only one is connected."""
    fovy: float | None = None
    """Vertical field of view that is wanted, degrees; None for all that there is."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fovy is not None and not 1.0 <= self.fovy <= 175.0:
            raise UserError(f"fovy is {self.fovy}; give 1 to 175 degrees")


class RealSenseSource:
    """One RealSense.

    Args:
        serial: of the camera; empty if only one is connected.
        settings: how it takes its pictures.
        bus: where it is plugged in; the computer's own by default.
    """

    def __init__(
        self,
        serial: str = "",
        settings: RealSenseSettings = RealSenseSettings(),
        bus: Bus | None = None,
    ) -> None:
        self.what = f"RealSense {serial}" if serial else "RealSense"
        self._serial, self._settings, self._bus = serial, settings, bus
        self._pipeline: Any = None
        self._profile: Any = None

    def open(self) -> Format:
        """Find it by its serial number and start its streams."""
        rs, wanted = sdk(), self._settings
        self._bus = self._bus or Bus()
        self._serial = self._choose(self._bus.connected())
        self.what = f"RealSense {self._serial}"
        config = rs.config()
        config.enable_stream(rs.stream.color, wanted.width, wanted.height, rs.format.rgb8, wanted.fps)
        if wanted.depth:
            # Its own depth size: alignment brings it into the pixels of the colours.
            config.enable_stream(rs.stream.depth, 0, 0, rs.format.z16, wanted.fps)
        try:
            self._pipeline, self._profile = self._bus.start(self._serial, config)
        except RuntimeError as error:
            depth = " with depth" if wanted.depth else ""
            raise UserError(
                f"{self.what} does not start {wanted.width}x{wanted.height} at {wanted.fps} fps{depth} ({error}); it "
                f"has {self._modes() or 'no colour stream'}; is another program using it, or is it on a USB 2 port?"
            ) from error
        self._set_options()
        self._align = rs.align(rs.stream.color) if wanted.depth else None
        video = self._profile.get_stream(rs.stream.color).as_video_stream_profile()
        given = video.get_intrinsics()
        intrinsics = Intrinsics(
            given.width, given.height, given.fx, given.fy, given.ppx, given.ppy, tuple(float(c) for c in given.coeffs)
        )
        self._scale = self._profile.get_device().first_depth_sensor().get_depth_scale() if wanted.depth else 0.0
        return Format(given.width, given.height, intrinsics)

    def grab(self, timeout: float) -> Shot | None:
        """Wait for the next picture with its depth."""
        try:
            came, frames = self._pipeline.try_wait_for_frames(max(1, round(1e3 * timeout)))
        except RuntimeError as error:
            raise Lost(f"{self.what}: {error}") from error
        if not came:
            assert self._bus is not None
            connected = self._bus.connected()
            if self._serial not in connected:
                raise Lost(f"{self.what} was unplugged; connected: {_listed(connected)}")
            return None
        if self._align is not None:
            frames = self._align.process(frames)
        color, depth = frames.get_color_frame(), frames.get_depth_frame() if self._align else None
        if not color or (self._align is not None and not depth):
            return None
        meters = None if depth is None else np.asanyarray(depth.get_data()).astype(np.float32) * np.float32(self._scale)
        # The SDK reuses its buffers.
        rgb = np.array(np.asanyarray(color.get_data()))
        return Shot(rgb, meters, 1e-3 * color.get_timestamp(), color.get_frame_number())

    def close(self) -> None:
        """Stop its streams."""
        pipeline, self._pipeline, self._profile = self._pipeline, None, None
        if pipeline is not None:
            assert self._bus is not None
            self._bus.stop(self._serial, pipeline)

    def _choose(self, connected: dict[str, str]) -> str:
        if not connected:
            raise UserError(f"{self.what}: no RealSense is connected; plug it in, into a USB 3 port")
        if self._serial:
            if self._serial not in connected:
                raise UserError(f"serial {self._serial!r} is not connected; connected: {_listed(connected)}")
            return self._serial
        if len(connected) > 1:
            raise UserError(f"several RealSense are connected; name one's serial: {_listed(connected)}")
        return next(iter(connected))

    def _modes(self) -> str:
        assert self._bus is not None
        rs, found = sdk(), set()
        for device in self._bus.context.query_devices():
            if device.get_info(rs.camera_info.serial_number) != self._serial:
                continue
            for sensor in device.query_sensors():
                for profile in sensor.get_stream_profiles():
                    if profile.stream_type() == rs.stream.color:
                        video = profile.as_video_stream_profile()
                        found.add((video.width(), video.height(), video.fps()))
        return ", ".join(f"{w}x{h}@{fps}" for w, h, fps in sorted(found))

    def _set_options(self) -> None:
        rs, wanted, device = sdk(), self._settings, self._profile.get_device()
        if wanted.preset:
            presets = rs.rs400_visual_preset.__members__
            if wanted.preset not in presets:
                raise unknown_name("preset", wanted.preset, presets)
            set_option(device.first_depth_sensor(), "visual_preset", float(int(presets[wanted.preset])))
        if wanted.laser is not None:
            set_option(device.first_depth_sensor(), "emitter_enabled", float(wanted.laser))
        if wanted.exposure is not None or wanted.gain is not None:
            color = _color_sensor(device)
            set_option(color, "enable_auto_exposure", 0.0)
            if wanted.exposure is not None:
                set_option(color, "exposure", wanted.exposure)
            if wanted.gain is not None:
                set_option(color, "gain", wanted.gain)


def set_option(sensor: Any, name: str, value: float) -> None:
    """Set an option of a sensor, by the SDK's name for it.

    Raises:
        UserError: if the sensor does not have it, or not this value; says which it has.
    """
    rs = sdk()
    option, kind = getattr(rs.option, name), sensor.get_info(rs.camera_info.name)
    if not sensor.supports(option):
        has = sorted(str(each).removeprefix("option.") for each in sensor.get_supported_options())
        raise UserError(
            f"{name}: the {kind} of this camera has no such setting; leave it out (it has {', '.join(has)})"
        )
    span = sensor.get_option_range(option)
    if not span.min <= value <= span.max:
        raise UserError(f"{name} is {value:g}; the {kind} of this camera takes {span.min:g} to {span.max:g}")
    sensor.set_option(option, value)


def realsense_camera(
    name: str,
    serial: str = "",
    width: int | None = None,
    height: int | None = None,
    *,
    fovy: float | None = None,
    settings: RealSenseSettings = RealSenseSettings(),
    bus: Bus | None = None,
) -> ThreadedCamera:
    """Open a RealSense as a camera; arguments as of :class:`RealSenseSource` and :class:`ThreadedCamera`."""
    capture = CaptureSettings(silence=1.0, frozen_after=2.0)
    return ThreadedCamera(name, RealSenseSource(serial, settings, bus), width, height, fovy=fovy, settings=capture)


def _color_sensor(device: Any) -> Any:
    """Where colours come from: a sensor of their own, or that of the depth (D405)."""
    try:
        return device.first_color_sensor()
    except RuntimeError:
        return device.first_depth_sensor()


def _listed(connected: dict[str, str]) -> str:
    return ", ".join(f"{serial} ({name})" for serial, name in sorted(connected.items())) or "none"
