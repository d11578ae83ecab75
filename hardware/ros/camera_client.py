"""The camera at the far end of a node's topics, as any other Camera."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np

from hardware.ros import images, messages, qos
from hardware.ros.clock import ArrivalClock
from hardware.ros.session import Session, check_name
from robo_rl.contracts import Frame
from robo_rl.errors import InvalidAction, Stale


class RosCamera:
    """A camera behind the topics of :class:`hardware.ros.camera_node.CameraNode`, or of any node with such topics.

    A frame's index counts what the node has published and what its camera says it lost before.

    Example:
        >>> with Session("policy", domain=7) as session:                       # doctest: +SKIP
        ...     wrist = RosCamera("wrist", 640, 480, session)
        ...     wrist.wait_until_ready()
        ...     wrist.read().rgb

    Args:
        name: of the camera in its cell.
        width: of its pictures.
        height: of its pictures.
        session: whose node it lives on.
        depth: whether to wait for the depth of each picture too.

    Attributes:
        arrived: pictures that have come so far; the indices of frames count those too that were lost on their way.
    """

    def __init__(self, name: str, width: int, height: int, session: Session, *, depth: bool = False) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from sensor_msgs.msg import Image

        self.name = check_name(name, "camera")
        self.width = width
        self.height = height
        self._session = session
        self._with_depth = depth
        self.arrived = 0
        self._frame: Frame | None = None
        self._arrivals = ArrivalClock()
        self._publisher: bytes | None = None
        self._depths: dict[int, np.ndarray] = {}
        self._colours: dict[int, tuple[float, int, np.ndarray]] = {}
        self._first_index = 0
        self._lost = 0
        self._said = ""
        self._malformed = ""
        self._closed = threading.Event()
        node = session.node
        self._listening = [
            node.create_subscription(Image, f"{name}/image", self._on_colour, qos.image_in()),
            node.create_subscription(DiagnosticArray, f"{name}/status", self._on_status, qos.status()),
        ]
        if depth:
            self._listening.append(node.create_subscription(Image, f"{name}/depth", self._on_depth, qos.image_in()))

    def wait_until_ready(self, timeout: float = 10.0) -> None:
        """Return once a picture has come; raises Stale, with what is wrong, if none does within ``timeout`` s."""
        deadline = time.monotonic() + timeout
        while self._frame is None:
            if time.monotonic() > deadline:
                raise Stale(f"{self.name}: no picture for {timeout:.1f} s; {self._reason()}")
            time.sleep(0.005)

    def read(self, max_age: float = 0.2) -> Frame:
        """Return the newest frame; see :class:`robo_rl.contracts.Camera`."""
        frame = self._frame
        if self._closed.is_set() or frame is None:
            raise Stale(f"{self.name}: no picture; {'it is closed' if self._closed.is_set() else self._reason()}")
        age = time.monotonic() - frame.stamp
        if age > max_age:
            raise Stale(
                f"{self.name}: the newest picture is {age:.3g} s old, {max_age:g} s are allowed; {self._reason()}"
            )
        return frame

    def close(self) -> None:
        """Stop listening. Once more is no error."""
        if not self._closed.is_set():
            self._closed.set()
            for subscription in self._listening:
                self._session.node.destroy_subscription(subscription)

    def _on_colour(self, message: Any, info: Any) -> None:
        received = time.monotonic()
        publisher = bytes(info["publisher_gid"]["data"])
        number = int(info["publication_sequence_number"])
        if publisher != self._publisher:  # a node that was started anew has a clock of its own, and counts from 1
            self._publisher, self._arrivals = publisher, ArrivalClock()
            self._first_index = 0 if self._frame is None else self._frame.index + 1
            self._lost = 0
        try:
            rgb = images.colour_of(message, self.width, self.height)
        except InvalidAction as error:
            self._malformed = str(error)
            return
        stamp = messages.stamp_of(message.header)
        arrival = self._arrivals.arrival(stamp, received)
        self._colours[stamp] = (arrival, self._first_index + number - 1 + self._lost, rgb)
        self._match(stamp)

    def _on_depth(self, message: Any) -> None:
        try:
            depth = images.depth_of(message, self.width, self.height)
        except InvalidAction as error:
            self._malformed = str(error)
            return
        stamp = messages.stamp_of(message.header)
        self._depths[stamp] = depth
        self._match(stamp)

    def _match(self, stamp: int) -> None:
        """Make the frame of ``stamp`` the newest, once all of it is there."""
        if stamp in self._colours and (not self._with_depth or stamp in self._depths):
            arrival, index, rgb = self._colours.pop(stamp)
            self._frame = Frame(arrival, index, rgb, self._depths.pop(stamp, None))
            self._malformed = ""
            self.arrived += 1
        for waiting in (self._colours, self._depths):
            while len(waiting) > 4:
                del waiting[next(iter(waiting))]

    def _on_status(self, message: Any) -> None:
        try:
            self._said, values = messages.diagnosis(message, self.name)
            self._lost = max(self._lost, int(values.get("lost", "0")))
        except (InvalidAction, ValueError) as error:
            self._malformed = str(error)

    def _reason(self) -> str:
        return self._malformed or self._said or self._session.advice(f"{self.name}/image")
