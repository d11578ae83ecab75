"""What the simulated cell's processes say to each other: packed structs in datagrams of unix sockets.

A datagram is a header, a body, and a checksum of both. The header holds a magic number, the version, the kind of
message and the length of its body. Whatever does not fit is refused with :class:`Garbled`; nothing is ever executed or
unpickled. All numbers are little-endian, times are ``time.monotonic()``, which processes of one machine share.

A cell has a folder; the physics listens at ``physics.sock`` in it, the cameras at ``cameras.sock``.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np

PHYSICS, CAMERAS, SNAPSHOT = "physics.sock", "cameras.sock", "snapshot"
"""Names in the folder of a cell: of the two sockets, and of the file that the cameras draw from."""

MAX_DATAGRAM = 65536

_HEADER = struct.Struct("<HBBI")
_MAGIC, _VERSION = 0xCE11, 1
_CHECK = struct.Struct("<I")
_NAME = 48  # bytes of a name
_TEXT = 200  # bytes of what is said to people


class Kind(IntEnum):
    """Kinds of message."""

    HELLO = 1  # of a drive: name of its arm
    WELCOME = 2  # the answer: name, joints, rate
    REFUSED = 3  # an answer: why not
    STATE = 4
    TORQUE = 5
    GRIPPER = 6
    RECOVER = 7
    BYE = 8
    PLACE = 9
    DONE = 10  # an answer
    ASK_TRUTH = 11
    TRUTH = 12
    ASK_FIGURES = 13
    FIGURES = 14
    FAULT = 15
    LOAD = 16  # of a drive: mass and centre of what the arm shall reckon with carrying


class Garbled(Exception):
    """A datagram that is no message of this protocol, or has been damaged."""


class State(NamedTuple):
    """What the physics process reports each millisecond; fields as in :class:`hardware.arms.drive.DriveState`."""

    seq: int
    stamp: float
    joint_pos: np.ndarray
    joint_vel: np.ndarray
    joint_torque: np.ndarray
    bias: np.ndarray
    gripper_width: float
    error: str


def pack(kind: Kind, body: bytes = b"") -> bytes:
    """Return a datagram."""
    whole = _HEADER.pack(_MAGIC, _VERSION, kind, len(body)) + body
    return whole + _CHECK.pack(zlib.crc32(whole))


def unpack(datagram: bytes) -> tuple[Kind, bytes]:
    """Return the kind and the body of a datagram.

    Raises:
        Garbled: if it is none.
    """
    if len(datagram) < _HEADER.size + _CHECK.size:
        raise Garbled("too short")
    magic, version, kind, length = _HEADER.unpack_from(datagram)
    end = _HEADER.size + length
    if magic != _MAGIC or version != _VERSION or len(datagram) != end + _CHECK.size:
        raise Garbled("no header of this protocol")
    if _CHECK.unpack_from(datagram, end)[0] != zlib.crc32(datagram[:end]):
        raise Garbled("wrong checksum")
    try:
        return Kind(kind), datagram[_HEADER.size : end]
    except ValueError as error:
        raise Garbled(f"unknown kind {kind}") from error


_STATE = struct.Struct(f"<QddH{_TEXT}s")


def pack_state(state: State) -> bytes:
    """Return the datagram of a state."""
    numbers = np.concatenate([state.joint_pos, state.joint_vel, state.joint_torque, state.bias], dtype="<f8")
    head = _STATE.pack(state.seq, state.stamp, state.gripper_width, len(state.joint_pos), _short(state.error, _TEXT))
    return pack(Kind.STATE, head + numbers.tobytes())


def unpack_state(body: bytes) -> State:
    """Read a state.

    Raises:
        Garbled: if it is none.
    """
    seq, stamp, width, dof, error = _read(_STATE, body)
    q, dq, torque, bias = _floats(body[_STATE.size :], 4 * dof).reshape(4, dof)
    return State(seq, stamp, q, dq, torque, bias, width, _long(error))


def pack_floats(kind: Kind, values: np.ndarray) -> bytes:
    """Return the datagram of plain numbers: torques, a gripper width."""
    return pack(kind, np.asarray(values, dtype="<f8").tobytes())


def unpack_floats(body: bytes, count: int) -> np.ndarray:
    """Read ``count`` numbers.

    Raises:
        Garbled: if there are more or fewer, or some are not finite.
    """
    values = _floats(body, count)
    if not all(map(math.isfinite, values.tolist())):
        raise Garbled("not finite")
    return values


def pack_text(kind: Kind, text: str) -> bytes:
    """Return the datagram of a text."""
    return pack(kind, _short(text, _TEXT))


def unpack_text(body: bytes) -> str:
    """Read a text."""
    return _long(body)


_WELCOME = struct.Struct(f"<{_NAME}sHdQ")


def pack_welcome(name: str, dof: int, rate: float, pid: int) -> bytes:
    """Return the datagram that tells a drive which arm this is."""
    return pack(Kind.WELCOME, _WELCOME.pack(_short(name, _NAME), dof, rate, pid))


def unpack_welcome(body: bytes) -> tuple[str, int, float, int]:
    """Read the arm's name, its joints, steps per second and the process.

    Raises:
        Garbled: if it is no such body.
    """
    name, dof, rate, pid = _read(_WELCOME, body)
    return _long(name), dof, rate, pid


_POSE = struct.Struct(f"<{_NAME}s12d")


def pack_poses(kind: Kind, poses: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> bytes:
    """Return the datagram of named poses: (3,) m and (3, 3) each."""
    rows = [_POSE.pack(_short(name, _NAME), *map(float, [*pos, *np.ravel(rot)])) for name, (pos, rot) in poses.items()]
    return pack(kind, b"".join(rows))


def unpack_poses(body: bytes) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read named poses.

    Raises:
        Garbled: if there is something else, or a pose is none.
    """
    if len(body) % _POSE.size:
        raise Garbled("no list of poses")
    poses = {}
    for name, *numbers in _POSE.iter_unpack(body):
        pos, rot = np.array(numbers[:3]), np.array(numbers[3:]).reshape(3, 3)
        if not np.isfinite(numbers).all() or np.abs(rot @ rot.T - np.eye(3)).max() > 1e-3 or np.linalg.det(rot) < 0:
            raise Garbled("no pose")
        poses[_long(name)] = pos, rot
    return poses


_FIGURE = struct.Struct(f"<{_NAME}sd")


def pack_figures(figures: Mapping[str, float]) -> bytes:
    """Return the datagram of named numbers."""
    return pack(Kind.FIGURES, b"".join(_FIGURE.pack(_short(name, _NAME), value) for name, value in figures.items()))


def unpack_figures(body: bytes) -> dict[str, float]:
    """Read named numbers.

    Raises:
        Garbled: if there is something else.
    """
    if len(body) % _FIGURE.size:
        raise Garbled("no list of figures")
    return {_long(name): value for name, value in _FIGURE.iter_unpack(body)}


def socket_path(folder: Path, name: str) -> str:
    """Return the address of a socket in the folder of a cell.

    Raises:
        ValueError: if it is longer than an address of the kernel can be.
    """
    path = str(folder / name)
    if len(path.encode()) > 107:
        raise ValueError(f"{path} is longer than the 107 bytes of a socket's address")
    return path


def _short(text: str, size: int) -> bytes:
    return text.encode()[:size]


def _long(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode(errors="replace")


def _read(layout: struct.Struct, body: bytes) -> tuple:
    if len(body) < layout.size:
        raise Garbled("too short for its kind")
    return layout.unpack_from(body)


def _floats(raw: bytes, count: int) -> np.ndarray:
    if len(raw) != 8 * count:
        raise Garbled(f"{len(raw)} bytes where {count} numbers belong")
    return np.frombuffer(raw, dtype="<f8").astype(float)
