"""Bringing the servos of a WidowX 250s up: are they there, are they set as they must be, have they shut down."""

from __future__ import annotations

import time
from collections.abc import Mapping

from hardware.arms import dynamixel as dxl
from hardware.arms.dynamixel import Bus, Item
from hardware.arms.widowx_servos import SERVOS, VELOCITY_LIMIT, Servo
from robo_rl.errors import UserError

_NUMBERS = tuple(servo.id for servo in SERVOS)
_FIRMWARE = Item(6, 1)
_EEPROM = Item(dxl.RETURN_DELAY.address, dxl.MIN_POSITION.address + 4 - dxl.RETURN_DELAY.address)
_VOLATILE = Item(dxl.TORQUE_ENABLE.address, dxl.GOAL_POSITION.address + 4 - dxl.TORQUE_ENABLE.address)
_AGREE = 3  # ticks that two servos on one joint may differ by
_MOST_OFFSET = 1024  # ticks that a homing offset may have in position mode
_BOOT = 3.0  # s that a servo may take to restart
_PAUSE = 0.1  # s before it is asked whether it has


def identify(bus: Bus) -> None:
    """See that the servos are those of this arm.

    Raises:
        UserError: if not; names the servos.
    """
    found = {servo: bus.ping(servo.id) for servo in SERVOS}
    missing = [bus.name(servo.id) for servo, model in found.items() if model is None]
    if len(missing) == len(SERVOS):
        raise UserError(f"address {bus.address}: no servo answers; is the arm's power on, and is this its adapter?")
    if missing:
        raise UserError(f"address {bus.address}: no answer from {', '.join(missing)}; check the cable before it")
    for servo, model in found.items():
        if model != servo.model:
            raise UserError(
                f"address {bus.address}: {bus.name(servo.id)} is model {model}, a WidowX 250s has model {servo.model} "
                "there; is this another arm?"
            )
        firmware = bus.get(servo.id, _FIRMWARE)
        if firmware < dxl.MIN_FIRMWARE:
            raise UserError(
                f"{bus.name(servo.id)} has firmware {firmware}, which has no bus watchdog; update it to "
                f"{dxl.MIN_FIRMWARE} or newer with the Dynamixel Wizard"
            )


def configure(bus: Bus, current_based: bool) -> None:
    """Write what differs in the EEPROM. It is locked while a servo holds, so those servos let go until they hold anew.

    Args:
        bus: of the servos.
        current_based: whether those that can shall bound their current.

    Raises:
        UserError: if two servos of a joint cannot be made to agree.
    """
    found = bus.sync_read(_NUMBERS, _EEPROM, dxl.TRIES)
    for servo in SERVOS:
        bounded = current_based and servo.model == dxl.XM430_W350
        wanted = {
            dxl.RETURN_DELAY: 0,
            dxl.DRIVE_MODE: int(servo.reverse),
            dxl.OPERATING_MODE: 5 if bounded else 3,
            dxl.SHADOW_ID: servo.shadow_of,
            dxl.VELOCITY_LIMIT: VELOCITY_LIMIT,
            dxl.MIN_POSITION: servo.limits[0],
            dxl.MAX_POSITION: servo.limits[1],
        }
        _settle(bus, servo, {i: value for i, value in wanted.items() if i.within(_EEPROM, found[servo.id]) != value})
    for servo in SERVOS:
        if servo.shadow_of != dxl.NO_SHADOW:
            _align(bus, servo)


def restart(bus: Bus) -> None:
    """Take the watchdogs off and reboot the servos that shut down; they are limp meanwhile.

    Raises:
        UserError: if one stays down.
    """
    apply(bus, {dxl.WATCHDOG: dict.fromkeys(_NUMBERS, 0)})
    health = bus.sync_read(_NUMBERS, _VOLATILE, dxl.TRIES)
    errors = {servo: dxl.HARDWARE_ERROR.within(_VOLATILE, health[servo.id]) for servo in SERVOS}
    failed = {servo: error for servo, error in errors.items() if error}
    for servo in failed:
        bus.reboot(servo.id)
    if failed:
        time.sleep(_PAUSE)
    deadline = time.monotonic() + _BOOT
    for servo, error in failed.items():
        while bus.ping(servo.id) is None:
            if time.monotonic() > deadline:
                raise UserError(f"{bus.name(servo.id)} did not come back after {dxl.hardware_errors(error)}")
        if still := bus.get(servo.id, dxl.HARDWARE_ERROR):
            raise UserError(
                f"{bus.name(servo.id)} still reports {dxl.hardware_errors(still)}; support the arm, let it cool or "
                "take its load off, and recover again"
            )


def apply(bus: Bus, settings: Mapping[Item, Mapping[int, int]]) -> None:
    """Write volatile items of several servos, item by item, and see that they have taken.

    Args:
        bus: of the servos.
        settings: for each item the value, by servo.

    Raises:
        BusError: if one has not; names the servo.
    """
    wrong = ""
    for _ in range(dxl.TRIES):
        for item, values in settings.items():
            bus.sync_write(item, values)
        found = bus.sync_read(_NUMBERS, _VOLATILE, dxl.TRIES)
        wrong = next(
            (
                f"{bus.name(servo)} does not take {value} at address {item.address}"
                for item, values in settings.items()
                for servo, value in values.items()
                if item.within(_VOLATILE, found[servo]) != value
            ),
            "",
        )
        if not wrong:
            return
    raise dxl.BusError(wrong)


def _align(bus: Bus, shadow: Servo) -> None:
    """Let a second servo count like the first one of its joint, or they would work against each other."""
    first, second = (dxl.signed(bus.read(number, dxl.PRESENT_POSITION)) for number in (shadow.shadow_of, shadow.id))
    if abs(first - second) <= _AGREE:
        return
    offset = dxl.signed(bus.read(shadow.id, dxl.HOMING_OFFSET)) + first - second
    if abs(offset) > _MOST_OFFSET:
        raise UserError(
            f"{bus.name(shadow.id)} stands {abs(first - second) * 360 / 4096:.0f} degrees off "
            f"{bus.name(shadow.shadow_of)}; mount its horn as Interbotix' manual shows"
        )
    _settle(bus, shadow, {dxl.HOMING_OFFSET: offset})


def _settle(bus: Bus, servo: Servo, changes: Mapping[Item, int]) -> None:
    if not changes:
        return
    bus.write(servo.id, dxl.WATCHDOG, 0)
    if bus.get(servo.id, dxl.TORQUE_ENABLE):
        bus.write(servo.id, dxl.TORQUE_ENABLE, 0)
    for item, value in changes.items():
        bus.write(servo.id, item, value)
        if bus.get(servo.id, item) != value & ((1 << 8 * item.size) - 1):
            raise dxl.BusError(f"{bus.name(servo.id)} does not keep {value} at address {item.address}")
