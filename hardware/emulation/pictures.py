"""The process that draws what a simulated cell's cameras see, so that drawing never holds up the physics.

It takes the newest snapshot of the physics, draws each camera, and leaves the picture in a mailbox of that camera. A
picture's stamp is that of its snapshot: drawing takes as long as exposure and transfer of a real camera would.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections import deque
from pathlib import Path

import numpy as np

from hardware.emulation.faults import Fault, Faults
from hardware.emulation.mailbox import Inbox, Letter, Outbox
from hardware.emulation.pace import Pace
from hardware.emulation.wire import (
    CAMERAS,
    MAX_DATAGRAM,
    SNAPSHOT,
    Garbled,
    Kind,
    pack,
    pack_figures,
    pack_text,
    socket_path,
    unpack,
)
from robo_rl.contracts.plant import Painter


def mailbox_of(folder: Path, camera: str) -> Path:
    """Return where the pictures of a camera are left."""
    return folder / f"camera.{camera}"


class _Camera:
    """One camera: its mailbox, and the frames that are held back."""

    def __init__(self, folder: Path, name: str, size: tuple[int, int]) -> None:
        width, height = size
        self.name, self.index = name, 0
        self.outbox = Outbox(mailbox_of(folder, name), 3 * width * height, f"rgb8 {width} {height}")
        self.held: deque[tuple[float, int, float, bytes]] = deque()  # due, index, stamp, picture


class PictureServer:
    """Draws and publishes; see the module.

    Args:
        painter: draws.
        folder: of the cell, the same as that of the physics.
        fps: pictures of each camera per second, at most.
        seed: of the faults.
    """

    def __init__(self, painter: Painter, folder: Path, fps: float = 30.0, seed: int = 0) -> None:
        self._painter, self._folder = painter, folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._cameras = [_Camera(folder, name, size) for name, size in painter.sizes.items()]
        self._path = socket_path(folder, CAMERAS)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._path)
        self._socket.setblocking(False)
        self._rng = np.random.default_rng(seed)
        self._faults = Faults(self._rng)
        self._pace = Pace(1.0 / fps, catch_up=0.0)
        self._snapshots: Inbox | None = None
        self._last = -1.0
        self._drawn = self._garbled = 0
        self._running = True

    def run(self) -> None:
        """Serve until :meth:`stop`."""
        self._pace.start()
        while self._running:
            self._pace.wait()
            now = time.monotonic()
            self._receive(now)
            snapshot = self._newest()
            for camera in self._cameras:
                if snapshot is not None:
                    self._draw(camera, snapshot, now)
                else:
                    camera.outbox.note("no news from the physics")
                self._deliver(camera, time.monotonic())

    def stop(self) -> None:
        """End :meth:`run`; may be called by a signal handler."""
        self._running = False

    def figures(self) -> dict[str, float]:
        """Return how well time was kept, and counts."""
        return {**self._pace.figures(), "drawn": float(self._drawn), "garbled": float(self._garbled)}

    def close(self) -> None:
        """Stop listening, and free the painter."""
        self._socket.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        for camera in self._cameras:
            camera.outbox.close()
        if self._snapshots is not None:
            self._snapshots.close()
        self._painter.close()

    def __enter__(self) -> PictureServer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _newest(self) -> Letter | None:
        """The newest snapshot, None if it has been drawn already: pictures of a dead physics must grow old."""
        if self._snapshots is not None and self._snapshots.replaced():
            self._snapshots.close()
            self._snapshots = None
        if self._snapshots is None:
            try:
                self._snapshots = Inbox(self._folder / SNAPSHOT)
            except FileNotFoundError:
                return None
        letter = self._snapshots.newest()
        if letter is None or letter.stamp == self._last:
            return None
        self._last = letter.stamp
        return letter

    def _draw(self, camera: _Camera, snapshot: Letter, now: float) -> None:
        camera.index += 1
        faults = self._faults
        if faults.unplugged(now, camera.name):
            camera.outbox.note("unplugged")
            return
        camera.outbox.note("")
        if faults.drops(camera.name, now) or faults.frozen(camera.name, now):
            return  # frozen: readers go on to find the last one, whose stamp is old
        picture = self._painter.draw(np.frombuffer(snapshot.body), camera.name)
        self._drawn += 1
        due = now + faults.delay(camera.name, now)
        camera.held.append((due, camera.index, snapshot.stamp, np.ascontiguousarray(picture).tobytes()))

    def _deliver(self, camera: _Camera, now: float) -> None:
        while camera.held and camera.held[0][0] <= now:
            _, index, stamp, body = camera.held.popleft()
            damaged = self._faults.garbles(camera.name, now)
            if damaged and self._faults.coin():  # the picture arrives whole, and is noise
                body, damaged = self._rng.integers(0, 256, len(body), dtype=np.uint8).tobytes(), False
            camera.outbox.put(index, stamp, body, damaged=damaged)

    def _receive(self, now: float) -> None:
        while True:
            try:
                datagram, sender = self._socket.recvfrom(MAX_DATAGRAM)
            except BlockingIOError:
                return
            try:
                answer = self._answer(datagram, now)
            except Garbled:
                self._garbled += 1
                continue
            if sender:
                with contextlib.suppress(OSError):
                    self._socket.sendto(answer, sender)

    def _answer(self, datagram: bytes, now: float) -> bytes:
        kind, body = unpack(datagram)
        if kind == Kind.FAULT:
            fault = Fault.from_bytes(body)
            names = [camera.name for camera in self._cameras]
            if fault.of not in names:
                return pack_text(Kind.REFUSED, f"no camera {fault.of!r} here (known: {', '.join(names)})")
            self._faults.add(fault, now)
            return pack(Kind.DONE)
        if kind == Kind.ASK_FIGURES:
            return pack_figures(self.figures())
        raise Garbled(f"{kind.name} is not for cameras")


def serve_pictures(painter: Painter, folder: Path, fps: float = 30.0) -> dict[str, float]:
    """Draw until this process is told to end (SIGTERM, SIGINT)."""
    with PictureServer(painter, folder, fps) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: server.stop())
        os.nice(5)  # physics and control go first
        server.run()
        return server.figures()
