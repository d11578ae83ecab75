"""Faults of a simulated device on demand: what is injected, for how long, and what it does to a stream of messages."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from hardware.emulation.wire import Garbled, Kind, pack

FaultKind = Literal["drop", "delay", "freeze", "garbage", "unplug"]

_LAYOUT = struct.Struct("<16s48sdd")


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong for a while.

    Attributes:
        kind: ``drop`` loses messages, ``delay`` holds them back, ``freeze`` repeats the last one as it was, stamp
            included, ``garbage`` damages them or fills them with nonsense, ``unplug`` is silence in both directions.
        of: what it happens to: ``state`` or ``command`` of an arm, or the name of a camera.
        seconds: for how long; 0 ends faults of this kind.
        amount: of ``drop`` and ``garbage``, the share of the messages; of ``delay``, s.
    """

    kind: FaultKind
    of: str = "state"
    seconds: float = 1.0
    amount: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(FaultKind):
            raise ValueError(f"fault of kind {self.kind!r}; there are {', '.join(get_args(FaultKind))}")
        if not 0.0 <= self.seconds <= 3600.0 or not 0.0 <= self.amount <= 60.0:
            raise ValueError(f"fault {self.kind}: {self.seconds} s, amount {self.amount}; give at most 3600 s and 60")

    def to_bytes(self) -> bytes:
        """Return the datagram that asks for it."""
        return pack(Kind.FAULT, _LAYOUT.pack(self.kind.encode(), self.of.encode()[:48], self.seconds, self.amount))

    @staticmethod
    def from_bytes(body: bytes) -> Fault:
        """Read what :meth:`to_bytes` wrote, without its frame.

        Raises:
            Garbled: if it is no fault.
        """
        if len(body) != _LAYOUT.size:
            raise Garbled("no fault")
        kind, of, seconds, amount = _LAYOUT.unpack(body)
        try:
            return Fault(kind.rstrip(b"\0").decode(), of.rstrip(b"\0").decode(), seconds, amount)
        except ValueError as error:
            raise Garbled(str(error)) from error


class Faults:
    """The faults in force.

    Args:
        rng: decides which messages a ``drop`` or ``garbage`` hits.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._active: dict[tuple[str, str], tuple[Fault, float]] = {}

    def add(self, fault: Fault, now: float) -> None:
        """Let a fault begin at ``now``, or end if its time is 0."""
        if fault.seconds > 0:
            self._active[fault.kind, fault.of] = fault, now + fault.seconds
        else:
            self._active.pop((fault.kind, fault.of), None)

    def unplugged(self, now: float, of: str | None = None) -> bool:
        """Whether the device, or only its part ``of``, is silent."""
        if not self._active:
            return False
        parts = [part for kind, part in self._active if kind == "unplug" and of in (None, part)]
        return any(self._find("unplug", part, now) is not None for part in parts)

    def frozen(self, of: str, now: float) -> bool:
        """Whether it repeats itself."""
        return self._find("freeze", of, now) is not None

    def delay(self, of: str, now: float) -> float:
        """Time by which messages are held back, s."""
        fault = self._find("delay", of, now)
        return fault.amount if fault is not None else 0.0

    def drops(self, of: str, now: float) -> bool:
        """Whether the next message is lost."""
        return self._hits("drop", of, now)

    def garbles(self, of: str, now: float) -> bool:
        """Whether the next message is damaged."""
        return self._hits("garbage", of, now)

    def damage(self, datagram: bytes) -> bytes:
        """Return the datagram with some of its bytes replaced, and perhaps its end missing."""
        raw = bytearray(datagram)
        for _ in range(8):
            raw[int(self._rng.integers(len(raw)))] = int(self._rng.integers(256))
        return bytes(raw[: int(self._rng.integers(1, len(raw) + 1))])

    def nonsense(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return numbers that no sensor means: NaN, infinity, and far too large ones."""
        return self._rng.choice([np.nan, np.inf, -1e9, 1e300], size=shape)

    def coin(self) -> bool:
        """Toss a coin."""
        return bool(self._rng.integers(2))

    def _hits(self, kind: FaultKind, of: str, now: float) -> bool:
        fault = self._find(kind, of, now)
        return fault is not None and self._rng.random() < fault.amount

    def _find(self, kind: FaultKind, of: str, now: float) -> Fault | None:
        if not self._active:
            return None
        found = self._active.get((kind, of))
        if found is None:
            return None
        if now >= found[1]:
            del self._active[kind, of]
            return None
        return found[0]
