"""Interbotix X-series arms under ``interbotix_xsarm_ros_control``, on its topics.

Source: ``interbotix_xsarm_ros_control/config/controllers/wx250s_controllers.yaml`` of Interbotix's
interbotix_ros_manipulators. Of the commands of ``interbotix_xs_sdk`` itself (``commands/joint_group`` and the like) the
message types are its own: they are not taken up here.
"""

from __future__ import annotations

from dataclasses import dataclass

from hardware.ros.layouts.trajectory import DriverSettings, Layout
from robo_rl.contracts import RobotSpec

_FINGER_OFFSET = 0.018  # m by which the two finger joints of a WidowX 250s add up to more than its pads are apart


def interbotix(robot_name: str = "wx250s") -> Layout:
    """Return the layout of a six-joint arm that was started with ``robot_name``."""
    return Layout(
        title=f"interbotix_xsarm_ros_control of {robot_name}",
        joints=("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate"),
        joint_states=f"/{robot_name}/joint_states",
        command=f"/{robot_name}/arm_controller/joint_trajectory",
        fingers=("left_finger", "left_finger"),  # the right one mirrors it, with the opposite sign
        finger_states=f"/{robot_name}/joint_states",
        finger_command=f"/{robot_name}/gripper_controller/joint_trajectory",
        finger_command_joints=("left_finger",),
        finger_offset=_FINGER_OFFSET,
    )


@dataclass(frozen=True)
class InterbotixSettings(DriverSettings):
    """A six-joint arm that runs under interbotix_xsarm_ros_control."""

    robot_name: str = "wx250s"
    """That it was started with."""

    def layout_of(self, spec: RobotSpec) -> Layout:
        """The layout of that arm."""
        return interbotix(self.robot_name)
