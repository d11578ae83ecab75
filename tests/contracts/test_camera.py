"""What every camera promises, held to by every camera. A new one earns these tests by one more entry in ``CAMERAS``.

An entry is a context manager that gets a temporary folder and yields a :class:`Rig`.
"""

from __future__ import annotations

import contextlib
import http.server
import importlib.util
import itertools
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from hardware.cameras.capture import CaptureSettings, ThreadedCamera
from hardware.cameras.emulated import EmulatedCamera
from hardware.cameras.opencv import VideoFileSource, WebcamSource
from hardware.cameras.view import FittedCamera
from hardware.emulation.camera import EmulatedSource, moving_square
from hardware.emulation.client import CellClient
from hardware.emulation.faults import Fault
from hardware.emulation.mailbox import Outbox
from hardware.emulation.pictures import PictureServer
from hardware.emulation.wire import SNAPSHOT
from robo_rl.contracts import Camera, CameraSpec, Frame
from robo_rl.errors import Stale

PATIENT = 10.0
"""Seconds that a busy machine may take for what takes a fraction of one."""


@dataclass
class Rig:
    """A camera under test, and what can be done to it.

    Attributes:
        camera: it looks at something that moves.
        depth: whether it gives depth.
        faults: by name, what makes it happen: ``unplug``, ``freeze``, ``silence``, ``garbage``, ``drop``.
        mend: ends every lasting fault.
    """

    camera: Camera
    depth: bool = False
    faults: Mapping[str, Callable[[], None]] = field(default_factory=dict)
    mend: Callable[[], None] = lambda: None


FAST = CaptureSettings(silence=0.4, backoff=0.02, max_backoff=0.1)


def faults_of(source: EmulatedSource) -> dict[str, Callable[[], None]]:
    return {
        "unplug": lambda: setattr(source, "unplugged", True),
        "freeze": lambda: setattr(source, "frozen", True),
        "silence": lambda: setattr(source, "silent", True),
        "garbage": lambda: setattr(source, "garbage", 8),
        "drop": lambda: setattr(source, "drop", 3),
    }


def mended(source: EmulatedSource) -> Callable[[], None]:
    def mend() -> None:
        source.unplugged = source.frozen = source.silent = False

    return mend


@contextlib.contextmanager
def emulated(folder: Path) -> Iterator[Rig]:
    source = EmulatedSource(64, 48)
    with ThreadedCamera("front", source, settings=FAST) as camera:
        yield Rig(camera, True, faults_of(source), mended(source))


@contextlib.contextmanager
def emulated_without_depth_in_another_size(folder: Path) -> Iterator[Rig]:
    source = EmulatedSource(80, 60, draw=moving_square(80, 60, depth=False))
    with ThreadedCamera("front", source, 32, 32, fovy=40.0, settings=FAST) as camera:
        yield Rig(camera, False, faults_of(source), mended(source))


@contextlib.contextmanager
def fitted(folder: Path) -> Iterator[Rig]:
    source = EmulatedSource(64, 48)
    with ThreadedCamera("front", source, settings=FAST) as camera:
        spec = CameraSpec("front", (1.0, 0.0, 0.0), (0.0, 0.0, 0.0), width=24, height=32)
        yield Rig(FittedCamera(camera, spec, camera.intrinsics), True, faults_of(source), mended(source))


@contextlib.contextmanager
def realsense(folder: Path) -> Iterator[Rig]:
    from hardware.cameras.realsense import RealSenseSettings, RealSenseSource
    from hardware.emulation.realsense import EmulatedBus, record

    recording = folder.parent / "SIM0001.db3"  # once for all tests
    if not recording.exists():
        record(recording, "SIM0001", width=320, height=240, frames=20)
    bus = EmulatedBus({"SIM0001": recording})
    source = RealSenseSource("SIM0001", RealSenseSettings(320, 240, 30), bus)
    with ThreadedCamera("wrist", source, 128, 128, settings=FAST) as camera:
        trouble = bus.troubles["SIM0001"]

        def lose() -> None:
            trouble.drop = 1.0
            time.sleep(0.3)
            trouble.drop = 0.0

        faults = {
            "unplug": lambda: bus.unplug("SIM0001"),
            "silence": lambda: bus.freeze("SIM0001"),
            "garbage": lambda: setattr(trouble, "garbage", 0.7),
            "drop": lose,
        }
        yield Rig(camera, True, faults, lambda: bus.plug("SIM0001"))


@contextlib.contextmanager
def video(folder: Path) -> Iterator[Rig]:
    write_video(folder / "scene.avi")
    with ThreadedCamera("front", VideoFileSource(folder / "scene.avi", loop=True)) as camera:
        yield Rig(camera)


def write_video(path: Path, frames: int = 30, size: tuple[int, int] = (64, 48)) -> None:
    import cv2

    draw = moving_square(*size)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, size)
    assert writer.isOpened()
    for number in range(frames):
        writer.write(cv2.cvtColor(draw(number)[0], cv2.COLOR_RGB2BGR))
    writer.release()


@contextlib.contextmanager
def network_stream(folder: Path) -> Iterator[Rig]:
    with mjpeg_server() as server:
        source = WebcamSource(f"http://127.0.0.1:{server.port}/stream", timeout=5.0)
        with ThreadedCamera("front", source, settings=FAST) as camera:
            yield Rig(
                camera, False, {"unplug": lambda: setattr(server, "on", False)}, lambda: setattr(server, "on", True)
            )


@dataclass
class MjpegServer:
    port: int
    on: bool = True


@contextlib.contextmanager
def mjpeg_server() -> Iterator[MjpegServer]:
    import cv2

    draw, numbers = moving_square(64, 48), itertools.count()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not state.on:
                self.send_error(503)
                return
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
            self.end_headers()
            with contextlib.suppress(OSError):
                while state.on:
                    jpeg = cv2.imencode(".jpg", cv2.cvtColor(draw(next(numbers))[0], cv2.COLOR_RGB2BGR))[1].tobytes()
                    head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
                    self.wfile.write(head + jpeg + b"\r\n")
                    time.sleep(1 / 30)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        state = MjpegServer(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield state
        finally:
            state.on = False
            server.shutdown()
            thread.join()


class SquarePainter:
    """Draws a snapshot that is the number of a picture."""

    sizes: ClassVar = {"front": (64, 48)}

    def __init__(self) -> None:
        self._draw = moving_square(64, 48, depth=False)

    def draw(self, snapshot: np.ndarray, camera: str) -> np.ndarray:
        return self._draw(int(snapshot[0]))[0]

    def close(self) -> None:
        """Holds nothing."""


@contextlib.contextmanager
def of_a_simulated_cell(folder: Path) -> Iterator[Rig]:
    short = Path(tempfile.mkdtemp(prefix="cell."))  # the path of a socket may not be long
    snapshots, over = Outbox(short / SNAPSHOT, 8, ""), threading.Event()

    def physics() -> None:
        for number in itertools.count(1):
            snapshots.put(number, time.monotonic(), np.array([float(number)]).tobytes())
            if over.wait(0.01):
                return

    server = PictureServer(SquarePainter(), short)
    threads = [threading.Thread(target=physics), threading.Thread(target=server.run)]
    for thread in threads:
        thread.start()
    camera, cell = EmulatedCamera("front", short), CellClient(short, timeout=PATIENT)

    def cause(*faults: Fault) -> Callable[[], None]:
        def act() -> None:
            for fault in faults:
                cell.inject(fault)

        return act

    lasting = {name: Fault(kind, "front", 60.0) for name, kind in {"unplug": "unplug", "freeze": "freeze"}.items()}
    faults = {name: cause(fault) for name, fault in lasting.items()}
    faults["garbage"] = cause(Fault("garbage", "front", 60.0, 0.7))
    faults["drop"] = cause(Fault("drop", "front", 0.2))
    try:
        yield Rig(camera, False, faults, cause(*(Fault(fault.kind, "front", 0.0) for fault in lasting.values())))
    finally:
        camera.close()
        server.stop()
        over.set()
        for thread in threads:
            thread.join()
        server.close()
        snapshots.close()
        shutil.rmtree(short)


SERVE = """
import sys, threading
from hardware.cameras.capture import CaptureSettings, ThreadedCamera
from hardware.emulation.camera import EmulatedSource
from hardware.ros import serve_camera

source = EmulatedSource(64, 48)

def listen():
    for line in sys.stdin:
        name, value = line.split()
        setattr(source, name, int(value))
        print("done", flush=True)

settings = CaptureSettings(silence=0.4, backoff=0.02, max_backoff=0.1)
with ThreadedCamera("front", source, settings=settings) as camera:
    threading.Thread(target=listen, daemon=True).start()
    serve_camera(camera, sys.argv[1], domain=int(sys.argv[2]))
"""
_far: list[tuple[str, int, subprocess.Popen[str]]] = []


@pytest.fixture(scope="module", autouse=True)
def far_camera() -> Iterator[None]:
    """Ends the process of a camera's node, which serves all tests that want one."""
    yield
    while _far:
        _, _, node = _far.pop()
        node.terminate()
        node.communicate(timeout=20.0)


def far() -> tuple[str, int, subprocess.Popen[str]]:
    """Name, domain and process of the node; started for the first that asks."""
    if not _far:
        name, domain = f"front_{os.getpid()}", 1 + os.getpid() * 13 % 100
        node = subprocess.Popen(
            [sys.executable, "-c", SERVE, name, str(domain)], env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        _far.append((name, domain, node))
    return _far[0]


@contextlib.contextmanager
def over_ros(folder: Path) -> Iterator[Rig]:
    """A camera whose node is a process of its own, at the far end of its topics."""
    pytest.importorskip("rclpy")
    from hardware.ros import RosCamera, Session

    name, domain, node = far()

    def tell(**what: int) -> None:
        for key, value in what.items():
            node.stdin.write(f"{key} {value}\n")
            node.stdin.flush()
            assert node.stdout.readline() == "done\n"

    def mend() -> None:
        tell(unplugged=0, frozen=0, silent=0, garbage=0, drop=0)

    faults = {
        "unplug": lambda: tell(unplugged=1),
        "freeze": lambda: tell(frozen=1),
        "silence": lambda: tell(silent=1),
        "garbage": lambda: tell(garbage=8),
        "drop": lambda: tell(drop=3),
    }
    with Session("suite", domain=domain) as session:
        client = RosCamera(name, 64, 48, session, depth=True)
        client.wait_until_ready(60.0)
        try:
            yield Rig(client, True, faults, mend)
        finally:
            client.close()
            mend()


needs_realsense = pytest.mark.skipif(
    importlib.util.find_spec("pyrealsense2") is None, reason="the extra 'realsense' is missing"
)

CAMERAS = [
    emulated,
    emulated_without_depth_in_another_size,
    fitted,
    pytest.param(realsense, marks=needs_realsense),
    video,
    network_stream,
    of_a_simulated_cell,
    over_ros,
]


@pytest.fixture(params=CAMERAS, ids=lambda make: make.__name__)
def rig(request, tmp_path):
    with request.param(tmp_path) as made:
        yield made


def newer(camera: Camera, index: int = 0) -> Frame:
    """The first frame above ``index``, however long a busy machine takes."""
    until = time.monotonic() + PATIENT
    while time.monotonic() < until:
        with contextlib.suppress(Stale):
            frame = camera.read(math.inf)
            if frame.index > index:
                return frame
        time.sleep(0.002)
    pytest.fail(f"no frame above {index}")


def goes_stale(camera: Camera) -> str:
    """What it says once it has no fresh frame."""
    until = time.monotonic() + PATIENT
    while time.monotonic() < until:
        try:
            camera.read(0.2)
        except Stale as error:
            return str(error)
        time.sleep(0.01)
    pytest.fail("it never went stale")


def inject(rig: Rig, fault: str) -> None:
    if fault not in rig.faults:
        pytest.skip(f"cannot be made to {fault}")
    newer(rig.camera)
    rig.faults[fault]()


def test_it_is_a_camera(rig):
    assert isinstance(rig.camera, Camera)
    assert rig.camera.name
    assert rig.camera.width > 0
    assert rig.camera.height > 0


def test_frames_have_the_promised_shapes(rig):
    frame, camera = newer(rig.camera), rig.camera
    assert isinstance(frame, Frame)
    assert frame.rgb.shape == (camera.height, camera.width, 3)
    assert frame.rgb.dtype == np.uint8
    assert (frame.depth is not None) == rig.depth
    if frame.depth is not None:
        assert frame.depth.shape == (camera.height, camera.width)
        assert frame.depth.dtype == np.float32
        assert np.isfinite(frame.depth).all()
        assert (frame.depth >= 0).all()
        assert (frame.depth > 0).mean() > 0.5


def test_the_picture_moves_and_is_in_rgb_order(rig):
    first = newer(rig.camera)
    assert (first.rgb.astype(int)[..., 0] - first.rgb.astype(int)[..., 2] > 100).any()  # the square is red, not blue
    later = newer(rig.camera, first.index + 2)
    assert not np.array_equal(first.rgb, later.rgb)


def test_stamps_and_indices_only_grow(rig):
    frames = [newer(rig.camera)]
    while len(frames) < 12:
        frames.append(newer(rig.camera, frames[-1].index))
    now = time.monotonic()
    stamps, indices = [frame.stamp for frame in frames], [frame.index for frame in frames]
    assert all(a < b for a, b in itertools.pairwise(stamps))
    assert all(a < b for a, b in itertools.pairwise(indices))
    assert stamps[-1] <= now
    assert stamps[0] > now - 2 * PATIENT


def test_the_same_frame_is_the_same_to_everybody(rig):
    newer(rig.camera)
    seen: dict[int, set[bytes]] = {}
    lock = threading.Lock()

    def look() -> None:
        for _ in range(50):
            frame = rig.camera.read(math.inf)
            with lock:
                seen.setdefault(frame.index, set()).add(frame.rgb.tobytes())
            time.sleep(0.001)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen
    assert all(len(pictures) == 1 for pictures in seen.values())


def test_a_frame_stays_as_it_is(rig):
    frame = newer(rig.camera)
    rgb, depth = frame.rgb.copy(), None if frame.depth is None else frame.depth.copy()
    newer(rig.camera, frame.index + 3)
    assert np.array_equal(frame.rgb, rgb)
    if depth is not None:
        assert np.array_equal(frame.depth, depth)


def test_too_old_a_frame_is_refused_with_name_and_age(rig):
    newer(rig.camera)
    with pytest.raises(Stale, match=rf"{rig.camera.name}.* s old"):
        rig.camera.read(-1.0)


def test_a_closed_camera_says_so_and_closes_once_more(rig):
    newer(rig.camera)
    rig.camera.close()
    rig.camera.close()
    with pytest.raises(Stale, match="closed"):
        rig.camera.read(math.inf)


@pytest.mark.parametrize("fault", ["unplug", "freeze", "silence"])
def test_it_goes_stale_with_the_reason_and_comes_back(rig, fault):
    inject(rig, fault)
    said = goes_stale(rig.camera)
    assert rig.camera.name in said
    assert " s old" in said
    index = rig.camera.read(math.inf).index
    if fault == "freeze":
        time.sleep(0.1)
    rig.mend()
    frame = newer(rig.camera, index)
    assert frame.stamp <= time.monotonic()


def test_garbage_is_never_handed_out(rig):
    inject(rig, "garbage")
    index, shapes = rig.camera.read(math.inf).index, set()
    for _ in range(15):
        frame = newer(rig.camera, index)
        index = frame.index
        shapes.add((frame.rgb.shape, frame.rgb.dtype))
        assert frame.depth is None or np.isfinite(frame.depth).all()
    assert shapes == {((rig.camera.height, rig.camera.width, 3), np.dtype(np.uint8))}


def test_lost_frames_leave_a_gap(rig):
    inject(rig, "drop")
    start = rig.camera.read(math.inf).index
    indices = [start]
    while indices[-1] < start + 12:
        indices.append(newer(rig.camera, indices[-1]).index)
    assert max(b - a for a, b in itertools.pairwise(indices)) >= 4
