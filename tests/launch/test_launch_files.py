"""The launch files, run with a stand-in of ROS 2's `launch`, and with `launch` itself where it is installed.

`launch` is on no package index, so that most machines check them with the stand-in.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = ROOT / "launch"


@dataclass
class LaunchDescription:
    entities: list


@dataclass
class DeclareLaunchArgument:
    name: str
    description: str


@dataclass
class LaunchConfiguration:
    name: str

    def perform(self, context):
        return context[self.name]


@dataclass
class ExecuteProcess:
    cmd: list
    name: list
    output: str
    sigterm_timeout: str = "5"
    respawn: bool = False
    respawn_delay: float = 0.0


@dataclass
class OpaqueFunction:
    function: object


@dataclass
class PythonLaunchDescriptionSource:
    path: str


@dataclass
class IncludeLaunchDescription:
    source: PythonLaunchDescriptionSource
    launch_arguments: list = field(default_factory=list)


MODULES = {
    "launch": [LaunchDescription],
    "launch.actions": [DeclareLaunchArgument, ExecuteProcess, IncludeLaunchDescription, OpaqueFunction],
    "launch.substitutions": [LaunchConfiguration],
    "launch.launch_description_sources": [PythonLaunchDescriptionSource],
}


@pytest.fixture
def stand_in(monkeypatch):
    for name, classes in MODULES.items():
        module = ModuleType(name)
        for each in classes:
            setattr(module, each.__name__, each)
        module.LaunchContext = dict
        monkeypatch.setitem(sys.modules, name, module)


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.name.removesuffix(".py").replace(".", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def commands(path: Path, context: dict[str, str]) -> list[tuple[list[str], bool]]:
    """The commands that a launch file runs, and whether each is run again when it ends."""
    described = loaded(path).generate_launch_description().entities
    declared = {each.name for each in described if isinstance(each, DeclareLaunchArgument)}
    assert declared == set(context)
    found = []
    for each in described:
        if isinstance(each, ExecuteProcess):
            words = [word if isinstance(word, str) else word.perform(context) for word in each.cmd]
            found.append((words, each.respawn))
        elif isinstance(each, OpaqueFunction):
            for included in each.function(context):
                found += commands(Path(included.source.path), dict(included.launch_arguments))
    return found


def serve(cell: str, device: str) -> list[str]:
    return [sys.executable, "-m", "hardware.serve", cell, device]


def test_an_arm_is_served_once_and_the_others_again_and_again(stand_in):
    assert commands(LAUNCH / "arm.launch.py", {"cell": "c.yaml", "arm": "left"}) == [(serve("c.yaml", "left"), False)]
    assert commands(LAUNCH / "camera.launch.py", {"cell": "c", "camera": "top"}) == [(serve("c", "top"), True)]
    button = commands(LAUNCH / "emergency_stop.launch.py", {"cell": "c", "emergency_stop": "button"})
    assert button == [(serve("c", "button"), True)]


def test_a_cell_is_every_device_of_its_file(stand_in, tmp_path):
    cell = tmp_path / "two.yaml"
    devices = {"arms": {"left": {}, "right": {}}, "cameras": {"top": {}}, "emergency_stops": {"button": {}}}
    cell.write_text(yaml.safe_dump({"name": "two", **devices}))
    found = [words for words, _ in commands(LAUNCH / "cell.launch.py", {"cell": str(cell)})]
    assert found == [serve(str(cell), name) for name in ("left", "right", "top", "button")]


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "hardware" / "cells").glob("*.yaml")))
def test_a_cell_that_is_shipped_is_known_by_name(stand_in, name):
    found = commands(LAUNCH / "cell.launch.py", {"cell": name})
    assert found
    assert all(words[3] == name for words, _ in found)


def test_the_module_that_they_run_is_there():
    assert importlib.util.find_spec("hardware.serve") is not None


def test_they_are_no_package_that_would_hide_that_of_ros():
    assert not (LAUNCH / "__init__.py").exists()


def test_ros_accepts_them_where_it_is_installed():
    launch = pytest.importorskip("launch")
    if not hasattr(launch, "LaunchDescription"):
        pytest.skip("ROS 2's launch is not installed")
    for path in LAUNCH.glob("*.launch.py"):
        assert isinstance(loaded(path).generate_launch_description(), launch.LaunchDescription)


def test_what_colcon_reads_agrees_with_the_project():
    import tomllib
    from xml.etree import ElementTree

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    assert package.findtext("version") == project["version"]
    assert package.findtext("license") == project["license"]
    assert package.findtext("name") == project["name"].replace("-", "_")
    assert package.findtext("export/build_type") == "ament_python"
    assert (ROOT / "resource" / package.findtext("name")).exists()
    messages = {each.split("==")[0] for each in project["optional-dependencies"]["ros"]}
    wanted = {each.text for each in package.iter("exec_depend")}
    assert {each.removeprefix("ros-").split("[")[0].replace("-", "_") for each in messages} <= wanted


def test_what_ros_looks_for_is_installed_where_it_looks(tmp_path):
    command = [sys.executable, "setup.py", "-q", "install_data", "--install-dir", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    share = tmp_path / "share"
    assert (share / "ament_index" / "resource_index" / "packages" / "robo_rl").is_file()
    assert (share / "robo_rl" / "package.xml").is_file()
    installed = {path.name for path in (share / "robo_rl" / "launch").iterdir()}
    assert installed == {path.name for path in LAUNCH.glob("*.launch.py")}
