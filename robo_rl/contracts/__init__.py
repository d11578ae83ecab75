"""The few types that every room meets at. Import torch for type checking only."""

from robo_rl.contracts.devices import (
    MAX_VALIDITY,
    Applied,
    Camera,
    Frame,
    Mode,
    Operator,
    Robot,
    RobotState,
    RobotStatus,
    ToolCommand,
)
from robo_rl.contracts.learning import Agent, Batch, BatchedEnv, Following, Metrics, Obs, Step
from robo_rl.contracts.reading import PRIVILEGED_PREFIX, Reading
from robo_rl.contracts.robot import Gripper, Impedance, Link, RobotSpec
from robo_rl.contracts.scene import CameraSpec, SceneObject, SceneSpec, Shape
from robo_rl.contracts.task import Reward, Task
from robo_rl.contracts.world import Command, Pose, Start, World

__all__ = [
    "MAX_VALIDITY",
    "PRIVILEGED_PREFIX",
    "Agent",
    "Applied",
    "Batch",
    "BatchedEnv",
    "Camera",
    "CameraSpec",
    "Command",
    "Following",
    "Frame",
    "Gripper",
    "Impedance",
    "Link",
    "Metrics",
    "Mode",
    "Obs",
    "Operator",
    "Pose",
    "Reading",
    "Reward",
    "Robot",
    "RobotSpec",
    "RobotState",
    "RobotStatus",
    "SceneObject",
    "SceneSpec",
    "Shape",
    "Start",
    "Step",
    "Task",
    "ToolCommand",
    "World",
]
