"""Franka by pylibfranka: joint torques from our own law, one every millisecond.

pylibfranka keeps Python's lock while it waits for the arm. So :meth:`PylibfrankaDrive.read` waits itself, at the socket
that libfranka listens at, which lets other threads run meanwhile, and asks libfranka once a state has come. A process
that drives an arm so should do little else all the same; :mod:`hardware.arms.franka_franky` has its fast loop in C++
and no such worry.

The arm compensates gravity and friction of its own. While no torque comes, it holds where it is by its own position
controller: after :meth:`~PylibfrankaDrive.open`, after an error, and when the law has been silent for some cycles.
"""

from __future__ import annotations

import os
import select
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from controllers.single import limit_rate
from hardware.arms.drive import Delegated, DriveState
from hardware.arms.franka import (
    PRIORITY,
    FrankaSettings,
    check_ranges,
    check_tool,
    complaint,
    one_line,
    ordinary_scheduling,
    require_reachable,
    tool_setting,
    unreachable,
)
from hardware.arms.franka_drive import FrankaDrive
from hardware.realtime import prioritise
from robo_rl.contracts import RobotSpec
from robo_rl.errors import MissingExtra, Stale, UserError
from robo_rl.robots.fr3 import FR3

# Of the torque from one packet to the next. The arm allows 1 N·m per ms, and takes two packets for neighbours even
# where some between them were lost, so what time has really passed is no excuse for more.
_MAX_STEP = 0.95  # N·m
_QUIET = 5  # cycles without a torque after which the arm holds by itself again; it stops with a reflex after 20
_RETRY = 0.2  # s between attempts to reach an arm that was lost
_SILENCE = 0.03  # s without a state after which a read says so
_LOST = 1.0  # s without one after which the connection is taken for lost


class PylibfrankaDrive(FrankaDrive):
    """A Franka, driven by joint torques; a ``Drive``.

    Example:
        >>> drive = PylibfrankaDrive(FR3, FrankaSettings("172.16.0.2"))     # doctest: +SKIP

    Attributes:
        spec: the arm.
        rate: 1 kHz.
        delegated: nothing; every limit is our own, but for the arm's reflexes.
    """

    rate = 1000.0
    delegated = Delegated()

    def __init__(self, spec: RobotSpec, settings: FrankaSettings) -> None:
        super().__init__(spec, settings)
        self._model: Any = None
        self._control: Any = None  # of the SDK's torque loop, while it runs
        self._states = select.poll()  # of the socket that states come at
        self._torque = np.zeros(spec.dof)
        self._owed = False  # whether the newest state has had no torque for an answer
        self._quiet = 0  # how many states before it had none

    def open(self) -> None:
        """Connect and set the arm up; it holds by itself until the first torque. See :meth:`Drive.open`."""
        try:
            import pylibfranka
        except ImportError as error:
            raise MissingExtra("the pylibfranka drive", "franka") from error
        # This libfranka speaks to no Panda, and does not show the model that the arm sends of itself.
        check_ranges(self.spec, [link.joint_range for link in FR3.links], f"what pylibfranka drives at {self._address}")
        self._sdk = pylibfranka
        require_reachable(self._address)  # the hand would try for half a minute
        if self._hand is not None:
            self._hand.open()
        try:
            self._connect()
        except BaseException:
            self.close()
            raise

    def _connect(self) -> None:
        sdk, s = self._sdk, self._settings
        assert sdk is not None
        realtime = sdk.RealtimeConfig.kEnforce if s.realtime else sdk.RealtimeConfig.kIgnore
        try:
            others = set(_datagram_sockets())
            with ordinary_scheduling():
                robot = sdk.Robot(s.address, realtime)
            self._states = select.poll()
            if not (new := set(_datagram_sockets()) - others):
                raise UserError("libfranka has opened no socket that could be waited at; take driver: franky")
            for number in new:
                self._states.register(number, select.POLLIN)
            state = robot.read_once()
            robot.set_collision_behavior(
                list(s.contact_torque), list(s.collision_torque), list(s.contact_force), list(s.collision_force)
            )
            robot.set_load(s.payload_mass, list(s.payload_com), list(s.payload_inertia))
            robot.set_EE(tool_setting(self.spec, np.array(state.F_T_NE).reshape(4, 4).T))
            self._model = robot.load_model()
            state = self._after_setting_up(robot)
        except (RuntimeError, ValueError) as error:
            raise unreachable(s.address, error) from error
        check_tool(self.spec, np.array(state.q), np.array(state.O_T_EE).reshape(4, 4).T, s.address)
        self._robot, self._control = robot, None
        self._fault = ""
        self._torque = np.zeros(self.spec.dof)
        self._stamp = time.monotonic()

    @staticmethod
    def _after_setting_up(robot: Any) -> Any:
        """Return a state that surely has the new tool frame in it: the arm takes some cycles to apply it."""
        for _ in range(20):
            state = robot.read_once()
        return state

    def read(self) -> DriveState:
        """Wait for the arm's next state. See :meth:`Drive.read`."""
        if self._robot is None:
            self._reconnect()
        try:
            state = self._next()
        except RuntimeError as error:  # NetworkException, or bare ones of the network library below libfranka
            self._drop(error)
            raise Stale(f"franka at {self._address}: {self._lost}") from error
        self._stamp, self._owed = time.monotonic(), True
        sensed = self._settings.external_torque
        return DriveState(
            stamp=self._stamp,
            joint_pos=np.array(state.q),
            joint_vel=np.array(state.dq),
            # The arm tells what it exerts on its surroundings.
            joint_torque=-np.array(state.tau_ext_hat_filtered) if sensed else np.full(self.spec.dof, np.nan),
            bias=np.array(self._model.coriolis(state)),
            gripper_width=self._hand.width if self._hand is not None else 0.0,
            error=self._fault or complaint(state) or self._hand_error(),
        )

    def _next(self) -> Any:
        sdk = self._sdk
        assert sdk is not None
        if self._control is not None:
            try:
                if self._owed:
                    self._stand_in()
                if self._control is not None:
                    return self._newest()
            except (sdk.ControlException, sdk.CommandException, sdk.InvalidOperationException) as error:
                self._fail(error)
        self._await()
        return self._robot.read_once()

    def _await(self) -> None:
        """Wait for a state to arrive.

        Raises:
            Stale: if none does.
            RuntimeError: if none has come for so long that the connection is lost.
        """
        if not self._states.poll(1e3 * _SILENCE):
            silent = time.monotonic() - self._stamp
            if silent > _LOST:
                raise RuntimeError(f"silent for {silent:.1f} s")
            raise Stale(f"franka at {self._address} is silent for {1e3 * silent:.0f} ms")

    def _newest(self) -> Any:
        """Return a state that there is still time to answer.

        One that had been waiting for us may be nearly a millisecond old, and its answer too late. To answer every
        second state in time is better than each of them late: the arm stops after 20 late answers in a row.
        """
        if self._states.poll(0):
            self._control.readOnce()
        self._await()
        state, _ = self._control.readOnce()
        return state

    def write_torque(self, torque: np.ndarray) -> None:
        """Apply joint torques (n,) N·m beyond gravity; nothing happens while the arm is in an error."""
        sdk = self._sdk
        if self._robot is None or self._fault or sdk is None:
            return
        try:
            if self._control is None:
                self._torque = np.zeros(self.spec.dof)
                if self._settings.realtime:
                    prioritise(PRIORITY)  # this is the thread that the arm waits for
                self._control = self._robot.start_torque_control()
                self._control.readOnce()
            self._torque = limit_rate(np.asarray(torque, dtype=float), self._torque, _MAX_STEP)
            self._control.writeOnce(sdk.Torques(self._torque.tolist()))
            self._owed, self._quiet = False, 0
        except (sdk.ControlException, sdk.CommandException, sdk.InvalidOperationException) as error:
            self._fail(error)
        except RuntimeError as error:
            self._drop(error)

    def _stand_in(self) -> None:
        """Answer a state for a law that has not: the same torque once more, and the way to none after some of them."""
        self._owed = False
        self._quiet += 1
        if self._quiet > _QUIET:
            self._fade()
        elif self._sdk is not None:
            self._control.writeOnce(self._sdk.Torques(self._torque.tolist()))

    def _fade(self) -> None:
        """Bring the torque a step nearer to zero; once there, the arm's position controller takes over."""
        sdk = self._sdk
        assert sdk is not None
        self._torque = limit_rate(np.zeros(self.spec.dof), self._torque, _MAX_STEP)
        command = sdk.Torques(self._torque.tolist())
        command.motion_finished = not self._torque.any()
        self._control.writeOnce(command)
        if command.motion_finished:
            self._control = None

    def _fail(self, error: Exception) -> None:
        self._control = None
        self._fault = one_line(error)

    def _reconnect(self) -> None:
        """Try again to reach an arm that was lost; it is not driven before :meth:`recover`.

        Raises:
            Stale: if it is still not there.
        """
        time.sleep(_RETRY)
        try:
            if self._sdk is None:
                raise UserError(f"franka at {self._address}: not open")
            require_reachable(self._address)
            self._connect()
        except UserError as error:
            raise Stale(str(error)) from error
        self._fault = f"the connection was lost: {self._lost}"

    def _drop(self, error: Exception | None = None) -> None:
        """Forget a connection that is gone."""
        self._lost = one_line(error) if error else ""
        self._control = self._model = self._robot = None

    def recover(self) -> None:
        """Clear a reflex, or connect anew, the hand too; then the arm holds by itself. See :meth:`Drive.recover`."""
        sdk = self._connect_again()
        self._control = None
        try:
            state = self._robot.read_once()
            if complaint(state) or self._fault:
                self._robot.automatic_error_recovery()
                state = self._robot.read_once()
        except RuntimeError as error:
            if isinstance(error, sdk.NetworkException):
                self._drop(error)
            raise UserError(f"franka at {self._address} does not recover: {one_line(error)}") from error
        left = complaint(state)
        if left:
            raise UserError(f"franka at {self._address} does not recover: {left}")
        self._fault = ""
        self._torque = np.zeros(self.spec.dof)

    def close(self) -> None:
        """End the torque loop, which leaves the arm holding by itself, and disconnect."""
        if self._control is not None:
            with suppress(RuntimeError):  # it may be gone already
                while self._control is not None:
                    self._control.readOnce()
                    self._fade()
        self._drop()
        if self._hand is not None:
            self._hand.close()


def _datagram_sockets() -> Iterator[int]:
    """Numbers of this process's open files that are datagram sockets of the internet."""
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # closed meanwhile
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                with socket.socket(fileno=os.dup(int(name))) as found:
                    if found.type == socket.SOCK_DGRAM and found.family == socket.AF_INET:
                        yield int(name)
