"""The process of one device of a cell: ``python -m hardware.serve CELL.yaml NAME``.

Owns the device and serves it over ROS 2 until SIGINT or SIGTERM. Started by :class:`hardware.processes.CellProcesses`,
by the launch files, or by hand.
"""

from __future__ import annotations

import argparse
import gc
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from hardware.cell import load_cell
from hardware.devices import make_arm, open_camera
from robo_rl.errors import UserError, unknown_name


def main(args: Sequence[str] | None = None) -> int:
    """Serve a device and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m hardware.serve", description="Serve one device of a cell.")
    parser.add_argument("cell", help="cell file, or name of one that is shipped")
    parser.add_argument("device", help="name of an arm or a camera in it")
    parser.add_argument("--fault-folder", type=Path, help="where the last seconds before a fault are written")
    parser.add_argument("--latched", default="", metavar="WHY", help="begin in the fault 'stopped', for this reason")
    given = parser.parse_args(args)
    logging.basicConfig(level=logging.INFO, format=f"{given.device}: %(message)s", stream=sys.stderr)
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
    from hardware.ros.arm_node import ArmNode
    from hardware.ros.camera_node import serve_camera
    from hardware.ros.session import Session, require_ros

    require_ros()
    cell = load_cell(cell_file)
    ros = cell.ros
    if device in cell.arms:
        # The control thread shares the interpreter with all that is done here, which must not keep it waiting: what
        # takes long is done before it starts, no garbage is collected, whoever has the interpreter gives it up soon.
        sys.setswitchinterval(5e-4)
        arm = make_arm(cell, device, fault_folder=fault_folder)
        with Session(f"{device}_node", domain=ros.domain, interfaces=ros.interfaces, shared_memory=False) as session:
            node = ArmNode(arm, device, session, state_rate=ros.state_rate)
            gc.collect()
            gc.freeze()
            gc.disable()
            try:
                with arm:
                    if latched:
                        arm.stop(latched)
                    session.wait()
            finally:
                node.close()
    elif device in cell.cameras:
        camera = open_camera(cell, device)
        try:
            serve_camera(camera, device, domain=ros.domain, interfaces=ros.interfaces)
        finally:
            camera.close()
    else:
        raise unknown_name("device", device, [*cell.arms, *cell.cameras])


if __name__ == "__main__":
    sys.exit(main())
