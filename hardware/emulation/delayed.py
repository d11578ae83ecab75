"""A robot that is told things late and heard of late: the way between policy and arm, made longer on purpose.

This is where tens of milliseconds belong. Within the torque loop (``PlantSettings.command_delay``) they make the
impedance law unstable: the FR3 of its data sheet bears 10 ms there, and oscillates from 15 ms on.
"""

from __future__ import annotations

import threading
import time
from collections import deque

import numpy as np

from hardware.safety.commands import checked
from robo_rl.contracts import Applied, Robot, RobotState, RobotStatus, ToolCommand
from robo_rl.errors import Faulted, InvalidAction, Stale

_PERIOD = 0.002  # s at which states are taken down and due commands handed on


class DelayedRobot:
    """A :class:`robo_rl.contracts.Robot` with a longer way to it.

    Commands reach the robot ``command_delay`` s after they were given, states are given ``state_delay`` s after they
    were measured, with the stamp of the measurement. :meth:`stop`, :meth:`recover` and joint moves are not delayed:
    they are for people and resets.

    Args:
        robot: behind it; closed with it.
        command_delay: s.
        state_delay: s.

    Attributes:
        spec: the arm.
    """

    def __init__(self, robot: Robot, *, command_delay: float = 0.0, state_delay: float = 0.0) -> None:
        if not (0.0 <= command_delay <= 1.0 and 0.0 <= state_delay <= 1.0):
            raise ValueError(f"delays of {command_delay} and {state_delay} s; give 0 to 1 s")
        self.spec = robot.spec
        self._robot = robot
        self._command_delay, self._state_delay = command_delay, state_delay
        self._lock = threading.Lock()
        self._commands: deque[tuple[float, ToolCommand]] = deque()
        self._states: deque[RobotState] = deque()
        self._last_id = self._rejected = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{self.spec.name}-delay", daemon=True)
        self._thread.start()

    def state(self, max_age: float = 0.1) -> RobotState:
        """As in :class:`robo_rl.contracts.Robot`; its age is at least the delay."""
        if self._closing.is_set():
            raise Stale(f"{self.spec.name} is closed")
        now = time.monotonic()
        with self._lock:
            if not self._states or self._states[0].stamp > now - self._state_delay:
                raise Stale(f"{self.spec.name} has no state that is {self._state_delay} s old yet")
            seen = next(s for s in reversed(self._states) if s.stamp <= now - self._state_delay)
        if now - seen.stamp > max_age:
            raise Stale(f"the state of {self.spec.name} is {1e3 * (now - seen.stamp):.0f} ms old")
        return seen

    def command(self, command: ToolCommand) -> None:
        """As in :class:`robo_rl.contracts.Robot`; what the robot refuses once it arrives, :meth:`status` tells."""
        try:
            command = checked(command)
            with self._lock:
                if command.id <= self._last_id:
                    raise InvalidAction(f"command.id is {command.id}; it must be above the last one, {self._last_id}")
        except InvalidAction:
            self._rejected += 1
            raise
        status = self._robot.status()
        if status.fault:
            raise Faulted(f"{self.spec.name} is in the fault {status.fault}: {status.reason}")
        with self._lock:
            self._last_id = command.id
            self._commands.append((time.monotonic() + self._command_delay, command))

    def applied(self) -> Applied:
        """As in :class:`robo_rl.contracts.Robot`."""
        return self._robot.applied()

    def status(self) -> RobotStatus:
        """As in :class:`robo_rl.contracts.Robot`."""
        status = self._robot.status()
        return RobotStatus(
            status.mode, status.reason, status.fault, status.needs_acknowledgement, status.recoveries,
            status.rejected + self._rejected, status.counters,
        )  # fmt: skip

    def move_joints(self, joint_pos: np.ndarray, gripper: float) -> None:
        """As in :class:`robo_rl.contracts.Robot`, at once; commands that are still on their way are lost."""
        with self._lock:
            self._commands.clear()
        self._robot.move_joints(joint_pos, gripper)

    def stop(self, reason: str) -> None:
        """As in :class:`robo_rl.contracts.Robot`, at once."""
        self._robot.stop(reason)

    def recover(self) -> None:
        """As in :class:`robo_rl.contracts.Robot`, at once; commands that are still on their way are lost."""
        with self._lock:
            self._commands.clear()
        self._robot.recover()

    def close(self) -> None:
        """As in :class:`robo_rl.contracts.Robot`."""
        self._closing.set()
        if self._thread is not threading.current_thread():
            self._thread.join(5.0)
        self._robot.close()

    def __enter__(self) -> DelayedRobot:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _run(self) -> None:
        while not self._closing.wait(_PERIOD):
            self._take_down()
            self._hand_on()

    def _take_down(self) -> None:
        try:
            state = self._robot.state(max_age=1e9)
        except Stale:
            return
        with self._lock:
            if not self._states or state.stamp > self._states[-1].stamp:
                self._states.append(state)
            horizon = time.monotonic() - self._state_delay
            while len(self._states) > 1 and self._states[1].stamp <= horizon:
                self._states.popleft()

    def _hand_on(self) -> None:
        while True:
            with self._lock:
                if not self._commands or self._commands[0][0] > time.monotonic():
                    return
                _, command = self._commands.popleft()
            try:
                self._robot.command(command)
            except (InvalidAction, Faulted):
                self._rejected += 1  # the sender is not there any more to be told
