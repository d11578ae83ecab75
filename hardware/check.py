"""Walks through a cell: rates, latencies, drop-outs, limits, expiry, emergency stop. Tools move by centimetres."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hardware.check_limits import check_limits
from hardware.findings import CommandIds, Finding, rounded, wait
from hardware.safety.limits import SafetyLimits
from robo_rl.contracts import Camera, Robot, RobotStatus, ToolCommand
from robo_rl.errors import Faulted, InvalidAction, Stale, UserError

if TYPE_CHECKING:
    from hardware.ros.camera_client import RosCamera
    from hardware.ros.robot_client import RosRobot

HOLD_WITHIN = 0.05  # s after the expiry of a command by which the arm has to hold


@dataclass(frozen=True)
class Expected:
    """What an arm of a cell has to keep to.

    Attributes:
        limits: of the cell file.
        control_rate: cycles per second of its control loop, Hz.
        simulated: whether its physics is a simulation, which waits for a loop that is late.
        max_age: of a state that a policy may act on, s.
    """

    limits: SafetyLimits
    control_rate: float
    simulated: bool = False
    max_age: float = 0.1


def check_arm(name: str, robot: RosRobot, expected: Expected, seconds: float = 3.0) -> Iterator[Finding]:
    """Check an arm that holds and is in no fault; it holds afterwards, where it was.

    Args:
        name: of the arm.
        robot: the arm.
        expected: what it has to keep to.
        seconds: for which rates are measured.
    """
    ids = CommandIds()
    status = robot.status()
    if status.fault:
        yield Finding(name, "state", f"fault {status.fault}: {status.reason}", False, {})
        return
    yield _states(name, robot, expected, seconds)
    yield control_loop(name, robot.status(), expected)
    yield _latency(name, robot, ids, max(1.0, seconds / 2))
    yield _refusals(name, robot, ids)
    yield from check_limits(name, robot, expected.limits, ids)
    yield _expiry(name, robot, ids)
    yield _emergency_stop(name, robot, ids)


def check_skew(
    name: str, robot: Robot, cameras: Mapping[str, Camera], seconds: float, max_age: float
) -> Iterator[Finding]:
    """Measure how far a picture and a state are apart that a step of :class:`hardware.world.CellWorld` puts together.

    Both are stamped on arrival less the least delay: what every picture takes at least to come is not in it.
    """
    from hardware.world import skews

    period = 1.0 / robot.spec.control_rate
    found: dict[str, list[float]] = {each: [] for each in cameras}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(Stale):  # told by the rows of the devices
            state = robot.state(max_age)
            frames = {each: camera.read(max(max_age, 2.0 * period)) for each, camera in cameras.items()}
            for each, skew in skews(state, frames).items():
                found[each].append(skew)
        time.sleep(period)
    for each, values in found.items():
        if not values:
            yield Finding(each, f"skew to {name}", "no state and picture at one time", False, {})
            continue
        p50, p99 = (float(np.percentile(np.abs(values), q)) * 1e3 for q in (50, 99))
        told = f"p50 {p50:.0f} ms, p99 {p99:.0f} ms; a control period is {1e3 * period:.0f} ms"
        figures = {"skew_p50_ms": p50, "skew_p99_ms": p99}
        yield Finding(each, f"skew to {name}", told, p99 < 1e3 * period, rounded(figures))


def check_stop(name: str, silence: float) -> Finding:
    """Judge an emergency stop by the longest time without a sign of life, s; see ``hardware.ros.longest_silence``."""
    heard = f"a sign of life every {1e3 * silence:.0f} ms at least; arms stop after 500 ms without"
    return Finding(name, "signs of life", heard, silence < 0.5, rounded({"longest_silence_s": silence}))


def past_faults(folder: Path) -> Finding:
    """Tell how many faults are logged in ``folder``, and the age of the newest."""
    logs = sorted(folder.glob("*.npz"), key=lambda path: path.stat().st_mtime)
    if not logs:
        return Finding("cell", "faults before", "none logged", None, {"faults": 0})
    age = max(0.0, time.time() - logs[-1].stat().st_mtime)
    said = f"{age / 60:.0f} minutes" if age < 7200 else f"{age / 3600:.0f} hours"
    found = f"{len(logs)} logged in {folder}; the newest, {logs[-1].stem.split('_', 2)[-1]}, is {said} old"
    return Finding("cell", "faults before", found, None, rounded({"faults": len(logs), "newest_age_s": age}))


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
    return Finding(name, "pictures", found, share < 0.01 and p99 < 200.0, rounded(figures))


def _states(name: str, robot: RosRobot, expected: Expected, seconds: float) -> Finding:
    stamps: list[float] = []
    ages: list[float] = []
    published, arrived = robot.published, robot.arrived
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            state = robot.state(1.0)
        except Stale as error:
            return Finding(name, "state", str(error), False, {})
        if not stamps or state.stamp > stamps[-1]:
            stamps.append(state.stamp)
            ages.append(time.monotonic() - state.stamp)
        time.sleep(0.002)
    gaps = np.diff(stamps)
    if not len(gaps):
        return Finding(name, "state", f"the same one for {seconds:.1f} s", False, {})
    sent, came = robot.published - published, robot.arrived - arrived
    figures = {
        "rate_hz": len(gaps) / (stamps[-1] - stamps[0]),
        "age_p99_ms": float(np.percentile(ages, 99)) * 1e3,
        "longest_gap_ms": float(gaps.max()) * 1e3,
        "lost_share": max(0, sent - came - 1) / max(sent, 1),  # one may be under way
    }
    found = (
        "{rate_hz:.0f} Hz, age p99 {age_p99_ms:.1f} ms, longest gap {longest_gap_ms:.0f} ms, {lost_share:.1%} lost"
    ).format(**figures)
    ok = figures["longest_gap_ms"] < expected.max_age * 1e3 and figures["lost_share"] < 0.1  # the newest counts
    return Finding(name, "state", found, ok, rounded(figures))


def control_loop(name: str, status: RobotStatus, expected: Expected) -> Finding:
    """Judge the rate of an arm's control loop, and say what mends one that is below 95 % of what it is meant to be.

    That of a simulated arm is told and not judged: its physics waits for it.
    """
    wanted = ("rate_hz", "period_p50_ms", "period_p99_ms", "period_max_ms", "missed", "cycles", "compute_p50_ms")
    figures = {key: float(status.counters[key]) for key in wanted if key in status.counters}
    if "rate_hz" not in figures:
        return Finding(name, "control loop", "the node tells no figures", None, {})
    found = ", ".join(f"{key.replace('_', ' ')} {value:.4g}" for key, value in figures.items())
    ok: bool | None = figures["rate_hz"] >= 0.95 * expected.control_rate
    if not ok:
        cost, period = figures.get("compute_p50_ms", math.nan), 1e3 / expected.control_rate
        which = "a" if cost < 0.8 * period else "only a faster"
        found += (
            f". That is under {0.95 * expected.control_rate:.0f} Hz: a cycle of {period:.3g} ms takes {cost:.2g} ms to "
            f"compute, so {which} robot computer with a real-time kernel and a free core keeps "
            f"{expected.control_rate:.0f} Hz; `driver: franky` runs its loop at 1000 Hz in C++ whatever Python does"
        )
        ok = None if expected.simulated else False
    return Finding(name, "control loop", found, ok, rounded(figures))


def _latency(name: str, robot: Robot, ids: CommandIds, seconds: float) -> Finding:
    """From sending a command to reading back that it is in force."""
    took: list[float] = []
    unanswered = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        command = here(robot, ids, 0.2)
        sent = time.monotonic()
        robot.command(command)
        if wait(lambda: robot.applied().id == command.id, 0.2):  # noqa: B023  (called before the next one)
            took.append(time.monotonic() - sent)
        else:
            unanswered += 1
        time.sleep(0.02)
    if not took:
        return Finding(name, "command", "none came into force", False, {})
    p50, p99 = (float(np.percentile(took, q)) * 1e3 for q in (50, 99))
    figures = {"latency_p50_ms": p50, "latency_p99_ms": p99, "unanswered": unanswered}
    found = f"in force and read back after p50 {p50:.1f} ms, p99 {p99:.1f} ms; {unanswered} unanswered"
    return Finding(name, "command", found, unanswered == 0, rounded(figures))


def _refusals(name: str, robot: Robot, ids: CommandIds) -> Finding:
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


def _expiry(name: str, robot: Robot, ids: CommandIds) -> Finding:
    command = here(robot, ids, 0.1)
    sent = time.monotonic()
    robot.command(command)
    running = wait(lambda: robot.status().mode == "running", 0.1)
    # The expiry is told with the target at the rate of states; the status itself comes at 10 Hz.
    held = wait(lambda: robot.status().mode == "holding" or "expired" in robot.applied().reasons, 1.0)
    late = (time.monotonic() - sent - 0.1) * 1e3
    found = f"holds {late:.0f} ms after the command has expired" if held else "goes on after its command has expired"
    ok = held and late < HOLD_WITHIN * 1e3 + 20.0  # 20 ms for the way there and back
    return Finding(name, "expiry", found, ok, rounded({"held_after_ms": late, "seen_running": float(running)}))


def _emergency_stop(name: str, robot: Robot, ids: CommandIds) -> Finding:
    sent = time.monotonic()
    robot.stop("cell check")
    latched = wait(lambda: robot.status().mode == "fault", 0.5)
    took = (time.monotonic() - sent) * 1e3
    time.sleep(0.2)
    still = robot.status().mode == "fault"
    refused = False
    try:
        robot.command(here(robot, ids, 0.1))
    except Faulted:
        refused = True
    try:
        robot.recover()
        recovered = wait(lambda: robot.status().mode == "holding", 2.0)
    except UserError:
        recovered = False
    ok = latched and still and refused and recovered
    facts = {"latched": latched and still, "refuses commands": refused, "recovered": recovered}
    found = "; ".join(what if is_so else f"NOT {what}" for what, is_so in facts.items()) + f"; {took:.0f} ms"
    return Finding(name, "emergency stop", found, ok, rounded({"latched_after_ms": took}))


def here(robot: Robot, ids: CommandIds, valid_for: float) -> ToolCommand:
    """A command to stay."""
    state, applied = robot.state(1.0), robot.applied()
    return ToolCommand(ids.next(), applied.pos, applied.rot, state.gripper_width, valid_for)
