"""A browser without the browser, for tests and benchmarks: it says and hears what the page does."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from robo_rl.errors import UserError

if TYPE_CHECKING:
    from aiohttp import ClientWebSocketResponse

_REPEATED = 0.033  # s between two messages while something is pushed, as the page has it
_PATIENCE = 20.0  # s that the server may take to answer


class Browser:
    """Connects to the page's server.

    Args:
        url: of the page, its token included.
        name: that it goes by.

    Raises:
        UserError: if the server does not let it in.

    Attributes:
        heard: the newest message of each kind.
        pictures: of each camera, when pictures came, s.
    """

    def __init__(self, url: str, name: str = "test") -> None:
        self._url, _, self._token = url.partition("#")
        self._name = name
        self.heard: dict[str, dict[str, Any]] = {}
        self.pictures: dict[int, list[float]] = {}
        self._axes = [0.0] * 6
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="browser", daemon=True)
        self._thread.start()
        self._socket: ClientWebSocketResponse | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.appear()

    def appear(self) -> None:
        """Connect; it holds control once the server says so."""
        self._do(self._connect())
        self.until(lambda heard: "role" in heard)

    def vanish(self) -> None:
        """Break the connection off."""
        self._do(self._disconnect())

    def close(self) -> None:
        """Break the connection off, and end the thread."""
        self.vanish()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def push(self, axes: list[float]) -> None:
        """Push, and go on pushing until told otherwise."""
        self._axes = axes
        self.send(self._pushed())

    def fall_silent(self) -> None:
        """Say nothing any more, but stay connected, as a page does whose tab is hidden."""
        self._do(self._hush())

    def press(self, word: str) -> None:
        """Press a button."""
        self.send({"t": "press", "word": word})

    def send(self, message: dict[str, Any]) -> None:
        """Send a message."""
        self._do(self._send(message))

    def until(self, met: Any) -> dict[str, dict[str, Any]]:
        """Wait until what was heard meets a condition, and return it.

        Raises:
            UserError: if it does not for long.
        """
        end = time.monotonic() + _PATIENCE
        while not met(self.heard):
            if time.monotonic() > end:
                raise UserError(f"{self._url}: waited for {_PATIENCE:g} s; heard {sorted(self.heard)}")
            time.sleep(0.002)
        return self.heard

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE)

    def _pushed(self) -> dict[str, Any]:
        return {"t": "push", "stamp": time.monotonic(), "axes": self._axes, "frame": None}

    async def _connect(self) -> None:
        import aiohttp

        end = time.monotonic() + _PATIENCE
        self.heard, self._axes = {}, [0.0] * 6
        session = aiohttp.ClientSession()
        while True:
            try:
                self._socket = await session.ws_connect(self._url + "ws", ssl=False)
                break
            except aiohttp.ClientConnectorError:  # it is starting
                if time.monotonic() > end:
                    await session.close()
                    raise
                await asyncio.sleep(0.05)
            except aiohttp.WSServerHandshakeError as error:
                await session.close()
                raise UserError(f"{self._url}: {error.message}") from error
        await self._send({"t": "hello", "name": self._name, "token": self._token or None})
        self._tasks = [self._loop.create_task(self._hear(session)), self._loop.create_task(self._repeat())]

    async def _disconnect(self) -> None:
        if self._socket is not None:
            await self._socket.close()
            self._socket = None
        for task in self._tasks:
            await asyncio.wait([task])
        self._tasks = []

    async def _hush(self) -> None:
        self._tasks.pop().cancel()

    async def _send(self, message: dict[str, Any]) -> None:
        if self._socket is not None and not self._socket.closed:
            await self._socket.send_str(json.dumps(message))

    async def _repeat(self) -> None:
        while self._socket is not None and not self._socket.closed:
            await self._send(self._pushed())
            await asyncio.sleep(_REPEATED)

    async def _hear(self, session: Any) -> None:
        from aiohttp import WSMsgType

        assert self._socket is not None
        try:
            async for message in self._socket:
                if message.type == WSMsgType.BINARY:
                    camera = message.data[0]
                    self.pictures.setdefault(camera, []).append(time.monotonic())
                    await self._send({"t": "seen", "camera": camera})
                else:
                    told = json.loads(message.data)
                    self.heard[told["t"]] = told
        finally:
            await session.close()
