"""The drive of a simulated arm whose physics runs in a process of its own; see :mod:`hardware.emulation.physics`."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from pathlib import Path

import numpy as np

from hardware.arms.drive import Delegated, DriveState
from hardware.emulation.wire import (
    MAX_DATAGRAM,
    PHYSICS,
    Garbled,
    Kind,
    State,
    pack,
    pack_floats,
    pack_text,
    socket_path,
    unpack,
    unpack_state,
    unpack_text,
    unpack_welcome,
)
from robo_rl.contracts import RobotSpec
from robo_rl.errors import Stale, UserError

_BACKLOG = 8  # as many states wait at most for a drive that does not read; the kernel keeps ten or so


class EmulatedDrive:
    """A :class:`hardware.arms.drive.Drive`: joint torques at 1 kHz, gravity compensated by the arm.

    If the physics process dies, :meth:`read` raises :class:`Stale` until one answers at the same address again.

    Args:
        spec: the arm that has to be there.
        folder: of the simulated cell.
        silence: time without a state after which :meth:`read` raises, s.
        timeout: time that :meth:`open` and :meth:`recover` wait for an answer, s.

    Attributes:
        garbled: datagrams that made no sense so far, and were ignored.
    """

    rate = 1000.0
    delegated = Delegated()

    def __init__(self, spec: RobotSpec, folder: Path | str, *, silence: float = 0.03, timeout: float = 2.0) -> None:
        self.spec = spec
        self._folder = Path(folder)
        self._silence, self._timeout = silence, timeout
        self._load = pack_floats(Kind.LOAD, np.zeros(4))
        self._socket: socket.socket | None = None
        self.garbled = 0

    def carry(self, mass: float, com: np.ndarray) -> None:
        """As in :class:`hardware.arms.drive.LoadedDrive`; the arm's gravity compensation is told, and told anew."""
        self._load = pack_floats(Kind.LOAD, np.array([mass, *com]))

    def open(self) -> None:
        """Connect; the arm holds where it is until the first torque.

        Raises:
            UserError: if no physics process answers, it is another arm, or another drive is connected.
        """
        deadline = time.monotonic() + self._timeout
        while time.monotonic() < deadline:
            if not self._connect():
                time.sleep(0.02)
                continue
            self._send(pack_text(Kind.HELLO, self.spec.name))
            answer = self._wait_for((Kind.WELCOME, Kind.REFUSED), min(deadline, time.monotonic() + 0.2))
            if answer is None:
                continue
            kind, body = answer
            if kind == Kind.REFUSED:
                self._disconnect()
                raise UserError(f"{self._folder}: {unpack_text(body)}")
            name, dof, _, _ = unpack_welcome(body)
            if (name, dof) == (self.spec.name, self.spec.dof):
                self._send(self._load)
                return
            self._disconnect()
            raise UserError(f"{self._folder}: the arm here is a {name} of {dof} joints, not a {self.spec.name}")
        self._disconnect()
        raise UserError(f"no physics process answers at {self._folder}/{PHYSICS}; start one, or mend the address")

    def read(self) -> DriveState:
        """Wait for the next state and return it; the newest, if more than one has come.

        Raises:
            Stale: if none has come for ``silence`` s; says whether the physics process is gone.
        """
        deadline = time.monotonic() + self._silence
        if self._socket is None and not self._return(deadline):
            raise Stale(f"{self.spec.name}: the physics process at {self._folder} is gone")
        state, count = self._newest_waiting()
        if state is None or count >= _BACKLOG:  # the newest of a full queue is old
            fresh = self._next_state(deadline)
            state = fresh or state
        if state is None:
            gone = self._socket is None or not self._say_hello()
            why = "is gone" if gone else "is silent"
            raise Stale(f"{self.spec.name}: no state for {1e3 * self._silence:.0f} ms, its physics process {why}")
        return DriveState(
            state.stamp, state.joint_pos, state.joint_vel, state.joint_torque, state.bias, state.gripper_width,
            state.error,
        )  # fmt: skip

    def write_torque(self, torque: np.ndarray) -> None:
        """Apply joint torques (n,) N·m, on top of gravity compensation; without news for 20 ms the arm brakes."""
        self._send(pack_floats(Kind.TORQUE, torque))

    def write_gripper(self, width: float) -> None:
        """Open or close the fingers to ``width`` m."""
        self._send(pack_floats(Kind.GRIPPER, np.array([width])))

    def recover(self) -> None:
        """Clear the arm's own error; it holds where it is until the next torque.

        Raises:
            UserError: if it does not clear, with the error, or nothing answers.
        """
        deadline = time.monotonic() + self._timeout
        error = "no state comes"
        while time.monotonic() < deadline:
            self._send(pack(Kind.RECOVER))
            until = time.monotonic() + 0.05
            while time.monotonic() < until:
                try:
                    error = self.read().error
                except Stale as stale:
                    error = str(stale)
                if not error:
                    return
        raise UserError(f"{self.spec.name} does not recover: {error}")

    def close(self) -> None:
        """Leave the arm holding where it is. Once more is no error."""
        if self._socket is not None:
            self._send(pack(Kind.BYE))
        self._disconnect()

    def _connect(self) -> bool:
        self._disconnect()
        fresh = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            fresh.bind("")  # the kernel finds a name, by which the physics process can answer
            fresh.connect(socket_path(self._folder, PHYSICS))  # and from now on nobody else
        except OSError:
            fresh.close()
            return False
        except ValueError as error:
            fresh.close()
            raise UserError(str(error)) from error
        fresh.setblocking(False)
        self._socket = fresh
        return True

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _return(self, deadline: float) -> bool:
        """Whether a physics process could be found again; waits until ``deadline`` if not, so as to keep the pace."""
        if self._connect() and self._say_hello():
            return True
        time.sleep(max(0.0, deadline - time.monotonic()))
        return False

    def _say_hello(self) -> bool:
        """Tell the physics process about this drive, in case it is a new one; False if there is none."""
        self._send(pack_text(Kind.HELLO, self.spec.name))
        self._send(self._load)
        return self._socket is not None

    def _send(self, datagram: bytes) -> None:
        if self._socket is None:
            return  # the next read says so
        try:
            self._socket.send(datagram)
        except BlockingIOError:
            pass  # it does not read; the next torque is on its way in a millisecond
        except OSError:
            self._disconnect()

    def _newest_waiting(self) -> tuple[State | None, int]:
        """Take out what waits and return its newest state, and how many datagrams there were.

        Bounded, and only the last ones are read: a drive that is starved of processor time must not be kept here by
        states that come faster than it reads them.
        """
        waiting: list[bytes] = []
        while len(waiting) < 2 * _BACKLOG:
            datagram = self._receive(0.0)
            if datagram is None:
                break
            waiting.append(datagram)
        for datagram in reversed(waiting):
            state = self._state_in(datagram)
            if state is not None:
                return state, len(waiting)
        return None, len(waiting)

    def _next_state(self, deadline: float) -> State | None:
        while True:
            datagram = self._receive(deadline - time.monotonic())
            if datagram is None:
                return None
            state = self._state_in(datagram)
            if state is not None:
                return state
            if time.monotonic() > deadline:  # what comes is nonsense, however much of it
                return None

    def _wait_for(self, kinds: tuple[Kind, ...], deadline: float) -> tuple[Kind, bytes] | None:
        while time.monotonic() < deadline:
            message = self._receive(deadline - time.monotonic())
            if message is None:
                return None
            with contextlib.suppress(Garbled):
                kind, body = unpack(message)
                if kind in kinds:
                    return kind, body
        return None

    def _receive(self, timeout: float) -> bytes | None:
        if self._socket is None:
            return None
        try:
            if timeout > 0.0:
                select.select([self._socket], [], [], timeout)
            return self._socket.recv(MAX_DATAGRAM)
        except BlockingIOError:
            return None
        except OSError:
            self._disconnect()
            return None

    def _state_in(self, datagram: bytes) -> State | None:
        try:
            kind, body = unpack(datagram)
            if kind != Kind.STATE:
                return None  # an answer that came late
            state = unpack_state(body)
        except Garbled:
            self.garbled += 1
            return None
        if len(state.joint_pos) != self.spec.dof:
            self.garbled += 1
            return None
        return state
