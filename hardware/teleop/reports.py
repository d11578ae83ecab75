"""Where the reports of a SpaceMouse come from: its USB interface, or the daemon spacenavd."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from robo_rl.errors import MissingExtra, UserError

Axes = tuple[float, float, float, float, float, float]

SOCKETS = (Path("/run/spnav.sock"), Path("/var/run/spnav.sock"))
"""Where spacenavd listens."""

_FULL = 350.0  # of the daemon's numbers, at sensitivity 1
_EVENT = struct.Struct("=8i")  # spacenavd's: kind, six axes and period, or kind and button


class DeviceLost(Exception):
    """The device is gone."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a device reported.

    Attributes:
        axes: deflection and rotation in the person's axes, of 1; None if they did not change.
        buttons: numbers of those that went down.
    """

    axes: Axes | None = None
    buttons: tuple[int, ...] = ()


class ReportSource(Protocol):
    """Where reports come from. Called from one thread."""

    def open(self) -> None:
        """Connect.

        Raises:
            UserError: if it cannot be done; says what is connected.
        """
        ...

    def wait(self, timeout: float) -> Sequence[Report]:
        """Return the reports that came, after at most ``timeout`` s.

        Raises:
            DeviceLost: if the device is gone.
        """
        ...

    def close(self) -> None:
        """Let go of it. Once more is no error."""
        ...


class HidReports:
    """USB reports of a SpaceMouse, by pyspacemouse, which knows the makes.

    Args:
        path: of its hidraw device; the first SpaceMouse that is connected if None.
    """

    def __init__(self, path: str | None = None) -> None:
        self._path = path
        self._device: Any = None
        self._buttons: tuple[int, ...] = ()
        self._seen = 0.0  # time of the newest report that was told

    def open(self) -> None:
        """Find it and open it."""
        library = _pyspacemouse()
        self.close()
        convention = library.AxisConvention.ROS  # x away from the person, y left, z up
        try:
            with contextlib.redirect_stdout(sys.stderr):  # the library says what it found
                if self._path is None:
                    self._device = library.open(axis_convention=convention)
                else:
                    self._device = library.open_by_path(self._path, axis_convention=convention)
        except (RuntimeError, ValueError, OSError) as error:
            names = ", ".join(f"{_text(path)} ({name})" for path, name in _known(library).items())
            remedy = "" if names else "; is the cable in, and may you read /dev/hidraw* (udev rule)?"
            raise UserError(
                f"SpaceMouse{f' {self._path}' if self._path else ''}: {error}; connected: {names or 'none'}{remedy}"
            ) from error
        self._buttons = (0,) * len(self._device.info.button_specs)
        self._seen = 0.0

    def wait(self, timeout: float) -> Sequence[Report]:
        """Read what has come."""
        from easyhid import HIDException

        until = time.monotonic() + timeout
        while True:
            device = self._device
            if device is None:
                raise DeviceLost
            try:
                state = device.read()
            except (HIDException, OSError) as error:
                raise DeviceLost(str(error)) from error
            if state.t != self._seen:
                self._seen = state.t
                down = tuple(
                    i for i, (now, was) in enumerate(zip(state.buttons, self._buttons, strict=True)) if now and not was
                )
                self._buttons = tuple(state.buttons)
                return [Report((state.x, state.y, state.z, state.roll, state.pitch, state.yaw), down)]
            if time.monotonic() >= until:
                return []
            time.sleep(0.002)

    def close(self) -> None:
        """Close the device."""
        device, self._device = self._device, None
        if device is not None:
            device.close()


class SpacenavReports:
    """What the daemon spacenavd tells over its socket; it serves several programs, and devices on a serial line too.

    The daemon tells changes only. Set ``repeat-interval = 100`` in ``/etc/spnavrc``, and it goes on telling of a device
    that is held still while pushed; without, such a push counts as fallen silent.

    Args:
        path: of the socket.
    """

    def __init__(self, path: Path | str | None = None) -> None:
        self._path = None if path is None else Path(path)
        self._socket: socket.socket | None = None
        self._rest = b""

    def open(self) -> None:
        """Connect to the daemon."""
        self.close()
        path = self._path or spacenav_socket() or SOCKETS[0]
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.connect(str(path))
        except OSError as error:
            made.close()
            there = spacenav_socket()
            raise UserError(
                f"spacenavd does not answer at {path} ({error.strerror}); "
                f"{f'it listens at {there}' if there else 'start it: systemctl start spacenavd'}"
            ) from error
        self._socket, self._rest = made, b""

    def wait(self, timeout: float) -> Sequence[Report]:
        """Read what has come."""
        if self._socket is None:
            raise DeviceLost
        self._socket.settimeout(timeout)
        try:
            read = self._socket.recv(64 * _EVENT.size)
        except TimeoutError:
            return []
        except OSError as error:
            raise DeviceLost(str(error)) from error
        if not read:
            raise DeviceLost("the daemon has ended")
        data = self._rest + read
        whole = len(data) // _EVENT.size * _EVENT.size
        self._rest = data[whole:]
        reports = []
        for kind, *values in _EVENT.iter_unpack(data[:whole]):
            if kind == 0:
                # The daemon's axes: to the right, up, away.
                right, up, away, about_right, about_up, about_away = (value / _FULL for value in values[:6])
                reports.append(Report((away, -right, up, about_away, -about_right, about_up)))
            elif kind == 1:
                reports.append(Report(buttons=(values[0],)))
        return reports

    def close(self) -> None:
        """Close the connection."""
        made, self._socket = self._socket, None
        if made is not None:
            made.close()


def spacenav_socket() -> Path | None:
    """Return the socket that spacenavd listens at, None if it does not run."""
    return next((path for path in SOCKETS if is_socket(path)), None)


def is_socket(path: Path) -> bool:
    """Return whether there is a socket at a path."""
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


def _known(library: Any) -> dict[Any, str]:
    try:
        return library.get_connected_devices_by_path()
    except RuntimeError:
        return {}


def _text(path: Any) -> str:
    return path.decode() if isinstance(path, bytes) else str(path)


def _pyspacemouse() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pyspacemouse
    except ImportError as error:
        raise MissingExtra("a SpaceMouse without spacenavd", "teleop") from error
    return pyspacemouse
