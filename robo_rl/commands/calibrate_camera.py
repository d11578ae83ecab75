"""``robo-rl cell calibrate CELL camera``: the lens of a camera, and where it is, from views of a ChArUco board."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from robo_rl.commands.postures import STILL, ask, go, watch
from robo_rl.errors import InvalidAction, Stale, UserError, unknown_name

if TYPE_CHECKING:
    from hardware.calibration.board import Board
    from hardware.calibration.hand_eye import HandEye
    from hardware.cameras.view import Intrinsics
    from hardware.cell import Cell
    from hardware.ros.camera_client import RosCamera
    from hardware.ros.robot_client import RosRobot
    from robo_rl.commands.calibrate_arguments import CalibrateArguments

Mount = Literal["tool", "base"]

_SMALLEST = 480  # pixels of the shorter side that calibration asks of a camera: a task's pictures show no markers
_LEAST = 12  # corners of the board that a view has to show
_HELD = 0.1  # m from the tool's tip to the middle of a board in the gripper, if nothing is said
_FPS = 5.0  # pictures per second that are drawn of a simulated cell; they are large
_PICTURE = 20.0  # s that a picture of the arm at rest is waited for


@dataclasses.dataclass(frozen=True)
class _View:
    """One measurement.

    Attributes:
        picture: (height, width, 3) uint8.
        T_base_tcp: (4, 4) where the tool was.
    """

    picture: np.ndarray
    T_base_tcp: np.ndarray


def calibrate_camera(
    cell: Cell, arm: str, arguments: CalibrateArguments
) -> tuple[str, dict[str, Any], dict[str, float]]:
    """Take views of the board and return section, value and residual for the cell file.

    Raises:
        UserError: if the cell is up already, the board is not seen, or what was measured does not fit.
    """
    from hardware.calibration.board import Board, find_board, find_lens
    from hardware.calibration.hand_eye import hand_eye
    from hardware.calibration.record import pose_entry
    from hardware.calibration.written import CameraPose, check_camera_pose
    from hardware.ros.camera_client import RosCamera
    from hardware.ros.robot_client import RosRobot
    from hardware.ros.session import Session
    from robo_rl.commands.cells import find_running, running

    name = str(arguments.camera)
    if name not in cell.cameras:
        raise unknown_name("camera", name, cell.cameras)
    if find_running(cell) is not None:
        raise UserError(
            f"cell {cell.name!r} is up; end its `robo-rl cell up` first, as calibration runs {name!r} at another size"
        )
    mount = _mount(cell, arm, name, arguments.mount)
    board = Board(arguments.columns, arguments.rows, arguments.square, arguments.marker, arguments.dictionary)
    prepared = _prepared(cell, arm, name, mount, board)
    entry, spec = prepared.cameras[name], prepared.spec_of(arm)
    with (
        running(prepared) as up,
        Session("cell_calibrate", domain=cell.ros.domain, interfaces=cell.ros.interfaces) as session,
    ):
        robot, camera = RosRobot(arm, spec, session), RosCamera(name, entry.width, entry.height, session)
        for each, client in ((arm, robot), (name, camera)):
            _wait(client, each, up)
        if not arguments.by_hand and up.simulation is None:
            place = "lies in the work space" if mount == "tool" else "is held by the gripper"
            ask(f"arm {arm!r} moves by itself to {arguments.views} views; clear its way, see that the board {place}")
        views = list(_views(robot, camera, prepared, arm, mount, board, arguments))
        if not arguments.by_hand:
            _home(robot)
    lens = find_lens([view.picture for view in views], board)
    sightings = [find_board(view.picture, board, lens.intrinsics) for view in views]
    T_base_tcp = np.stack([view.T_base_tcp for view in views])
    found = hand_eye(
        T_base_tcp,
        np.stack([each.T_camera_board for each in sightings]),
        "eye_in_hand" if mount == "tool" else "eye_to_hand",
    )
    of: Literal["T_tcp_camera", "T_base_camera"] = "T_tcp_camera" if mount == "tool" else "T_base_camera"
    check_camera_pose(name, CameraPose(of, found.T_mount_camera, arm), spec)
    residual = {**lens.residual, **found.residual}
    print(_said(views, board, found, residual), file=sys.stderr)
    if arguments.show is not None:
        from hardware.calibration.overlay import save_picture

        save_picture(arguments.show, _shown(views[-1], lens.intrinsics, found))
        print(f"axes of board and tool, where the result has them: {arguments.show}", file=sys.stderr)
    value = {"intrinsics": _scaled(lens.intrinsics, cell, name), of: pose_entry(found.T_mount_camera), "arm": arm}
    return f"cameras.{name}", value, residual


def _mount(cell: Cell, arm: str, name: str, said: Mount | None) -> Mount:
    """Whether a camera is on the tool: as said, as simulated, or as it was when it was calibrated before."""
    if cell.cameras[name].driver == "simulated" and cell.simulation is not None:
        from envs.registry import make_task

        if cell.simulation.task is None:
            raise UserError("simulation.task is missing; say whose scene has the cameras")
        scene = make_task(cell.simulation.task, cell.arms[arm].robot).scene()
        by_name = {camera.name: camera for camera in scene.cameras}
        if name not in by_name:
            raise unknown_name(f"camera in the scene of {cell.simulation.task}:", name, by_name)
        true: Mount = "tool" if by_name[name].on_tool else "base"
        if said not in (None, true):
            raise UserError(f"mount is {said!r}, but the simulated camera {name!r} is on the {true}; leave it out")
        return true
    before = cell.camera_pose_of(name)
    if said is None and before is None:
        raise UserError(
            f"mount is missing: say --mount tool if camera {name!r} is on the tool, --mount base if it stands still"
        )
    return said or ("tool" if before is not None and before.of == "T_tcp_camera" else "base")


def _prepared(cell: Cell, arm: str, name: str, mount: Mount, board: Board) -> Cell:
    """The cell with this camera alone, at a size at which markers can be read, and a board if it is simulated."""
    entry = cell.cameras[name]
    # A multiple of what the task gets: the same part of the scene, whatever the camera's own proportions are.
    times = max(1, math.ceil(_SMALLEST / min(entry.width, entry.height)))
    entry = dataclasses.replace(entry, width=times * entry.width, height=times * entry.height)
    simulation = cell.simulation
    if entry.driver == "simulated" and simulation is not None:
        placed = {"on": "table"} if mount == "tool" else {"on": "tool", "facing": name}
        simulation = dataclasses.replace(
            simulation, board={**placed, **dataclasses.asdict(board)}, fps=min(simulation.fps, _FPS)
        )
    return dataclasses.replace(cell, cameras={name: entry}, simulation=simulation)


def _wait(client: Any, name: str, up: Any) -> None:
    try:
        client.wait_until_ready(60.0)
    except Stale as error:
        said = up.processes.said(name) if up.processes is not None else ""
        raise Stale(f"{error}{'; it logged: ' + said if said else ''}") from None


def _views(
    robot: RosRobot, camera: RosCamera, cell: Cell, arm: str, mount: Mount, board: Board, arguments: CalibrateArguments
) -> Iterator[_View]:
    """Views that show enough of the board, as many as are asked for."""
    from hardware.calibration.board import find_corners

    count = unseen = refused = 0
    for posture in _postures(cell, arm, mount, arguments):
        if posture is None:
            ask(f"view {count + 1} of {arguments.views}: bring the arm where the board is seen from another side")
        else:
            try:
                go(robot, posture)
            except InvalidAction:
                refused += 1  # the way there leads out of the limits
                continue
            time.sleep(STILL)
        view = _look(robot, camera)
        corners = len(find_corners(view.picture, board)[0])
        if corners < _LEAST:
            unseen += 1
            print(f"{corners} corners of the board are seen, {_LEAST} are needed: left out", file=sys.stderr)
            continue
        count += 1
        print(f"view {count} of {arguments.views}: {corners} corners", file=sys.stderr)
        yield view
        if count == arguments.views:
            return
    raise UserError(
        f"the board was seen well in {count} views, {arguments.views} are asked for: {unseen} showed too little, to "
        f"{refused} the arm found no way; move the board to where the tool points, check its size, light it "
        "evenly, say the --distance of its middle from the tool, or go --by-hand"
    )


def _postures(cell: Cell, arm: str, mount: Mount, arguments: CalibrateArguments) -> Iterator[np.ndarray | None]:
    """Where to look from; None where a person decides."""
    if arguments.by_hand:
        for _ in range(3 * arguments.views):
            yield None
        return
    from controllers.kinematics import Chain
    from hardware.calibration.views import view_postures

    spec = cell.spec_of(arm)
    distance = arguments.distance
    if distance is None:
        height = float(np.asarray(Chain(spec).forward(np.array(spec.home))[0])[2]) - spec.work_center[2]
        distance = max(height, 0.0) if mount == "tool" else _HELD
    yield from view_postures(spec, cell.limits_of(arm), distance)


def _look(robot: RosRobot, camera: RosCamera) -> _View:
    """Where the tool is on average over half a second, and a picture that was taken after that began.

    Raises:
        Stale: if no picture comes.
    """
    from hardware.calibration.poses import mean_pose, pose

    began = time.monotonic()
    states = watch(robot)
    while (frame := camera.read(2.0 * _PICTURE)).stamp < began:
        if time.monotonic() > began + _PICTURE:
            raise Stale(f"{camera.name}: no new picture for {_PICTURE:g} s")
        time.sleep(0.005)
    return _View(frame.rgb.copy(), mean_pose(np.stack([pose(state.tcp_pos, state.tcp_rot) for state in states])))


def _home(robot: RosRobot) -> None:
    try:
        go(robot, np.array(robot.spec.home))
    except InvalidAction as error:
        print(f"the arm stays where it is: {error}", file=sys.stderr)


def _scaled(lens: Intrinsics, cell: Cell, name: str) -> dict[str, Any]:
    """A lens for the pictures that the cell's tasks get, as the file has it."""
    from hardware.cameras.view import Crop, fit_intrinsics

    entry = cell.cameras[name]
    fitted = fit_intrinsics(lens, Crop(0, 0, lens.width, lens.height), entry.width, entry.height)
    return {**dataclasses.asdict(fitted), "distortion": list(fitted.distortion)}


def _shown(view: _View, lens: Intrinsics, found: HandEye) -> np.ndarray:
    """A view with the frames of board and tool where the result has them, from the arm's measured pose alone."""
    from hardware.calibration.overlay import draw_frames
    from hardware.calibration.poses import inverse

    T_base_tcp = view.T_base_tcp
    if found.mount == "eye_in_hand":
        T_camera_base = inverse(T_base_tcp @ found.T_mount_camera)
        board = T_camera_base @ found.T_other_board
    else:
        T_camera_base = inverse(found.T_mount_camera)
        board = T_camera_base @ T_base_tcp @ found.T_other_board
    return draw_frames(view.picture, lens, {"board": board, "tool": T_camera_base @ T_base_tcp})


def _said(views: list[_View], board: Board, found: HandEye, residual: dict[str, float]) -> str:
    from hardware.calibration.poses import plain

    where = np.round(found.T_other_board[:3, 3], 4).tolist()
    of = "base" if found.mount == "eye_in_hand" else "tool"
    return (
        f"{len(views)} views, residual {plain(residual)}, view {found.worst + 1} fits worst; the board's corner is at "
        f"{json.dumps(where)} m in the frame of the {of}"
    )
