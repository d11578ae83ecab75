"""Franka by franky: poses, tracked by franky's impedance in C++ at 1 kHz. The default on hardware.

The stiffness, the damping, the pull of the null space, the clip of the error and the rate of the torque are those of
the arm's spec, as in every other world, and they are enforced in franky's loop. What this drive is sent, 200 times a
second, has been through the safety filter; franky looks at the newest in each cycle.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, Literal

import numpy as np

from hardware.arms.drive import Delegated, DriveState
from hardware.arms.franka import (
    PRIORITY,
    FrankaSettings,
    check_ranges,
    check_tool,
    complaint,
    error_names,
    one_line,
    ordinary_scheduling,
    require_reachable,
    tool_setting,
    unreachable,
    urdf_ranges,
)
from hardware.arms.franka_drive import FrankaDrive
from hardware.realtime import prioritise
from hardware.safety.limits import SafetyLimits
from robo_rl.contracts import RobotSpec
from robo_rl.errors import MissingExtra, Stale, UserError

_POLL = 0.5e-3  # s between two looks for a newer state
_RETRY = 0.2  # s between attempts to reach an arm that was lost
_JOINT_STIFFNESS = (600.0, 600.0, 600.0, 600.0, 250.0, 200.0, 100.0)  # N·m/rad, for moves; critically damped
_MARGIN_STIFFNESS = 20.0  # N·m/rad, of the push away from a joint's limit
_MARGIN_TORQUE = 10.0  # N·m, at most


class FrankyDrive(FrankaDrive):
    """A Franka, driven by poses of its tool, and by joint positions for moves; a ``Drive``.

    Example:
        >>> drive = FrankyDrive(FR3, FrankaSettings("172.16.0.2"), SafetyLimits.of(FR3))    # doctest: +SKIP

    Attributes:
        spec: the arm.
        rate: of set-points and states, Hz; franky's own loop runs at 1 kHz.
        delegated: the margin of the joints, which franky keeps with a spring.
    """

    delegated = Delegated(frozenset({"joint_margin"}), "franky's impedance tracker, at 1 kHz")

    def __init__(self, spec: RobotSpec, settings: FrankaSettings, limits: SafetyLimits, rate: float = 200.0) -> None:
        if not 20.0 <= rate <= 1000.0:
            raise UserError(f"franky.rate is {rate} Hz; give something from 20 to 1000")
        super().__init__(spec, settings)
        self.rate = rate
        self._limits = limits
        self._tracker: Any = None
        self._tracking: Literal["pose", "joints"] = "pose"
        self._due = 0.0
        self._arm_time = -1  # ms, of the newest state

    def open(self) -> None:
        """Connect, set the arm and franky's limits up, and hold where the arm is, compliant. See :meth:`Drive.open`."""
        try:
            import franky
        except ImportError as error:
            raise MissingExtra("the franky drive", "franka") from error
        self._sdk = franky
        require_reachable(self._address)  # the hand would try for half a minute
        if self._hand is not None:
            self._hand.open()
        try:
            self._connect()
            self._hold()
        except BaseException:
            self.close()
            raise

    def _connect(self) -> None:
        sdk, s = self._sdk, self._settings
        assert sdk is not None
        realtime = sdk.RealtimeConfig.Enforce if s.realtime else sdk.RealtimeConfig.Ignore
        require_reachable(s.address)
        try:
            with ordinary_scheduling():
                robot = sdk.Robot(s.address, realtime_config=realtime)
            check_ranges(self.spec, urdf_ranges(robot.model_urdf), f"the arm at {s.address}")
            robot.set_collision_behavior(
                list(s.contact_torque), list(s.collision_torque), list(s.contact_force), list(s.collision_force)
            )
            robot.set_load(s.payload_mass, list(s.payload_com), list(s.payload_inertia))
            robot.set_ee(tool_setting(self.spec, robot.state.F_T_NE.matrix))
            for _ in range(20):  # the arm takes some cycles to apply it
                state = robot.state
        except UserError:
            raise
        except Exception as error:  # franky's exceptions have no base class of their own
            raise unreachable(s.address, error) from error
        check_tool(self.spec, state.q, state.O_T_EE.matrix, s.address)
        self._robot = robot
        self._fault = ""
        self._arm_time, self._stamp, self._due = -1, time.monotonic(), 0.0

    def _guards(self) -> dict[str, Any]:
        """Arguments of both trackers: what is delegated to franky's loop."""
        low, high = np.array([link.joint_range for link in self.spec.links]).T
        return {
            "lower_joint_limits": low,
            "upper_joint_limits": high,
            "joint_limit_activation_distance": self._limits.joint_margin,
            "joint_limit_stiffness": _MARGIN_STIFFNESS,
            "joint_limit_max_torque": _MARGIN_TORQUE,
            "max_delta_tau": self.spec.impedance.max_torque_rate,
        }

    def _hold(self) -> None:
        """Track the pose that the arm is in."""
        sdk, gains = self._sdk, self.spec.impedance
        assert sdk is not None
        posture = sdk.PostureTask(np.array(self.spec.home), gains.nullspace_stiffness, gains.nullspace_damping)
        self._start(
            "pose",
            lambda: sdk.CartesianImpedanceTracker(
                self._robot,
                gains=sdk.CartesianImpedanceGains.isotropic(
                    gains.stiffness, gains.rotational_stiffness, gains.damping, gains.rotational_damping
                ),
                translational_error_clip=np.full(3, gains.clip),
                rotational_error_clip=np.full(3, gains.rotational_clip),
                posture_task=posture,
                **self._guards(),
            ),
        )

    def _hold_joints(self) -> None:
        """Track the posture that the arm is in."""
        sdk = self._sdk
        assert sdk is not None
        self._start(
            "joints",
            lambda: sdk.JointImpedanceTracker(self._robot, stiffness=np.array(_JOINT_STIFFNESS), **self._guards()),
        )

    def _start(self, tracking: Literal["pose", "joints"], tracker: Any) -> None:
        """Begin to track; from one tracker to the other, franky ramps the torques."""
        try:
            with ordinary_scheduling():
                if self._settings.realtime:
                    prioritise(PRIORITY)  # for franky's thread, which inherits it
                self._tracker = tracker()
            self._tracking = tracking
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._tracker = None
        self._fault = one_line(error)

    def read(self) -> DriveState:
        """Wait for the next cycle. See :meth:`Drive.read`."""
        if self._robot is None:
            self._reconnect()
        now = time.monotonic()
        if self._due > now:
            time.sleep(self._due - now)
        else:
            self._due = now  # late: from here on, not in a burst
        self._due += 1.0 / self.rate
        while True:
            try:
                state = self._robot.state
            except Exception as error:  # of franky, or bare ones of the network library below it
                self._drop(error)
                raise Stale(f"franka at {self._address}: {self._lost}") from error
            if self._tracker is not None and not self._tracker.is_running:
                self._ended()
            now, arm_time = time.monotonic(), state.time.to_msec()
            if arm_time != self._arm_time:
                break
            if self._robot is None or now - self._stamp > self._limits.max_state_age:
                raise Stale(f"franka at {self._address} silent for {1e3 * (now - self._stamp):.0f} ms; {self._lost}")
            time.sleep(_POLL)
        self._arm_time, self._stamp = arm_time, now
        sensed = self._settings.external_torque
        return DriveState(
            stamp=self._stamp,
            joint_pos=np.array(state.q, dtype=float),
            joint_vel=np.array(state.dq, dtype=float),
            # The arm tells what it exerts on its surroundings.
            joint_torque=-np.array(state.tau_ext_hat_filtered) if sensed else np.full(self.spec.dof, np.nan),
            bias=np.zeros(self.spec.dof),
            gripper_width=self._hand.width if self._hand is not None else 0.0,
            error=self._fault or complaint(state) or self._hand_error(),
        )

    def _ended(self) -> None:
        """Find out why franky's loop has ended."""
        self._tracker = None
        try:
            self._robot.join_motion(timeout=0.0)
            self._fault = "franky's loop has ended"
        except Exception as error:  # of control, a command, the network, or its own
            try:
                self._fault = error_names(self._robot.state.last_motion_errors) or one_line(error)
            except Exception as gone:
                self._drop(gone)

    def _reconnect(self) -> None:
        """Try again to reach an arm that was lost; it is not driven before :meth:`recover`.

        Raises:
            Stale: if it is still not there.
        """
        time.sleep(_RETRY)
        try:
            if self._sdk is None:
                raise UserError(f"franka at {self._address}: not open")
            self._connect()
        except UserError as error:
            raise Stale(str(error)) from error
        self._fault = f"the connection was lost: {self._lost}"

    def _drop(self, error: Exception) -> None:
        """Forget a connection that is gone."""
        self._lost = one_line(error)
        self._robot = self._tracker = None

    def write_pose(self, pos: np.ndarray, rot: np.ndarray) -> None:
        """Track a pose of the tool; nothing happens while the arm is in an error."""
        if self._robot is None or self._fault:
            return
        if self._tracker is None or self._tracking != "pose":
            self._hold()
        if self._tracker is not None and self._sdk is not None:
            T_base_tcp = np.eye(4)
            T_base_tcp[:3, :3], T_base_tcp[:3, 3] = rot, pos
            self._tracker.set_target(self._sdk.Affine(T_base_tcp))

    def write_joints(self, joint_pos: np.ndarray) -> None:
        """Track joint positions (n,) rad; nothing happens while the arm is in an error."""
        if self._robot is None or self._fault:
            return
        if self._tracker is None or self._tracking != "joints":
            self._hold_joints()
        if self._tracker is not None:
            self._tracker.set_target(np.asarray(joint_pos, dtype=float))

    def recover(self) -> None:
        """Clear a reflex, or connect anew, the hand too, and hold where the arm is. See :meth:`Drive.recover`."""
        sdk = self._connect_again()
        try:
            if self._fault or complaint(self._robot.state):
                self._robot.recover_from_errors()
            left = complaint(self._robot.state)
        except Exception as error:
            if isinstance(error, sdk.NetworkException):
                self._drop(error)
            raise UserError(f"franka at {self._address} does not recover: {one_line(error)}") from error
        if left:
            raise UserError(f"franka at {self._address} does not recover: {left}")
        self._fault = ""
        self._hold()
        if self._fault:
            raise UserError(f"franka at {self._address} does not recover: {self._fault}")

    def close(self) -> None:
        """Bring the arm to rest, which leaves it holding by itself, and disconnect."""
        if self._tracker is not None:
            with suppress(Exception):  # it may be gone already
                self._tracker.stop()
        self._robot = self._tracker = None
        if self._hand is not None:
            self._hand.close()
