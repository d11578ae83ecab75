"""One emergency stop: `ros2 launch robo_rl emergency_stop.launch.py cell:=CELL.yaml emergency_stop:=NAME`."""

import sys

from launch.actions import DeclareLaunchArgument, ExecuteProcess
from launch.substitutions import LaunchConfiguration

from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Run the node, and run it again if it fails; the arms stop meanwhile."""
    cell, emergency_stop = LaunchConfiguration("cell"), LaunchConfiguration("emergency_stop")
    return LaunchDescription(
        [
            DeclareLaunchArgument("cell", description="cell file, or the name of a cell that is shipped"),
            DeclareLaunchArgument("emergency_stop", description="name of the emergency stop in the cell file"),
            ExecuteProcess(
                cmd=[sys.executable, "-m", "hardware.serve", cell, emergency_stop],
                name=["emergency_stop_", emergency_stop],
                output="screen",
                respawn=True,
                respawn_delay=2.0,
            ),
        ]
    )
