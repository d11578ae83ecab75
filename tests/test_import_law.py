"""Who may import whom: robo_rl <- controllers <- envs | hardware <- sim2real. Read from the imports, not from hope."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

ROOMS = {
    "robo_rl": set(),
    "controllers": {"robo_rl"},
    "envs": {"robo_rl", "controllers"},
    "hardware": {"robo_rl", "controllers"},
    "sim2real": {"robo_rl", "controllers", "envs", "hardware"},
}
"""Each room and the rooms that it may import."""

COMPOSITION_ROOT = ("robo_rl/cli.py", "robo_rl/commands/")
"""What may import every room."""

WITHOUT_TORCH = (
    "robo_rl/__init__.py",
    "robo_rl/contracts/",
    "robo_rl/errors.py",
    "robo_rl/geometry.py",
    "robo_rl/robots/",
    "controllers/",
    "hardware/arm.py",
    "hardware/arms/",
    "hardware/safety/",
    "hardware/cameras/",
    "hardware/ros/",
    "hardware/emulation/",
)
"""What must run on a robot's computer: torch for type checking only, wherever in the file."""

AT_USE_ONLY = {
    "mujoco_warp", "warp", "rclpy", "pybullet", "isaacgym", "isaaclab", "ray", "gymnasium_robotics",
    "stable_baselines3", "pyrealsense2", "pylibfranka", "franky", "dynamixel_sdk", "trossen_arm", "pyspacemouse",
    "rliable", "pygame", "OpenGL", "glfw", "openai", "anthropic", "wandb", "cv2", "timm",
    "aiohttp", "playwright",
}  # fmt: skip
"""Optional, or touching a device, a display or the network: imported inside the function that needs it."""


@dataclass(frozen=True)
class Import:
    """One imported module, and how it is imported."""

    module: str
    line: int
    at_top: bool
    for_types: bool


def imports(source: str, package: str = "") -> Iterator[Import]:
    """Every import in a file, with relative ones resolved against ``package``."""

    def visit(node: ast.AST, at_top: bool, for_types: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, at_top, for_types)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            yield Import(".".join([*base, *([node.module] if node.module else [])]), node.lineno, at_top, for_types)
        elif isinstance(node, ast.Call) and _is_import_call(node) and isinstance(node.args[0], ast.Constant):
            yield Import(str(node.args[0].value), node.lineno, at_top, for_types)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                yield from visit(child, at_top, True)
            for child in node.orelse:
                yield from visit(child, at_top, for_types)
            return
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, at_top and not inside, for_types)

    yield from visit(ast.parse(source), True, False)


def _is_import_call(node: ast.Call) -> bool:
    name = ast.unparse(node.func)
    return bool(node.args) and name in {"importlib.import_module", "import_module", "__import__"}


def violations(path: str, source: str) -> list[str]:
    """What a file does against the law, one line each; ``path`` is relative to the root."""
    room = path.split("/", 1)[0]
    found = []
    for it in imports(source, path.removesuffix(".py").removesuffix("/__init__").replace("/", ".").rpartition(".")[0]):
        top = it.module.split(".", 1)[0]
        where = f"{path}:{it.line}: "
        if top in ROOMS and top != room and top not in ROOMS[room] and not path.startswith(COMPOSITION_ROOT):
            found.append(f"{where}{room} imports {it.module}")
        if it.module.startswith(("robo_rl.cli", "robo_rl.commands")) and not path.startswith(COMPOSITION_ROOT):
            found.append(f"{where}{it.module} is the composition root and is imported by nobody")
        if top == "torch" and not it.for_types and path.startswith(WITHOUT_TORCH):
            found.append(f"{where}torch is imported where it may be for type checking only")
        if top in AT_USE_ONLY and it.at_top and not it.for_types:
            found.append(f"{where}{it.module} is imported before it is used")
    return found


def files() -> list[Path]:
    return [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def test_no_file_breaks_the_law():
    assert files()
    found = [line for path in files() for line in violations(path.relative_to(ROOT).as_posix(), path.read_text())]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source", "says"),
    [
        ("robo_rl/agents/made_up.py", "import envs.env", "robo_rl imports envs.env"),
        ("robo_rl/agents/made_up.py", "from controllers import impedance", "robo_rl imports controllers"),
        (
            "robo_rl/agents/made_up.py",
            "def f():\n    from envs.registry import make_env",
            "robo_rl imports envs.registry",
        ),
        ("robo_rl/made_up.py", "import importlib\nimportlib.import_module('envs.env')", "robo_rl imports envs.env"),
        ("controllers/made_up.py", "from envs import env", "controllers imports envs"),
        ("envs/made_up.py", "from hardware.arms import franka", "envs imports hardware.arms"),
        ("envs/made_up.py", "if TYPE_CHECKING:\n    import hardware", "envs imports hardware"),
        ("hardware/made_up.py", "import envs", "hardware imports envs"),
        ("envs/made_up.py", "import sim2real", "envs imports sim2real"),
        ("envs/made_up.py", "from robo_rl.commands.train import main", "composition root"),
        ("robo_rl/contracts/made_up.py", "import torch", "type checking only"),
        ("controllers/made_up.py", "def f():\n    import torch.nn", "type checking only"),
        ("controllers/made_up.py", "if TYPE_CHECKING:\n    pass\nelse:\n    import torch", "type checking only"),
        ("envs/worlds/made_up.py", "import mujoco_warp", "before it is used"),
        (
            "envs/worlds/made_up.py",
            "try:\n    from warp import types\nexcept ImportError:\n    pass",
            "before it is used",
        ),
        ("hardware/made_up.py", "class Node:\n    import rclpy", "before it is used"),
    ],
)
def test_a_made_up_violation_is_caught(path, source, says):
    found = violations(path, source)
    assert len(found) == 1
    assert says in found[0]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("robo_rl/cli.py", "import envs, controllers"),
        ("robo_rl/commands/made_up.py", "from envs.registry import make_env\nfrom robo_rl.commands import arguments"),
        ("envs/made_up.py", "import torch\nfrom controllers import impedance\nfrom robo_rl.contracts import Task"),
        ("sim2real/made_up.py", "import envs, hardware"),
        ("controllers/made_up.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"),
        ("envs/worlds/made_up.py", "def step():\n    import mujoco_warp"),
        ("envs/worlds/made_up.py", "if TYPE_CHECKING:\n    import warp as wp"),
        ("envs/worlds/made_up.py", "from . import layout"),
    ],
)
def test_what_is_allowed_is_not_caught(path, source):
    assert violations(path, source) == []


def test_a_relative_import_out_of_the_room_is_resolved():
    assert [it.module for it in imports("from ..robots import panda\nfrom . import world", "robo_rl.contracts")] == [
        "robo_rl.robots",
        "robo_rl.contracts",
    ]


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {
        k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL", "PYOPENGL_PLATFORM")
    }
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**kept, **environment})


IMPORT_EVERYTHING = """
import importlib, pkgutil
for package in ("robo_rl", "controllers", "envs", "hardware"):
    found = importlib.import_module(package)
    for info in pkgutil.walk_packages(found.__path__, package + "."):
        if not info.name.startswith("robo_rl.commands.") and info.name != "robo_rl.cli":
            importlib.import_module(info.name)
"""

BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Block())
"""


def test_everything_is_imported_without_display_graphics_library_and_extras():
    blocked = f"BLOCKED = {sorted(AT_USE_ONLY - {'cv2'})}\n" + BLOCK
    opened = """
import ctypes, sys
opened = []
real = ctypes.CDLL.__init__
def spy(self, name, *a, **k):
    opened.append(str(name)); real(self, name, *a, **k)
ctypes.CDLL.__init__ = spy
"""
    told = "\nprint([name for name in opened if 'GL' in name or 'glfw' in name], 'OpenGL' in sys.modules)"
    ran = run_python(blocked + opened + IMPORT_EVERYTHING + told)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "[] False"


def test_contracts_robots_and_controllers_run_with_torch_blocked():
    code = (
        f"BLOCKED = ['torch']\n{BLOCK}"
        + """
import importlib, pkgutil
for package in ("robo_rl.contracts", "robo_rl.robots", "controllers"):
    found = importlib.import_module(package)
    for info in pkgutil.walk_packages(found.__path__, package + "."):
        importlib.import_module(info.name)
import numpy as np
from robo_rl import geometry
from robo_rl.robots import robot, robot_names
print(len([robot(name) for name in robot_names()]), float(geometry.distance(geometry.yaw(np.array(0.5)), np.eye(3))))
"""
    )
    ran = run_python(code)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["4", "0.5"]
