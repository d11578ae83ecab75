"""Hand-held devices without the device: what drives the real libraries from below, for tests and for trying out."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import pty
import select
import struct
import subprocess
import tempfile
import threading
import time
import tty
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from robo_rl.errors import UserError

_SCALE = 350  # what a SpaceMouse reports when it is pushed all the way


class VirtualGamepad:
    """A gamepad that SDL itself makes up, inside of the library that pygame-ce brings.

    Axes and buttons are those of SDL's game controllers, by number.
    """

    AXES = ("LEFTX", "LEFTY", "RIGHTX", "RIGHTY", "TRIGGERLEFT", "TRIGGERRIGHT")

    def __init__(self) -> None:
        from hardware.teleop.gamepad import connected

        connected()  # SDL is loaded and knows that it may read gamepads
        self._sdl = ctypes.CDLL(_sdl_library())
        self._sdl.SDL_JoystickOpen.restype = ctypes.c_void_p
        self._sdl.SDL_JoystickSetVirtualAxis.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int16]
        self._sdl.SDL_JoystickSetVirtualButton.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint8]
        self._sdl.SDL_JoystickClose.argtypes = [ctypes.c_void_p]
        self._index = -1
        self._handle: int | None = None
        self.plug_in()

    def plug_in(self) -> None:
        """Connect it."""
        self._index = self._sdl.SDL_JoystickAttachVirtual(1, 6, 15, 1)  # a game controller
        if self._index < 0:
            raise UserError("SDL makes up no gamepad here")
        self._handle = self._sdl.SDL_JoystickOpen(self._index)
        for trigger in ("TRIGGERLEFT", "TRIGGERRIGHT"):
            self.axis(trigger, -1.0)  # let go: SDL maps the whole range of the axis to a trigger's 0 to 1

    def unplug(self) -> None:
        """Pull it out; once more is no error."""
        if self._handle is not None:
            self._sdl.SDL_JoystickClose(self._handle)
            self._sdl.SDL_JoystickDetachVirtual(self._index)
            self._handle = None

    def axis(self, name: str, value: float) -> None:
        """Push an axis to ``value`` in [-1, 1]."""
        self._sdl.SDL_JoystickSetVirtualAxis(self._handle, self.AXES.index(name), round(32767 * value))

    def button(self, number: int, down: bool) -> None:
        """Press or let go of a button."""
        self._sdl.SDL_JoystickSetVirtualButton(self._handle, number, int(down))


class HidSpaceMouse:
    """A SpaceMouse Compact on a USB bus that :meth:`bus` puts in the place of the real one of pyspacemouse.

    What it reports is bytes, which the library takes apart as it does those of a device.
    """

    vendor_id, product_id, interface_number, release_number = 0x256F, 0xC635, 0, 1
    product_string, manufacturer_string, serial_number = "SpaceMouse Compact", "3Dconnexion", "S"

    def __init__(self, path: str) -> None:
        self.path = path
        self.plugged = True
        self._reports: list[bytes] = []
        self._open = False

    @contextlib.contextmanager
    def bus(self) -> Iterator[None]:
        """While entered, this is what is connected."""
        import pyspacemouse.api as api

        mouse = self

        class Enumeration:
            def __init__(self) -> None:
                self.device_list = [mouse] if mouse.plugged else []

            def find(self) -> list[HidSpaceMouse]:
                return self.device_list

        before, api.Enumeration = api.Enumeration, Enumeration
        try:
            yield
        finally:
            api.Enumeration = before

    def push(self, axes: Sequence[float]) -> None:
        """Report a deflection, of 1, along USB's axes: right, towards the person, down, and the turns about them."""
        raw = [round(_SCALE * value) for value in axes]
        self._reports += [b"\x01" + struct.pack("<3h", *raw[:3]), b"\x02" + struct.pack("<3h", *raw[3:])]

    def press(self, number: int) -> None:
        """Press a button and let go of it."""
        self._reports += [b"\x03" + bytes([1 << number]), b"\x03\x00"]

    def unplug(self) -> None:
        """Pull it out."""
        self.plugged = False

    def plug_in(self) -> None:
        """Connect it again."""
        self._reports, self.plugged = [], True

    # -- what easyhid's devices have -----------------------------------------------------------------------------------

    def open(self) -> None:
        """Open it."""
        self._open = True

    def close(self) -> None:
        """Close it."""
        self._open = False

    def is_open(self) -> bool:
        """Whether it is open."""
        return self._open

    def set_nonblocking(self, enabled: bool) -> None:
        """It never blocks."""

    def read(self, size: int = 64, timeout: int | None = None) -> bytes:
        """Return the oldest report that was not read yet."""
        from easyhid import HIDException

        if not self.plugged:
            raise HIDException("Failed to read from HID device: -1")
        return self._reports.pop(0) if self._reports else b""


class MagellanSpaceMouse:
    """A SpaceMouse on a serial line, which is a pseudo terminal, and the daemon spacenavd that serves it.

    The daemon is Debian's, so what its socket says is what it says of a real device. There is one a machine, and it
    needs root; entering this waits for others that do the same. A context manager.

    Args:
        folder: for the daemon's configuration.
        daemon: path of the program.

    Raises:
        UserError: on entering, if such a daemon runs already or does not come up.
    """

    _NIBBLES = "0AB3D56GH9:K<MN?"  # four bits each, with parity

    def __init__(self, folder: Path, daemon: str) -> None:
        self._folder, self._daemon = folder, daemon
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = threading.Event()
        self._closing = threading.Event()

    def __enter__(self) -> MagellanSpaceMouse:
        from hardware.teleop.reports import spacenav_socket

        self._lock = (Path(tempfile.gettempdir()) / "robo_rl_spacenavd.lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        if (there := spacenav_socket()) is not None:
            self._lock.close()
            raise UserError(f"a spacenavd listens at {there} already; stop it first")
        self._line, other = pty.openpty()
        tty.setraw(self._line)
        self._other = other
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()
        config = self._folder / "spnavrc"
        config.write_text(f"serial = {os.ttyname(other)}\nsensitivity = 1.0\ndead-zone = 0\n")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._closing.set()
        self._thread.join()
        os.close(self._line)
        os.close(self._other)
        self._lock.close()

    def start(self) -> None:
        """Start the daemon and wait until it serves the device."""
        from hardware.teleop.reports import spacenav_socket

        self._ready.clear()
        words = [self._daemon, "-d", "-c", str(self._folder / "spnavrc"), "-l", str(self._folder / "spnavd.log")]
        self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
        deadline = time.monotonic() + 20.0
        while not (self._ready.is_set() and spacenav_socket()):
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise UserError("spacenavd does not serve the serial device")
            time.sleep(0.02)

    def stop(self) -> None:
        """End the daemon; once more is no error."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def push(self, numbers: Sequence[int]) -> None:
        """Report a deflection: six numbers, of about 350."""
        digits = (self._NIBBLES[(value + 0x8000 >> shift) & 0xF] for value in numbers for shift in (12, 8, 4, 0))
        os.write(self._line, b"d" + "".join(digits).encode() + b"\r")

    def press(self, number: int) -> None:
        """Press a button and let go of it."""
        for mask in (1 << number, 0):
            os.write(self._line, b"k" + "".join(self._NIBBLES[mask >> s & 0xF] for s in (0, 4, 8)).encode() + b"\r")

    def _answer(self) -> None:
        """Say what the device is, when the daemon asks."""
        heard = b""
        while not self._closing.is_set():
            if select.select([self._line], [], [], 0.1)[0]:
                try:
                    heard += os.read(self._line, 256)
                except OSError:  # nobody has the other end open at the moment
                    time.sleep(0.05)
                    continue
            if b"vQ\r" in heard:
                os.write(self._line, b"vMAGELLAN  Version 6.60 by LOGITECH INC. 10/19/98\r")
                heard = b""
                self._ready.set()


def _sdl_library() -> str:
    """Path of the SDL that this process has loaded."""
    loaded: Any = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if ".so" in line}
    for path in loaded:
        if os.path.basename(path).startswith(("libSDL2-2", "libSDL2-")):
            return path
    raise UserError("SDL is not loaded; is pygame-ce installed?")
