"""One browser that looks at the page: what it is sent, the newest only, and no faster than it looks."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiohttp import web

_UNSEEN = 2  # pictures of a camera that may be under way
_FRAME = struct.Struct("<Bd")  # number of the camera, stamp


class Client:
    """Sends to one browser.

    Args:
        socket: to it.

    Attributes:
        name: that it goes by.
    """

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket
        self.name = ""
        self._wake = asyncio.Event()
        self._messages: list[dict[str, Any]] = []
        self._state: str | None = None
        self._pictures: dict[int, tuple[float, bytes]] = {}
        self._unseen: dict[int, int] = {}

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message, none of which is left out."""
        self._messages.append(message)
        self._wake.set()

    def show_state(self, text: str) -> None:
        """Send a state, unless a newer one comes first."""
        self._state = text
        self._wake.set()

    def show_picture(self, camera: int, stamp: float, jpeg: bytes) -> None:
        """Send a picture, unless a newer one comes first."""
        self._pictures[camera] = (stamp, jpeg)
        self._wake.set()

    def seen(self, camera: int) -> None:
        """The browser has shown a picture."""
        self._unseen[camera] = max(0, self._unseen.get(camera, 0) - 1)
        if camera in self._pictures:
            self._wake.set()

    async def end(self, why: str) -> None:
        """Send at once that it is over, and why."""
        await self._socket.send_str(json.dumps({"t": "ended", "why": why}))

    async def feed(self) -> None:
        """Send what there is until the browser is gone."""
        while not self._socket.closed:
            await self._wake.wait()
            self._wake.clear()
            messages, self._messages = self._messages, []
            for message in messages:
                await self._socket.send_str(json.dumps(message))
            state, self._state = self._state, None
            if state is not None:
                await self._socket.send_str(state)
            for camera in list(self._pictures):
                if self._unseen.get(camera, 0) < _UNSEEN:
                    stamp, jpeg = self._pictures.pop(camera)
                    self._unseen[camera] = self._unseen.get(camera, 0) + 1
                    await self._socket.send_bytes(_FRAME.pack(camera, stamp) + jpeg)
