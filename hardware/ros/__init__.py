"""Nodes, clients and messages of ROS 2. Nothing of ROS leaves this folder."""

from hardware.ros.arm_node import ArmNode, serve_arm
from hardware.ros.camera_client import RosCamera
from hardware.ros.camera_node import CameraNode, serve_camera
from hardware.ros.emergency_stop_node import longest_silence, reset_emergency_stop, serve_emergency_stop
from hardware.ros.images import Intrinsics
from hardware.ros.robot_client import RosRobot
from hardware.ros.session import Session

__all__ = [
    "ArmNode",
    "CameraNode",
    "Intrinsics",
    "RosCamera",
    "RosRobot",
    "Session",
    "longest_silence",
    "reset_emergency_stop",
    "serve_arm",
    "serve_camera",
    "serve_emergency_stop",
]
