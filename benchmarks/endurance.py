"""Rounds of motions and faults over a guarded Franka, and the tally of what came of them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from controllers.kinematics import Chain
from hardware.arm import Arm
from hardware.emulation import franka_sim
from robo_rl import geometry
from robo_rl.contracts import RobotState, ToolCommand
from robo_rl.errors import Faulted, InvalidAction, Stale, UserError

MOST_MOVED = 20.0
"""Millimetres that an arm may move while it holds, compliant."""
Simulator = Literal["franky-sim", "franka-sim", "none"]


@dataclass
class Tally:
    """What happened.

    Attributes:
        silences: faults that nobody injected in which somebody heard nothing: when, s of ``time.monotonic()``, in which
            phase, and the reason. They may have come of a pause of the machine; all others are in the two before.
    """

    commands: int = 0
    malformed_refused: int = 0
    malformed_accepted: int = 0
    applied_reasons: dict[str, int] = field(default_factory=dict)
    faults: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    reflexes: dict[str, dict[str, int]] = field(default_factory=dict)
    other_faults: dict[str, dict[str, int]] = field(default_factory=dict)
    silences: list[tuple[float, str, str]] = field(default_factory=list)
    farthest_outside: float = 0.0
    fastest: float = 0.0


class Server:
    """The simulator's process; an arm has none."""

    def __init__(self, simulator: Simulator, address: str, folder: Path) -> None:
        self.simulator = simulator
        self.address = address
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; also again, at the same address."""
        if self.simulator == "franka-sim":
            self.address = "127.0.0.1"
            self._process = franka_sim.start(franka_sim.default_folder())
        elif self.simulator == "franky-sim":
            self.address = self.address or franka_sim.free_address()
            self._process = franka_sim.start_franky_sim(self.address, self._folder / "franky_sim.log")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it without a word."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            franka_sim.stop(self._process)


class Endurance:
    """One run over one arm."""

    def __init__(self, arm: Arm, server: Server, seed: int) -> None:
        self.arm = arm
        self.server = server
        self.tally = Tally()
        self._rng = np.random.default_rng(seed)
        self._id = 0
        self._phase = "move"
        self._low, self._high = np.array(arm.limits.workspace_low), np.array(arm.limits.workspace_high)

    # -- motions -------------------------------------------------------------------------------------------------------

    def hold(self, seconds: float) -> None:
        """Nothing at all: what stops the arm now, no command of ours has."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._watch(0.1)

    def random(self, seconds: float) -> None:
        """Deltas of a few centimetres and degrees, as an untrained policy gives them."""
        state = self._state()
        pos, rot, gripper = state.tcp_pos, state.tcp_rot, 0.04

        def step() -> ToolCommand:
            nonlocal pos, rot, gripper
            pos = np.clip(pos + self._rng.normal(0.0, 0.015, 3), self._low, self._high)
            rot = geometry.exp(self._rng.normal(0.0, 0.05, 3)) @ rot
            if self._rng.random() < 0.02:
                gripper = 0.08 - gripper if gripper != 0.04 else 0.08
            return self._command(pos, rot, gripper)

        self._drive(seconds, step)

    def adversarial(self, seconds: float) -> None:
        """Targets that are far outside, opposite each time, turned by half a turn; and malformed ones among them."""
        home = self._state().tcp_rot
        side = 1.0

        def step() -> ToolCommand:
            nonlocal side
            side = -side
            far = np.where(self._rng.random(3) < 0.5, self._low, self._high) + side * self._rng.normal(0.0, 1.0, 3)
            rot = geometry.exp(side * np.pi * np.eye(3)[self._rng.integers(3)] * 0.99) @ home
            command = self._command(far, rot, float(self._rng.uniform(-1.0, 1.0)))
            return replace(command, valid_for=float(self._rng.choice([0.001, 0.05, 0.3])))

        self._drive(seconds, step)

    def _drive(self, seconds: float, step: Callable[[], ToolCommand]) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            command = step()
            if self._rng.random() < 0.1:
                self._malformed(command)
            try:
                self.arm.command(command)
                self.tally.commands += 1
            except Faulted as error:
                self._uninvited(str(error))
            self._watch(self._rng.uniform(0.05, 0.1))

    def _watch(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with suppress(Stale):
                state = self.arm.state()
                beyond = np.maximum(self._low - state.tcp_pos, state.tcp_pos - self._high).max()
                self.tally.farthest_outside = max(self.tally.farthest_outside, float(beyond))
                self.tally.fastest = max(self.tally.fastest, float(np.linalg.norm(state.tcp_linvel)))
            time.sleep(0.01)
        for reason in self.arm.applied().reasons:
            self.tally.applied_reasons[reason] = self.tally.applied_reasons.get(reason, 0) + 1
        if self.arm.status().fault:
            self._uninvited(self.arm.status().reason)

    def _malformed(self, command: ToolCommand) -> None:
        bad = (
            replace(command, pos=np.array([np.nan, 0.0, 0.0])),
            replace(command, rot=2.0 * command.rot),
            replace(command, rot=-command.rot),
            replace(command, valid_for=10.0),
            replace(command, valid_for=float("nan")),
            replace(command, gripper=float("inf")),
            replace(command, id=command.id - 1000),
        )[self._rng.integers(7)]
        try:
            self.arm.command(bad)
            self.tally.malformed_accepted += 1
        except (InvalidAction, Faulted):
            self.tally.malformed_refused += 1

    def _command(self, pos: np.ndarray, rot: np.ndarray, gripper: float) -> ToolCommand:
        self._id += 1
        return ToolCommand(self._id, pos, rot, gripper, valid_for=0.25)

    def _state(self) -> RobotState:
        self._await(self._fresh, 10.0)
        return self.arm.state(max_age=1.0)

    def _try(self, action: Callable[[], object]) -> None:
        """Do it; if a fault is in the way that nobody injected, note that one and try again."""
        for _ in range(3):
            try:
                action()
                return
            except Faulted as error:
                self._uninvited(str(error))

    def _uninvited(self, reason: str) -> None:
        """Note a fault that nobody injected, and go on once it is over."""
        status, now = self.arm.status(), time.monotonic()
        fault = status.fault or "gone already"
        if fault == "stale_state" or (fault == "device" and "communication" in status.reason):
            self.tally.silences.append((now, self._phase, status.reason))
            self._recover()
            return
        counts = self.tally.reflexes if fault == "device" else self.tally.other_faults
        named = status.reason if fault == "device" else f"{fault}: {reason}"
        phase = counts.setdefault(self._phase, {})
        phase[named] = phase.get(named, 0) + 1
        self._recover()

    # -- faults --------------------------------------------------------------------------------------------------------

    def go_home(self) -> None:
        """Move to the home posture."""
        home = np.array(self.arm.spec.home)
        for _ in range(5):
            try:
                self._try(lambda: self.arm.move_joints(home, 0.08))
            except InvalidAction:  # out of a corner, the way through joint space may leave the work space
                self._pursue(0.5 * (self._low + self._high), 4.0)
                continue
            self._await(lambda: self.arm.status().mode != "moving", 20.0)
            if not self.arm.status().fault:
                return
            self._uninvited(self.arm.status().reason)

    def _pursue(self, pos: np.ndarray, seconds: float) -> None:
        """Command one position, in the orientation of home."""
        rot = Chain(self.arm.spec).forward(np.array(self.arm.spec.home))[1]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._try(lambda: self.arm.command(self._command(pos, rot, 0.08)))
            time.sleep(0.05)

    def stopped(self) -> None:
        """Somebody stops it."""
        self._inject("stop", lambda: self.arm.stop("endurance"), {"stopped"})

    def stalled(self) -> None:
        """Our process stands still for a quarter of a second: a limit of communication, if the arm has them.

        An arm without them may be none the wiser. Its command has expired meanwhile, so that it has to hold.
        """
        script = f"kill -STOP {os.getpid()}; sleep 0.25; kill -CONT {os.getpid()}"
        enforced = self.server.simulator != "franky-sim"
        self._inject(
            "stall",
            lambda: subprocess.run(["sh", "-c", script], check=True),
            {"device", "stale_state"} if enforced else {"stale_state", ""},
        )

    def frozen(self) -> None:
        """The arm says nothing for half a second."""

        def freeze() -> None:
            self.server.signal(signal.SIGSTOP)
            time.sleep(0.5)
            self.server.signal(signal.SIGCONT)

        self._inject("freeze", freeze, {"stale_state", "device"})

    def killed(self) -> None:
        """The arm's control unit dies, and comes back."""

        def kill() -> None:
            self.server.kill()
            time.sleep(0.5)
            self.server.start()

        self._inject("kill", kill, {"stale_state", "device"})

    def _inject(self, name: str, inject: Callable[[], object], expected: set[str]) -> None:
        state = self._state()
        up = state.tcp_pos + np.array([0.0, 0.0, 0.02])
        self._try(lambda: self.arm.command(self._command(up, state.tcp_rot, 0.04)))
        time.sleep(0.1)
        if self.arm.status().fault:
            self._uninvited(self.arm.status().reason)
        recoveries = self.arm.status().recoveries
        inject()
        self._await(lambda: bool(self.arm.status().fault), 3.0 if expected - {""} else 0.5)
        status = self.arm.status()
        automatic = status.recoveries > recoveries
        latched = status.fault in expected or (automatic and "device" in expected)
        refused, moved = True, 0.0
        if status.fault and not automatic:
            self._await(self._fresh, 10.0)
            time.sleep(0.3)
            held = self._state().tcp_pos
            try:
                command = self._command(held + np.array([0.1, 0.0, 0.0]), self._state().tcp_rot, 0.04)
                self.arm.command(command)
                refused = not self.arm.status().fault  # it may have recovered by itself meanwhile
            except Faulted:
                pass
            time.sleep(0.3)
            moved, holds = float(np.linalg.norm(self._state().tcp_pos - held)), self.arm.status().mode != "running"
        else:
            holds = self._await(lambda: self.arm.status().mode == "holding", 2.0)
            time.sleep(0.3)
            held = self._state().tcp_pos
            time.sleep(0.3)
            moved = float(np.linalg.norm(self._state().tcp_pos - held))
        recovered = self._recover()
        self.tally.faults.append({
            "injected": name, "fault": status.fault or ("device" if automatic else ""), "reason": status.reason,
            "latched": latched, "refused": refused, "holds": holds, "held_within_mm": round(1e3 * moved, 2),
            "recovered": recovered, "moves_again": recovered and self._moves(),
        })  # fmt: skip

    def _fresh(self) -> bool:
        with suppress(Stale):
            self.arm.state()
            return True
        return False

    def _recover(self) -> bool:
        """Acknowledge until the arm holds."""

        def clear() -> bool:
            if self.arm.status().fault:
                with suppress(UserError):
                    self.arm.recover()
            return not self.arm.status().fault and self._fresh()

        return self._await(clear, 15.0)

    def _moves(self) -> bool:
        """Whether the tool goes 3 cm towards the middle of the work space."""
        state = self._state()
        way = 0.5 * (self._low + self._high) - state.tcp_pos
        goal = state.tcp_pos + 0.03 * way / max(float(np.linalg.norm(way)), 1e-6)
        for _ in range(30):
            with suppress(Faulted):
                self.arm.command(self._command(goal, state.tcp_rot, 0.04))
            time.sleep(0.1)
            if float(np.linalg.norm(self._state().tcp_pos - state.tcp_pos)) > 0.01:
                return True
        return False

    @staticmethod
    def _await(condition: Callable[[], bool], seconds: float) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return True
            time.sleep(0.05)
        return condition()

    def run(self, seconds: float) -> None:
        """Rounds of motions and faults until the time is over; every fault at least once."""
        end = time.monotonic() + seconds
        share = min(20.0, seconds / 5.0)
        faults = [self.stopped, self.stalled]
        if self.server.simulator != "none":
            faults += [self.frozen, self.killed]
        first = True
        while first or time.monotonic() < end:
            for phase in (self.hold, self.random, self.adversarial):
                self._phase = "move"
                self.go_home()
                self._phase, began = phase.__name__, time.monotonic()
                phase(min(share, max(end - began, 2.0)))
                lasted = self.tally.seconds.get(self._phase, 0.0) + time.monotonic() - began
                self.tally.seconds[self._phase] = lasted
            self._phase = "faults"
            if first or end - time.monotonic() > 15.0:
                for fault in faults:
                    fault()
            first = False


def withstood(fault: dict[str, Any]) -> bool:
    """Whether an injected fault was latched, held and recovered from as documented."""
    kept = fault["holds"] and fault["held_within_mm"] < MOST_MOVED
    return bool(fault["latched"] and fault["refused"] and kept and fault["recovered"] and fault["moves_again"])
