"""The process of one device of a cell: ``python -m hardware.serve CELL.yaml NAME``.

Owns the device and serves it over ROS 2 until SIGINT or SIGTERM. Started by :class:`hardware.processes.CellProcesses`,
by the launch files, or by hand.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hardware.arm import Arm
from hardware.cell import Cell
from hardware.cell_file import load_cell
from hardware.devices import make_arm, make_stop_input, open_camera
from hardware.processes import end_with
from hardware.realtime import prioritise, undisturbed
from robo_rl.errors import UserError, unknown_name

if TYPE_CHECKING:
    from hardware.ros import Intrinsics
    from robo_rl.contracts import Camera

_ARM, _STOP, _CAMERA = 5, 5, 3  # real-time priorities of all threads of a process; the control thread's is above


def main(args: Sequence[str] | None = None) -> int:
    """Serve a device and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m hardware.serve", description="Serve one device of a cell.")
    parser.add_argument("cell", help="cell file, or name of one that is shipped")
    parser.add_argument("device", help="name of an arm, a camera or an emergency stop in it")
    parser.add_argument("--fault-folder", type=Path, help="where the last seconds before a fault are written")
    parser.add_argument("--latched", default="", metavar="WHY", help="begin in the fault 'stopped', for this reason")
    parser.add_argument("--parent", type=int, metavar="PID", help="process without which this one shall not go on")
    given = parser.parse_args(args)
    logging.basicConfig(level=logging.INFO, format=f"{given.device}: %(message)s", stream=sys.stderr)
    if given.parent is not None:
        end_with(given.parent)
    try:
        serve(given.cell, given.device, given.fault_folder, given.latched)
    except UserError as error:
        print(f"{given.device}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def serve(cell_file: str, device: str, fault_folder: Path | None = None, latched: str = "") -> None:
    """Serve a device of a cell until SIGINT or SIGTERM.

    Raises:
        UserError: if the cell file, or the device, cannot be used.
    """
    from hardware.ros import serve_arm, serve_camera, serve_emergency_stop
    from hardware.ros.session import require_ros

    require_ros()
    cell = load_cell(cell_file)
    ros = cell.ros
    if device in cell.arms:
        prioritise(_ARM)  # a thread that has the interpreter must get to give it up
        arm = make_arm(cell, device, fault_folder=fault_folder)
        serve_arm(
            arm, device, domain=ros.domain, interfaces=ros.interfaces, state_rate=ros.state_rate,
            emergency_stops=list(cell.emergency_stops), within=_controlled(arm, latched),
        )  # fmt: skip
    elif device in cell.cameras:
        prioritise(_CAMERA)
        camera = open_camera(cell, device)
        try:
            serve_camera(
                camera, device, domain=ros.domain, interfaces=ros.interfaces, intrinsics=lens_of(cell, device, camera)
            )
        finally:
            camera.close()
    elif device in cell.emergency_stops:
        prioritise(_STOP)
        serve_emergency_stop(
            make_stop_input(cell, device), device, {name: cell.spec_of(name) for name in cell.arms},
            domain=ros.domain, interfaces=ros.interfaces,
        )  # fmt: skip
    else:
        raise unknown_name("device", device, [*cell.arms, *cell.cameras, *cell.emergency_stops])


def lens_of(cell: Cell, name: str, camera: Camera) -> Intrinsics | None:
    """Lens of a camera for the pictures that it hands on: as calibrated, else as the device says; None if neither."""
    from hardware.cameras.capture import ThreadedCamera
    from hardware.ros import Intrinsics

    lens = cell.intrinsics_of(name)
    if lens is None and isinstance(camera, ThreadedCamera):
        lens = camera.intrinsics
    if lens is None:
        return None
    distortion = (*lens.distortion, *(0.0,) * (5 - len(lens.distortion)))
    return Intrinsics(lens.fx, lens.fy, lens.cx, lens.cy, distortion)


@contextlib.contextmanager
def _controlled(arm: Arm, latched: str) -> Iterator[None]:
    """Have ``arm`` controlled by its thread; ``latched`` says why it may not move yet, if it may not."""
    with undisturbed(), arm:
        if latched:
            arm.stop(latched)
        yield


if __name__ == "__main__":
    sys.exit(main())
