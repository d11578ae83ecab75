"""Franka arms under ``franka_ros2``, on its topics.

Sources: ``franka_robot_state_broadcaster`` (``measured_joint_states``, ``external_joint_torques``), the trajectory
controller ``ARM_arm_controller`` of its MoveIt configuration, and ``franka_gripper`` (``joint_states``), all of
Franka's franka_ros2. The hand is moved, and errors are cleared, by actions of ``franka_msgs``, which are no standard
messages: here the hand is read only, and the arm is recovered by its own means.
"""

from __future__ import annotations

from dataclasses import dataclass

from hardware.ros.layouts.trajectory import DriverSettings, Layout
from robo_rl.contracts import RobotSpec
from robo_rl.errors import UserError


def franka_ros2(arm: str = "fr3", namespace: str = "") -> Layout:
    """Return the layout of an ``arm``, ``fr3`` or ``panda``, whose nodes run in ``namespace``."""
    root = f"/{namespace.strip('/')}" if namespace.strip("/") else ""
    return Layout(
        title=f"franka_ros2 of {arm}",
        joints=tuple(f"{arm}_joint{i}" for i in range(1, 8)),
        joint_states=f"{root}/franka_robot_state_broadcaster/measured_joint_states",
        command=f"{root}/{arm}_arm_controller/joint_trajectory",
        fingers=(f"{arm}_finger_joint1", f"{arm}_finger_joint2"),
        finger_states=f"{root}/franka_gripper/joint_states",
        external_torques=f"{root}/franka_robot_state_broadcaster/external_joint_torques",
    )


@dataclass(frozen=True)
class FrankaRos2Settings(DriverSettings):
    """An FR3 or a Panda that runs under franka_ros2."""

    namespace: str = ""
    """That its nodes run in."""

    def layout_of(self, spec: RobotSpec) -> Layout:
        """The layout of the arm that ``spec`` names.

        Raises:
            UserError: if that is none of Franka's.
        """
        if spec.name not in ("fr3", "panda"):
            raise UserError(f"franka_ros2 runs an fr3 or a panda, not {spec.name!r}; name the arm that it runs")
        return franka_ros2(spec.name, self.namespace)
