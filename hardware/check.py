"""Walks through a cell: rates, latencies, drop-outs, limits, expiry, emergency stop. The tool moves by millimetres."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from robo_rl.contracts import Robot, RobotStatus, ToolCommand
from robo_rl.errors import Faulted, InvalidAction, Stale, UserError

if TYPE_CHECKING:
    from hardware.ros.camera_client import RosCamera

HOLD_WITHIN = 0.05  # s after the expiry of a command by which the arm has to hold


@dataclass(frozen=True)
class Finding:
    """One line of the table.

    Attributes:
        device: arm or camera.
        what: was looked at.
        found: for people.
        ok: whether it is as it has to be; None if it is only told.
        figures: for programs.
    """

    device: str
    what: str
    found: str
    ok: bool | None
    figures: Mapping[str, float]


class _Ids:
    """Command ids, ascending across the checks of an arm."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        self._last += 1
        return self._last


def check_arm(name: str, robot: Robot, seconds: float = 3.0) -> Iterator[Finding]:
    """Check an arm that holds and is in no fault; it holds afterwards.

    Args:
        name: of the arm.
        robot: the arm.
        seconds: for which rates are measured.
    """
    ids = _Ids()
    status = robot.status()
    if status.fault:
        yield Finding(name, "state", f"fault {status.fault}: {status.reason}", False, {})
        return
    yield _state_rate(name, robot, seconds)
    yield _control_loop(name, robot.status())
    yield _latency(name, robot, ids, max(1.0, seconds / 2))
    yield _refusals(name, robot, ids)
    yield _workspace(name, robot, ids)
    yield _expiry(name, robot, ids)
    yield _emergency_stop(name, robot, ids)


def check_camera(name: str, camera: RosCamera, seconds: float = 3.0) -> Finding:
    """Measure rate, age and drop-outs of a camera: pictures that were taken and have not come."""
    ages: list[float] = []
    indices: list[int] = []
    stamps: list[float] = []
    arrived: list[int] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            came, frame = camera.arrived, camera.read(max_age=1.0)
        except Stale as error:
            return Finding(name, "pictures", str(error), False, {})
        if not indices or frame.index != indices[-1]:
            ages.append(time.monotonic() - frame.stamp)
            indices.append(frame.index)
            stamps.append(frame.stamp)
            arrived.append(came)
        time.sleep(0.002)
    if len(indices) < 2:
        return Finding(name, "pictures", f"{len(indices)} in {seconds:.1f} s", False, {"pictures": len(indices)})
    taken, came = indices[-1] - indices[0], arrived[-1] - arrived[0]
    rate = came / (stamps[-1] - stamps[0])
    share = max(0, taken - came) / taken
    p99 = float(np.percentile(ages, 99)) * 1e3
    figures = {"rate_hz": rate, "age_p99_ms": p99, "lost_share": share}
    found = f"{rate:.1f} Hz, age p99 {p99:.1f} ms, {share:.1%} lost"
    return Finding(name, "pictures", found, share < 0.01 and p99 < 200.0, _rounded(figures))


def _state_rate(name: str, robot: Robot, seconds: float) -> Finding:
    stamps: list[float] = []
    ages: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            state = robot.state(1.0)
        except Stale as error:
            return Finding(name, "state", str(error), False, {})
        if not stamps or state.stamp > stamps[-1]:
            stamps.append(state.stamp)
            ages.append(time.monotonic() - state.stamp)
        time.sleep(0.001)
    gaps = np.diff(stamps)
    if not len(gaps):
        return Finding(name, "state", f"the same one for {seconds:.1f} s", False, {})
    figures = {
        "rate_hz": len(gaps) / (stamps[-1] - stamps[0]),
        "age_p99_ms": float(np.percentile(ages, 99)) * 1e3,
        "longest_gap_ms": float(gaps.max()) * 1e3,
    }
    found = "{rate_hz:.0f} Hz, age p99 {age_p99_ms:.1f} ms, longest gap {longest_gap_ms:.0f} ms".format(**figures)
    return Finding(name, "state", found, figures["longest_gap_ms"] < 100.0, _rounded(figures))


def _control_loop(name: str, status: RobotStatus) -> Finding:
    wanted = ("rate_hz", "period_p50_ms", "period_p99_ms", "period_max_ms", "missed", "cycles")
    figures = {key: float(status.counters[key]) for key in wanted if key in status.counters}
    if "rate_hz" not in figures:
        return Finding(name, "control loop", "the node tells no figures", None, {})
    found = ", ".join(f"{key.replace('_', ' ')} {value:.4g}" for key, value in figures.items())
    return Finding(name, "control loop", found, None, _rounded(figures))


def _latency(name: str, robot: Robot, ids: _Ids, seconds: float) -> Finding:
    """From sending a command to reading back that it is in force."""
    took: list[float] = []
    unanswered = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        command = _here(robot, ids, 0.2)
        sent = time.monotonic()
        robot.command(command)
        if _wait(lambda: robot.applied().id == command.id, 0.2):  # noqa: B023  (called before the next one)
            took.append(time.monotonic() - sent)
        else:
            unanswered += 1
        time.sleep(0.02)
    if not took:
        return Finding(name, "command", "none came into force", False, {})
    p50, p99 = (float(np.percentile(took, q)) * 1e3 for q in (50, 99))
    figures = {"latency_p50_ms": p50, "latency_p99_ms": p99, "unanswered": unanswered}
    found = f"in force and read back after p50 {p50:.1f} ms, p99 {p99:.1f} ms; {unanswered} unanswered"
    return Finding(name, "command", found, unanswered == 0, _rounded(figures))


def _refusals(name: str, robot: Robot, ids: _Ids) -> Finding:
    state = robot.state(1.0)
    bad = {
        "NaN": ToolCommand(ids.next(), np.full(3, math.nan), state.tcp_rot, 0.0, 0.1),
        "no rotation": ToolCommand(ids.next(), state.tcp_pos, 2.0 * state.tcp_rot, 0.0, 0.1),
        "valid too long": ToolCommand(ids.next(), state.tcp_pos, state.tcp_rot, 0.0, 10.0),
    }
    taken = []
    for what, command in bad.items():
        try:
            robot.command(command)
            taken.append(what)
        except InvalidAction:
            pass
    found = f"taken: {', '.join(taken)}" if taken else f"refused: {', '.join(bad)}"
    return Finding(name, "malformed commands", found, not taken, {"taken": len(taken)})


def _workspace(name: str, robot: Robot, ids: _Ids) -> Finding:
    before = robot.state(1.0)
    beyond = ToolCommand(
        ids.next(), np.array(robot.spec.workspace_high) + 1.0, before.tcp_rot, before.gripper_width, 0.02
    )
    robot.command(beyond)
    limited = _wait(lambda: robot.applied().id == beyond.id and bool(robot.applied().reasons), 0.2)
    reasons = robot.applied().reasons
    time.sleep(0.1)
    moved = float(np.linalg.norm(robot.state(1.0).tcp_pos - before.tcp_pos)) * 1e3
    found = f"a target 1 m beyond was limited ({', '.join(reasons) or 'not told'}); {moved:.1f} mm moved"
    return Finding(name, "limits", found, limited and moved < 30.0, _rounded({"moved_mm": moved}))


def _expiry(name: str, robot: Robot, ids: _Ids) -> Finding:
    command = _here(robot, ids, 0.1)
    sent = time.monotonic()
    robot.command(command)
    running = _wait(lambda: robot.status().mode == "running", 0.1)
    # The expiry is told with the target at the rate of states; the status itself comes at 10 Hz.
    held = _wait(lambda: robot.status().mode == "holding" or "expired" in robot.applied().reasons, 1.0)
    late = (time.monotonic() - sent - 0.1) * 1e3
    found = f"holds {late:.0f} ms after the command has expired" if held else "goes on after its command has expired"
    ok = held and late < HOLD_WITHIN * 1e3 + 20.0  # 20 ms for the way there and back
    return Finding(name, "expiry", found, ok, _rounded({"held_after_ms": late, "seen_running": float(running)}))


def _emergency_stop(name: str, robot: Robot, ids: _Ids) -> Finding:
    sent = time.monotonic()
    robot.stop("cell check")
    latched = _wait(lambda: robot.status().mode == "fault", 0.5)
    took = (time.monotonic() - sent) * 1e3
    time.sleep(0.2)
    still = robot.status().mode == "fault"
    refused = False
    try:
        robot.command(_here(robot, ids, 0.1))
    except Faulted:
        refused = True
    try:
        robot.recover()
        recovered = _wait(lambda: robot.status().mode == "holding", 2.0)
    except UserError:
        recovered = False
    ok = latched and still and refused and recovered
    facts = {"latched": latched and still, "refuses commands": refused, "recovered": recovered}
    found = "; ".join(what if is_so else f"NOT {what}" for what, is_so in facts.items()) + f"; {took:.0f} ms"
    return Finding(name, "emergency stop", found, ok, _rounded({"latched_after_ms": took}))


def _here(robot: Robot, ids: _Ids, valid_for: float) -> ToolCommand:
    """A command to stay."""
    state, applied = robot.state(1.0), robot.applied()
    return ToolCommand(ids.next(), applied.pos, applied.rot, state.gripper_width, valid_for)


def _wait(condition: Callable[[], bool], timeout: float) -> bool:
    until = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.0005)
    return True


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {key: round(float(value), 4) for key, value in figures.items()}
