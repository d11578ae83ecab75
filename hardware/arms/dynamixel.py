"""A bus of Dynamixel servos through the maker's SDK, Protocol 2.0: what an arm needs, and errors that name the servo.

Two habits of the SDK are mended where its classes allow it: it waits by spinning, and it takes time from the wall
clock, so that a clock set forward would end an answer's wait. And as answers do not say to which question they belong,
a late one could be taken for that to the next: questions that are asked anew vary in how many bytes they ask for.
"""

from __future__ import annotations

import contextlib
import logging
import termios
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hardware.arms.serial_ports import port_error
from robo_rl.errors import MissingExtra

XM430_W350, XL430_W250 = 1020, 1060
"""Model numbers."""

NO_SHADOW = 255
MIN_FIRMWARE = 38
"""From here on there are drive mode and bus watchdog."""

_ALERT = 0x80
TRIES = 3
"""Of one instruction while an arm is set up."""

_VARIETY = 8
_SLICE = 0.001  # s that a read of the port may sleep
_PORT_ERRORS = (OSError, termios.error, TypeError, ValueError)  # what pyserial raises when its device vanishes

_log = logging.getLogger(__name__)


class BusError(Exception):
    """An instruction failed."""


class NoAnswer(BusError):
    """A servo did not answer, or not intelligibly."""


class Unplugged(BusError):
    """The serial device is gone."""


@dataclass(frozen=True)
class Item:
    """An item of the control table, the same for every servo used here.

    Attributes:
        address: of its first byte.
        size: bytes.
    """

    address: int
    size: int

    def within(self, block: Item, data: bytes) -> int:
        """Its value, never negative, in the ``data`` of a ``block`` that contains it."""
        start = self.address - block.address
        return int.from_bytes(data[start : start + self.size], "little")


RETURN_DELAY, DRIVE_MODE, OPERATING_MODE, SHADOW_ID = Item(9, 1), Item(10, 1), Item(11, 1), Item(12, 1)
HOMING_OFFSET, VELOCITY_LIMIT, MAX_POSITION, MIN_POSITION = Item(20, 4), Item(44, 4), Item(48, 4), Item(52, 4)
TORQUE_ENABLE, HARDWARE_ERROR, POSITION_P_GAIN, WATCHDOG = Item(64, 1), Item(70, 1), Item(84, 2), Item(98, 1)
GOAL_PWM, GOAL_CURRENT, PROFILE_ACCELERATION = Item(100, 2), Item(102, 2), Item(108, 4)
PROFILE_VELOCITY, GOAL_POSITION, REALTIME_TICK = Item(112, 4), Item(116, 4), Item(120, 2)
PRESENT_CURRENT, PRESENT_VELOCITY, PRESENT_POSITION = Item(126, 2), Item(128, 4), Item(132, 4)

_ERRORS = {
    1: "it failed to process the instruction", 2: "it does not know the instruction", 3: "it received noise",
    4: "the value is out of range", 5: "the data have the wrong length", 6: "the value is beyond a limit of its own",
    7: "the item may not be written now",
}  # fmt: skip

_HARDWARE_ERRORS = {0: "input voltage", 2: "overheating", 3: "motor encoder", 4: "electrical shock", 5: "overload"}


def hardware_errors(status: int) -> str:
    """Name the bits of the item Hardware Error Status."""
    names = [_HARDWARE_ERRORS.get(bit, f"bit {bit}") for bit in range(8) if status >> bit & 1]
    return " and ".join(names)


def signed(data: bytes) -> int:
    """Value of a little-endian item that may be negative."""
    return int.from_bytes(data, "little", signed=True)


def _length(packet: list[int]) -> int:
    """What a packet says to be the number of bytes behind that, unstuffed."""
    return packet[5] + (packet[6] << 8)


def _read_packet(servo: int, item: Item) -> list[int]:
    """An instruction to read; the SDK fills in header and checksum."""
    return [0, 0, 0, 0, servo, 7, 0, 2, *item.address.to_bytes(2, "little"), *item.size.to_bytes(2, "little"), 0, 0]


class Bus:
    """Servos on one serial device.

    Example:
        >>> bus = Bus("/dev/ttyUSB0", {1: "waist"})                         # doctest: +SKIP
        >>> bus.open(); bus.write(1, TORQUE_ENABLE, 1)                      # doctest: +SKIP

    Args:
        address: path of the device.
        names: of the servos, by ID; for people.
        baudrate: of all of them.
        patience: seconds beyond the time on the wire that an answer may take.

    Attributes:
        patience: see there; may be changed at any time.
        alerts: servos whose last answer said that something is wrong with their hardware.
    """

    def __init__(
        self, address: str, names: Mapping[int, str], baudrate: int = 1_000_000, patience: float = 0.02
    ) -> None:
        self.address, self.names = address, dict(names)
        self.alerts: set[int] = set()
        self._baudrate, self.patience = baudrate, patience
        self._extra = 0
        self._port: Any = None
        self._packets: Any = None

    @property
    def is_open(self) -> bool:
        """Whether the device is there, as far as known."""
        return self._port is not None

    def name(self, servo: int) -> str:
        """The servo, for people."""
        return f"servo {servo} ({self.names.get(servo, 'unknown')})"

    def open(self) -> None:
        """Open the device, for this process alone.

        Raises:
            UserError: if it cannot be opened; lists those that can.
            MissingExtra: if the SDK is not installed.
        """
        try:
            import dynamixel_sdk
        except ImportError as error:
            raise MissingExtra("a bus of Dynamixel servos", "widowx") from error
        bus = self

        class Port(dynamixel_sdk.PortHandler):
            def getCurrentTime(self) -> float:  # noqa: N802 (the SDK's name)
                return 1000.0 * time.monotonic()

            def setPacketTimeout(self, packet_length: int) -> None:  # noqa: N802
                self.setPacketTimeoutMillis(self.tx_time_per_byte * packet_length + 1000.0 * bus.patience)

        port = Port(self.address)
        try:
            port.baudrate = self._baudrate
            port.openPort()
            port.ser.exclusive = True
        except _PORT_ERRORS as error:
            if port.ser is not None:
                port.ser.close()
            raise port_error(self.address, error) from error
        port.ser.timeout = _SLICE
        try:
            port.ser.set_low_latency_mode(True)
        except (*_PORT_ERRORS, NotImplementedError) as error:  # a pseudo-terminal has none, nor does another system
            _log.info("%s: no low latency (%s); a USB adapter may collect answers for 16 ms", self.address, error)
        self._port, self._packets = port, dynamixel_sdk.PacketHandler(2.0)

    def close(self) -> None:
        """Let go of the device. Once more is no error."""
        port, self._port = self._port, None
        if port is not None:
            with contextlib.suppress(*_PORT_ERRORS):
                port.closePort()

    def ping(self, servo: int) -> int | None:
        """Model number of a servo; None if it does not answer."""
        for _ in range(TRIES):
            model, result, _ = self._call("ping", servo)
            if result == 0:
                return int(model)
        return None

    def read(self, servo: int, item: Item, tries: int = TRIES) -> bytes:
        """Read an item.

        Raises:
            BusError: if that fails.
        """
        for _ in range(tries):
            asked = self._varied(item)
            packet, result, error = self._call("txRxPacket", _read_packet(servo, asked))
            if result == 0 and _length(packet) == (4 if error & ~_ALERT else asked.size + 4):
                self._check(servo, error, "reading", item)
                return bytes(packet[9 : 9 + item.size])
        raise NoAnswer(f"{self.name(servo)} does not answer")

    def get(self, servo: int, item: Item) -> int:
        """Read an item that is never negative, or whose bits are meant."""
        return int.from_bytes(self.read(servo, item), "little")

    def write(self, servo: int, item: Item, value: int) -> None:
        """Write an item, and see that it is obeyed.

        Raises:
            BusError: if that fails.
        """
        data = list((value & ((1 << 8 * item.size) - 1)).to_bytes(item.size, "little"))
        for _ in range(TRIES):
            result, error = self._call("writeTxRx", servo, item.address, item.size, data)
            if result == 0:
                self._check(servo, error, f"writing {value} to", item)
                return
        raise NoAnswer(f"{self.name(servo)} does not answer")

    def reboot(self, servo: int) -> None:
        """Restart a servo: it lets go, and forgets its errors and everything volatile."""
        self._call("reboot", servo)

    def sync_read(self, servos: Iterable[int], item: Item, tries: int = 1) -> dict[int, bytes]:
        """Read the same bytes of several servos at one go; notes in ``alerts`` who complains.

        With several tries the answers may be longer than the item; with one, see yourself that they are not old ones.

        Raises:
            NoAnswer: if one of them did not answer; names the first one.
        """
        servos = list(servos)
        if tries == 1:
            return self._sync_read(servos, item)
        for _ in range(tries - 1):
            with contextlib.suppress(NoAnswer):
                return self._sync_read(servos, self._varied(item))
        return self._sync_read(servos, self._varied(item))

    def _varied(self, item: Item) -> Item:
        """Some bytes more than ``item``, another number each time."""
        self._extra = (self._extra + 1) % _VARIETY
        return Item(item.address, item.size + self._extra)

    def _sync_read(self, servos: list[int], item: Item) -> dict[int, bytes]:
        answers: dict[int, bytes] = {}
        result = self._call("syncReadTx", item.address, item.size, servos, len(servos), False)
        while result == 0 and len(answers) < len(servos):
            packet, result = self._call("rxPacket", False)
            # Not the SDK's readRx: it cuts a late answer to another question down to the length that is wanted.
            if result == 0 and packet[4] == servos[len(answers)] and _length(packet) == item.size + 4:
                (self.alerts.add if packet[8] & _ALERT else self.alerts.discard)(packet[4])
                answers[packet[4]] = bytes(packet[9 : 9 + item.size])
            elif result == 0 and self._port.isPacketTimeout():
                break
        if len(answers) < len(servos):
            raise NoAnswer(f"{self.name(servos[len(answers)])} does not answer")
        return answers

    def sync_write(self, item: Item, values: Mapping[int, int]) -> None:
        """Write an item of several servos at one go; nobody answers."""
        mask = (1 << 8 * item.size) - 1
        data = [
            byte for servo, value in values.items() for byte in (servo, *(value & mask).to_bytes(item.size, "little"))
        ]
        self._call("syncWriteTxOnly", item.address, item.size, data, len(data))

    def _call(self, method: str, *arguments: Any) -> Any:
        if self._port is None:
            raise Unplugged(f"{self.address} is not open")
        try:
            return getattr(self._packets, method)(self._port, *arguments)
        except _PORT_ERRORS as error:
            self.close()
            raise Unplugged(f"{self.address} has gone: {' '.join(str(error).split())}; check its cable") from error
        except IndexError as error:  # the SDK on a mutilated packet
            self._port.is_using = False
            raise NoAnswer(f"{self.address}: an answer is mutilated") from error

    def _check(self, servo: int, error: int, doing: str, item: Item) -> None:
        (self.alerts.add if error & _ALERT else self.alerts.discard)(servo)
        if code := error & ~_ALERT:
            why = _ERRORS.get(code, f"error {code}")
            raise BusError(f"{self.name(servo)} refuses {doing} address {item.address}: {why}")
