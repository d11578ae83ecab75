"""A bus of Dynamixel servos on a pseudo-terminal, for drivers that speak to a real serial device.

    python -m hardware.emulation.dynamixel_bus --link widowx

creates the device, a link to its changing name as udev makes them, and serves a WidowX 250s on it until it is
terminated. Faults are typed on its standard input, one per line: ``drop 0.1`` (share of answers lost), ``garbage 0.1``
(share of answers preceded by noise), ``corrupt 0.1`` (share with a flipped bit), ``delay 0.02`` (s), ``freeze``,
``thaw``, ``unplug``, ``plug``, ``overheat 4``, ``cool 4``, ``mute 4``, ``unmute 4`` (a servo whose cable broke).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import select
import signal
import sys
import threading
import time
import tty
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hardware.arms.gravity import Gravity
from hardware.emulation.dynamixel_chain import Chain, widowx_axes
from hardware.emulation.dynamixel_packets import Decoder, Packet
from robo_rl.errors import UserError
from robo_rl.robots.widowx250s import WIDOWX250S


@dataclass
class Faults:
    """What goes wrong on the bus; may be changed at any time.

    Attributes:
        drop: share of answers that are lost.
        corrupt: share of answers in which a bit is flipped.
        garbage: share of answers that noise precedes.
        delay: seconds by which every answer comes late.
        frozen: whether nothing is read or answered, as with a hung adapter.
    """

    drop: float = 0.0
    corrupt: float = 0.0
    garbage: float = 0.0
    delay: float = 0.0
    frozen: bool = False


class DynamixelBus:
    """Servos on a pseudo-terminal, served by a thread.

    Example:
        >>> with widowx_bus("widowx") as bus:      # doctest: +SKIP
        ...     drive = WidowX("widowx")
        ...     bus.faults.drop = 0.1

    Args:
        link: path at which the device is to be found; an older link there is replaced.
        chain: of servos, its time that of ``time.monotonic()``.
        baudrate: paces the answers as a wire of that speed would; None for no wire at all.
        seed: of the random faults.

    Attributes:
        faults: what goes wrong.
        chain: of servos; look at it or change it only while holding ``lock``.
        lock: see there.
    """

    def __init__(self, link: str | Path, chain: Chain, *, baudrate: int | None = None, seed: int = 0) -> None:
        self.link, self.chain = Path(link), chain
        self.faults = Faults()
        self.lock = threading.RLock()
        self._baudrate = baudrate
        self._random = random.Random(seed)
        self._master = self._slave = -1
        self._running = True
        self._decoder = Decoder()
        self.plug()
        self._thread = threading.Thread(target=self._serve, name="dynamixel bus", daemon=True)
        self._thread.start()

    def __enter__(self) -> DynamixelBus:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def angles(self) -> np.ndarray:
        """Angles (n,) of the axes now, rad."""
        with self.lock:
            self.chain.advance(time.monotonic())
            return np.array([axis.angle for axis in self.chain.axes])

    def push(self, torque: Sequence[float]) -> None:
        """Let somebody push: torque (n,) at the axes, N·m."""
        with self.lock:
            self.chain.advance(time.monotonic())
            self.chain.push = np.array(torque, dtype=float)

    def plug(self) -> None:
        """Make the device appear."""
        with self.lock:
            if self._master >= 0:
                return
            self._master, self._slave = os.openpty()
            tty.setraw(self._master)
            tty.setraw(self._slave)
            if self.link.exists() and not self.link.is_symlink():
                raise UserError(f"{self.link} exists and is no link; give another path for the emulated device")
            with contextlib.suppress(FileNotFoundError):
                self.link.unlink()
            self.link.symlink_to(os.ttyname(self._slave))

    def unplug(self) -> None:
        """Make the device vanish, as if its cable were pulled; the servos keep their power."""
        with self.lock:
            if self._master >= 0:
                os.close(self._slave)
                os.close(self._master)
                self._master = self._slave = -1
                self._decoder = Decoder()
            with contextlib.suppress(FileNotFoundError):
                self.link.unlink()

    def overheat(self, number: int) -> None:
        """Let a servo get hotter than it may be: it shuts down."""
        with self.lock:
            servo = self.chain.servo(number)
            servo.put("Present Temperature", servo.get("Temperature Limit") + 5)
            self.chain.advance(time.monotonic())

    def cool(self, number: int) -> None:
        """Let it cool down; it stays shut down until it is rebooted."""
        with self.lock:
            self.chain.servo(number).put("Present Temperature", 35)

    def mute(self, number: int, muted: bool = True) -> None:
        """Break the cable of a servo, or mend it."""
        with self.lock:
            self.chain.servo(number)
            (self.chain.mute.add if muted else self.chain.mute.discard)(number)

    def close(self) -> None:
        """End it. Once more is no error."""
        self._running = False
        if threading.current_thread() is not self._thread:
            self._thread.join()
        self.unplug()

    def _serve(self) -> None:
        while self._running:
            with self.lock:
                master = -1 if self.faults.frozen else self._master
            if master < 0:
                time.sleep(0.005)
                continue
            try:
                if not select.select([master], [], [], 0.05)[0]:
                    continue
                data = os.read(master, 4096)
            except (OSError, ValueError):
                continue  # unplugged meanwhile
            with self.lock:
                if self.faults.frozen:
                    continue
                now = time.monotonic()
                answers = [answer for packet in self._decoder.feed(data) for answer in self.chain.obey(packet, now)]
            self._answer(answers, len(data))

    def _answer(self, answers: list[Packet], asked: int) -> None:
        faults, wire = self.faults, b""
        for answer in answers:
            raw = bytearray(answer.encode())
            if self._random.random() < faults.drop:
                continue
            if self._random.random() < faults.corrupt:
                raw[self._random.randrange(len(raw))] ^= 1 << self._random.randrange(8)
            if self._random.random() < faults.garbage:
                wire += self._random.randbytes(self._random.randint(1, 20))
            wire += raw
        delay = faults.delay + (10 * (asked + len(wire)) / self._baudrate if self._baudrate else 0.0)
        if delay:
            time.sleep(delay)
        with self.lock:
            if wire and self._master >= 0:
                with contextlib.suppress(OSError):
                    os.write(self._master, wire)


def widowx_bus(
    link: str | Path,
    *,
    angles: Sequence[float] | None = None,
    configured: bool = True,
    baudrate: int | None = None,
    boot_time: float = 0.2,
    seed: int = 0,
) -> DynamixelBus:
    """A WidowX 250s with the weight of its links; see :func:`widowx_axes`, :class:`Chain` and :class:`DynamixelBus`."""
    gravity = Gravity(WIDOWX250S)

    def load(at: np.ndarray) -> np.ndarray:
        return np.append(-gravity.torque(at[:-1]), 0.0)

    chain = Chain(widowx_axes(angles, configured=configured), load, time.monotonic(), boot_time)
    return DynamixelBus(link, chain, baudrate=baudrate, seed=seed)


def inject(bus: DynamixelBus, line: str) -> None:
    """Obey one line of the module's list of faults.

    Raises:
        UserError: if it is none of them.
    """
    word, *rest = line.split()
    try:
        if word in ("drop", "corrupt", "garbage", "delay"):
            setattr(bus.faults, word, float(rest[0]))
        elif word in ("freeze", "thaw"):
            bus.faults.frozen = word == "freeze"
        elif word in ("plug", "unplug"):
            {"plug": bus.plug, "unplug": bus.unplug}[word]()
        elif word in ("overheat", "cool"):
            {"overheat": bus.overheat, "cool": bus.cool}[word](int(rest[0]))
        elif word in ("mute", "unmute"):
            bus.mute(int(rest[0]), word == "mute")
        else:
            raise UserError(f"unknown fault {word!r}; see python -m hardware.emulation.dynamixel_bus --help")
    except (IndexError, KeyError, ValueError) as error:
        raise UserError(f"fault {line!r} wants a number, or a servo from 1 to 9") from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve a WidowX 250s until terminated."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--link", required=True, help="path at which the device appears")
    parser.add_argument("--baudrate", type=int, help="pace the answers as a wire of that speed does")
    parser.add_argument("--seed", type=int, default=0, help="of the random faults")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with widowx_bus(options.link, baudrate=options.baudrate, seed=options.seed) as bus:
        print(f"WidowX 250s at {options.link}", flush=True)
        for line in sys.stdin:
            if line.strip():
                try:
                    inject(bus, line)
                except UserError as error:
                    print(error, file=sys.stderr, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
