"""What a ROS 2 workspace needs besides pyproject.toml: colcon looks for this file, and for these in share/.

colcon runs this file itself, with whatever setuptools there is. One as old as that of current ROS 2 distributions
refuses the licence in our pyproject.toml (PEP 639), and colcon cannot read what a new one makes of requires-python. So
to colcon the values are handed here; pip goes by pyproject.toml alone.
"""

import sys
import tomllib
from pathlib import Path

from setuptools import Distribution, find_packages, setup


class WithoutProject(Distribution):
    """A distribution that leaves pyproject.toml unread."""

    def parse_config_files(self, filenames=None, ignore_option_errors=False):
        """Read setup.cfg only."""
        super().parse_config_files(["setup.cfg"], ignore_option_errors)


def values():
    """What pyproject.toml says that colcon needs."""
    if "setuptools.build_meta" in sys.modules:  # pip, uv, build: whatever goes by PEP 517
        return {}
    described = tomllib.loads(Path("pyproject.toml").read_text())
    project, tool = described["project"], described["tool"]["setuptools"]
    return {
        "distclass": WithoutProject,
        "name": project["name"],
        "version": project["version"],
        "description": project["description"],
        "license": project["license"],
        "packages": find_packages(include=tool["packages"]["find"]["include"]),
        "package_data": tool["package-data"],
        "entry_points": {"console_scripts": [f"{name} = {at}" for name, at in project["scripts"].items()]},
    }


setup(
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/robo_rl"]),
        ("share/robo_rl", ["package.xml"]),
        ("share/robo_rl/launch", sorted(path.as_posix() for path in Path("launch").glob("*.launch.py"))),
    ],
    **values(),
)
