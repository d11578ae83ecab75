"""Servos of the Dynamixel X series as they behave on the bus: control table, its rules, shutdown, watchdog, motion.

Source: ROBOTIS e-Manual of XM430-W350 and XL430-W250 (control tables, units, ranges, Bus Watchdog, Secondary ID,
Shutdown, Profile). A test compares the table with the one that the SDK carries. The motion is a model of ours: the
shaft follows the trajectory of the profile through the stiffness of the position gain, against its own viscosity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

RESULT_FAIL, INSTRUCTION, CRC, DATA_RANGE, DATA_LENGTH, DATA_LIMIT, ACCESS = range(1, 8)
ALERT = 0x80
OVERHEATING = 0x04

TICK = 2 * math.pi / 4096
VELOCITY_UNIT = 0.229 * 2 * math.pi / 60
_ACCELERATION_UNIT = 214.577 * 2 * math.pi / 3600
_CURRENT_UNIT = 2.69e-3
_CENTRE = 2048
EEPROM_END = 64
_SIZE = 662
_FOLLOWS = 0.02  # s, time constant of a shaft without load
_STEP = 0.002  # s, of the integration

_Row = tuple[int, int, bool, int, int, int]  # address, bytes, writable, initial value, least, greatest

_TABLE: dict[str, _Row] = {
    "Model Number": (0, 2, False, 0, 0, 0),
    "Firmware Version": (6, 1, False, 45, 0, 0),
    "ID": (7, 1, True, 1, 0, 252),
    "Baud Rate": (8, 1, True, 3, 0, 7),
    "Return Delay Time": (9, 1, True, 250, 0, 254),
    "Drive Mode": (10, 1, True, 0, 0, 13),
    "Operating Mode": (11, 1, True, 3, 0, 16),
    "Secondary(Shadow) ID": (12, 1, True, 255, 0, 255),
    "Protocol Type": (13, 1, True, 2, 1, 2),
    "Homing Offset": (20, 4, True, 0, -1044479, 1044479),
    "Moving Threshold": (24, 4, True, 10, 0, 1023),
    "Temperature Limit": (31, 1, True, 80, 0, 100),
    "Max Voltage Limit": (32, 2, True, 160, 60, 160),
    "Min Voltage Limit": (34, 2, True, 95, 60, 160),
    "PWM Limit": (36, 2, True, 885, 0, 885),
    "Current Limit": (38, 2, True, 1193, 0, 1193),
    "Velocity Limit": (44, 4, True, 200, 0, 1023),
    "Max Position Limit": (48, 4, True, 4095, 0, 4095),
    "Min Position Limit": (52, 4, True, 0, 0, 4095),
    "Shutdown": (63, 1, True, 52, 0, 63),
    "Torque Enable": (64, 1, True, 0, 0, 1),
    "LED": (65, 1, True, 0, 0, 1),
    "Status Return Level": (68, 1, True, 2, 0, 2),
    "Hardware Error Status": (70, 1, False, 0, 0, 0),
    "Position D Gain": (80, 2, True, 0, 0, 16383),
    "Position I Gain": (82, 2, True, 0, 0, 16383),
    "Position P Gain": (84, 2, True, 800, 0, 16383),
    "Bus Watchdog": (98, 1, True, 0, 0, 127),
    "Goal PWM": (100, 2, True, 885, -885, 885),
    "Goal Current": (102, 2, True, 1193, -1193, 1193),
    "Goal Velocity": (104, 4, True, 0, -1023, 1023),
    "Profile Acceleration": (108, 4, True, 0, 0, 32767),
    "Profile Velocity": (112, 4, True, 0, 0, 32767),
    "Goal Position": (116, 4, True, 2048, -1048575, 1048575),
    "Realtime Tick": (120, 2, False, 0, 0, 0),
    "Moving": (122, 1, False, 0, 0, 0),
    "Present PWM": (124, 2, False, 0, 0, 0),
    "Present Current": (126, 2, False, 0, 0, 0),
    "Present Velocity": (128, 4, False, 0, 0, 0),
    "Present Position": (132, 4, False, 2048, 0, 0),
    "Velocity Trajectory": (136, 4, False, 0, 0, 0),
    "Position Trajectory": (140, 4, False, 2048, 0, 0),
    "Present Input Voltage": (144, 2, False, 120, 0, 0),
    "Present Temperature": (146, 1, False, 35, 0, 0),
}  # fmt: skip


@dataclass(frozen=True)
class Model:
    """A kind of servo.

    Attributes:
        name: as sold.
        number: in its control table.
        table: item -> (address, bytes, writable, initial value, least, greatest).
        modes: operating modes it has.
        stall_torque: at 12 V, N·m.
        no_load_speed: at 12 V, rad/s.
        torque_constant: N·m/A; 0 for servos that do not measure their current and report the load instead.
    """

    name: str
    number: int
    table: dict[str, _Row]
    modes: frozenset[int]
    stall_torque: float
    no_load_speed: float
    torque_constant: float


_XL_TABLE = {name: row for name, row in _TABLE.items() if name not in ("Current Limit", "Goal Current")}
_XL_TABLE["Present Load"] = _XL_TABLE.pop("Present Current")
_XL_TABLE["Position P Gain"] = (84, 2, True, 640, 0, 16383)
_XL_TABLE["Temperature Limit"] = (31, 1, True, 72, 0, 100)

XM430_W350 = Model("XM430-W350", 1020, _TABLE, frozenset({0, 1, 3, 4, 5, 16}), 4.1, 46 * 2 * math.pi / 60, 4.1 / 2.3)
XL430_W250 = Model("XL430-W250", 1060, _XL_TABLE, frozenset({1, 3, 4, 16}), 1.5, 61 * 2 * math.pi / 60, 0.0)


class Servo:
    """One servo: its registers and what drives its shaft.

    Args:
        number: its ID.
        model: its kind.
        mirrored: whether it is mounted so that its positive direction is the axis' negative one.
        horn: angle by which its horn was mounted off, rad.
    """

    def __init__(self, number: int, model: Model, mirrored: bool = False, horn: float = 0.0) -> None:
        self.model, self.mirrored, self.horn = model, mirrored, horn
        self._bytes = bytearray(_SIZE)
        for name, (_, _, _, initial, _, _) in model.table.items():
            self.put(name, initial)
        self.put("Model Number", model.number)
        self.put("ID", number)
        self.heard = -math.inf
        self.boots_at = -math.inf
        self._trajectory = self._speed = 0.0

    @property
    def id(self) -> int:
        """Its ID."""
        return self.get("ID")

    @property
    def sense(self) -> float:
        """Direction of its positive angles about the axis, 1 or -1."""
        return -1.0 if self.mirrored != bool(self.get("Drive Mode") & 1) else 1.0

    def get(self, name: str) -> int:
        """Value of an item; those that may be negative are."""
        address, size, *_ = self.model.table[name]
        signed = size == 4 or name in ("Goal PWM", "Goal Current", "Present PWM", "Present Current", "Present Load")
        return int.from_bytes(self._bytes[address : address + size], "little", signed=signed)

    def put(self, name: str, value: int) -> None:
        """Set an item past every rule of the bus."""
        address, size, *_ = self.model.table[name]
        self._bytes[address : address + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")

    @property
    def alert(self) -> int:
        """The alert bit of its answers."""
        return ALERT if self.get("Hardware Error Status") else 0

    def read(self, address: int, size: int) -> tuple[int, bytes]:
        """Answer an instruction to read: error, data."""
        if size < 1 or address + size > _SIZE:
            return DATA_RANGE, b""
        return 0, bytes(self._bytes[address : address + size])

    def write(self, address: int, data: bytes, by_shadow: bool = False) -> int:
        """Obey an instruction to write, wholly or not at all; return its error."""
        items = [(name, row) for name, row in self.model.table.items() if address <= row[0] < address + len(data)]
        covered = sum(row[1] for _, row in items)
        if not items or any(row[0] + row[1] > address + len(data) for _, row in items):
            return DATA_LENGTH if items else ACCESS
        if covered != len(data) or not all(row[2] for _, row in items):
            return ACCESS
        if address < EEPROM_END and (by_shadow or self.get("Torque Enable")):
            return ACCESS
        values = {}
        for name, (at, size, _, _, low, high) in items:
            raw = data[at - address : at - address + size]
            values[name] = value = int.from_bytes(raw, "little", signed=low < 0)
            if error := self._refusal(name, value, low, high):
                return error
        for name, value in values.items():
            self.put(name, value)
            if name == "Operating Mode":
                self.put("Goal PWM", self.get("PWM Limit"))
                if "Goal Current" in self.model.table:
                    self.put("Goal Current", self.get("Current Limit"))
            elif name == "Torque Enable":
                self._trajectory, self._speed = self.angle_of("Present Position"), 0.0
        return 0

    def _refusal(self, name: str, value: int, low: int, high: int) -> int:
        if not low <= value <= high or (name == "Operating Mode" and value not in self.model.modes):
            return DATA_RANGE
        if self.get("Bus Watchdog") == 255 and (name.startswith("Goal ") or (name == "Bus Watchdog" and value)):
            return DATA_RANGE  # locked until the watchdog is cleared by 0
        if name == "Torque Enable" and value and self.get("Hardware Error Status") & self.get("Shutdown"):
            return ACCESS  # only a reboot clears a shutdown
        if name == "Goal Position" and self.get("Operating Mode") == 3:
            inside = self.get("Min Position Limit") <= value <= self.get("Max Position Limit")
            return 0 if inside else DATA_LIMIT
        limits = {"Goal PWM": "PWM Limit", "Goal Current": "Current Limit", "Goal Velocity": "Velocity Limit"}
        if name in limits and abs(value) > self.get(limits[name]):
            return DATA_LIMIT
        return 0

    def reboot(self, now: float, duration: float) -> None:
        """Start anew: silent for ``duration`` s, volatile items as delivered, errors forgotten."""
        for name, (address, _, _, initial, _, _) in self.model.table.items():
            if address >= EEPROM_END and name not in ("Present Position", "Present Temperature"):
                self.put(name, initial)
        self.boots_at = now + duration

    def angle_of(self, name: str) -> float:
        """An item in ticks as an angle of its own, rad from the centre."""
        return (self.get(name) - _CENTRE) * TICK

    def trips_at(self) -> float:
        """When the watchdog will stop it, if nothing more is heard."""
        period = self.get("Bus Watchdog")
        return self.heard + 0.02 * period if 0 < period < 255 and self.get("Torque Enable") else math.inf

    def guard(self, now: float) -> None:
        """Trip the watchdog if it is time, and shut down on an error that demands it."""
        if now >= self.trips_at():
            self.put("Bus Watchdog", 255)
            self.put("Profile Velocity", 0)
            self.put("Profile Acceleration", 0)
            self.put("Goal Position", self.get("Present Position"))
            self._trajectory, self._speed = self.angle_of("Present Position"), 0.0
        if self.get("Present Temperature") > self.get("Temperature Limit"):
            self.put("Hardware Error Status", self.get("Hardware Error Status") | OVERHEATING)
        if self.get("Hardware Error Status") & self.get("Shutdown"):
            self.put("Torque Enable", 0)

    @property
    def stiffness(self) -> float:
        """Torque per angle that the position gain gives, N·m/rad: PWM is gain / 128 per tick, 885 is all of it."""
        return self.get("Position P Gain") / 128 / TICK / 885 * self.model.stall_torque

    def strength(self) -> float:
        """Largest torque it may give, N·m."""
        if not self.get("Torque Enable"):
            return 0.0
        limit = self.model.stall_torque * abs(self.get("Goal PWM")) / 885
        if self.get("Operating Mode") == 5:
            limit = min(limit, abs(self.get("Goal Current")) * _CURRENT_UNIT * self.model.torque_constant)
        return limit

    @property
    def arrived(self) -> bool:
        """Whether the set-point of its position controller stands still."""
        return not self.get("Torque Enable") or self._trajectory == self.angle_of("Goal Position")

    @property
    def setpoint(self) -> float:
        """Where its position controller wants it, own angle, rad."""
        return self._trajectory

    def plan(self, dt: float, steps: int) -> list[float]:
        """Move the set-point of the position controller along the profile; return where it is before each ``dt`` s."""
        limit = self.get("Profile Velocity") * VELOCITY_UNIT or self.model.no_load_speed
        acceleration = self.get("Profile Acceleration") * _ACCELERATION_UNIT or math.inf
        goal, at, speed, path = self.angle_of("Goal Position"), self._trajectory, self._speed, []
        for _ in range(steps):
            path.append(at)
            left = goal - at
            if abs(left) <= min(abs(speed) * dt, 1e-6):
                at, speed = goal, 0.0
                continue
            reach = math.sqrt(2 * acceleration * abs(left)) if acceleration < math.inf else math.inf
            wanted = math.copysign(min(limit, reach, abs(left) / dt), left)
            speed += max(-acceleration * dt, min(acceleration * dt, wanted - speed))
            at += speed * dt
        self._trajectory, self._speed = at, speed
        return path

    def torque(self, angle: float) -> float:
        """What the motor gives with its shaft at ``angle``, own direction, N·m."""
        limit = self.strength()
        return max(-limit, min(limit, self.stiffness * (self._trajectory - angle)))

    def measure(self, angle: float, velocity: float, torque: float, now: float) -> None:
        """Fill in what it reports: own angle, rad, velocity, rad/s, and torque, N·m."""
        self.put("Present Position", _CENTRE + round(angle / TICK))
        self.put("Present Velocity", round(velocity / VELOCITY_UNIT))
        self.put("Moving", int(abs(velocity) > self.get("Moving Threshold") * VELOCITY_UNIT))
        self.put("Realtime Tick", int(now * 1000) % 32768)
        self.put("Position Trajectory", _CENTRE + round(self._trajectory / TICK))
        self.put("Velocity Trajectory", round(self._speed / VELOCITY_UNIT))
        if self.model.torque_constant:
            self.put("Present Current", round(torque / self.model.torque_constant / _CURRENT_UNIT))
        else:
            duty = torque / self.model.stall_torque + velocity / self.model.no_load_speed
            self.put("Present Load", round(1000 * max(-1.0, min(1.0, duty))))


class Axis:
    """A joint and the servos that turn it, rigidly coupled.

    Args:
        servos: the first one's direction, unless mirrored, is the axis'.
        angle: at the beginning, rad.
        stops: where something hard ends its way, rad.
    """

    def __init__(self, *servos: Servo, angle: float = 0.0, stops: tuple[float, float] = (-math.inf, math.inf)) -> None:
        self.servos, self.angle, self.velocity, self.stops = servos, angle, 0.0, stops
        for servo in servos:
            servo.measure(self._own(servo), 0.0, 0.0, 0.0)
            servo.put("Goal Position", servo.get("Present Position"))

    def _own(self, servo: Servo) -> float:
        return servo.sense * (self.angle + servo.horn) + servo.get("Homing Offset") * TICK

    def advance(self, duration: float, load: float) -> None:
        """Turn for ``duration`` s under ``load``, N·m."""
        still = all(servo.arrived for servo in self.servos)
        steps = 1 if still else max(1, math.ceil(duration / _STEP))
        dt = duration / steps
        motors = []
        for servo in self.servos:
            path = [servo.setpoint] if still else servo.plan(dt, steps)
            shift = self._own(servo) - servo.sense * self.angle
            motors.append((servo.sense, servo.stiffness, servo.strength(), shift, path))
        viscosity = _FOLLOWS * max(sum(stiffness for _, stiffness, *_ in motors), 1.0)
        fastest = min(servo.model.no_load_speed for servo in self.servos)
        for step in range(steps):
            push = load
            stiff = 0.0  # what is left of the springs: those at their limit are none
            for sense, stiffness, limit, shift, path in motors:
                torque = stiffness * (path[step] - sense * self.angle - shift)
                stiff += stiffness if abs(torque) < limit else 0.0
                push += sense * max(-limit, min(limit, torque))
            # A spring against a damper comes to rest exponentially; exact while no motor reaches its limit. While the
            # set-point moves, steps are short, and the lag must not depend on their length.
            ease = stiff / viscosity * dt if still else 0.0
            moved = push / stiff * -math.expm1(-ease) if ease > 1e-9 else push / viscosity * dt
            self.velocity = max(-fastest, min(fastest, moved / dt))
            self.angle += self.velocity * dt
            if not self.stops[0] <= self.angle <= self.stops[1]:
                self.angle, self.velocity = max(self.stops[0], min(self.stops[1], self.angle)), 0.0

    def measure(self, now: float) -> None:
        """Let every servo report."""
        for servo in self.servos:
            own = self._own(servo)
            servo.measure(own, servo.sense * self.velocity, servo.torque(own), now)
