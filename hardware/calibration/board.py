"""The ChArUco board: its picture to print, its pose in a picture, and the lens of a camera from several pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardware.calibration.poses import CalibrationError, pose, rms
from hardware.cameras.view import Intrinsics, opencv
from robo_rl.errors import UserError, unknown_name


@dataclass(frozen=True)
class Board:
    """A ChArUco board, with its own frame in its corner: x along its rows, y along its columns."""

    columns: int = 7
    """Squares along x."""
    rows: int = 5
    """Squares along y."""
    square: float = 0.035
    """Side of a square, m. Measure it on the print: printers scale."""
    marker: float = 0.026
    """Side of a marker, m."""
    dictionary: str = "DICT_5X5_100"
    """Markers' dictionary, as OpenCV calls it."""

    def __post_init__(self) -> None:
        if self.columns < 3 or self.rows < 3:
            raise UserError(f"a board of {self.columns}x{self.rows} squares is too small; take 3x3 or more")
        if not 0.0 < self.marker < self.square:
            raise UserError(f"board.marker is {self.marker} m; it must lie between 0 and board.square, {self.square} m")

    def picture(self, pixels_per_square: int = 120) -> np.ndarray:
        """Return the board to print, (rows, columns) pixels uint8, without a margin."""
        size = (self.columns * pixels_per_square, self.rows * pixels_per_square)
        return self._made().generateImage(size, marginSize=0, borderBits=1)

    def _made(self) -> Any:
        aruco = opencv().aruco
        known = [name for name in dir(aruco) if name.startswith("DICT_")]
        if self.dictionary not in known:
            raise unknown_name("dictionary of markers", self.dictionary, known)
        markers = aruco.getPredefinedDictionary(getattr(aruco, self.dictionary))
        if self.columns * self.rows // 2 > len(markers.bytesList):
            raise UserError(f"{self.dictionary} has too few markers for a board of {self.columns}x{self.rows} squares")
        return aruco.CharucoBoard((self.columns, self.rows), self.square, self.marker, markers)


@dataclass(frozen=True)
class Sighting:
    """A board in a picture.

    Attributes:
        T_camera_board: (4, 4); the camera's frame is OpenCV's: x right, y down, z forward.
        points: (k, 3) corners that were seen, in the board's frame, m.
        pixels: (k, 2) where.
        residual: ``reprojection_px``.
    """

    T_camera_board: np.ndarray
    points: np.ndarray
    pixels: np.ndarray
    residual: dict[str, float]


@dataclass(frozen=True)
class Lens:
    """What :func:`find_lens` found.

    Attributes:
        intrinsics: of the camera.
        residual: ``reprojection_px``.
    """

    intrinsics: Intrinsics
    residual: dict[str, float]


def find_corners(picture: np.ndarray, board: Board) -> tuple[np.ndarray, np.ndarray]:
    """Find the corners of a board in a picture (height, width, 3) or (height, width) uint8.

    Returns:
        Corners (k, 3) in the board's frame, m, and where they are seen (k, 2), pixels; k is 0 without a board.
    """
    cv2 = opencv()
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) if picture.ndim == 3 else picture
    made = board._made()
    found, ids, *_ = cv2.aruco.CharucoDetector(made).detectBoard(gray)
    if ids is None or len(ids) == 0:
        return np.zeros((0, 3)), np.zeros((0, 2))
    points, pixels = made.matchImagePoints(found, ids)
    return points.reshape(-1, 3).astype(float), pixels.reshape(-1, 2).astype(float)


def find_board(picture: np.ndarray, board: Board, lens: Intrinsics) -> Sighting:
    """Find the pose of a board in a picture.

    Raises:
        CalibrationError: if too little of it is seen.
    """
    cv2 = opencv()
    if picture.shape[:2] != (lens.height, lens.width):
        raise CalibrationError(
            f"the picture has {picture.shape[1]}x{picture.shape[0]} pixels, its lens is of {lens.width}x{lens.height}; "
            "use the intrinsics of these very pictures"
        )
    points, pixels = find_corners(picture, board)
    # Corners on one line leave the board free to turn about it.
    if len(points) < 6 or np.linalg.matrix_rank(points - points.mean(axis=0), tol=0.5 * board.square) < 2:
        raise CalibrationError(
            f"{len(points)} corners of the {board.columns}x{board.rows} board are seen, 6 on two rows are needed; "
            "bring more of it into view, light it evenly, and check the board's size and dictionary"
        )
    distortion = np.array(lens.distortion or (0.0,) * 5)
    solved, rotvec, pos = cv2.solvePnP(points, pixels, lens.matrix, distortion, flags=cv2.SOLVEPNP_IPPE)
    if not solved:
        raise CalibrationError("the corners seen fit no pose of the board; check its size and the camera's intrinsics")
    rotvec, pos = cv2.solvePnPRefineLM(points, pixels, lens.matrix, distortion, rotvec, pos)
    seen = cv2.projectPoints(points, rotvec, pos, lens.matrix, distortion)[0].reshape(-1, 2)
    residual = {"reprojection_px": rms(np.linalg.norm(seen - pixels, axis=1))}
    return Sighting(pose(pos.ravel(), cv2.Rodrigues(rotvec)[0]), points, pixels, residual)


def find_lens(pictures: Sequence[np.ndarray], board: Board) -> Lens:
    """Find the intrinsics of a camera from pictures of a board, for cameras that do not know their own.

    Zhang, "A flexible new technique for camera calibration", PAMI 2000, as in OpenCV. Distortion is described by as few
    numbers as the pictures ask for: none, then k1, k2, p1, p2, then k3 too, the next only if it takes a tenth off the
    error. Those that pictures do not determine would bend what lies beside the board, and the focal length with it.

    Raises:
        CalibrationError: if the board is seen in too few of them, or always from the same side.
    """
    cv2 = opencv()
    sightings = [found for found in (find_corners(picture, board) for picture in pictures) if len(found[0]) >= 8]
    if len(sightings) < 5:
        raise CalibrationError(
            f"the board is seen in {len(sightings)} of {len(pictures)} pictures, 5 are needed (10 are better); take "
            "them from many sides, tilted by 20 to 40 degrees, and let the board reach the corners of the picture"
        )
    height, width = pictures[0].shape[:2]
    points = [each[0].astype(np.float32) for each in sightings]
    pixels = [each[1].astype(np.float32) for each in sightings]
    straight = cv2.CALIB_ZERO_TANGENT_DIST | cv2.CALIB_FIX_K1 | cv2.CALIB_FIX_K2 | cv2.CALIB_FIX_K3
    error, K, distortion, rotvecs, _ = cv2.calibrateCamera(points, pixels, (width, height), None, None, flags=straight)
    for flags in (cv2.CALIB_FIX_K3, 0):
        tried = cv2.calibrateCamera(points, pixels, (width, height), None, None, flags=flags)
        if tried[0] > 0.9 * error:
            break
        error, K, distortion, rotvecs, _ = tried
    normals = np.array([cv2.Rodrigues(rotvec)[0][:, 2] for rotvec in rotvecs])
    spread = np.degrees(np.arccos(np.clip((normals @ normals.T).min(), -1.0, 1.0)))
    if spread < 15.0:
        raise CalibrationError(
            f"all pictures show the board from one side, within {spread:.0f} degrees: focal length and distance cannot "
            "be told apart; tilt the board by 20 to 40 degrees to either side"
        )
    given = tuple(float(k) for k in np.ravel(distortion)[:5])
    lens = Intrinsics(width, height, float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]), given)
    return Lens(lens, {"reprojection_px": float(error)})
