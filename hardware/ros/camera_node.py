"""The node that owns a camera: publishes each new picture. The topics are listed in docs/ros2.md."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from hardware.ros import images, messages, qos
from hardware.ros.images import Intrinsics
from hardware.ros.session import Session, check_name
from robo_rl.contracts import Camera
from robo_rl.errors import Stale

POLL = 0.004
"""Seconds between two looks at the camera; what a picture waits at most."""
STATUS_PERIOD = 0.1


class CameraNode:
    """Serves any :class:`robo_rl.contracts.Camera` on topics under its name.

    Example:
        >>> with Session("wrist_node") as session:                             # doctest: +SKIP
        ...     node = CameraNode(camera, "wrist", session)
        ...     session.wait()                                                 # until SIGINT or SIGTERM
        ...     node.close()

    Args:
        camera: to serve; it stays its owner's to close.
        name: namespace of the topics.
        session: whose node it lives on.
        intrinsics: of the lens, if it is calibrated; published with every picture.
    """

    def __init__(self, camera: Camera, name: str, session: Session, *, intrinsics: Intrinsics | None = None) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from sensor_msgs.msg import CameraInfo, Image

        self._camera = camera
        self._name = check_name(name, "camera")
        self._session = session
        self._intrinsics = intrinsics
        self._frame = images.camera_frame(name)
        self._index: int | None = None
        self._published = 0
        self._lost = 0
        self._status_due = 0.0
        self._stale: str | None = None
        node = session.node
        self._colour_out = node.create_publisher(Image, f"{name}/image", qos.image_out())
        self._depth_out = node.create_publisher(Image, f"{name}/depth", qos.image_out())
        self._info_out = node.create_publisher(CameraInfo, f"{name}/camera_info", qos.image_out())
        self._status_out = node.create_publisher(DiagnosticArray, f"{name}/status", qos.status())
        self._end = session.loop(f"{name} pictures", POLL, self._publish)

    def close(self) -> None:
        """Stop publishing. Once more is no error."""
        self._end()

    def _publish(self) -> None:
        stale = ""
        try:
            frame = self._camera.read()
        except Stale as error:
            stale = messages.text(str(error))
        else:
            if frame.index != self._index:
                lost = 0 if self._index is None else max(0, frame.index - self._index - 1)
                self._index = frame.index
                self._lost += lost
                if lost:
                    self._publish_status(stale)
                time_of = divmod(self._session.clock.stamp(frame.stamp), 1_000_000_000)
                if frame.depth is not None:
                    self._depth_out.publish(images.depth_message(frame.depth, self._frame, *time_of))
                if self._intrinsics is not None:
                    height, width = frame.rgb.shape[:2]
                    self._info_out.publish(images.info_message(self._intrinsics, width, height, self._frame, *time_of))
                self._colour_out.publish(images.colour_message(frame.rgb, self._frame, *time_of))
                self._published += 1
        if stale != self._stale or time.monotonic() >= self._status_due:
            self._publish_status(stale)

    def _publish_status(self, stale: str) -> None:
        now = time.monotonic()
        self._stale, self._status_due = stale, now + STATUS_PERIOD
        values = {"published": str(self._published), "lost": str(self._lost)}
        stamp = self._session.clock.stamp(now)
        self._status_out.publish(
            messages.diagnostics(3 if stale else 0, self._name, type(self._camera).__name__, stale, values, stamp)
        )


def serve_camera(
    camera: Camera,
    name: str,
    *,
    domain: int = 0,
    interfaces: Sequence[str] = (),
    intrinsics: Intrinsics | None = None,
    until: threading.Event | None = None,
) -> None:
    """Serve ``camera`` under ``name`` until SIGINT, SIGTERM or ``until``; it stays the caller's to close.

    Args:
        camera: to serve.
        name: namespace of its topics.
        domain: ROS_DOMAIN_ID.
        interfaces: addresses of this machine to use besides loopback.
        intrinsics: of the lens, if it is calibrated.
        until: ends it as well.

    Raises:
        UserError: if a name, the domain or an interface cannot be.
    """
    with Session(f"{check_name(name, 'camera')}_node", domain=domain, interfaces=interfaces) as session:
        node = CameraNode(camera, name, session, intrinsics=intrinsics)
        try:
            session.wait(until)
        finally:
            node.close()
