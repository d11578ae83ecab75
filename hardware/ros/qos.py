"""Quality of service of every topic, as docs/ros2.md lists it. Functions, since rclpy is imported at use only."""

from __future__ import annotations

from typing import Any


def _profile(depth: int, *, reliable: bool, kept: bool = False) -> Any:
    from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if kept else DurabilityPolicy.VOLATILE,
    )


def state_out() -> Any:
    """State is offered reliably, so that everyone may connect; a slow one loses old values and blocks nobody."""
    return _profile(2, reliable=True)


def state_in() -> Any:
    """Our own clients take the newest that comes."""
    return _profile(3, reliable=False)


def command() -> Any:
    """Commands, postures and emergency stops must come through, in order."""
    return _profile(10, reliable=True)


def status() -> Any:
    """Whoever comes late is told at once."""
    return _profile(1, reliable=True, kept=True)


def image_out() -> Any:
    """Pictures are offered like state."""
    return _profile(2, reliable=True)


def image_in() -> Any:
    """Our own clients take the newest picture that comes; a few wait while they stand still."""
    return _profile(5, reliable=False)
