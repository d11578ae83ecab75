"""Every node of a cell: `ros2 launch robo_rl cell.launch.py cell:=CELL.yaml`."""

from importlib.resources import files
from pathlib import Path

import yaml
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from launch import LaunchContext, LaunchDescription

HERE = Path(__file__).parent


def nodes(context: LaunchContext) -> list[IncludeLaunchDescription]:
    """One launch file for each device that the cell file names."""
    cell = LaunchConfiguration("cell").perform(context)
    path = Path(cell)
    if path.suffix not in (".yaml", ".yml"):
        path = Path(str(files("hardware") / "cells" / f"{cell}.yaml"))
    described = yaml.safe_load(path.read_text())
    return [
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(str(HERE / f"{kind}.launch.py")),
            launch_arguments=[("cell", cell), (kind, name)],
        )
        for kind in ("arm", "camera", "emergency_stop")
        for name in described.get(f"{kind}s") or {}
    ]


def generate_launch_description() -> LaunchDescription:
    """Run them all."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("cell", description="cell file, or the name of a cell that is shipped"),
            OpaqueFunction(function=nodes),
        ]
    )
