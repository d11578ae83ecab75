"""From the pictures that a camera takes to those that a task wants: crop to the view, then resize."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from robo_rl.contracts import Camera, CameraSpec, Frame
from robo_rl.errors import UserError


def opencv() -> Any:
    """Import OpenCV; either of its wheels will do.

    Raises:
        UserError: if there is none.
    """
    try:
        import cv2
    except ImportError as error:
        raise UserError(
            f"OpenCV is needed and does not import ({error}): pip install opencv-python-headless, or opencv-python"
        ) from error
    return cv2


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera with Brown-Conrady distortion, in pixels; pixel (0, 0) has its centre at (0, 0).

    Attributes:
        width: of the picture.
        height: of the picture.
        fx: focal length along the rows.
        fy: focal length along the columns.
        cx: principal point.
        cy: principal point.
        distortion: k1, k2, p1, p2, k3 as in OpenCV; empty if there is none.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        numbers = (self.width, self.height, self.fx, self.fy)
        if not (
            all(math.isfinite(each) for each in (*numbers, self.cx, self.cy, *self.distortion)) and min(numbers) > 0
        ):
            raise UserError(f"a lens of width, height, fx, fy {numbers} cannot be; give finite ones, above 0")
        if len(self.distortion) not in (0, 4, 5):
            raise UserError(f"distortion is {self.distortion}; give k1, k2, p1, p2 and k3, or leave it out")

    @property
    def fovy(self) -> float:
        """Vertical field of view, degrees."""
        return math.degrees(2.0 * math.atan2(self.height / 2.0, self.fy))

    @property
    def matrix(self) -> np.ndarray:
        """K (3, 3)."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class Crop:
    """A part of a picture, in pixels."""

    left: int
    top: int
    width: int
    height: int


def choose_crop(
    size: tuple[int, int], wanted: tuple[int, int], fovy: float | None = None, intrinsics: Intrinsics | None = None
) -> Crop:
    """Choose the part of a picture that shows what is wanted: undistorted proportions, and the wanted field of view.

    A camera whose field of view is narrower than ``fovy`` gives all that it has; compare ``Intrinsics.fovy`` of the
    result (:func:`fit_intrinsics`).

    Args:
        size: (width, height) of the picture.
        wanted: (width, height) that it will be resized to.
        fovy: vertical field of view that is wanted, degrees; None for as much as there is.
        intrinsics: of the picture; without them ``fovy`` cannot be kept and the largest part is taken.

    Raises:
        UserError: if a size is not positive.
    """
    width, height = size
    if min(*size, *wanted) < 1:
        raise UserError(f"cannot crop pictures of {width}x{height} to {wanted[0]}x{wanted[1]}; give sizes of 1 or more")
    aspect = wanted[0] / wanted[1]
    rows = min(height, width / aspect)
    center = ((width - 1) / 2.0, (height - 1) / 2.0)
    if intrinsics is not None and fovy is not None:
        rows = min(rows, 2.0 * intrinsics.fy * math.tan(math.radians(fovy) / 2.0))
        center = (intrinsics.cx, intrinsics.cy)
    tall = max(1, min(height, round(rows)))
    wide = max(1, min(width, round(rows * aspect)))
    left = min(max(round(center[0] - (wide - 1) / 2.0), 0), width - wide)
    top = min(max(round(center[1] - (tall - 1) / 2.0), 0), height - tall)
    return Crop(left, top, wide, tall)


def fit(
    rgb: np.ndarray, depth: np.ndarray | None, crop: Crop, width: int, height: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Crop and resize a picture (h, w, 3) and its depth (h, w) to (height, width); the results own their memory.

    Colours are averaged over the area of a pixel. Depths are picked, never averaged: a mean across an edge would be a
    distance at which there is nothing, and unknown depths (0) would pull their neighbours nearer.
    """
    rows, columns = slice(crop.top, crop.top + crop.height), slice(crop.left, crop.left + crop.width)
    rgb = rgb[rows, columns]
    depth = None if depth is None else depth[rows, columns]
    if (crop.width, crop.height) == (width, height):
        return rgb.copy(), None if depth is None else depth.copy()
    cv2 = opencv()
    shrinks = width <= crop.width and height <= crop.height
    rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    if depth is not None:
        depth = cv2.resize(depth, (width, height), interpolation=cv2.INTER_NEAREST)
    return rgb, depth


def fit_intrinsics(intrinsics: Intrinsics, crop: Crop, width: int, height: int) -> Intrinsics:
    """Intrinsics of the pictures that :func:`fit` makes."""
    sx, sy = width / crop.width, height / crop.height
    return replace(
        intrinsics,
        width=width,
        height=height,
        fx=intrinsics.fx * sx,
        fy=intrinsics.fy * sy,
        # Half a pixel: centres of pixels are whole numbers, edges are not.
        cx=(intrinsics.cx - crop.left + 0.5) * sx - 0.5,
        cy=(intrinsics.cy - crop.top + 0.5) * sy - 0.5,
    )


class FittedCamera:
    """A camera whose pictures are cropped and resized to what a task wants, as they are read.

    For a camera that somebody else takes the pictures of, such as a node; one that we read ourselves does it in its
    own thread (:class:`hardware.cameras.capture.ThreadedCamera`).

    Example:
        >>> FittedCamera(camera, CameraSpec("wrist", ...)).read().rgb.shape    # doctest: +SKIP
        (128, 128, 3)

    Args:
        camera: what gives the pictures; closed with this.
        spec: what the task wants; its name becomes this camera's.
        intrinsics: of ``camera``'s pictures, if known; then the view has the task's ``fovy``.
    """

    def __init__(self, camera: Camera, spec: CameraSpec, intrinsics: Intrinsics | None = None) -> None:
        self.name, self.width, self.height = spec.name, spec.width, spec.height
        self.camera = camera
        self.crop = choose_crop((camera.width, camera.height), (spec.width, spec.height), spec.fovy, intrinsics)
        self.intrinsics = intrinsics and fit_intrinsics(intrinsics, self.crop, spec.width, spec.height)

    def read(self, max_age: float = 0.2) -> Frame:
        """Return the newest frame; see :meth:`robo_rl.contracts.Camera.read`."""
        frame = self.camera.read(max_age)
        rgb, depth = fit(frame.rgb, frame.depth, self.crop, self.width, self.height)
        return Frame(frame.stamp, frame.index, rgb, depth)

    def close(self) -> None:
        """Close the camera behind it."""
        self.camera.close()
