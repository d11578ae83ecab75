"""The newest value of something, in memory that two processes share: one writes, one reads, nobody waits.

The memory has no name: it is an open file of the kernel's, handed to the other process by its descriptor, and gone when
both are. Two slots are written in turn, so a reader has a whole writing period to copy the newest one; one that was
overtaken all the same notices it and reads again.
"""

from __future__ import annotations

import mmap
import os
import struct

_COUNT = struct.Struct("<Q")  # values written so far; the newest is in slot (count % 2)
_SLOT = struct.Struct("<Qd")  # bytes of the value, stamp
_FIRST = 64  # a cache line of its own for the count


class Mailbox:
    """A place for the newest value of something.

    Args:
        size: bytes of the largest value.
        descriptor: of a mailbox that another process has made; None to make one.

    Example:
        >>> box = Mailbox(16)
        >>> box.put(b"first", 1.0), box.put(b"second", 2.0)
        (True, True)
        >>> Mailbox(16, box.descriptor).newer_than(0)
        (2, 2.0, b'second')
    """

    def __init__(self, size: int, descriptor: int | None = None) -> None:
        self.size = size
        room = _FIRST + 2 * (_SLOT.size + size)
        if descriptor is None:
            descriptor = os.memfd_create("robo_rl-mailbox")
            os.ftruncate(descriptor, room)
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, room)
        self._count: int = _COUNT.unpack_from(self._memory)[0]

    def put(self, value: bytes | memoryview, stamp: float) -> bool:
        """Leave a value; one that is too large is not taken.

        Args:
            value: bytes.
            stamp: of what it shows, s of ``time.monotonic()``.

        Returns:
            Whether it was taken.
        """
        length = len(value)
        if length > self.size:
            return False
        at = self._slot(self._count + 1)
        _SLOT.pack_into(self._memory, at, length, stamp)
        self._memory[at + _SLOT.size : at + _SLOT.size + length] = value
        self._count += 1
        _COUNT.pack_into(self._memory, 0, self._count)
        return True

    def newer_than(self, count: int) -> tuple[int, float, bytes] | None:
        """Return the number, stamp and bytes of the newest value, None if it is value ``count`` or there is none."""
        while True:
            newest: int = _COUNT.unpack_from(self._memory)[0]
            if newest <= count or newest == 0:
                return None
            at = self._slot(newest)
            length, stamp = _SLOT.unpack_from(self._memory, at)
            if length <= self.size:
                value = self._memory[at + _SLOT.size : at + _SLOT.size + length]
                if _COUNT.unpack_from(self._memory)[0] == newest:  # one more would be written over it
                    return newest, stamp, value

    def close(self) -> None:
        """Let go of the memory."""
        if not self._memory.closed:
            self._memory.close()
            os.close(self.descriptor)

    def _slot(self, count: int) -> int:
        return _FIRST + (count % 2) * (_SLOT.size + self.size)
