"""A robot cell: devices, addresses, limits and calibration, as its file has them. Data, not code."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from hardware.calibration import written
from hardware.calibration.written import CameraPose, Payload
from hardware.cameras.view import Intrinsics
from hardware.safety.limits import SafetyLimits
from robo_rl import geometry
from robo_rl.contracts import RobotSpec
from robo_rl.contracts.robot import Vec3
from robo_rl.errors import UserError, unknown_name
from robo_rl.robots import robot as find_robot
from robo_rl.settings import from_json

ArmDriver = Literal[
    "pylibfranka", "franky", "widowx250s", "trossen", "franka_ros2", "interbotix", "trajectory", "simulated"
]
CameraDriver = Literal["realsense", "webcam", "video_file", "simulated", "emulated_realsense"]
StopDriver = Literal["evdev", "gpio"]


@dataclass(frozen=True)
class ArmEntry:
    """An arm with its gripper.

    Attributes:
        robot: name of the arm.
        driver: what drives it.
        settings: of the driver, see its class.
        limits: fields of :class:`hardware.safety.limits.SafetyLimits`; the work space is the arm's own if left out.
    """

    robot: str
    driver: ArmDriver
    settings: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CameraEntry:
    """A camera.

    Attributes:
        driver: what reads it.
        width: of the pictures that are handed on, pixels.
        height: of the pictures that are handed on, pixels.
        settings: of the driver, see its class.
    """

    driver: CameraDriver
    width: int = 128
    height: int = 128
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            if not 8 <= getattr(self, name) <= 4096:
                raise UserError(f"{name} is {getattr(self, name)}; give 8 to 4096 pixels")


@dataclass(frozen=True)
class StopEntry:
    """Something that a person stops every arm of the cell with; see :mod:`hardware.inputs.stop_inputs`.

    Attributes:
        driver: ``evdev``, a button or foot switch on USB, or ``gpio``, a line of a board.
        settings: of the driver, see its class.
    """

    driver: StopDriver
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FixtureEntry:
    """Pose of a fixture in the base frame of the arm, as calibrated.

    Attributes:
        pos: m.
        rpy: roll, pitch and yaw about the fixed axes x, y, z, rad.
        arm: whose base that is; the only one if None.
    """

    pos: Vec3
    rpy: Vec3 = (0.0, 0.0, 0.0)
    arm: str | None = None

    def __post_init__(self) -> None:
        if not all(math.isfinite(number) for number in (*self.pos, *self.rpy)):
            raise UserError(f"pos {self.pos} and rpy {self.rpy} have to be finite")
        if max(abs(number) for number in self.pos) > 5.0:
            raise UserError(f"pos is {self.pos} m from the base of the arm; is it in millimetres?")


@dataclass(frozen=True)
class RosEntry:
    """How the nodes of the cell are reached.

    Attributes:
        domain: ROS_DOMAIN_ID, 0 to 232.
        interfaces: addresses of this machine that are used besides loopback; none by default.
        state_rate: states published per second, Hz.
        max_age: of a state that a policy may act on, s; beyond it the episode is cut.
    """

    domain: int = 0
    interfaces: tuple[str, ...] = ()
    state_rate: float = 100.0
    max_age: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.domain <= 232:
            raise UserError(f"domain is {self.domain}; it must be from 0 to 232")
        if not 10.0 <= self.state_rate <= 1000.0:
            raise UserError(f"state_rate is {self.state_rate} Hz; it must be from 10 to 1000")
        if not 0.01 <= self.max_age <= 1.0:
            raise UserError(f"max_age is {self.max_age} s; it must be from 0.01 to 1")


@dataclass(frozen=True)
class SimulationEntry:
    """Of a simulated cell: what stands around the arm, and how it differs from the arm's data sheet.

    Attributes:
        task: name of the task whose scene is built; the one that is deployed or trained if None.
        plant: preset (``ideal``, ``different``), or fields of :class:`robo_rl.contracts.plant.PlantSettings` on top of
            that of its ``preset``.
        delay: by how much the policy's commands take longer to the arm than in a cell that is real, s.
        fps: pictures per second of each camera.
        board: a ChArUco board that the scene is cleared for: ``on`` the ``table`` or the ``tool``, then ``facing`` a
            camera, and fields of :class:`hardware.calibration.board.Board`. None: the task's scene.
    """

    task: str | None = None
    plant: str | Mapping[str, Any] = "ideal"
    delay: float = 0.0
    fps: float = 30.0
    board: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.delay <= 0.2:
            raise UserError(f"delay is {self.delay} s; it must be from 0 to 0.2")


@dataclass(frozen=True)
class Cell:
    """A robot cell.

    Attributes:
        name: for people, and of what is kept about it.
        arms: by name.
        cameras: by the name that tasks know them by.
        emergency_stops: buttons that stop every arm, by name.
        fixtures: calibrated poses, by name.
        ros: how its nodes are reached.
        simulation: of a simulated cell; None for a real one.
        calibration: what calibrations have found, each with its residual; see :mod:`hardware.calibration.record`.
    """

    name: str
    arms: Mapping[str, ArmEntry]
    cameras: Mapping[str, CameraEntry] = field(default_factory=dict)
    emergency_stops: Mapping[str, StopEntry] = field(default_factory=dict)
    fixtures: Mapping[str, FixtureEntry] = field(default_factory=dict)
    ros: RosEntry = field(default_factory=RosEntry)
    simulation: SimulationEntry | None = None
    calibration: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.arms:
            raise UserError("arms is empty; a cell needs one at least")
        for name, entry in self.arms.items():
            find_robot(entry.robot)
            self.limits_of(name)
        drivers = [(name, str(arm.driver)) for name, arm in self.arms.items()]
        drivers += [(name, str(camera.driver)) for name, camera in self.cameras.items()]
        simulated = [name for name, driver in drivers if driver == "simulated"]
        if simulated and self.simulation is None:
            raise UserError(f"simulation is missing, but the driver of {simulated[0]} is 'simulated'; add the section")
        if self.simulation is not None and sum(entry.driver == "simulated" for entry in self.arms.values()) != 1:
            raise UserError("simulation: exactly one arm of a simulated cell has the driver 'simulated'")
        self._check_calibration()
        names = [*self.arms, *self.cameras, *self.emergency_stops]
        for name in names:
            if names.count(name) > 1:
                raise UserError(f"{name!r} names two devices of the cell; give them different names")

    def arm(self, name: str | None = None) -> str:
        """Return the name of an arm: ``name`` if it is one, the only one if None.

        Raises:
            UserError: if there is no such arm, or more than one to choose from.
        """
        if name is None:
            if len(self.arms) > 1:
                raise UserError(f"cell {self.name!r} has several arms; choose one by --arm: {', '.join(self.arms)}")
            return next(iter(self.arms))
        if name not in self.arms:
            raise unknown_name("arm", name, self.arms)
        return name

    def spec_of(self, name: str) -> RobotSpec:
        """The arm behind a name, with the tip of its tool where a calibration has found it."""
        spec = find_robot(self.arms[name].robot)
        tip = written.tool_tip(self.calibration, name, spec)
        if tip is None:
            return spec
        x, y, z = tip.tolist()
        return dataclasses.replace(spec, gripper=dataclasses.replace(spec.gripper, tcp_pos=(x, y, z)))

    def payload_of(self, name: str) -> Payload | None:
        """What an arm carries besides its gripper, as it was weighed; None if it was not."""
        return written.payload(self.calibration, name)

    def intrinsics_of(self, name: str) -> Intrinsics | None:
        """Lens of a camera for the pictures that it hands on, as calibrated; None if it was not."""
        entry = self.cameras[name]
        return written.intrinsics(self.calibration, name, entry.width, entry.height)

    def camera_pose_of(self, name: str) -> CameraPose | None:
        """Where a camera is, as calibrated; None if it was not."""
        return written.camera_pose(self.calibration, name)

    def fixture_poses(self, arm: str | None = None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Pose (3,) m and (3, 3) of each fixture in the base frame of an arm, the only one if None.

        Those of other arms are not among them. What a calibration has found goes before what ``fixtures`` says.
        """
        arm = self.arm(arm)
        poses = {}
        for name, each in self.fixtures.items():
            if self._owner(f"fixtures.{name}", each.arm) == arm:
                x, y, z = (geometry.exp(np.eye(3)[i] * each.rpy[i]) for i in range(3))
                poses[name] = np.array(each.pos), z @ y @ x
        for name, found in self.calibration.get("fixtures", {}).items():
            if self._owner(f"calibration.fixtures.{name}", found.get("arm")) == arm:
                poses[name] = np.array(found["pos"]), geometry.from_quat_wxyz(np.array(found["quat"]))
        return poses

    def _owner(self, where: str, arm: Any) -> str:
        """The arm whose base a fixture's pose is in; a UserError if there is none, or more than one that could be."""
        if arm is None and len(self.arms) == 1:
            return next(iter(self.arms))
        if arm is None:
            raise UserError(
                f"{where}: arm is missing, and the cell has several; say whose base its pose is in: "
                f"{', '.join(self.arms)}"
            )
        if arm not in self.arms:
            raise unknown_name(f"value of {where}: arm:", str(arm), self.arms)
        return str(arm)

    def _check_calibration(self) -> None:
        """Raise a UserError for what no calibration can have found."""
        written.entries(self.calibration, "arms")
        for name in self.arms:
            self.payload_of(name)  # spec_of has looked at the tool
        for name, fixture in self.fixtures.items():
            self._owner(f"fixtures.{name}", fixture.arm)
        for name, found in written.entries(self.calibration, "fixtures").items():
            where = f"calibration.fixtures.{name}"
            T = written.pose_of(where, found)
            limits = self.limits_of(self._owner(where, found.get("arm")))
            written.check_fixture(where, T[:3, 3], np.array(limits.workspace_low), np.array(limits.workspace_high))
        written.entries(self.calibration, "cameras")
        for name in self.cameras:
            self.intrinsics_of(name)
            pose = self.camera_pose_of(name)
            if pose is None:
                continue
            arm = pose.arm if pose.arm is not None else next(iter(self.arms))
            if arm not in self.arms:
                raise UserError(
                    f"calibration.cameras.{name}: arm is {arm!r}; one of {', '.join(self.arms)} expected, "
                    f"{written.AGAIN}"
                )
            written.check_camera_pose(name, pose, self.spec_of(arm))

    def limits_of(self, name: str) -> SafetyLimits:
        """The limits of an arm: those of the file, the others as :class:`SafetyLimits` says."""
        base = SafetyLimits.of(self.spec_of(name))
        values = {each.name: getattr(base, each.name) for each in dataclasses.fields(base)}
        return from_json(SafetyLimits, {**values, **self.arms[name].limits}, where=f"arms.{name}.limits")
