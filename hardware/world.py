"""The world that is a robot cell: an arm, cameras and fixtures, one control period at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch

from controllers.kinematics import Chain
from hardware.joint_moves import move_to
from robo_rl import geometry
from robo_rl.contracts import (
    MAX_VALIDITY,
    Camera,
    Command,
    Frame,
    Operator,
    Pose,
    Reading,
    Robot,
    RobotState,
    RobotStatus,
    SceneSpec,
    Start,
    ToolCommand,
)
from robo_rl.errors import Faulted, InvalidAction, Stale, UserError

_RETREAT = 0.08  # m that the tool is drawn back along its own axis before a reset moves the joints
_RETREAT_SPEED = 0.08  # m/s

_log = logging.getLogger(__name__)


class CellWorld:
    """A :class:`robo_rl.contracts.World` with one environment, the robot's own.

    A step sends the command at once, lets the rest of the control period pass on the monotonic clock, and reads the
    newest stamped values. What the caller calculates between two steps is part of the period. A fault of the arm, a
    camera that is stale and a link that is gone end the episode: the step waits until the fault is acknowledged, and
    gives the reading ``interrupted``, which the environment takes for a truncation.

    Example:
        >>> world = CellWorld(arm, {"wrist": camera}, task.scene())             # doctest: +SKIP
        >>> env = Env(world, task)                                              # doctest: +SKIP

    Args:
        robot: the arm.
        cameras: those of the cell, by the name that tasks know them by.
        scene: of the task: which fixtures are calibrated, which objects tracked, which cameras read.
        fixtures: calibrated poses (3,) m and (3, 3), by name. A start is laid out anew around them. Without one, a
            start's own claim holds, and the operator is asked to put the fixture there.
        operator: who sets the scene up; nobody if None.
        tracker: gives the poses (3,) m and (3, 3) of tracked objects, by name; there is none if None.
        max_age: of a state that a reading may be made of, s; a picture may be two control periods old at least.
        on_wait: told why, whenever a fault has to be acknowledged.
        should_stop: asked while waiting for that; once true, nothing is waited for and the reading is ``interrupted``.

    Attributes:
        arm: the robot.
        cameras: by name.
        operator: who sets the scene up.
        due: when the control period of the last step was over, s of ``time.monotonic()``.
        overruns: steps that the caller came too late for, so far.
        skews: by how many s the picture of each camera is older than the state of the last reading; negative if newer.
    """

    def __init__(
        self,
        robot: Robot,
        cameras: Mapping[str, Camera],
        scene: SceneSpec,
        *,
        fixtures: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
        operator: Operator | None = None,
        tracker: Callable[[], Mapping[str, tuple[np.ndarray, np.ndarray]]] | None = None,
        max_age: float = 0.1,
        on_wait: Callable[[str], None] = _log.warning,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.robot = robot.spec
        self.num_envs, self.device = 1, torch.device("cpu")
        self.control_dt = 1.0 / robot.spec.control_rate
        self.arm, self.operator, self._max_age, self._on_wait = robot, operator, max_age, on_wait
        self._should_stop = should_stop
        self.cameras = dict(cameras)
        sizes = {camera.name: (camera.width, camera.height) for camera in scene.cameras}
        for name, camera in self.cameras.items():
            if name in sizes and sizes[name] != (camera.width, camera.height):
                width, height = sizes[name]
                raise UserError(
                    f"camera {name!r} gives {camera.width}x{camera.height} pictures, the task wants {width}x{height}; "
                    f"set cameras.{name}.width and height in the cell file"
                )
        self._tracker = tracker
        self._tracked = [item.name for item in scene.objects if item.tracked]
        if self._tracked and tracker is None:
            raise UserError(
                f"this cell tracks no objects, but the task asks for the pose of {', '.join(self._tracked)}"
            )
        self._calibrated = dict(fixtures or {})
        self._claimed = [item.name for item in scene.objects if item.calibrated]
        self._locked = scene.locked_opening
        self._chain = Chain(robot.spec)
        self._id = time.time_ns()  # above those of whoever has commanded the arm before
        self.due = 0.0
        self._began = 0.0
        self._target: Command | None = None
        self._fixtures: dict[str, Pose] = {}
        self.overruns = 0
        self.skews: dict[str, float] = {}
        names = {
            "time", "joint_pos", "joint_vel", "tcp_pos", "tcp_rot", "tcp_linvel", "tcp_angvel", "tcp_force",
            "tcp_torque", "target_pos", "target_rot", "gripper_width", "gripper_target", "interrupted",
        }  # fmt: skip
        names |= {f"fixture.{name}.{part}" for name in self._claimed for part in ("pos", "rot")}
        names |= {f"tracked.{name}.{part}" for name in self._tracked for part in ("pos", "rot")}
        names |= {f"camera.{name}.rgb" for name in self.cameras if name in sizes}
        self.provides = frozenset(names)
        self._last: Reading | None = None

    def reset(self, mask: torch.Tensor, start: Start) -> Reading:
        """Draw the tool back, have the scene set up, and move to the start; see :class:`robo_rl.contracts.World`.

        Raises:
            UserError: if the start cannot be reached, or the operator gives up.
            Faulted: if the arm goes into a fault that nobody acknowledges.
        """
        if not bool(mask.any()):
            if self._last is None:
                raise UserError("the cell has not been reset yet; reset it with a mask that is true")
            return self._last
        if len(start) != 1:
            raise UserError(f"start: has {len(start)} rows, but a cell is one environment")
        start = self._at_calibration(start)
        joints = self._solve(start)
        for name in self._claimed:
            self._fixtures[name] = start.fixtures.get(name) or start.objects.get(name) or self._fixture(name)
        while True:
            if not self._wait_until_sound():
                return self._interrupted()
            try:
                self._retreat()
                if self.operator is not None:
                    self.operator.arrange(start)
                move_to(self.arm, joints, float(start.gripper_width[0, 0]), max_age=self._max_age)
                state = self.arm.state(self._max_age)
                # Aimed at where the tool really is; the opening at what was asked for.
                width = start.gripper_width.to(torch.float32).clone()
                self._target = Command(_row(state.tcp_pos), _row(state.tcp_rot), width)
                self._began = self.due = time.monotonic()
                self._last = self._reading(state, interrupted=False)
            except (Faulted, Stale) as error:
                self._on_wait(f"reset interrupted: {error}")
            else:
                return self._last

    def carry_on(self, mask: torch.Tensor) -> Reading:
        """Begin a new episode with everything where it is; see :class:`robo_rl.contracts.World`.

        A fault that has come meanwhile is waited for, and the reading is ``interrupted``.
        """
        if self._last is None:
            raise UserError("the cell has not been reset yet; call reset before carry_on")
        if not bool(mask.any()):
            return self._last
        try:
            state = self._sound_state()
            self._began = self.due = time.monotonic()
            self._last = self._reading(state, interrupted=False)
        except (Faulted, Stale) as error:
            self._on_wait(f"no episode begins here: {error}")
            self._wait_until_sound()
            self._last = self._interrupted()
        return self._last

    def step(self, command: Command) -> Reading:
        """Pursue ``command`` for one control period; see :class:`robo_rl.contracts.World`.

        Raises:
            InvalidAction: if it is not finite; nothing has been sent then.
        """
        if self._last is None:
            raise UserError("the cell has not been reset yet; call reset before step")
        parts = (command.pos, command.rot, command.gripper)
        if not all(bool(torch.isfinite(part).all()) for part in parts):
            raise InvalidAction("command of env [0] is not finite; it was not carried out")
        now = time.monotonic()
        self.due += self.control_dt
        if now > self.due:
            self.overruns += 1
            self.due = now + self.control_dt
        elif now < self.due - self.control_dt:
            self.due = now + self.control_dt
        try:
            self._send(command)
            time.sleep(max(0.0, self.due - time.monotonic()))
            state = self._sound_state()
            applied = self.arm.applied()
            self._target = Command(_row(applied.pos), _row(applied.rot), torch.tensor([[applied.gripper]]).float())
            self._last = self._reading(state, interrupted=False)
        except (Faulted, Stale) as error:
            self._on_wait(f"the episode is cut here: {error}")
            self._wait_until_sound()
            self._last = self._interrupted()
        return self._last

    def close(self) -> None:
        """Let go of arm and cameras; the arm holds."""
        self.arm.close()
        for camera in self.cameras.values():
            camera.close()

    # -- parts of a reset ----------------------------------------------------------------------------------------------

    def _at_calibration(self, start: Start) -> Start:
        """Lay a start out around the calibrated pose of its first fixture, if the cell has one."""
        name = next((name for name in self._claimed if name in self._calibrated), None)
        believed = None if name is None else start.fixtures.get(name) or start.objects.get(name)
        if name is None or believed is None:
            return start
        pos, rot = (torch.as_tensor(part, dtype=torch.float32)[None] for part in self._calibrated[name])
        turn = rot @ believed.rot.mT

        def carry(pose: Pose) -> Pose:
            return Pose(pos + (turn @ (pose.pos - believed.pos)[..., None])[..., 0], turn @ pose.rot)

        fixtures = {each: self._fixture(each) for each in self._claimed if each in self._calibrated}
        return Start(carry(start.tool), start.gripper_width, {}, {**start.fixtures, **fixtures})

    def _fixture(self, name: str) -> Pose:
        if name not in self._calibrated:
            raise UserError(
                f"fixtures.{name} is missing in the cell file; find it by `robo-rl cell calibrate CELL fixture`"
            )
        pos, rot = self._calibrated[name]
        return Pose(_row(pos), _row(rot))

    def _solve(self, start: Start) -> np.ndarray:
        home = np.array([self.robot.home])
        joints, reached = self._chain.inverse(start.tool.pos.double().numpy(), start.tool.rot.double().numpy(), home)
        if not bool(reached[0]):
            place = np.round(start.tool.pos[0].tolist(), 3).tolist()
            raise UserError(f"start.tool: {self.robot.name} cannot reach {place} m with the given orientation (row 0)")
        return joints[0]

    def _retreat(self) -> None:
        """Draw the tool back along its own axis, out of whatever it is in, as far as the work space allows."""
        state = self.arm.state(self._max_age)
        away = -state.tcp_rot[:, 2] * _RETREAT
        low, high = np.array(self.robot.workspace_low), np.array(self.robot.workspace_high)
        goal = np.clip(state.tcp_pos + away, low, high)
        length = float(np.linalg.norm(goal - state.tcp_pos))
        steps = max(1, round(length / (_RETREAT_SPEED * self.control_dt)))
        width = self.arm.applied().gripper if self._target is not None else state.gripper_width
        for k in range(1, steps + 1):
            pos = state.tcp_pos + (goal - state.tcp_pos) * (k / steps)
            # Near the measured tool, so that one that is held back is not pulled at with the whole spring at once.
            here = self.arm.state(self._max_age).tcp_pos
            clip = self.robot.impedance.clip
            self._tell(here + np.clip(pos - here, -clip, clip), state.tcp_rot, width)
            time.sleep(self.control_dt)

    def _wait_until_sound(self) -> bool:
        """Return once the arm may be moved and all cameras see; False if somebody wants to stop instead."""
        told = ""
        while not self._should_stop():
            status = self.arm.status()
            if status.mode != "fault":
                try:
                    self.arm.state(self._max_age)
                    self._frames()
                    return True
                except Stale as error:
                    reason = str(error)
            else:
                if status.needs_acknowledgement and self._acknowledged(status):
                    continue
                remedy = "; see to the cause, then `robo-rl cell recover`" if status.needs_acknowledgement else ""
                reason = f"{self.robot.name} holds: {status.fault}: {status.reason}{remedy}"
            key = status.fault or "stale"
            if key != told:
                self._on_wait(reason)
                told = key
            time.sleep(0.02)
        return False

    def _acknowledged(self, status: RobotStatus) -> bool:
        """Have the operator acknowledge a fault; False if they do not, or the arm will not have it."""
        if self.operator is None or not self.operator.acknowledge(status.fault, status.reason):
            return False
        try:
            self.arm.recover()
        except (Faulted, Stale) as error:
            _log.info("not recovered: %s", error)
            return False
        return True

    # -- parts of a step -----------------------------------------------------------------------------------------------

    def _sound_state(self) -> RobotState:
        """The newest state; Faulted if the arm is in a fault, Stale if it is too old."""
        state, status = self.arm.state(self._max_age), self.arm.status()
        if status.mode == "fault":
            raise Faulted(f"{self.robot.name}: {status.fault}: {status.reason}")
        return state

    def _send(self, command: Command) -> None:
        pos, rot, gripper = (part[0].double().numpy() for part in (command.pos, command.rot, command.gripper))
        validity = min(command.valid_periods * self.control_dt, MAX_VALIDITY)
        # A float32 rotation is one to 1e-7 only.
        self._tell(pos, geometry.from_quat_wxyz(geometry.to_quat_wxyz(rot)), float(gripper[0]), validity)

    def _tell(self, pos: np.ndarray, rot: np.ndarray, width: float, validity: float | None = None) -> None:
        self._id += 1
        self.arm.command(ToolCommand(self._id, pos, rot, width, validity or min(2.5 * self.control_dt, MAX_VALIDITY)))

    def _reading(self, state: RobotState, *, interrupted: bool) -> Reading:
        target = self._target
        assert target is not None  # reset has set it
        width = self._locked if self._locked is not None else state.gripper_width
        values = {
            "time": torch.tensor([[time.monotonic() - self._began]], dtype=torch.float32),
            "joint_pos": _row(state.joint_pos), "joint_vel": _row(state.joint_vel),
            "tcp_pos": _row(state.tcp_pos), "tcp_rot": _row(state.tcp_rot),
            "tcp_linvel": _row(state.tcp_linvel), "tcp_angvel": _row(state.tcp_angvel),
            "tcp_force": _row(state.tcp_force), "tcp_torque": _row(state.tcp_torque),
            "gripper_width": torch.tensor([[width]], dtype=torch.float32),
            "target_pos": target.pos, "target_rot": target.rot, "gripper_target": target.gripper,
            "interrupted": torch.tensor([interrupted]),
        }  # fmt: skip
        for name, pose in self._fixtures.items():
            values[f"fixture.{name}.pos"], values[f"fixture.{name}.rot"] = pose.pos.float(), pose.rot.float()
        if self._tracker is not None and self._tracked:
            seen = self._tracker()
            for name in self._tracked:
                values[f"tracked.{name}.pos"], values[f"tracked.{name}.rot"] = (_row(part) for part in seen[name])
        frames = self._frames()
        self.skews = skews(state, frames)
        for name, frame in frames.items():
            values[f"camera.{name}.rgb"] = torch.from_numpy(np.array(frame.rgb))[None]
        return Reading(values)

    def _frames(self) -> dict[str, Frame]:
        """The newest picture of each camera that is read; Stale if one of them is too old."""
        oldest = max(self._max_age, 2.0 * self.control_dt)
        wanted = (name for name in self.cameras if f"camera.{name}.rgb" in self.provides)
        return {name: self.cameras[name].read(max_age=oldest) for name in wanted}

    def _interrupted(self) -> Reading:
        """The last reading again, which ends the episode."""
        if self._last is None:
            raise Faulted(f"{self.robot.name} could not be reset: {self.arm.status().reason or 'it is silent'}")
        return Reading({**self._last, "interrupted": torch.tensor([True])})


def skews(state: RobotState, frames: Mapping[str, Frame]) -> dict[str, float]:
    """By how many s each picture is older than ``state``; negative if it is newer."""
    return {name: state.stamp - frame.stamp for name, frame in frames.items()}


def _row(values: np.ndarray) -> torch.Tensor:
    """A batch of one, float32."""
    return torch.from_numpy(np.asarray(values, dtype=np.float32)[None].copy())
