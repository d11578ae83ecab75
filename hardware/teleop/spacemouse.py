"""SpaceMouse devices of 3Dconnexion: six axes and some buttons in one hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from hardware.teleop.buttons import Presses, check_dead_band, dead_band
from hardware.teleop.reports import (
    Axes,
    DeviceLost,
    HidReports,
    Report,
    ReportSource,
    SpacenavReports,
    is_socket,
    spacenav_socket,
)
from robo_rl.contracts.human import Deflection
from robo_rl.errors import UserError

BUTTONS = ("close", "open", "success", "failure", "discard", "pause", "reset", "stop")
"""What its buttons mean, in their order; see :data:`hardware.teleop.buttons.MEANINGS`."""

BUTTONS_WITHOUT_GRIPPER = ("success", "failure", "discard", "pause", "reset", "stop")
"""The same where there is no gripper to move: most of these devices have two buttons."""

_RETRY = 0.5  # s between two tries to find a device that is lost


class SpaceMouse:
    """A :class:`robo_rl.contracts.InputDevice`: a SpaceMouse, read by a thread and found again after it was unplugged.

    Its stamp is the time of the last report. A device that is pushed reports all the time, so one that was pushed when
    it last reported, long ago, has fallen silent; whoever reads it has to look at the stamp.

    Args:
        source: where its reports come from; belongs to this from now on.
        buttons: what its buttons mean, in their order.
        band: dead-band of each axis, of 1.

    Raises:
        UserError: if it is not there; says what is connected.
    """

    name = "spacemouse"

    def __init__(self, source: ReportSource, *, buttons: Sequence[str] = BUTTONS, band: float = 0.08) -> None:
        check_dead_band(band)
        self._source, self._buttons, self._band = source, tuple(buttons), band
        self._presses = Presses()
        self._lock = threading.Lock()
        self._axes: Axes = (0.0,) * 6
        self._stamp = time.monotonic()
        self._there = True
        self._closing = threading.Event()
        source.open()
        self._thread = threading.Thread(target=self._listen, name="spacemouse", daemon=True)
        self._thread.start()

    def read(self) -> Deflection | None:
        """Return the newest state, None while it is unplugged."""
        with self._lock:
            if not self._there:
                return None
            x, y, z, a, b, c = (dead_band(value, self._band) for value in self._axes)
            moved = any((x, y, z, a, b, c))
            return self._presses.tell(self._stamp if moved else time.monotonic(), (x, y, z), (a, b, c))

    def close(self) -> None:
        """Let go of it."""
        self._closing.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _listen(self) -> None:
        try:
            while not self._closing.is_set():
                try:
                    reports = self._source.wait(0.05)
                except DeviceLost:
                    self._lose()
                    self._find()
                else:
                    self._take_up(reports)
        finally:
            self._source.close()

    def _lose(self) -> None:
        self._source.close()
        with self._lock:
            self._there, self._axes = False, (0.0,) * 6
            self._presses.forget()

    def _find(self) -> None:
        while not self._closing.wait(_RETRY):
            try:
                self._source.open()
            except UserError:
                continue
            with self._lock:
                self._there, self._stamp = True, time.monotonic()
            return

    def _take_up(self, reports: Sequence[Report]) -> None:
        if not reports:
            return
        with self._lock:
            for report in reports:
                if report.axes is not None:
                    self._axes, self._stamp = report.axes, time.monotonic()
                for number in report.buttons:
                    if number < len(self._buttons):
                        self._presses.press(self._buttons[number])


def open_spacemouse(path: str | None = None, *, gripper: bool = True) -> SpaceMouse:
    """Open a SpaceMouse: by spacenavd where that runs, else by its USB reports.

    Args:
        path: of its hidraw device or of the daemon's socket; found if None.
        gripper: whether its buttons move a gripper.

    Raises:
        UserError: if it is not there; says what is connected.
        MissingExtra: if pyspacemouse is not installed and the daemon does not run.
    """
    daemon = spacenav_socket() is not None if path is None else is_socket(Path(path)) or path.endswith(".sock")
    source: ReportSource = SpacenavReports(path) if daemon else HidReports(path)
    return SpaceMouse(source, buttons=BUTTONS if gripper else BUTTONS_WITHOUT_GRIPPER)
