"""The server of the page, a process of its own: ``python -m robo_rl.cockpit.server REQUEST``.

It reads mailboxes, sends the newest of them to every browser, and hands what the one in control does to the loop. It
ends when the loop's end of the socket does. What comes from browsers is JSON and nothing else, and is checked.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import json
import os
import socket
import ssl
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from robo_rl.cockpit.client import Client
from robo_rl.cockpit.curves import Curves, Tail
from robo_rl.cockpit.mailbox import Mailbox
from robo_rl.cockpit.pictures import decode_raw, encode
from robo_rl.cockpit.recordings import Recordings
from robo_rl.cockpit.viewers import Viewers
from robo_rl.errors import UserError

if TYPE_CHECKING:
    from aiohttp import web

_POLL = 0.005  # s between two looks at the mailboxes
_SLOW = 1.0  # s between two looks at files
_FAREWELL = 0.2  # s that a browser may take to hear that it is over
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_ANYBODY = ("emergency",)  # what everyone who looks may press
_IN_CONTROL = ("release", "close", "open", "success", "failure", "discard", "pause", "resume", "reset", "stop")


class Server:
    """Serves the page.

    Args:
        request: descriptors and settings, see :class:`robo_rl.cockpit.cockpit.Cockpit`.
    """

    def __init__(self, request: dict[str, Any]) -> None:
        self._request = request
        self._control = socket.socket(fileno=request["control"])
        self._control.setblocking(False)
        self._state = Mailbox(request["state_bytes"], request["state"])
        self._cameras: list[tuple[str, Mailbox]] = []
        self._token: str | None = None
        self._about: dict[str, Any] = {}
        self._viewers = Viewers()
        self._clients: dict[str, Client] = {}
        self._holder: str | None = None
        self._roles: object = None
        self._curves = Curves()
        self._tail: Tail | None = None
        self._recordings: Recordings | None = None
        self._episodes: list[dict[str, Any]] = []
        self._newest: str | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()
        self._why = ""
        self._encoders = ThreadPoolExecutor(2, initializer=_step_back)

    async def run(self) -> None:
        """Serve until the loop ends."""
        from aiohttp import web

        asyncio.get_running_loop().add_reader(self._control.fileno(), self._hear_loop)
        app = web.Application()
        app.add_routes([web.get("/", self._file), web.get("/assets/{name}", self._file), web.get("/ws", self._browser)])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        context = None
        if self._request["certificate"]:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(self._request["certificate"], self._request["key"])
        listening = socket.socket(fileno=self._request["listening"])
        await web.SockSite(runner, listening, ssl_context=context).start()
        self._start(self._look_at_state())
        self._start(self._look_at_files())
        await self._ended.wait()
        for client in list(self._clients.values()):
            with contextlib.suppress(TimeoutError, OSError):  # a browser that does not listen is not waited for
                await asyncio.wait_for(client.end(self._why), _FAREWELL)
        for task in list(self._tasks):
            task.cancel()
        await runner.cleanup()

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # What comes from the loop.

    def _hear_loop(self) -> None:
        try:
            raw, descriptors, _, _ = socket.recv_fds(self._control, 1 << 18, 1)
        except BlockingIOError:
            return
        except OSError:
            raw, descriptors = b"", []
        if not raw:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._ended.set()
            return
        message = json.loads(raw)
        kind = message.pop("t")
        if kind == "token":
            self._token = message["token"]
        elif kind == "about":
            self._about = message
            self._tell_all(self._described())
        elif kind == "camera":
            self._cameras.append((message["name"], Mailbox(message["size"], descriptors[0])))
            self._start(self._look_at_camera(len(self._cameras) - 1))
            self._tell_all(self._described())
        elif kind == "row":
            self._add_rows([message["row"]])
        elif kind == "end":
            self._why = message["why"]
        elif kind == "watch":
            if message["metrics"]:
                self._tail = Tail(Path(message["metrics"]))
            if message["episodes"]:
                self._recordings = Recordings(Path(message["episodes"]))

    def _described(self) -> dict[str, Any]:
        return {"t": "about", **self._about, "cameras": [name for name, _ in self._cameras]}

    def _add_rows(self, rows: Any) -> None:
        new: dict[str, list[list[float]]] = {}
        for row in rows:
            for curve, point in self._curves.add(row).items():
                new.setdefault(curve, []).append(point)
        if new:
            self._tell_all({"t": "points", "points": new})

    async def _look_at_state(self) -> None:
        count = 0
        while True:
            self._follow_control()
            found = self._state.newer_than(count)
            if found is not None:
                count, _, raw = found
                self._newest = raw.decode()
                for client in self._clients.values():
                    client.show_state(self._newest)
                if self._recordings is not None:
                    self._recordings.track(json.loads(raw))
            await asyncio.sleep(_POLL)

    async def _look_at_camera(self, index: int) -> None:
        box, count, period = self._cameras[index][1], 0, 1.0 / self._request["fps"]
        loop = asyncio.get_running_loop()
        while True:
            found = box.newer_than(count) if self._clients else None
            if found is None:
                await asyncio.sleep(_POLL)
                continue
            began = loop.time()
            count, stamp, raw = found
            jpeg = await loop.run_in_executor(self._encoders, _encoded, raw)
            for client in self._clients.values():
                client.show_picture(index, stamp, jpeg)
            await asyncio.sleep(max(_POLL, period - (loop.time() - began)))

    async def _look_at_files(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if self._tail is not None:
                self._add_rows(await loop.run_in_executor(None, _new_lines, self._tail))
            if self._recordings is not None:
                found = await loop.run_in_executor(None, self._recordings.refresh)
                if found is not None:
                    self._episodes = found
                    self._tell_all({"t": "episodes", "list": found})
            await asyncio.sleep(_SLOW)

    # Who is in control.

    def _follow_control(self) -> None:
        self._viewers.tick(time.monotonic())
        viewers = self._viewers
        roles = (viewers.holder, viewers.asking, tuple(viewers.present))
        if roles != self._roles:
            self._roles = roles
            if viewers.holder != self._holder:
                self._holder = viewers.holder
                self._tell_loop({"t": "leave"})
            for client in self._clients.values():
                self._tell_role(client)

    def _tell_role(self, client: Client) -> None:
        viewers = self._viewers
        client.tell(
            {"t": "role", "you": client.name, "holder": viewers.holder, "asking": viewers.asking,
             "viewers": viewers.present}
        )  # fmt: skip

    def _tell_all(self, message: dict[str, Any]) -> None:
        for client in self._clients.values():
            client.tell(message)

    def _tell_loop(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # it will hear the next one
            self._control.send(json.dumps(message).encode())

    # What comes from browsers.

    async def _file(self, request: web.Request) -> web.Response:
        from aiohttp import web

        name = request.match_info.get("name", "index.html")
        path = files("robo_rl.cockpit") / "assets" / name
        kind = _TYPES.get(Path(name).suffix)
        if not self._welcome(request) or kind is None or "/" in name or not path.is_file():
            raise web.HTTPNotFound
        return web.Response(text=path.read_text(), content_type=kind, charset="utf-8", headers=_HEADERS)

    def _welcome(self, request: web.Request) -> bool:
        """Whether a request is meant for us: another site's page, or another name for this address, is not."""
        host = urlsplit(f"//{request.host}").hostname
        if self._request["loopback"] and host not in (*_LOOPBACK, self._request.get("host")):
            return False
        origin = request.headers.get("Origin")
        return origin is None or urlsplit(origin).netloc == request.host

    async def _browser(self, request: web.Request) -> web.StreamResponse:
        from aiohttp import WSMsgType, web

        if not self._welcome(request):
            raise web.HTTPForbidden
        ws = web.WebSocketResponse(heartbeat=2.0, max_msg_size=1 << 14, compress=False)
        await ws.prepare(request)
        try:
            hello = json.loads(await ws.receive_str(timeout=5.0))
            known = self._token is None or hmac.compare_digest(str(hello.get("token")), self._token)
            name = str(hello["name"])[:40]
        except (TimeoutError, TypeError, ValueError, KeyError, AttributeError):
            await ws.close(code=4000, message=b"say hello first")
            return ws
        if not known:
            await ws.close(code=4001, message=b"the token is wrong")
            return ws
        client = Client(ws)
        client.name = self._viewers.enter(name, time.monotonic())
        self._clients[client.name] = client
        self._follow_control()
        self._greet(client)
        feed = asyncio.get_running_loop().create_task(client.feed())
        try:
            async for message in ws:
                if message.type == WSMsgType.TEXT:
                    with contextlib.suppress(TypeError, ValueError, KeyError):
                        await self._hear(client, json.loads(message.data))
        finally:
            feed.cancel()
            self._clients.pop(client.name, None)
            self._viewers.leave(client.name, time.monotonic())
            if client.name == self._holder:
                self._tell_loop({"t": "leave"})
        return ws

    def _greet(self, client: Client) -> None:
        client.tell(self._described())
        self._tell_role(client)
        client.tell({"t": "curves", "points": self._curves.points})
        client.tell({"t": "episodes", "list": self._episodes})
        if self._newest is not None:
            client.show_state(self._newest)

    async def _hear(self, client: Client, message: dict[str, Any]) -> None:
        kind, now = message["t"], time.monotonic()
        holds = client.name == self._viewers.holder
        if kind == "push" and holds:
            stamp = min(now, float(message["stamp"]))
            axes = [float(value) for value in message["axes"]][:6]
            frame = None if message.get("frame") is None else str(message["frame"])
            self._tell_loop({"t": "push", "stamp": stamp, "axes": axes, "frame": frame})
        elif kind == "press" and (message["word"] in _ANYBODY or (holds and message["word"] in _IN_CONTROL)):
            self._tell_loop({"t": "press", "word": message["word"]})
        elif kind == "ping":
            client.tell({"t": "pong", "at": message["at"], "server": now})
        elif kind == "seen":
            client.seen(int(message["camera"]))
        elif kind == "ask":
            self._viewers.ask(client.name, now)
            self._follow_control()
        elif kind == "answer":
            self._viewers.answer(client.name, bool(message["granted"]))
            self._follow_control()
        elif kind == "replay" and self._recordings is not None:
            self._start(self._replay(client, self._recordings, str(message["name"])))
        elif kind == "still" and self._recordings is not None:
            which = (str(message["name"]), str(message["camera"]), int(message["step"]))
            self._start(self._still(client, self._recordings, *which))

    async def _replay(self, client: Client, recordings: Recordings, name: str) -> None:
        try:
            told = await asyncio.get_running_loop().run_in_executor(None, recordings.replay, name)
        except UserError as error:
            told = {"name": name, "trouble": str(error)}
        client.tell({"t": "replay", **told})

    async def _still(self, client: Client, recordings: Recordings, name: str, camera: str, step: int) -> None:
        with contextlib.suppress(UserError):
            jpeg = await asyncio.get_running_loop().run_in_executor(None, recordings.picture, name, camera, step)
            if jpeg is not None:
                told = {"name": name, "camera": camera, "jpeg": base64.b64encode(jpeg).decode()}
                client.tell({"t": "still", **told})


def _encoded(raw: bytes) -> bytes:
    return encode(decode_raw(raw))


def _new_lines(tail: Tail) -> list[Any]:
    return list(tail.lines())


def _step_back() -> None:
    """Let whatever controls a robot go before this thread, which may be late."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


def main() -> None:
    """Serve what the command line asks for."""

    async def serve() -> None:
        await Server(json.loads(sys.argv[1])).run()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve())


if __name__ == "__main__":
    main()
