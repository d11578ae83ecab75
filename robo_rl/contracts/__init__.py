"""The few types that every room meets at. Import torch for type checking only."""

from robo_rl.contracts.learning import Agent, Batch, BatchedEnv, Metrics, Obs, Step
from robo_rl.contracts.reading import PRIVILEGED_PREFIX, Reading
from robo_rl.contracts.robot import Gripper, Impedance, Link, RobotSpec
from robo_rl.contracts.scene import CameraSpec, SceneObject, SceneSpec, Shape
from robo_rl.contracts.task import Reward, Task
from robo_rl.contracts.world import Command, Pose, Start, World

__all__ = [
    "PRIVILEGED_PREFIX",
    "Agent",
    "Batch",
    "BatchedEnv",
    "CameraSpec",
    "Command",
    "Gripper",
    "Impedance",
    "Link",
    "Metrics",
    "Obs",
    "Pose",
    "Reading",
    "Reward",
    "RobotSpec",
    "SceneObject",
    "SceneSpec",
    "Shape",
    "Start",
    "Step",
    "Task",
    "World",
]
