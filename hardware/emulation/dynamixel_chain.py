"""What the servos of one bus answer, and how they turn; without a device and without a clock of its own."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence

import numpy as np

from hardware.emulation import dynamixel_servo as rules
from hardware.emulation.dynamixel_packets import BROADCAST, STATUS, Packet
from hardware.emulation.dynamixel_servo import XL430_W250, XM430_W350, Axis, Servo

PING, READ, WRITE, REBOOT, SYNC_READ, SYNC_WRITE, BULK_READ = 0x01, 0x02, 0x03, 0x08, 0x82, 0x83, 0x92
_CHUNK = 0.01  # s for which the load is taken as constant; ten times as long while nothing moves
_LONGEST_GAP = 2.0  # s that are lived through at most when nobody has asked for longer

Load = Callable[[np.ndarray], np.ndarray]


class Chain:
    """Servos that hear the same packets.

    Example:
        >>> chain = Chain(widowx_axes())
        >>> [answer.id for answer in chain.obey(Packet(BROADCAST, PING), now=0.0)]
        [1, 2, 3, 4, 5, 6, 7, 8, 9]

    Args:
        axes: what they turn.
        load: torque that the surroundings exert at the axes at their angles: (n,) rad -> (n,) N·m.
        now: the time, s; every later one is given by the caller.
        boot_time: seconds that a servo takes to start.

    Attributes:
        push: (n,) further torque at the axes, N·m.
        supported: whether somebody supports the arm wherever no servo holds it.
        mute: servos that do not hear or answer.
        seen: instructions that came, in order.
    """

    def __init__(
        self, axes: Sequence[Axis], load: Load | None = None, now: float = 0.0, boot_time: float = 0.2
    ) -> None:
        self.axes = tuple(axes)
        self.push = np.zeros(len(self.axes))
        self.supported = True
        self.mute: set[int] = set()
        self.seen: list[int] = []
        self._servos = {servo.id: servo for axis in self.axes for servo in axis.servos}
        self._load, self._now, self._boot_time = load, now, boot_time

    def servo(self, number: int) -> Servo:
        """The servo with that ID."""
        return self._servos[number]

    def advance(self, now: float) -> None:
        """Let time pass until ``now``, s."""
        self._now = max(self._now, now - _LONGEST_GAP)
        servos = self._servos.values()
        while now > self._now:
            chunk = _CHUNK if any(abs(axis.velocity) > 1e-3 for axis in self.axes) else 10 * _CHUNK
            until = min(now, self._now + chunk, *(max(servo.trips_at(), self._now + 1e-4) for servo in servos))
            weight = self._load(np.array([axis.angle for axis in self.axes])) if self._load else self.push * 0.0
            for axis, own, push in zip(self.axes, weight.tolist(), self.push.tolist(), strict=True):
                limp = not any(servo.get("Torque Enable") for servo in axis.servos)
                axis.advance(until - self._now, push + (0.0 if limp and self.supported else own))
                axis.measure(until)
            self._now = until
            for servo in servos:
                servo.guard(until)

    def obey(self, packet: Packet, now: float) -> list[Packet]:
        """Carry out an instruction; return the answers in their order."""
        self.advance(now)
        if packet.instruction == STATUS:
            return []
        self.seen.append(packet.instruction)
        awake = {n: servo for n, servo in self._servos.items() if now >= servo.boots_at and n not in self.mute}
        parts = self._parts(packet, awake)
        if not packet.intact:
            return [Packet(number, STATUS, bytes([rules.CRC])) for number, *_ in parts if number == packet.id]
        for number, *_ in parts:
            awake[number].heard = now
        answers = []
        for number, instruction, parameters in parts:
            answer = self._single(awake[number], instruction, parameters, now)
            asked = packet.id == number or (packet.id == BROADCAST and instruction in (PING, READ))
            if asked and answer is not None:
                answers.append(answer)
        return answers

    def _parts(self, packet: Packet, awake: dict[int, Servo]) -> list[tuple[int, int, bytes]]:
        """Split an instruction into one per servo: ID, instruction, parameters; in the order of their answers."""
        data = packet.parameters
        parts: list[tuple[int, int, bytes]] = []
        if packet.instruction == SYNC_READ:
            parts = [(number, READ, data[:4]) for number in data[4:]]
        elif packet.instruction == BULK_READ:
            parts = [(data[i], READ, data[i + 1 : i + 5]) for i in range(0, len(data) - 4, 5)]
        elif packet.instruction == SYNC_WRITE:
            size = struct.unpack_from("<H", data, 2)[0] + 1 if len(data) >= 4 else len(data) + 1
            for i in range(4, len(data) - size + 1, size):
                parts.append((data[i], WRITE, data[:2] + data[i + 1 : i + size]))
        elif packet.id == BROADCAST:
            parts = [(number, packet.instruction, data) for number in sorted(awake)]
        else:
            parts = [(packet.id, packet.instruction, data)]
        for part in list(parts) if packet.instruction in (WRITE, SYNC_WRITE) else ():
            parts += self._shadows(part, awake)
        return [part for part in parts if part[0] in awake]

    def _shadows(self, part: tuple[int, int, bytes], awake: dict[int, Servo]) -> list[tuple[int, int, bytes]]:
        """The same for those that go by that ID too; it reaches only what is volatile."""
        volatile = len(part[2]) >= 2 and struct.unpack_from("<H", part[2])[0] >= rules.EEPROM_END
        names = ((number, servo.get("Secondary(Shadow) ID")) for number, servo in awake.items())
        return [(number, *part[1:]) for number, name in names if volatile and name == part[0] != number]

    def _single(self, servo: Servo, instruction: int, data: bytes, now: float) -> Packet | None:
        level, error, content = servo.get("Status Return Level"), 0, b""
        if instruction == PING:
            content = struct.pack("<HB", servo.get("Model Number"), servo.get("Firmware Version"))
        elif instruction == READ and len(data) == 4:
            error, content = servo.read(*struct.unpack("<HH", data))
        elif instruction == WRITE and len(data) > 2:
            error = servo.write(struct.unpack_from("<H", data)[0], data[2:])
        elif instruction == REBOOT:
            servo.reboot(now, self._boot_time)
        else:
            error = rules.INSTRUCTION
        if instruction != PING and (level == 0 or (level == 1 and instruction != READ)):
            return None
        return Packet(servo.id, STATUS, bytes([error | servo.alert]) + content)


def widowx_axes(angles: Sequence[float] | None = None, *, configured: bool = True) -> list[Axis]:
    """The servos of a WidowX 250s: six joints, two of them with two servos, and the gripper.

    Args:
        angles: (7,) of the joints and of the gripper's servo, rad; else folded up, gripper open.
        configured: whether the settings that Interbotix ships are in the EEPROM, or those of new servos.
    """
    # ID, mirrored as Interbotix' drive modes say, and how far off the horn was mounted by hand, rad
    rows: list[list[tuple[int, bool, float]]] = [
        [(1, False, 0.0)], [(2, False, 0.0), (3, True, 0.011)], [(4, False, 0.0), (5, True, -0.017)],
        [(6, False, 0.0)], [(7, True, 0.0)], [(8, False, 0.0)], [(9, False, 0.0)],
    ]  # fmt: skip
    limits = {2: (819, 3345), 3: (819, 3345), 4: (648, 3094), 5: (648, 3094), 7: (910, 3447)}
    # The forearm lies on the upper arm, and that on its rest, when nobody holds them.
    stops = {2: (-1.82, 1.96), 4: (-2.1, 1.57), 7: (-1.72, 2.12), 9: (-0.42, 1.3)}
    axes = []
    for row, angle in zip(rows, angles or (0.0, -1.8, 1.55, 0.0, 0.8, 0.0, 1.2), strict=True):
        servos = [Servo(i, XM430_W350 if i <= 7 else XL430_W250, mirrored, horn) for i, mirrored, horn in row]
        for servo in servos if configured else ():
            servo.put("Return Delay Time", 0)
            servo.put("Drive Mode", int(servo.mirrored))
            servo.put("Velocity Limit", 131)
            low, high = limits.get(servo.id, (0, 4095))
            servo.put("Min Position Limit", low)
            servo.put("Max Position Limit", high)
            if servo is not servos[0]:
                servo.put("Secondary(Shadow) ID", servos[0].id)
        axes.append(Axis(*servos, angle=angle, stops=stops.get(servos[0].id, (-math.inf, math.inf))))
    return axes
