"""The emulated servo bus: packets against the maker's SDK, the rules of the control table, motion, and faults."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import termios
import time
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.emulation import dynamixel_servo as rules
from hardware.emulation.dynamixel_bus import DynamixelBus, inject, widowx_bus
from hardware.emulation.dynamixel_chain import PING, READ, REBOOT, SYNC_READ, SYNC_WRITE, WRITE, Chain, widowx_axes
from hardware.emulation.dynamixel_packets import BROADCAST, STATUS, Decoder, Packet, crc16, stuff, unstuff
from hardware.emulation.dynamixel_servo import TICK, VELOCITY_UNIT, XL430_W250, XM430_W350, Axis, Servo
from robo_rl.errors import UserError

sdk = pytest.importorskip("dynamixel_sdk")

# Bytes in which the pattern that has to be stuffed is no rarity.
BODIES = st.lists(st.sampled_from([b"\xff", b"\xff\xff\xfd", b"\xfd", b"\x00", b"\x55", b"\x81"])).map(b"".join)
patient = settings(deadline=None, max_examples=60)
PACKETS = st.builds(Packet, st.integers(0, 253), st.integers(1, 0x93), BODIES | st.binary(max_size=60))


# -- packets -----------------------------------------------------------------------------------------------------------


def test_a_ping_is_the_one_of_the_manual():
    assert Packet(1, PING).encode().hex(" ") == "ff ff fd 00 01 03 00 01 19 4e"


@patient
@given(st.binary(max_size=80))
def test_the_checksum_is_the_sdks(data):
    assert crc16(data) == sdk.PacketHandler(2.0).updateCRC(0, data, len(data))


@patient
@given(BODIES | st.binary())
def test_stuffing_is_undone_and_hides_headers(body):
    assert unstuff(stuff(body)) == body
    assert b"\xff\xff\xfd\x00" not in stuff(body)


@patient
@given(PACKETS)
def test_the_sdk_reads_our_answers(packet):
    handler = sdk.PacketHandler(2.0)
    raw = list(Packet(packet.id, STATUS, packet.parameters).encode())
    plain = handler.removeStuffing(raw)
    size = plain[5] + (plain[6] << 8) - 3  # instruction and checksum
    assert bytes(plain[8 : 8 + size]) == packet.parameters


@patient
@given(st.lists(PACKETS, max_size=5), st.integers(1, 30))
def test_packets_are_found_however_they_are_cut(packets, size):
    stream = b"".join(packet.encode() for packet in packets)
    decoder, found = Decoder(), []
    for start in range(0, len(stream), size):
        found += decoder.feed(stream[start : start + size])
    assert found == packets


@patient
@given(PACKETS, st.data())
def test_a_flipped_bit_is_noticed(packet, data):
    raw = bytearray(packet.encode())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert not any(found.intact and found == packet for found in Decoder().feed(bytes(raw)))


@patient
@given(st.binary(max_size=200), PACKETS)
def test_noise_costs_no_more_than_what_it_claims_to_contain(noise, packet):
    decoder = Decoder()
    list(decoder.feed(noise))
    # Noise may look like a beginning of at most 1024 bytes; behind that, everything is found.
    found = [p for _ in range(110) for p in decoder.feed(packet.encode()) if p.intact]
    assert found.count(packet) >= 2


# -- the control table -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [XM430_W350, XL430_W250], ids=lambda m: m.name)
def test_the_control_table_is_the_one_that_the_sdk_carries(model):
    text = (files("dynamixel_easy_sdk") / "control_table" / f"{model.name.lower().replace('-', '_')}.model").read_text()
    published = {name: (int(at), int(size)) for at, size, name in re.findall(r"^(\d+)\t(\d+)\t(.+)$", text, re.M)}
    for name, (address, size, *_) in model.table.items():
        assert published[name] == (address, size)


def send(chain: Chain, now: float, number: int, instruction: int, parameters: bytes = b"") -> list[Packet]:
    return chain.obey(Packet(number, instruction, parameters), now)


def write(chain: Chain, now: float, number: int, name: str, value: int) -> int:
    """Write an item; return the error byte."""
    address, size, *_ = XM430_W350.table[name]
    data = struct.pack("<H", address) + (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    (answer,) = send(chain, now, number, WRITE, data)
    return answer.parameters[0]


def chain_of_one(**options) -> Chain:
    return Chain([Axis(Servo(1, XM430_W350, **options))])


def test_every_servo_answers_a_ping_to_all():
    answers = send(Chain(widowx_axes()), 0.0, BROADCAST, PING)
    assert [a.id for a in answers] == list(range(1, 10))
    assert [struct.unpack_from("<H", a.parameters, 1)[0] for a in answers] == [1020] * 7 + [1060] * 2


@pytest.mark.parametrize(
    ("item", "value", "error"),
    [
        ("Goal Position", 5000, rules.DATA_LIMIT),
        ("Goal Position", -1, rules.DATA_LIMIT),
        ("Goal PWM", 886, rules.DATA_RANGE),
        ("Present Position", 2048, rules.ACCESS),
        ("Operating Mode", 7, rules.DATA_RANGE),
        ("Position P Gain", 800, 0),
    ],
)
def test_values_beyond_their_limits_are_refused(item, value, error):
    assert write(chain_of_one(), 0.0, 1, item, value) == error


def test_an_xl430_has_no_current_mode_and_no_goal_current():
    chain = Chain([Axis(Servo(1, XL430_W250))])
    assert write(chain, 0.0, 1, "Operating Mode", 5) == rules.DATA_RANGE
    assert write(chain, 0.0, 1, "Goal Current", 10) == rules.ACCESS


def test_the_eeprom_is_locked_while_torque_is_on():
    chain = chain_of_one()
    assert write(chain, 0.0, 1, "Torque Enable", 1) == 0
    assert write(chain, 0.0, 1, "Operating Mode", 5) == rules.ACCESS
    assert write(chain, 0.0, 1, "Torque Enable", 0) == 0
    assert write(chain, 0.0, 1, "Operating Mode", 5) == 0


def test_part_of_an_item_cannot_be_written():
    (answer,) = send(chain_of_one(), 0.0, 1, WRITE, struct.pack("<HH", 116, 2048))
    assert answer.parameters[0] == rules.DATA_LENGTH


def test_an_unknown_instruction_and_a_damaged_one_are_refused():
    (answer,) = send(chain_of_one(), 0.0, 1, 0x20)
    assert answer.parameters[0] == rules.INSTRUCTION
    (answer,) = chain_of_one().obey(Packet(1, PING, intact=False), 0.0)
    assert answer.parameters[0] == rules.CRC


@patient
@given(PACKETS | st.builds(Packet, st.sampled_from([1, 2, BROADCAST]), st.sampled_from([2, 3, 8, 0x82, 0x83, 0x92]),
                           st.binary(max_size=40)))  # fmt: skip
def test_no_packet_upsets_the_bus(packet):
    chain = Chain(widowx_axes())
    chain.obey(packet, 0.01)
    assert np.isfinite([axis.angle for axis in chain.axes]).all()


def test_a_second_servo_obeys_the_first_ones_instructions_and_is_silent():
    chain = Chain(widowx_axes())
    answers = send(chain, 0.0, 2, WRITE, struct.pack("<HB", 65, 1))
    assert [a.id for a in answers] == [2]
    assert chain.servo(3).get("LED") == 1
    send(chain, 0.0, 2, WRITE, struct.pack("<HB", 31, 70))  # EEPROM: its own only
    assert chain.servo(3).get("Temperature Limit") == 80


def test_sync_write_and_sync_read_reach_all_in_one_packet():
    chain = Chain(widowx_axes())
    goals = {1: 2100, 6: 2200}
    data = struct.pack("<HH", 116, 4) + b"".join(struct.pack("<Bi", n, goal) for n, goal in goals.items())
    assert send(chain, 0.0, BROADCAST, SYNC_WRITE, data) == []
    answers = send(chain, 0.0, BROADCAST, SYNC_READ, struct.pack("<HH", 116, 4) + bytes([6, 1]))
    assert [(a.id, struct.unpack("<Bi", a.parameters)) for a in answers] == [(6, (0, 2200)), (1, (0, 2100))]


# -- motion, watchdog, shutdown ----------------------------------------------------------------------------------------


def test_a_servo_moves_at_the_velocity_of_its_profile():
    chain = chain_of_one()
    write(chain, 0.0, 1, "Profile Velocity", 50)
    write(chain, 0.0, 1, "Torque Enable", 1)
    write(chain, 0.0, 1, "Goal Position", 4000)
    chain.advance(1.0)
    speed = 50 * VELOCITY_UNIT
    assert chain.axes[0].angle == pytest.approx(speed * (1.0 - 0.02), abs=0.005)  # late by its time constant
    assert chain.servo(1).get("Present Velocity") == 50
    chain.advance(3.0)
    assert chain.servo(1).get("Present Position") == 4000


def test_it_accelerates_as_its_profile_says():
    chain = chain_of_one()
    write(chain, 0.0, 1, "Profile Acceleration", 10)  # 3.75 rad/s²
    write(chain, 0.0, 1, "Torque Enable", 1)
    write(chain, 0.0, 1, "Goal Position", 4000)
    chain.advance(0.5)
    assert chain.axes[0].velocity == pytest.approx(10 * 214.577 * 2 * np.pi / 3600 * (0.5 - 0.02), rel=0.02)


@pytest.mark.parametrize("mirrored", [False, True])
def test_it_sags_under_load_and_tells_the_current(mirrored):
    chain = chain_of_one(mirrored=mirrored)
    write(chain, 0.0, 1, "Torque Enable", 1)
    chain.push[:] = 1.0
    chain.advance(0.5)
    # Hand-worked: 800 / 128 = 6.25 of 885 PWM per tick, 4.1 N·m in all, is 18.87 N·m/rad.
    assert chain.axes[0].angle == pytest.approx(1.0 / 18.87, rel=1e-3)
    sign = -1 if mirrored else 1
    assert chain.servo(1).get("Present Current") == sign * -round(1.0 / (4.1 / 2.3) / 2.69e-3)


def test_bounded_current_gives_way():
    chain = chain_of_one()
    write(chain, 0.0, 1, "Operating Mode", 5)
    write(chain, 0.0, 1, "Goal Current", 100)  # 0.48 N·m
    write(chain, 0.0, 1, "Torque Enable", 1)
    chain.push[:] = 0.4
    chain.advance(0.5)
    held = chain.axes[0].angle
    chain.push[:] = 1.0
    chain.advance(1.0)
    assert held < 0.03
    assert chain.axes[0].angle > 0.3


def test_two_servos_that_disagree_work_against_each_other():
    axis = Axis(Servo(1, XM430_W350), Servo(2, XM430_W350, horn=10 * TICK))
    chain = Chain([axis])
    for number in (1, 2):
        write(chain, 0.0, number, "Goal Position", 2048)
        write(chain, 0.0, number, "Torque Enable", 1)
    chain.advance(0.5)
    one, other = (chain.servo(n).get("Present Current") for n in (1, 2))
    assert one == -other
    assert abs(one) > 20


def test_the_watchdog_stops_the_motion_and_locks_the_goals():
    chain = chain_of_one()
    write(chain, 0.0, 1, "Profile Velocity", 50)
    write(chain, 0.0, 1, "Torque Enable", 1)
    write(chain, 0.0, 1, "Goal Position", 4000)
    write(chain, 0.1, 1, "Bus Watchdog", 5)
    chain.advance(1.5)  # nobody speaks: it trips at 0.2 s
    assert chain.servo(1).get("Bus Watchdog") == 255
    assert chain.servo(1).get("Torque Enable") == 1  # it holds
    stopped = chain.axes[0].angle
    assert stopped == pytest.approx(50 * VELOCITY_UNIT * 0.2, abs=0.03)
    assert write(chain, 1.5, 1, "Goal Position", 2048) == rules.DATA_RANGE
    assert write(chain, 1.5, 1, "Bus Watchdog", 0) == 0
    assert write(chain, 1.5, 1, "Goal Position", 2048) == 0


def test_instructions_keep_the_watchdog_quiet():
    chain = chain_of_one()
    write(chain, 0.0, 1, "Torque Enable", 1)
    write(chain, 0.0, 1, "Bus Watchdog", 5)
    for step in range(1, 50):
        send(chain, 0.09 * step, 1, READ, struct.pack("<HH", 132, 4))
    assert chain.servo(1).get("Bus Watchdog") == 5


def test_overheating_switches_torque_off_until_a_reboot():
    chain = chain_of_one()
    write(chain, 0.0, 1, "Torque Enable", 1)
    chain.servo(1).put("Present Temperature", 90)
    chain.advance(0.1)
    (answer,) = send(chain, 0.1, 1, PING)
    assert answer.parameters[0] == rules.ALERT
    assert chain.servo(1).get("Torque Enable") == 0
    assert write(chain, 0.1, 1, "Torque Enable", 1) == rules.ALERT | rules.ACCESS
    chain.servo(1).put("Present Temperature", 40)
    send(chain, 0.2, 1, REBOOT)
    assert send(chain, 0.3, 1, PING) == []  # it is starting
    assert write(chain, 0.5, 1, "Torque Enable", 1) == 0


# -- the device --------------------------------------------------------------------------------------------------------


@pytest.fixture
def link(tmp_path):
    return tmp_path / "ttyDXL"


def open_port(link) -> tuple:
    port, packets = sdk.PortHandler(str(link)), sdk.PacketHandler(2.0)
    assert port.openPort()
    return port, packets


def ask(port, packets, method: str, *arguments):
    """Call the SDK until it is answered: a busy machine may be late."""
    for _ in range(50):
        *rest, result, error = getattr(packets, method)(port, *arguments)
        if result == sdk.COMM_SUCCESS:
            return (*rest, error)
    raise AssertionError(packets.getTxRxResult(result))


def test_the_real_sdk_speaks_to_it(link):
    with widowx_bus(link):
        port, packets = open_port(link)
        assert ask(port, packets, "ping", 1) == (1020, 0)
        assert packets.ping(port, 42)[1] == sdk.COMM_RX_TIMEOUT
        assert ask(port, packets, "write1ByteTxRx", 6, 64, 1) == (0,)
        (error,) = ask(port, packets, "write4ByteTxRx", 6, 116, 9999)
        assert "exceeds the limit" in packets.getRxPacketError(error)
        assert ask(port, packets, "write4ByteTxRx", 6, 116, 2300) == (0,)
        deadline = time.monotonic() + 20
        while abs(ask(port, packets, "read4ByteTxRx", 6, 132)[0] - 2300) > 2:
            assert time.monotonic() < deadline
        port.closePort()


def test_an_answer_that_has_to_be_stuffed_arrives(link):
    with widowx_bus(link) as bus:
        bus.chain.servo(1).put("Homing Offset", -0x20001)  # FF FF FD FF on the wire
        port, packets = open_port(link)
        assert ask(port, packets, "read4ByteTxRx", 1, 20) == (0xFFFDFFFF, 0)
        port.closePort()


@pytest.mark.parametrize(("fault", "works"), [("drop", False), ("corrupt", False), ("garbage", True)])
def test_bad_lines(link, fault, works):
    with widowx_bus(link) as bus:
        port, packets = open_port(link)
        setattr(bus.faults, fault, 1.0)
        results = {packets.ping(port, 1)[1] for _ in range(5)}
        assert (sdk.COMM_SUCCESS in results) == works
        setattr(bus.faults, fault, 0.0)
        ask(port, packets, "ping", 1)
        port.closePort()


def test_frozen_delayed_and_mute(link):
    with widowx_bus(link) as bus:
        port, packets = open_port(link)
        for break_it, mend_it in (("freeze", "thaw"), ("delay 0.1", "delay 0"), ("mute 3", "unmute 3")):
            inject(bus, break_it)
            assert packets.ping(port, 3)[1] == sdk.COMM_RX_TIMEOUT
            inject(bus, mend_it)
            ask(port, packets, "ping", 3)
        port.closePort()


def test_a_pulled_cable_ends_the_device_and_brings_another(link):
    with widowx_bus(link) as bus:
        port, packets = open_port(link)
        bus.unplug()
        assert not link.exists()
        with pytest.raises((OSError, termios.error)):
            packets.ping(port, 1)
        bus.plug()
        port, packets = open_port(link)
        ask(port, packets, "ping", 1)
        port.closePort()


def test_a_file_in_its_place_is_not_overwritten(link):
    link.write_text("precious")
    with pytest.raises(UserError, match="is no link"):
        DynamixelBus(link, Chain(widowx_axes()))
    assert link.read_text() == "precious"


@pytest.mark.parametrize("line", ["explode", "drop", "overheat 42", "delay soon", "mute x"])
def test_unknown_faults_are_refused(link, line):
    with widowx_bus(link) as bus, pytest.raises(UserError):
        inject(bus, line)


def test_it_is_a_command(link):
    with subprocess.Popen(
        [sys.executable, "-m", "hardware.emulation.dynamixel_bus", "--link", str(link)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout.readline().strip().endswith(str(link))
        port, packets = open_port(link)
        process.stdin.write("overheat 4\n")
        process.stdin.flush()
        deadline = time.monotonic() + 20
        while not ask(port, packets, "ping", 4)[1] & rules.ALERT:
            assert time.monotonic() < deadline
        port.closePort()
        process.terminate()
        assert process.wait(20) == 0
    assert not link.is_symlink()
