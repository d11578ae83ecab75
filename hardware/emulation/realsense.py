"""RealSense cameras without a device: recorded from the SDK's software device, played through its real pipeline.

``rs.pipeline`` cannot see a software device, but it cannot tell a recording of one from a camera. So a scene is
recorded once, and from there on everything is the SDK's: discovery, streams, synchronisation, alignment, depth scale.
"""

from __future__ import annotations

import gc
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hardware.cameras.capture import ThreadedCamera
from hardware.cameras.realsense import Bus, RealSenseSettings, realsense_camera, sdk
from hardware.emulation.camera import Picture, moving_square
from robo_rl.errors import UserError

DEPTH_UNIT = 0.001
"""Metres per count of the recorded depths."""
_LONGEST_DELAY = 0.3
BASELINE = 0.015
"""Distance between the colour and the depth sensor, m, as of a D435."""


def record(
    path: Path,
    serial: str,
    draw: Callable[[int], Picture] | None = None,
    *,
    width: int = 640,
    height: int = 480,
    fps: int = 30,
    frames: int = 60,
) -> None:
    """Record a camera that sees what ``draw`` makes of the number of a picture, as a ``.db3`` file.

    It takes as long as the recording is, because the recorder drops what comes faster.

    Args:
        path: of the file, ending in ``.db3``; replaced if it is there.
        serial: that the camera shall have.
        draw: colours (height, width, 3) uint8 and depth (height, width) m, as the depth sensor sees it.
        width: of both, pixels.
        height: of both.
        fps: pictures per second.
        frames: how many.

    Raises:
        UserError: if the file has another ending, or the picture no depth.
    """
    if path.suffix != ".db3":
        raise UserError(f"a recording of a RealSense ends in .db3, not {path.suffix!r}: {path}")
    rs, draw = sdk(), draw or moving_square(width, height)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    device = rs.software_device()
    facts = {
        "name": "Intel RealSense D435 (emulated)",
        "serial_number": serial,
        "product_line": "D400",
        "firmware_version": "5.16.0.1",
        "physical_port": f"emulated:{serial}",
    }
    for fact, value in facts.items():
        device.register_info(getattr(rs.camera_info, fact), value)
    depths, colors = device.add_sensor("Stereo Module"), device.add_sensor("RGB Camera")
    size = (width, height, fps)
    depth_profile = depths.add_video_stream(_stream(rs, rs.stream.depth, rs.format.z16, 2, 600.0, size), True)
    color_profile = colors.add_video_stream(_stream(rs, rs.stream.color, rs.format.rgb8, 3, 610.0, size), True)
    depths.add_read_only_option(rs.option.depth_units, DEPTH_UNIT)
    depths.add_read_only_option(rs.option.stereo_baseline, 50.0)
    mount = rs.extrinsics()
    mount.rotation, mount.translation = list(np.eye(3).ravel()), [BASELINE, 0.0, 0.0]
    depth_profile.register_extrinsics_to(color_profile, mount)
    device.create_matcher(rs.matchers.dlr_c)

    recorder, queue = rs.recorder(str(path), device), rs.frame_queue(2)
    for sensor in recorder.query_sensors():
        sensor.open(sensor.get_stream_profiles()[0])
        sensor.start(queue)
    begin, wall = time.monotonic(), time.time()
    for number in range(1, frames + 1):
        rgb, meters = draw(number)
        if meters is None:
            raise UserError("the scene of an emulated RealSense needs depth; draw returns None")
        counts = np.round(np.clip(meters / DEPTH_UNIT, 0, 65535)).astype(np.uint16)
        for source, profile, pixels, size_of in (
            (depths, depth_profile, counts, 2),
            (colors, color_profile, rgb, 3),
        ):
            frame = rs.software_video_frame()
            frame.pixels, frame.bpp, frame.stride = np.ascontiguousarray(pixels), size_of, width * size_of
            frame.timestamp = 1e3 * (wall + number / fps)
            frame.domain, frame.frame_number = rs.timestamp_domain.system_time, number
            frame.profile = profile.as_video_stream_profile()
            frame.depth_units = DEPTH_UNIT if size_of == 2 else 0.0
            source.on_video_frame(frame)
        time.sleep(max(0.0, begin + number / fps - time.monotonic()))
    for sensor in recorder.query_sensors():
        sensor.stop()
        sensor.close()
    recorder.pause()
    del recorder, sensor  # the file is finished when nothing holds the recorder any more
    gc.collect()
    time.sleep(0.2)


def _stream(rs: Any, kind: Any, pixel: Any, size_of: int, focal: float, size: tuple[int, int, int]) -> Any:
    stream = rs.video_stream()
    stream.type, stream.fmt, stream.bpp, stream.index = kind, pixel, size_of, 0
    stream.uid = 0 if kind == rs.stream.depth else 1
    stream.width, stream.height, stream.fps = size
    lens = rs.intrinsics()
    lens.width, lens.height = size[:2]
    lens.ppx, lens.ppy = size[0] / 2, size[1] / 2
    lens.fx = lens.fy = focal * size[0] / 640
    lens.model, lens.coeffs = rs.distortion.brown_conrady, [0.0] * 5
    stream.intrinsics = lens
    return stream


@dataclass
class Trouble:
    """What goes wrong with the pictures of one camera; may be set at any time, from any thread.

    Attributes:
        drop: share of the pictures that are lost.
        delay: s by which each comes late; up to a third of a second, as the SDK has so many buffers only.
        garbage: share of the pictures that are damaged in the SDK's own buffers, before anything is made of them.
    """

    drop: float = 0.0
    delay: float = 0.0
    garbage: float = 0.0

    def __post_init__(self) -> None:
        for name, most in (("drop", 1.0), ("garbage", 1.0), ("delay", _LONGEST_DELAY)):
            if not 0.0 <= getattr(self, name) <= most:
                raise UserError(f"{name} is {getattr(self, name)}; it must be from 0 to {most:g}")


class _TroubledPipeline:
    """An ``rs.pipeline`` whose pictures come as :class:`Trouble` says."""

    def __init__(self, pipeline: Any, trouble: Trouble) -> None:
        self._pipeline, self._trouble = pipeline, trouble
        self._rng = np.random.default_rng(0)
        self._late: deque[tuple[float, Any]] = deque()

    def try_wait_for_frames(self, timeout_ms: int) -> tuple[bool, Any]:
        """Wait for the next pictures, as the SDK's method does."""
        trouble, deadline = self._trouble, time.monotonic() + 1e-3 * timeout_ms
        while True:
            if self._late and self._late[0][0] <= time.monotonic():
                return True, self._late.popleft()[1]
            ends = min([deadline, *(due for due, _ in list(self._late)[:1])])
            left = max(1, round(1e3 * (ends - time.monotonic())))
            came, frames = self._pipeline.try_wait_for_frames(left)
            if not came and time.monotonic() >= deadline:
                return False, frames
            if not came or self._rng.random() < trouble.drop:
                continue
            if self._rng.random() < trouble.garbage:
                self._damage(frames)
            if not self._late and not trouble.delay:
                return True, frames
            frames.keep()
            self._late.append((time.monotonic() + trouble.delay, frames))

    def stop(self) -> None:
        """Stop it."""
        self._late.clear()
        self._pipeline.stop()

    def _damage(self, frames: Any) -> None:
        for frame in frames:
            pixels = np.asarray(frame.get_data())
            pixels.setflags(write=True)
            raw = pixels.view(np.uint8)
            raw[...] = self._rng.integers(0, 256, raw.shape, np.uint8)


class EmulatedBus(Bus):
    """A USB bus with recorded cameras on it, which can be unplugged; give it to a RealSense in place of the real one.

    Example:
        >>> record(Path("wrist.db3"), "SIM0001")                                # doctest: +SKIP
        >>> bus = EmulatedBus({"SIM0001": Path("wrist.db3")})                   # doctest: +SKIP
        >>> camera = realsense_camera("wrist", "SIM0001", bus=bus)              # doctest: +SKIP
        >>> bus.unplug("SIM0001")                                               # doctest: +SKIP

    Args:
        recordings: files by serial number, see :func:`record`; played again and again, in real time.

    Attributes:
        troubles: of the pictures of each camera, by serial number.
    """

    def __init__(self, recordings: Mapping[str, Path]) -> None:
        super().__init__()
        self._files = {serial: str(path) for serial, path in recordings.items()}
        for path in self._files.values():
            if not Path(path).is_file():
                raise UserError(f"there is no recording {path}; make one with hardware.emulation.realsense.record")
        self._plugged: dict[str, Any] = {}  # the context forgets a device that nobody holds
        self._playing: dict[str, Any] = {}
        self._lock = threading.Lock()
        self.troubles = {serial: Trouble() for serial in self._files}
        for serial in self._files:
            self.plug(serial)

    def connected(self) -> dict[str, str]:
        """Return the names of the cameras by serial number."""
        with self._lock:
            return super().connected()

    def start(self, serial: str, config: Any) -> tuple[Any, Any]:
        """Play the recording of ``serial``, as the real bus starts a camera."""
        with self._lock:
            if serial not in self._plugged:
                raise RuntimeError("No device connected")
            config.enable_device_from_file(self._files[serial], True)
            pipeline = sdk().pipeline(self.context)
            profile = pipeline.start(config)
            self._playing[serial] = profile.get_device().as_playback()
        return _TroubledPipeline(pipeline, self.troubles[serial]), profile

    def stop(self, serial: str, pipeline: Any) -> None:
        """Stop playing it, while nobody pauses it: the SDK does not stand both at once."""
        with self._lock:
            self._playing.pop(serial, None)
            pipeline.stop()

    def freeze(self, serial: str, frozen: bool = True) -> None:
        """Let a camera hang: it is there, and gives nothing; or let it go on."""
        with self._lock:
            player = self._playing.get(serial)
            if player is not None:
                player.pause() if frozen else player.resume()

    def unplug(self, serial: str) -> None:
        """Take a camera off the bus, whether it is in use or not."""
        self.freeze(serial)
        with self._lock:
            if serial in self._plugged:
                del self._plugged[serial]
                self._playing.pop(serial, None)
                self.context.unload_device(self._files[serial])

    def plug(self, serial: str) -> None:
        """Put it back."""
        with self._lock:
            if serial not in self._plugged:
                self._plugged[serial] = self.context.load_device(self._files[serial])


@dataclass(frozen=True)
class EmulatedRealSenseSettings:
    """What a cell file says of a recorded camera."""

    recording: str = ""
    """``.db3`` file of the camera ``serial``, 320 x 240 at ``fps``; a moving square if empty."""
    serial: str = "SIM0001"
    """Of the camera."""
    fovy: float | None = None
    """Vertical field of view that is wanted, degrees; None for all that there is."""
    fps: int = 30
    """Pictures per second."""
    drop: float = 0.0
    """Share of the pictures that are lost."""
    delay: float = 0.0
    """s by which each comes late."""
    garbage: float = 0.0
    """Share of the pictures that are damaged."""

    def __post_init__(self) -> None:
        self.trouble()

    def trouble(self) -> Trouble:
        """What is wrong with its pictures.

        Raises:
            UserError: if a share is none.
        """
        return Trouble(self.drop, self.delay, self.garbage)


def emulated_realsense(
    name: str, settings: EmulatedRealSenseSettings, width: int | None = None, height: int | None = None
) -> ThreadedCamera:
    """Open a recorded camera through the SDK's own pipeline; what a cell file calls ``emulated_realsense``.

    Args:
        name: of the camera.
        settings: of it.
        width: of the pictures that it gives.
        height: of them.

    Raises:
        UserError: if the recording cannot be played.
    """
    serial, recording, folder = settings.serial, settings.recording, None
    size = RealSenseSettings(320, 240, settings.fps)
    if not recording:
        folder = tempfile.TemporaryDirectory(prefix="realsense.")
        recording = f"{folder.name}/{serial}.db3"
        record(Path(recording), serial, width=size.width, height=size.height, fps=settings.fps, frames=2 * settings.fps)
    bus = EmulatedBus({serial: Path(recording)})
    bus.troubles[serial] = settings.trouble()
    camera = realsense_camera(name, serial, width, height, fovy=settings.fovy, settings=size, bus=bus)
    if folder is not None:
        weakref.finalize(camera, folder.cleanup)
    return camera
