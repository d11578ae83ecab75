"""The node of one arm of a cell: `ros2 launch robo_rl arm.launch.py cell:=CELL.yaml arm:=NAME`."""

import sys

from launch.actions import DeclareLaunchArgument, ExecuteProcess
from launch.substitutions import LaunchConfiguration

from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Run the node; when it ends the arm is held by its own means, so that nobody but a person starts it again."""
    cell, arm = LaunchConfiguration("cell"), LaunchConfiguration("arm")
    return LaunchDescription(
        [
            DeclareLaunchArgument("cell", description="cell file, or the name of a cell that is shipped"),
            DeclareLaunchArgument("arm", description="name of the arm in the cell file"),
            ExecuteProcess(
                cmd=[sys.executable, "-m", "hardware.serve", cell, arm],
                name=["arm_", arm],
                output="screen",
                sigterm_timeout="10",
            ),
        ]
    )
