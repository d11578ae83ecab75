"""The process that runs a simulated arm in real time, and speaks to its drive, its operator and its cameras.

One loop: at each tick of the plant's time step it takes what has come, lets the guard decide, steps, and reports. It
sleeps until ticks that are due on the monotonic clock; after a stall it makes up for at most ``catch_up`` s at once. If
it is told to be patient, it also stands still while the torque that answers its last report is late.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import time
from collections import deque
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from hardware.emulation.faults import Fault, Faults
from hardware.emulation.guard import Guard
from hardware.emulation.mailbox import Outbox
from hardware.emulation.pace import Pace
from hardware.emulation.wire import (
    MAX_DATAGRAM,
    PHYSICS,
    SNAPSHOT,
    Garbled,
    Kind,
    State,
    pack,
    pack_figures,
    pack_poses,
    pack_state,
    pack_text,
    pack_welcome,
    socket_path,
    unpack,
    unpack_floats,
    unpack_poses,
    unpack_text,
)
from hardware.realtime import prioritise
from robo_rl.contracts.plant import Plant, PlantSettings
from robo_rl.errors import UserError

logger = logging.getLogger(__name__)

T = TypeVar("T")

_SNAPSHOT_EVERY = 4  # steps: cameras draw far less often
_MESSAGES_PER_TICK = 64
_SILENT_DRIVE = 0.5  # s without a word after which another drive may take over


class DelayLine(Generic[T]):
    """Messages on their way: what is put in comes out in order, once it is due; times are those of the physics."""

    def __init__(self) -> None:
        self._queue: deque[tuple[float, T]] = deque()

    def put(self, item: T, due: float) -> None:
        """Send ``item`` so that it arrives at ``due``, but after what was sent before."""
        self._queue.append((due, item))

    def arrived(self, now: float) -> list[T]:
        """Take out what has arrived by ``now``."""
        items = []
        while self._queue and self._queue[0][0] <= now + 1e-9:
            items.append(self._queue.popleft()[1])
        return items

    def clear(self) -> None:
        """Lose what is on its way."""
        self._queue.clear()


class PhysicsServer:
    """Steps a plant and talks; see the module.

    Example:
        >>> with PhysicsServer(plant, Path("/dev/shm/cell"), settings) as server:     # doctest: +SKIP
        ...     server.run()

    Args:
        plant: what is run.
        folder: of the cell; made if it is not there, for this user alone.
        settings: delays, noise and guard; the plant has been given the rest of them.
    """

    def __init__(self, plant: Plant, folder: Path, settings: PlantSettings) -> None:
        self._plant, self._settings = plant, settings
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = socket_path(folder, PHYSICS)
        _refuse_if_running(self._path)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._path)
        self._socket.setblocking(False)
        snapshot = plant.snapshot()
        self._snapshots = Outbox(folder / SNAPSHOT, snapshot.nbytes, "float64")
        self._rng = np.random.default_rng(settings.seed)
        self._faults = Faults(np.random.default_rng(settings.seed + 1))
        self._guard = Guard(plant, settings.guard)
        self._exact = plant.measure()  # what exact sensors read since the last step
        self._drive: bytes | str | None = None
        self._heard = 0.0  # when the drive last said something
        self._torques: DelayLine[np.ndarray] = DelayLine()
        self._states: DelayLine[bytes] = DelayLine()
        self._last: bytes | None = None
        self._seq = 0
        self._pace = Pace(plant.timestep, settings.catch_up)
        self._garbled = self._unsent = 0
        self._answers = False  # whether the driver answers states by torques
        self._unanswered = False  # whether a state was sent since the last torque
        self._running = True

    def run(self) -> None:
        """Serve until :meth:`stop`."""
        if self._settings.realtime:
            prioritise()
        self._pace.start()
        while self._running:
            steps = self._pace.wait()
            now = time.monotonic()
            for left in range(steps - 1, -1, -1):
                self.tick(now, report=left == 0 or self._settings.patience > 0.0)
                if self._settings.patience > 0.0:
                    self._await_torque()
                    now = time.monotonic()

    def tick(self, now: float, report: bool = True) -> None:
        """Do one step, at ``now``: take what has come, step, and report unless another step follows at once."""
        self._receive(now)
        arrived = self._torques.arrived(self._time)
        self._plant.step(self._guard.act(arrived[-1] if arrived else None, self._exact))
        self._exact = self._plant.measure()
        self._seq += 1
        if self._seq % _SNAPSHOT_EVERY == 0:
            self._snapshots.put(self._seq, now, self._plant.snapshot().tobytes())
        if report:
            self._report(now)

    def _await_torque(self) -> None:
        """Stand still until the driver has answered what was just reported, unless it has long been silent."""
        deadline = time.monotonic() + self._settings.patience
        while self._answers and self._unanswered and self._running and self._drive is not None:
            left = deadline - time.monotonic()
            if left <= 0.0:
                self._answers = False
                return
            select.select([self._socket], [], [], left)
            self._receive(time.monotonic())

    @property
    def _time(self) -> float:
        """Of the physics, s: what delays are measured in."""
        return self._seq * self._plant.timestep

    def stop(self) -> None:
        """End :meth:`run` at the next tick; may be called by a signal handler."""
        self._running = False

    def figures(self) -> dict[str, float]:
        """Return how well time was kept, and what went wrong."""
        counts = {"garbled": self._garbled, "unsent": self._unsent, "guard_trips": self._guard.trips}
        return {**self._pace.figures(), **counts}

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        self._snapshots.close()

    def __enter__(self) -> PhysicsServer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _receive(self, now: float) -> None:
        for _ in range(_MESSAGES_PER_TICK):
            try:
                datagram, sender = self._socket.recvfrom(MAX_DATAGRAM)
            except BlockingIOError:
                return
            try:
                self._take(datagram, sender, now)
            except Garbled as error:
                self._garbled += 1
                logger.debug("ignored a datagram: %s", error)

    def _take(self, datagram: bytes, sender: bytes | str, now: float) -> None:
        from_drive = sender == self._drive
        if from_drive and self._faults.garbles("command", now):
            datagram = self._faults.damage(datagram)
        kind, body = unpack(datagram)
        if kind in (Kind.HELLO, Kind.TORQUE, Kind.GRIPPER, Kind.LOAD, Kind.RECOVER, Kind.BYE):
            if self._faults.unplugged(now):
                return
            if kind == Kind.HELLO:
                self._welcome(unpack_text(body), sender, now)
            elif from_drive:
                self._heard = now
                self._obey(kind, body, now)
        elif kind == Kind.PLACE:
            self._answer(sender, self._placed(body))
        elif kind == Kind.ASK_TRUTH:
            self._answer(sender, pack_poses(Kind.TRUTH, self._plant.truth()))
        elif kind == Kind.ASK_FIGURES:
            self._answer(sender, pack_figures(self.figures()))
        elif kind == Kind.FAULT:
            self._faults.add(Fault.from_bytes(body), now)
            self._answer(sender, pack(Kind.DONE))

    def _welcome(self, name: str, sender: bytes | str, now: float) -> None:
        spec = self._plant.spec
        if name != spec.name:
            self._answer(sender, pack_text(Kind.REFUSED, f"the arm here is a {spec.name}, not a {name}"))
        elif self._drive not in (None, sender) and now - self._heard < _SILENT_DRIVE:
            self._answer(sender, pack_text(Kind.REFUSED, "another drive is connected to this arm; close it first"))
        else:
            if sender != self._drive:
                self._torques.clear()
                self._states.clear()
            self._drive, self._heard = sender, now
            self._answer(sender, pack_welcome(spec.name, spec.dof, 1.0 / self._plant.timestep, os.getpid()))

    def _obey(self, kind: Kind, body: bytes, now: float) -> None:
        if kind == Kind.TORQUE:
            torque = unpack_floats(body, self._plant.spec.dof)
            if not self._faults.drops("command", now) and not self._faults.frozen("command", now):
                due = self._time + self._settings.command_delay + self._faults.delay("command", now)
                self._torques.put(torque, due)
                self._answers, self._unanswered = True, False
        elif kind == Kind.GRIPPER:
            self._plant.aim_gripper(float(unpack_floats(body, 1)[0]))
        elif kind == Kind.LOAD:
            mass, *com = unpack_floats(body, 4)
            self._plant.set_load(max(float(mass), 0.0), np.array(com))
        elif kind == Kind.RECOVER:
            self._torques.clear()
            self._guard.recover()
        elif kind == Kind.BYE:
            self._guard.release()
            self._torques.clear()
            self._drive = None

    def _placed(self, body: bytes) -> bytes:
        try:
            self._plant.place(unpack_poses(body))
        except UserError as error:
            return pack_text(Kind.REFUSED, str(error))
        return pack(Kind.DONE)

    def _report(self, now: float) -> None:
        if self._drive is None:
            return
        if not (self._faults.frozen("state", now) and self._last is not None):
            self._last = self._measured(now)
        self._states.put(self._last, self._time + self._settings.state_delay + self._faults.delay("state", now))
        for datagram in self._states.arrived(self._time):
            if self._faults.unplugged(now) or self._faults.drops("state", now):
                continue
            if self._faults.garbles("state", now) and self._faults.coin():
                datagram = self._faults.damage(datagram)
            try:
                self._socket.sendto(datagram, self._drive)
                self._unanswered = True
            except BlockingIOError:
                self._unsent += 1  # it does not read fast enough, which is its own affair
            except OSError:
                self._drive = None  # it is gone; the guard notices
                return

    def _measured(self, now: float) -> bytes:
        settings, exact, rng = self._settings, self._exact, self._rng
        q, dq, torque = exact.joint_pos, exact.joint_vel, exact.joint_torque
        if settings.joint_pos_noise or settings.joint_vel_noise or settings.joint_torque_noise:
            noise = rng.standard_normal((3, len(q)))
            q = q + settings.joint_pos_noise * noise[0]
            dq = dq + settings.joint_vel_noise * noise[1]
            torque = torque + settings.joint_torque_noise * noise[2]
        if self._faults.garbles("state", now) and self._faults.coin():
            q, dq, torque = self._faults.nonsense((3, len(q)))
        return pack_state(State(self._seq, now, q, dq, torque, exact.bias, exact.gripper_width, self._guard.error))

    def _answer(self, to: bytes | str, datagram: bytes) -> None:
        if not to:
            return  # from a socket without an address
        with contextlib.suppress(OSError):  # it is gone, or does not read; it may ask again
            self._socket.sendto(datagram, to)


def serve(plant: Plant, folder: Path, settings: PlantSettings) -> dict[str, float]:
    """Run a plant until this process is told to end (SIGTERM, SIGINT); return its figures."""
    with PhysicsServer(plant, folder, settings) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: server.stop())
        server.run()
        return server.figures()


def _refuse_if_running(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return
    raise UserError(f"{path} is in use by another physics process; stop it, or give this cell a folder of its own")
