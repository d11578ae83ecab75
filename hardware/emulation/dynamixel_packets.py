"""Packets of Dynamixel Protocol 2.0: checksum, byte stuffing, and a decoder that survives noise.

Source: ROBOTIS e-Manual, "DYNAMIXEL Protocol 2.0". A packet is::

    FF FF FD 00 | id | length (2, little endian) | instruction, parameters (stuffed) | CRC-16 (2, little endian)

where length counts everything behind it. Wherever instruction and parameters contain FF FF FD, an FD is stuffed in, so
that the header occurs nowhere else.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

HEADER = b"\xff\xff\xfd\x00"
BROADCAST = 0xFE
STATUS = 0x55
LONGEST = 1024
"""Bytes of the longest packet; what claims to be longer is noise."""

_PATTERN = b"\xff\xff\xfd"


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte << 8
        for _ in range(8):
            value = (value << 1) ^ 0x8005 if value & 0x8000 else value << 1
        table.append(value & 0xFFFF)
    return tuple(table)


_TABLE = _crc_table()


def crc16(data: bytes) -> int:
    """Return the checksum: CRC-16 with polynomial 0x8005, starting at 0, not reflected.

    Example:
        >>> hex(crc16(bytes.fromhex("ff ff fd 00 01 03 00 01")))  # the e-Manual's example of a ping
        '0x4e19'
    """
    value = 0
    for byte in data:
        value = ((value << 8) & 0xFFFF) ^ _TABLE[(value >> 8) ^ byte]
    return value


def stuff(body: bytes) -> bytes:
    """Put an FD behind every FF FF FD."""
    return body.replace(_PATTERN, _PATTERN + b"\xfd")


def unstuff(body: bytes) -> bytes:
    """Undo :func:`stuff`."""
    return body.replace(_PATTERN + b"\xfd", _PATTERN)


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet.

    Attributes:
        id: of the servo that it is for or from.
        instruction: what to do; ``STATUS`` in an answer.
        parameters: unstuffed; an answer's begin with its error byte.
        intact: whether the checksum was right.
    """

    id: int
    instruction: int
    parameters: bytes = b""
    intact: bool = True

    def encode(self) -> bytes:
        """Return the bytes on the wire."""
        body = stuff(bytes([self.instruction]) + self.parameters)
        head = HEADER + bytes([self.id]) + struct.pack("<H", len(body) + 2) + body
        return head + struct.pack("<H", crc16(head))


class Decoder:
    """Finds packets in a stream of bytes that may contain anything.

    Example:
        >>> decoder = Decoder()
        >>> [p.id for p in decoder.feed(b"noise" + Packet(3, 1).encode())]
        [3]
    """

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Yield the packets that ``data`` completes; those with a wrong checksum too, not ``intact``."""
        self._pending += data
        while (start := self._pending.find(HEADER)) >= 0:
            self._pending = self._pending[start:]
            if len(self._pending) < 7:
                return
            end = 7 + struct.unpack_from("<H", self._pending, 5)[0]
            if not 10 <= end <= LONGEST:
                self._pending = self._pending[len(HEADER) :]
                continue
            if len(self._pending) < end:
                return
            raw = self._pending[:end]
            intact = crc16(raw[:-2]) == struct.unpack("<H", raw[-2:])[0]
            # A wrong length may have swallowed the beginning of the next packet: look for a header in there.
            self._pending = self._pending[end if intact else len(HEADER) :]
            body = unstuff(raw[7:-2])
            yield Packet(raw[4], body[0], body[1:], intact)
        self._pending = self._pending[-(len(HEADER) - 1) :]
