"""The node of one camera of a cell: `ros2 launch robo_rl camera.launch.py cell:=CELL.yaml camera:=NAME`."""

import sys

from launch.actions import DeclareLaunchArgument, ExecuteProcess
from launch.substitutions import LaunchConfiguration

from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Run the node, and run it again if it fails."""
    cell, camera = LaunchConfiguration("cell"), LaunchConfiguration("camera")
    return LaunchDescription(
        [
            DeclareLaunchArgument("cell", description="cell file, or the name of a cell that is shipped"),
            DeclareLaunchArgument("camera", description="name of the camera in the cell file"),
            ExecuteProcess(
                cmd=[sys.executable, "-m", "hardware.serve", cell, camera],
                name=["camera_", camera],
                output="screen",
                respawn=True,
                respawn_delay=2.0,
            ),
        ]
    )
