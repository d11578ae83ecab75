"""WidowX AI: the maker's driver, trossen-arm, which streams joint positions to the arm's controller.

The controller compensates gravity and friction, and tells the torque that the motors give beyond that, from which the
surroundings' is known. It stops the arm by its brakes when something is wrong (an error state), and when the driver
is closed.
"""

from __future__ import annotations

import math
import time
from typing import Any, Literal

import numpy as np

from hardware.arms.drive import Delegated, DriveState
from robo_rl.contracts import RobotSpec
from robo_rl.errors import MissingExtra, Stale, UserError
from robo_rl.robots.widowx_ai import WIDOWX_AI

EndEffector = Literal["follower", "base"]

_TOLERANCE = 1e-3  # rad by which the controller's joint ranges may be narrower than ours
_TIMEOUT = 2.0  # s to connect
_SHORT_TIMEOUT, _EVERY = 0.5, 1.0  # s, to connect again after a loss
_CONTROLLER_SAYS = "Error occurred"  # how the SDK's messages of the controller's own errors begin
_SILENCE = 0.05  # s for which the last measurement may be given again
_GRIPPER_SPEED = 0.1  # m/s of the opening
_SHORTEST = 0.05  # s that a move of the gripper takes at least
_TOOL = (
    "finger_left", "finger_right", "offset_finger_left", "offset_finger_right", "pitch_circle_radius", "t_flange_tool",
)  # fmt: skip
_BEYOND = 0.2  # rad that no joint can be beyond its range
_JUMP = 0.02  # rad that two measurements may differ by, besides what the joint can have moved
_MOVED = 1e-4  # m; smaller changes of the opening are not worth a command


class WidowXAI:
    """Drives a WidowX AI; see :class:`hardware.arms.drive.Drive`.

    Example:
        >>> drive = WidowXAI("192.168.1.2")                             # doctest: +SKIP
        >>> arm = Arm(drive, SafetyLimits.of(drive.spec))               # doctest: +SKIP

    Args:
        address: of the controller, as an IP address.
        rate: cycles per second.
        end_effector: what is mounted: ``follower`` has a camera's mount, ``base`` has not.
    """

    spec: RobotSpec = WIDOWX_AI
    delegated = Delegated()

    def __init__(self, address: str, *, rate: float = 200.0, end_effector: EndEffector = "follower") -> None:
        if not 20.0 <= rate <= 500.0:
            raise UserError(f"rate is {rate}; it must be from 20 to 500")
        if end_effector not in ("follower", "base"):
            raise UserError(f"end_effector is {end_effector!r}; it must be follower or base")
        self.rate = rate
        self._address, self._end_effector = address, end_effector
        self._load = 0.0, np.zeros(3)
        self._sdk: Any = None
        self._driver: Any = None
        self._last: DriveState | None = None
        self._told: DriveState | None = None  # the last one, plausible or not
        self._doubt = ""  # what is wrong with it
        self._id = -1
        self._error = ""
        self._braked = False  # by the controller, which then says nothing more than why
        self._sought = -math.inf
        self._opening = math.nan  # that the gripper was sent to
        self._next = 0.0
        low, high = zip(*(link.joint_range for link in self.spec.links), strict=True)
        self._low, self._high = np.array(low), np.array(high)
        self._fastest = np.array([link.max_velocity for link in self.spec.links])

    def carry(self, mass: float, com: np.ndarray) -> None:
        """As in :class:`hardware.arms.drive.LoadedDrive`; the controller is told that the palm weighs more."""
        self._load = mass, np.asarray(com, dtype=float)

    def open(self) -> None:
        """As in :class:`hardware.arms.drive.Drive`."""
        try:
            import trossen_arm
        except ImportError as error:
            raise MissingExtra("a WidowX AI", "trossen") from error
        self._sdk = trossen_arm
        self._connect(True, _TIMEOUT)
        self._engage()

    def read(self) -> DriveState:
        """As in :class:`hardware.arms.drive.Drive`; a connection that was lost and is back needs recovery."""
        self._next = max(self._next + 1.0 / self.rate, time.monotonic())
        time.sleep(max(0.0, self._next - time.monotonic()))
        if self._driver is None:
            self._seek()
        now, last = time.monotonic(), self._last
        if self._driver is not None and not self._braked:
            try:
                output = self._driver.get_robot_output()
            except self._sdk.RuntimeError as error:
                self._failed(error)
            else:
                if output.header.id != self._id:
                    self._id = output.header.id
                    measured = self._measured(output)
                    self._doubt = self._implausible(measured)
                    if not self._doubt:
                        self._last = last = measured
        if self._driver is None or last is None:
            raise Stale(f"{self._address}: {self._error or 'no measurement yet'}")
        if self._braked:
            return last._replace(stamp=now, error=self._error)  # it stays where it was
        silent = now - last.stamp
        if silent > _SILENCE and self._doubt:
            raise Stale(f"{self._address}: the controller tells what cannot be, {self._doubt}; check arm and cables")
        if silent > _SILENCE:
            raise Stale(f"{self._address}: the controller has been silent for {silent * 1e3:.0f} ms; check its cable")
        return last._replace(error=self._error)

    def write_joints(self, joint_pos: np.ndarray) -> None:
        """As in :class:`hardware.arms.drive.Drive`; within the controller's ranges, beyond which it would brake.

        Raises:
            ValueError: if a position is not finite, which the SDK would pass on.
        """
        if not np.isfinite(joint_pos).all():
            raise ValueError("joint positions have to be finite")
        goal = np.minimum(np.maximum(joint_pos, self._low), self._high)
        self._command("set_arm_positions", self._sdk.VectorDouble(goal), 0.0, False)

    def write_gripper(self, width: float) -> None:
        """As in :class:`hardware.arms.drive.Drive`; at a speed that the jaws can follow."""
        gripper = self.spec.gripper
        width = min(max(width, gripper.min_width), gripper.max_width)
        if abs(width - self._opening) < _MOVED:
            return
        here = self._last.gripper_width if self._last else width
        way = abs(width - here) if math.isfinite(here) else gripper.max_width
        self._command("set_gripper_position", width / 2, max(way / _GRIPPER_SPEED, _SHORTEST), False)
        self._opening = width

    def recover(self) -> None:
        """As in :class:`hardware.arms.drive.Drive`; connects anew, which clears the controller's error."""
        self._disconnect()
        self._connect(True, _TIMEOUT)
        self._engage()

    def close(self) -> None:
        """As in :class:`hardware.arms.drive.Drive`; the arm's brakes hold it."""
        self._disconnect()

    def _connect(self, clear_error: bool, timeout: float) -> None:
        """Connect; the arm stays braked."""
        sdk = self._sdk
        driver = sdk.TrossenArmDriver()
        try:
            tool = self._tool()
            driver.configure(sdk.Model.wxai_v0, tool, self._address, clear_error, timeout)
            limits = driver.get_joint_limits()
            output = driver.get_robot_output()
        except (sdk.RuntimeError, sdk.LogicError, ValueError) as error:
            driver.cleanup()
            raise UserError(
                f"address {self._address}: {_first_line(error)}; is the WidowX AI on, in this network, and does its "
                "firmware fit trossen-arm?"
            ) from error
        for i, (link, limit) in enumerate(zip(self.spec.links, limits, strict=False)):
            low, high = link.joint_range
            if limit.position_min > low + _TOLERANCE or limit.position_max < high - _TOLERANCE:
                driver.cleanup()
                raise UserError(
                    f"address {self._address}: joint {i} is limited to {limit.position_min:.3f} to "
                    f"{limit.position_max:.3f} rad in the controller, {low:.3f} to {high:.3f} are expected; reset its "
                    "joint limits"
                )
        self._driver, self._braked, self._id = driver, False, output.header.id
        self._last = self._told = self._measured(output)
        self._doubt = ""

    def _tool(self) -> Any:
        """What is mounted, with what it carries: one body at their common centre of mass."""
        standard = getattr(self._sdk.StandardEndEffector, f"wxai_v0_{self._end_effector}")
        mass, com = self._load
        if mass == 0.0:
            return standard
        tool, palm = self._sdk.EndEffector(), self._sdk.Link()
        for name in _TOOL:
            setattr(tool, name, getattr(standard, name))
        palm.inertia, palm.origin_rpy = standard.palm.inertia, standard.palm.origin_rpy
        own, center = standard.palm.mass, np.array(list(standard.palm.origin_xyz))
        there = np.array(self.spec.gripper.hand_pos) + com  # the SDK's flange is the origin of our last link
        palm.mass = own + mass
        palm.origin_xyz = self._sdk.ArrayDouble3(((own * center + mass * there) / palm.mass).tolist())
        tool.palm = palm
        return tool

    def _engage(self) -> None:
        """Hold where the arm is, brakes off."""
        here = list(self._driver.get_robot_output().joint.all.positions)
        if not np.isfinite(here).all():
            self._disconnect()
            raise UserError(f"address {self._address}: the controller tells positions that are not finite; restart it")
        self._driver.set_all_modes(self._sdk.Mode.position)
        self._driver.set_all_positions(self._sdk.VectorDouble(here), 0.0, False)
        self._error, self._opening = "", math.nan
        self._next = time.monotonic()

    def _seek(self) -> None:
        """Look now and then whether the controller is back."""
        if time.monotonic() > self._sought + _EVERY:
            try:
                self._connect(False, _SHORT_TIMEOUT)
                self._error = "the connection was lost, and is back; the arm is braked"
            except UserError as error:
                self._error = str(error)
            self._sought = time.monotonic()

    def _failed(self, error: Exception) -> None:
        """After an error of the SDK's nothing more comes from that driver."""
        self._error = _first_line(error)
        self._braked = self._error.startswith(_CONTROLLER_SAYS)
        if not self._braked:
            self._disconnect()

    def _disconnect(self) -> None:
        driver, self._driver = self._driver, None
        if driver is not None:
            driver.cleanup()

    def _measured(self, output: Any) -> DriveState:
        arm = output.joint.arm
        return DriveState(
            time.monotonic(),
            np.array(arm.positions),
            np.array(arm.velocities),
            -np.array(arm.external_efforts),  # what the motors give beyond holding the arm: the surroundings take it
            np.zeros(self.spec.dof),
            2.0 * output.joint.gripper.position,
        )

    def _implausible(self, measured: DriveState) -> str:
        """What of a measurement cannot be; it is not acted on then, or the arm would follow it. Empty if it may be."""
        before, self._told = self._told, measured
        q, speed = measured.joint_pos, measured.joint_vel
        if not (np.isfinite(q).all() and np.isfinite(speed).all()):
            return "numbers that are not finite"
        beyond = np.maximum(self._low - q, q - self._high)
        if beyond.max() > _BEYOND:
            return f"joint {beyond.argmax() + 1} at {q[beyond.argmax()]:.3g} rad"
        if (np.abs(speed) > 2.0 * self._fastest).any():
            worst = int((np.abs(speed) / self._fastest).argmax())
            return f"joint {worst + 1} at {speed[worst]:.3g} rad/s"
        if before is None or not np.isfinite(before.joint_pos).all():
            return ""
        jump = np.abs(q - before.joint_pos)
        if (jump > 2.0 * self._fastest * (measured.stamp - before.stamp) + _JUMP).any():
            return f"a jump by {jump.max():.3g} rad"
        return ""

    def _command(self, method: str, *arguments: Any) -> None:
        if self._error or self._driver is None:
            return
        try:
            getattr(self._driver, method)(*arguments)
        except self._sdk.RuntimeError as error:
            self._failed(error)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
