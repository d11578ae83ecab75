"""The package in a ROS 2 workspace, built by colcon itself where it is installed; docs/ros2.md says how to get it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COLCON = shutil.which("colcon")
LOOK = """
import hardware, sys
from importlib.metadata import entry_points, version
from importlib.resources import files
assert hardware.__file__.startswith(sys.argv[1]), hardware.__file__
assert (files("hardware") / "cells" / "sim.yaml").is_file()
assert (files("robo_rl") / "cockpit" / "assets" / "index.html").is_file()
assert version("robo-rl")
"""


@pytest.mark.slow
@pytest.mark.skipif(COLCON is None, reason="colcon is not installed")
def test_colcon_builds_and_installs_what_ros_looks_for(tmp_path):
    workspace = tmp_path / "workspace"
    left_out = shutil.ignore_patterns(".git", ".venv", "runs", "__pycache__", "build", "*.egg-info", ".*_cache")
    shutil.copytree(ROOT, workspace / "src" / "robo_rl", ignore=left_out)
    listed = subprocess.run([COLCON, "list"], cwd=workspace, check=True, capture_output=True, text=True).stdout
    assert listed.split() == ["robo_rl", "src/robo_rl", "(ros.ament_python)"]
    subprocess.run([COLCON, "build", "--packages-select", "robo_rl"], cwd=workspace, check=True, timeout=500)
    there = workspace / "install" / "robo_rl"
    share = there / "share"
    launch = {path.name for path in (ROOT / "launch").glob("*.launch.py")}
    assert {path.name for path in (share / "robo_rl" / "launch").iterdir()} == launch
    assert (share / "robo_rl" / "package.xml").is_file()
    assert (share / "ament_index" / "resource_index" / "packages" / "robo_rl").is_file()
    assert (there / "lib" / "robo_rl" / "robo-rl").is_file()  # where `ros2 run` looks
    python = (there / "lib" / "robo_rl" / "robo-rl").read_text().splitlines()[0].removeprefix("#!").strip()
    sourced = f". {workspace}/install/setup.sh && {python} - {there}"
    subprocess.run(sourced, shell=True, input=LOOK, text=True, check=True, cwd=tmp_path)
