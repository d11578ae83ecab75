"""What ``robo-rl cell calibrate`` is asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from robo_rl.errors import UserError


@dataclasses.dataclass(frozen=True)
class CalibrateArguments:
    """What to calibrate."""

    cell: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CELL")]
    """Cell file; it gets the result."""

    what: Annotated[Literal["camera", "fixture", "tool", "payload"], tyro.conf.Positional]
    """camera: its lens and where it is, by looking at a ChArUco board from many sides. fixture: where one stands, by
    touching known points of it. tool: where its tip is, by keeping that in one place. payload: what the arm carries; it
    moves through eight postures about its home by itself."""

    name: str | None = None
    """Of the fixture."""

    arm: str | None = None
    """Which arm of the cell; None: the only one."""

    points: tuple[tuple[float, float, float], ...] = ()
    """Points of the fixture that are touched, in its frame, m; three or more, not on a line."""

    poses: int = 8
    """Number of poses of the tool."""

    camera: str | None = None
    """Of the cell."""

    mount: Literal["tool", "base"] | None = None
    """Whether the camera is on the tool and the board lies in the work space, or it stands still and the tool holds the
    board; None: as it was calibrated before, or as it is simulated."""

    views: int = 15
    """Number of pictures of the board."""

    by_hand: bool = False
    """Whether a person brings the arm to each view, instead of the arm moving by itself."""

    distance: float | None = None
    """From the tool centre point along the tool to the middle of the board, m: what the arm turns about. None: down to
    the table for a camera on the tool, else 0.1."""

    columns: int = 7
    """Squares of the board along its rows."""

    rows: int = 5
    """Squares of the board along its columns."""

    square: float = 0.035
    """Side of a square, m, as measured on the print."""

    marker: float = 0.026
    """Side of a marker, m."""

    dictionary: str = "DICT_5X5_100"
    """Markers of the board, as OpenCV calls them."""

    show: Path | None = None
    """Picture file that the last view goes to, with the axes of board and tool drawn where the result has them."""

    def __post_init__(self) -> None:
        if self.what == "fixture" and not self.name:
            raise UserError("name is missing: say which fixture, such as --name hole")
        if self.what == "fixture" and len(self.points) < 3:
            raise UserError(
                f"points: {len(self.points)} given, three or more expected, such as --points 0 0 0 .04 0 0 0 .04 0"
            )
        if self.poses < 4:
            raise UserError(f"poses is {self.poses}; four or more are needed")
        if self.what == "camera" and not self.camera:
            raise UserError("camera is missing: say which camera of the cell, such as --camera wrist")
        if self.views < 6:
            raise UserError(f"views is {self.views}; six or more are needed, 15 are better")
        if self.distance is not None and not 0.0 <= self.distance <= 1.0:
            raise UserError(f"distance is {self.distance} m; it must be from 0 to 1")
        if self.show is not None and self.show.suffix.lower() not in (".png", ".jpg", ".jpeg"):
            raise UserError(f"show is {self.show}; give the name of a picture, such as view.png")
