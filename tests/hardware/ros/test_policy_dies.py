"""A policy in a process of its own is killed, or its clock leaps: the arm behind its node holds, or goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from controllers.kinematics import Chain
from hardware.arm import Arm
from hardware.emulation.in_process import InProcessTorqueDrive
from hardware.realtime import hand_over_soon
from hardware.ros import ArmNode
from hardware.safety.limits import SafetyLimits
from robo_rl.robots.panda import PANDA

pytest.importorskip("rclpy")

ROOT = Path(__file__).resolve().parents[3]
HOME_POS, HOME_ROT = Chain(PANDA).forward(np.array(PANDA.home))
VALID_FOR = 0.2
HOLDS = 0.05  # s after its last command has expired, at the latest

# Aims far to the side at 20 Hz, and says when it has sent what. Its wall clock leaps by what it reads on its input.
POLICY = f"""
import sys, threading, time
real, leap = time.time_ns, [0]
time.time_ns = lambda: real() + leap[0]
time.time = lambda: 1e-9 * time.time_ns()
import numpy as np
from controllers.kinematics import Chain
from hardware.ros import RosRobot, Session
from robo_rl.contracts import ToolCommand
from robo_rl.robots.panda import PANDA

def listen():
    for line in sys.stdin:
        leap[0] += int(line)

threading.Thread(target=listen, daemon=True).start()
pos, rot = Chain(PANDA).forward(np.array(PANDA.home))
with Session("policy", domain=int(sys.argv[2])) as session:
    arm = RosRobot(sys.argv[1], PANDA, session)
    arm.wait_until_ready(30.0)
    for number in range(1, 10_000):
        arm.command(ToolCommand(number, pos + [0.0, float(sys.argv[3]), 0.0], rot, 0.04, {VALID_FOR}))
        age = time.monotonic() - arm.state(10.0).stamp
        print(time.monotonic(), time.time(), age, flush=True)
        time.sleep(0.05)
"""


@dataclass
class Watch:
    """Every millisecond, what the arm is doing."""

    arm: Arm
    seen: list[tuple[float, str]] = field(default_factory=list)

    def run(self, over: threading.Event) -> None:
        while not over.wait(0.001):
            self.seen.append((time.monotonic(), self.arm.status().mode))

    def began(self, mode: str, after: float) -> float:
        return next(at for at, now in self.seen if at > after and now == mode)


@pytest.fixture(scope="module")
def arm(place, session) -> Iterator[Arm]:
    limits = replace(SafetyLimits.of(PANDA), max_state_age=2.0)
    with hand_over_soon(), Arm(InProcessTorqueDrive(PANDA, rate=500.0), limits) as arm:
        node = ArmNode(arm, place.name, session)
        yield arm
        node.close()


@pytest.fixture
def watch(arm) -> Iterator[Watch]:
    watch, over = Watch(arm), threading.Event()
    thread = threading.Thread(target=watch.run, args=(over,))
    thread.start()
    yield watch
    over.set()
    thread.join()


@pytest.fixture
def policy(place) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", POLICY, place.name, str(place.domain), "0.2"]
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    yield process
    process.kill()
    process.communicate()


def heard(policy: subprocess.Popen[str], lines: int) -> list[list[float]]:
    return [[float(word) for word in policy.stdout.readline().split()] for _ in range(lines)]


def test_a_policy_that_is_killed_leaves_the_arm_holding_within_50_ms_of_expiry(arm, watch, policy):
    (*_, (at, *_)) = heard(policy, 12)
    assert arm.status().mode == "running"
    policy.kill()
    policy.wait()
    said = [float(line.split()[0]) for line in policy.stdout.read().splitlines() if line]
    at = max([at, *said])
    time.sleep(VALID_FOR + HOLDS + 0.1)
    # It may have died after the sending and before the saying: then a command more is under way.
    late = watch.began("holding", at) - at - VALID_FOR
    assert late <= HOLDS, f"{late * 1e3:.0f} ms"
    assert late > -0.5 * VALID_FOR, "it was pursued for as long as it was valid"
    assert "expired" in arm.applied().reasons
    time.sleep(0.4)
    held = arm.state(1.0).tcp_pos
    assert held[1] < HOME_POS[1] + 0.19  # on its way still
    time.sleep(0.3)
    assert np.linalg.norm(arm.state(1.0).tcp_pos - held) < 0.003
    assert not arm.status().fault


@pytest.mark.parametrize("day", [86_400, -86_400])
def test_a_wall_clock_that_leaps_under_a_policy_changes_nothing(arm, watch, policy, day):
    first = heard(policy, 5)
    rejected, begun = arm.status().rejected, watch.began("running", first[0][0] - 0.1)
    policy.stdin.write(f"{day * 10**9}\n")
    policy.stdin.flush()
    after = heard(policy, 15)
    assert abs(after[-1][1] - first[-1][1] - day) < 60.0  # it has leapt
    assert arm.status().rejected == rejected
    assert all(age < 1.0 for _, _, age in after)
    modes = {mode for at, mode in watch.seen if begun < at < after[-1][0]}
    assert modes == {"running"}


def test_a_wall_clock_that_leaps_under_the_arm_changes_nothing(arm, watch, policy, monkeypatch):
    first = heard(policy, 5)
    begun, real = watch.began("running", first[0][0] - 0.1), time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 10**15)
    monkeypatch.setattr(time, "time", lambda: 1e-9 * real() + 1e6)
    after = heard(policy, 15)
    assert all(age < 1.0 for _, _, age in after)
    assert {mode for at, mode in watch.seen if begun < at < after[-1][0]} == {"running"}
