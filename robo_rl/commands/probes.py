"""What ``robo-rl doctor`` tries out. Whatever may crash is tried in a process of its own."""

from __future__ import annotations

import glob
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

_TIMEOUT = 60.0  # seconds that a probe may take
_EGL_PACKAGES = "apt-get install libegl1 libgl1-mesa-dri"

_PHYSICS = """
import mujoco
model = mujoco.MjModel.from_xml_string(
    "<mujoco><worldbody><body><freejoint/><geom size='.1'/></body></worldbody></mujoco>")
data = mujoco.MjData(model)
for _ in range(100):
    mujoco.mj_step(model, data)
assert data.qpos[2] < 0
print("MuJoCo", mujoco.__version__)
"""
_RENDER = """
import mujoco
model = mujoco.MjModel.from_xml_string(
    "<mujoco><worldbody><light pos='0 0 2'/><geom size='.1' rgba='1 0 0 1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = mujoco.Renderer(model, 32, 32)
renderer.update_scene(data)
assert renderer.render().any()
renderer.close()
print("a 32x32 picture was drawn")
"""
_WINDOW = """
import glfw
assert glfw.init(), "GLFW cannot reach the display"
glfw.window_hint(glfw.VISIBLE, 0)
window = glfw.create_window(64, 64, "probe", None, None)
assert window, "GLFW cannot open a window"
print("a window can be opened")
"""
_TORCH = """
import torch
assert float((torch.ones(8, 8) @ torch.ones(8, 8)).sum()) == 512.0
print("torch", torch.__version__, "with", torch.get_num_threads(), "threads")
"""
_CUDA = """
import torch
assert torch.version.cuda is not None, "this torch was built without CUDA"
assert torch.cuda.is_available(), "no CUDA device"
assert float(torch.ones(8, device="cuda").sum()) == 8.0
print(torch.cuda.get_device_name(0), f"{torch.cuda.get_device_properties(0).total_memory / 2**30:.0f} GiB")
"""
_WARP = """
import mujoco_warp, warp
warp.config.quiet = True
warp.init()
print("mujoco-warp runs on", "CUDA" if warp.get_cuda_device_count() else "the CPU, for correctness only")
"""
_VIDEO = """
import tempfile, pathlib, numpy
from robo_rl.training.video import write_video
with tempfile.TemporaryDirectory() as folder:
    write_video(pathlib.Path(folder) / "probe.mp4", [numpy.zeros((32, 32, 3), numpy.uint8)] * 3, 10)
print("an mp4 was written")
"""
_ROS = """
import os, rclpy
rclpy.init()
rclpy.create_node("robo_rl_doctor").destroy_node()
rclpy.shutdown()
print("ROS 2", os.environ.get("ROS_DISTRO", ""), "node started")
"""


@dataclass(frozen=True)
class Finding:
    """What one probe found.

    Attributes:
        group: rendering, GPU, ROS 2, devices, extras, ...
        name: what was tried.
        status: ``ok``; ``missing``: not there; ``failed``: there, but does not work.
        detail: what was seen, one line.
        remedy: what to do about it, empty if it is fine.
        needed: whether nothing can be trained without it.
    """

    group: str
    name: str
    status: Literal["ok", "missing", "failed"]
    detail: str
    remedy: str = ""
    needed: bool = False


def run_python(code: str, **environment: str) -> tuple[bool, str]:
    """Run ``code`` in a Python of its own and return whether it ended well, and its last line of output or error."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "GYM_DISABLE_WARNINGS": "1", **environment},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False, f"no answer within {_TIMEOUT:.0f} s"
    except OSError as error:
        return False, str(error)
    if done.returncode < 0:
        return False, f"crashed with signal {-done.returncode}"
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    return done.returncode == 0, lines[-1].strip() if lines else f"exit code {done.returncode}"


def findings() -> Iterator[Finding]:
    """Try everything out, one after the other."""
    for probe in (_core, _rendering, _gpu, _ros, _devices, _extras):
        yield from probe()


def _tried(
    group: str, name: str, code: str, remedy: Callable[[str], str] | str, *, needed: bool = False, **env: str
) -> Finding:
    good, detail = run_python(code, **env)
    if good:
        return Finding(group, name, "ok", detail, needed=needed)
    absent = "ModuleNotFoundError" in detail or "No module named" in detail
    advice = remedy if isinstance(remedy, str) else remedy(detail)
    return Finding(group, name, "missing" if absent else "failed", detail, advice, needed)


def _core() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("core", "python", "ok", f"{platform.python_version()} on {platform.machine()}, {cores} cores")
    yield _tried("core", "torch", _TORCH, "pip install --force-reinstall torch", needed=True)
    yield _tried("core", "physics", _PHYSICS, "pip install --force-reinstall mujoco", needed=True)
    yield _tried("core", "video", _VIDEO, "pip install --force-reinstall opencv-python-headless")


def _rendering() -> Iterator[Finding]:
    egl = f"{_EGL_PACKAGES}, then export MUJOCO_GL=egl"
    yield _tried("rendering", "EGL (no display)", _RENDER, egl, MUJOCO_GL="egl")
    yield _tried(
        "rendering", "OSMesa (no display)", _RENDER, "only if EGL fails: apt-get install libosmesa6", MUJOCO_GL="osmesa"
    )
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        yield _tried("rendering", "window", _WINDOW, "check that DISPLAY names a running X server")
    else:
        yield Finding(
            "rendering", "window", "missing", "neither DISPLAY nor WAYLAND_DISPLAY is set",
            "log in on the desktop, or use ssh -X; robo-rl play writes a video without one",
        )  # fmt: skip


def _gpu() -> Iterator[Finding]:
    def remedy(detail: str) -> str:
        if "without CUDA" in detail:
            return "if there is an NVIDIA GPU: pip install torch --index-url https://download.pytorch.org/whl/cu128"
        return "training runs on the CPU; with an NVIDIA GPU, install its driver (nvidia-smi must list it)"

    yield _tried("GPU", "CUDA", _CUDA, remedy)
    yield _tried("GPU", "MuJoCo Warp", _WARP, "pip install 'robo-rl[warp]'")


def _ros() -> Iterator[Finding]:
    def remedy(detail: str) -> str:
        if glob.glob("/opt/ros/*"):
            return (
                f"source {sorted(glob.glob('/opt/ros/*'))[-1]}/setup.bash (its Python must be the one that runs this)"
            )
        return "needed for real arms only: install ROS 2 (docs.ros.org) and source its setup.bash"

    yield _tried("ROS 2", "rclpy", _ROS, remedy)


def _devices() -> Iterator[Finding]:
    yield _nodes(
        "6-D mouse", _space_mice(), "plug one in to steer by hand", "give yourself access to hidraw with a udev rule"
    )
    joysticks = sorted(glob.glob("/dev/input/js*"))
    yield _nodes("gamepad", joysticks, "plug one in to steer by hand", "sudo usermod -aG input $USER, then log in anew")
    cameras = sorted(glob.glob("/dev/video*"))
    yield _nodes("cameras", cameras, "plug one in to see a real cell", "sudo usermod -aG video $USER, then log in anew")
    ports = sorted([*glob.glob("/dev/ttyUSB*"), *glob.glob("/dev/ttyACM*")])
    yield _nodes(
        "serial ports", ports, "plug in the arm's USB cable", "sudo usermod -aG dialout $USER, then log in anew"
    )
    realtime = Path("/sys/kernel/realtime")
    if realtime.exists() and realtime.read_text().strip() == "1":
        yield Finding("devices", "real-time kernel", "ok", platform.release())
    else:
        yield Finding(
            "devices", "real-time kernel", "missing", platform.release(),
            "a Franka arm at 1 kHz wants a PREEMPT_RT kernel; nothing else does",
        )  # fmt: skip


def _nodes(name: str, paths: list[str], absent: str, denied: str) -> Finding:
    if not paths:
        return Finding("devices", name, "missing", "none", absent)
    refused = [path for path in paths if not os.access(path, os.R_OK | os.W_OK)]
    if refused:
        return Finding("devices", name, "failed", f"no access to {', '.join(refused)}", denied)
    return Finding("devices", name, "ok", ", ".join(paths))


def _space_mice() -> list[str]:
    """Paths of hidraw devices of 3Dconnexion: vendor 256F, or of old ones Logitech's 046D with a product C6xx."""
    found = []
    for uevent in sorted(glob.glob("/sys/class/hidraw/*/device/uevent")):
        text = Path(uevent).read_text().upper()
        if ":0000256F:" in text or ":0000046D:0000C6" in text:
            found.append(f"/dev/{Path(uevent).parent.parent.name}")
    return found


def _extras() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    distribution = metadata.distribution("robo-rl")
    requirements = [Requirement(text) for text in distribution.requires or []]
    for extra in distribution.metadata.get_all("Provides-Extra") or []:
        lacking = []
        for requirement in requirements:
            marker = requirement.marker
            if requirement.name == "robo-rl" or marker is None or marker.evaluate({"extra": ""}):
                continue
            if marker.evaluate({"extra": extra}):
                try:
                    version = metadata.version(requirement.name)
                except metadata.PackageNotFoundError:
                    lacking.append(requirement.name)
                    continue
                if not requirement.specifier.contains(version, prereleases=True):
                    lacking.append(f"{requirement.name}{requirement.specifier} (here {version})")
        if lacking:
            detail = f"not installed: {', '.join(lacking)}"
            yield Finding("extras", extra, "missing", detail, f"pip install 'robo-rl[{extra}]'")
        else:
            yield Finding("extras", extra, "ok", "installed")
