from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.emulation.faults import Fault
from hardware.emulation.wire import (
    Garbled,
    Kind,
    State,
    pack,
    pack_figures,
    pack_floats,
    pack_poses,
    pack_state,
    pack_text,
    pack_welcome,
    socket_path,
    unpack,
    unpack_figures,
    unpack_floats,
    unpack_poses,
    unpack_state,
    unpack_text,
    unpack_welcome,
)
from robo_rl import geometry

numbers = st.floats(allow_nan=False, allow_infinity=False)
READERS = [unpack_state, lambda body: unpack_floats(body, 7), unpack_welcome, unpack_poses, unpack_figures]
READERS += [unpack_text, Fault.from_bytes]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 8), st.integers(0, 2**63), numbers, st.text(max_size=40), st.data())
def test_a_state_arrives_as_it_was(dof, seq, stamp, error, data):
    error = error.replace("\0", "")
    rows = data.draw(st.lists(numbers, min_size=4 * dof, max_size=4 * dof))
    q, dq, torque, bias = np.array(rows).reshape(4, dof)
    kind, body = unpack(pack_state(State(seq, stamp, q, dq, torque, bias, 0.04, error)))
    got = unpack_state(body)
    assert (kind, got.seq, got.stamp, got.gripper_width, got.error) == (Kind.STATE, seq, stamp, 0.04, error)
    for sent, received in zip(
        (q, dq, torque, bias), (got.joint_pos, got.joint_vel, got.joint_torque, got.bias), strict=True
    ):
        assert np.array_equal(sent, received)


def test_everything_else_arrives_as_it_was():
    assert np.array_equal(unpack_floats(unpack(pack_floats(Kind.TORQUE, np.arange(7.0)))[1], 7), np.arange(7.0))
    assert unpack_welcome(unpack(pack_welcome("fr3", 7, 1000.0, 42))[1]) == ("fr3", 7, 1000.0, 42)
    assert unpack_text(unpack(pack_text(Kind.REFUSED, "nö"))[1]) == "nö"
    assert unpack_figures(unpack(pack_figures({"rate_hz": 1e3, "missed": 0.0}))[1]) == {"rate_hz": 1e3, "missed": 0.0}
    poses = {
        "cube": (np.array([0.5, 0.0, 0.1]), geometry.exp(np.array([0.1, 0.2, 0.3]))),
        "tcp": (np.zeros(3), np.eye(3)),
    }
    got = unpack_poses(unpack(pack_poses(Kind.TRUTH, poses))[1])
    assert list(got) == ["cube", "tcp"]
    assert all(np.array_equal(a, b) for name in poses for a, b in zip(poses[name], got[name], strict=True))
    fault = Fault("drop", "front", 2.0, 0.25)
    kind, body = unpack(fault.to_bytes())
    assert (kind, Fault.from_bytes(body)) == (Kind.FAULT, fault)


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_noise_is_refused_and_never_more_than_that(noise):
    with pytest.raises(Garbled):
        unpack(noise)
    for read in READERS:
        with contextlib.suppress(Garbled):
            read(noise)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_one_damaged_byte_is_noticed(where, change):
    datagram = bytearray(pack_floats(Kind.TORQUE, np.arange(7.0)))
    datagram[where % len(datagram)] ^= change
    with pytest.raises(Garbled):
        unpack(bytes(datagram))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_torques_and_poses_that_are_none_are_refused(bad):
    with pytest.raises(Garbled, match="finite"):
        unpack_floats(unpack(pack_floats(Kind.TORQUE, np.array([0.0, bad])))[1], 2)
    for pose in ((np.array([0.0, 0.0, bad]), np.eye(3)), (np.zeros(3), 2.0 * np.eye(3)), (np.zeros(3), -np.eye(3))):
        with pytest.raises(Garbled, match="no pose"):
            unpack_poses(unpack(pack_poses(Kind.PLACE, {"cube": pose}))[1])


def test_an_unknown_kind_and_too_long_an_address_are_refused(tmp_path):
    import struct
    import zlib

    whole = bytearray(pack(Kind.BYE))[:-4]
    whole[3] = 200
    with pytest.raises(Garbled, match="200"):
        unpack(bytes(whole) + struct.pack("<I", zlib.crc32(bytes(whole))))
    with pytest.raises(ValueError, match="107"):
        socket_path(tmp_path / ("x" * 120), "physics.sock")
