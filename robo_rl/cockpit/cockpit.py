"""The loop's end of the page: it leaves what is new, takes what a person does, and never waits."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robo_rl.cockpit.mailbox import Mailbox
from robo_rl.cockpit.page import Page
from robo_rl.cockpit.settings import CockpitSettings
from robo_rl.errors import MissingExtra, UserError

_STATE_BYTES = 1 << 18
_MESSAGE_BYTES = 1 << 17
_PICTURE_HEADER = 8  # width and height, two bytes each, and what is left over


class Cockpit:
    """Serves the page from a process of its own, for as long as it is open.

    Of state and pictures the newest is kept and nothing waits: a browser that is slow, or none, or a server that died
    costs the loop the copy of a picture at most. What a person does is taken up by a thread as it comes.

    Example:
        >>> with Cockpit(CockpitSettings(), title="reach") as cockpit:              # doctest: +SKIP
        ...     cockpit.show_state({"step": 1})
        ...     said = cockpit.page.read()

    Args:
        settings: where it is served.
        title: of the page.
        cell: whether it is a robot cell whose emergency stop the page latches.

    Raises:
        UserError: if the address cannot be listened at.
        MissingExtra: if what serves it is not installed.

    Attributes:
        page: the device in the person's hand.
        url: to open.
    """

    def __init__(self, settings: CockpitSettings, *, title: str, cell: bool = False) -> None:
        if importlib.util.find_spec("aiohttp") is None:
            raise MissingExtra("the cockpit", "web")
        self.page = Page()
        self._emergency: Callable[[], None] = lambda: None
        self._release: Callable[[], None] = lambda: None
        self._pictures: dict[str, Mailbox] = {}
        self._told: dict[str, Any] = {"title": title, "cell": cell}
        self._state = Mailbox(_STATE_BYTES)
        self._closed = False
        listening = _listen(settings)
        token = settings.new_token()
        scheme = "https" if settings.certificate is not None else "http"
        host, port = listening.getsockname()[:2]
        shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname(), "::1": "[::1]"}.get(host, host)
        self.url = f"{scheme}://{shown}:{port}/" + (f"#{token}" if token else "")
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        handed = (theirs.fileno(), listening.fileno(), self._state.descriptor)
        request = {
            "control": handed[0], "listening": handed[1], "state": handed[2], "state_bytes": _STATE_BYTES,
            "certificate": settings.certificate and str(settings.certificate),
            "key": settings.key and str(settings.key), "loopback": settings.loopback, "fps": settings.fps,
        }  # fmt: skip
        # The token goes through the socket: command lines can be read by everybody on the machine.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "robo_rl.cockpit.server", json.dumps(request)],
            pass_fds=handed,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is ours; it ends when we do
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        theirs.close()
        listening.close()
        self._send({"t": "token", "token": token})
        self._send({"t": "about", **self._told})
        self._listener = threading.Thread(target=self._listen, name="cockpit", daemon=True)
        self._listener.start()

    def __enter__(self) -> Cockpit:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.close(" ".join(str(error).split()) if isinstance(error, UserError) else "")

    def about(self, **told: Any) -> None:
        """Tell the page what it shows: ``scene``, ``frames`` and the like, JSON values."""
        if any(self._told.get(name) != value for name, value in told.items()):
            self._told |= told
            self._send({"t": "about", **self._told})

    def on_emergency(self, stop: Callable[[], None], release: Callable[[], None]) -> None:
        """Have ``stop`` called at once when the stop is pressed, ``release`` when it is released; from a thread."""
        self._emergency, self._release = stop, release

    def show_state(self, state: Mapping[str, Any]) -> None:
        """Leave the newest state, JSON values."""
        self._state.put(json.dumps(state).encode(), time.monotonic())

    def show_picture(self, camera: str, rgb: np.ndarray, stamp: float | None = None) -> None:
        """Leave the newest picture of a camera, (H, W, 3) uint8; ``stamp`` is when it was taken, now if None."""
        height, width = rgb.shape[:2]
        box = self._pictures.get(camera)
        if box is None:
            box = Mailbox(_PICTURE_HEADER + rgb.nbytes)
            self._pictures[camera] = box
            self._send({"t": "camera", "name": camera, "size": box.size}, [box.descriptor])
        header = width.to_bytes(4, "little") + height.to_bytes(4, "little")
        box.put(header + rgb.tobytes(), time.monotonic() if stamp is None else stamp)

    def add_row(self, row: Mapping[str, Any]) -> None:
        """Add a line of figures, as those of ``metrics.jsonl``, to the curves."""
        self._send({"t": "row", "row": dict(row)})

    def watch(self, *, metrics: Path | None = None, episodes: Path | None = None) -> None:
        """Have the page show the figures of a run, and the episodes of a folder, as they are written."""
        paths = {"metrics": metrics and str(metrics.resolve()), "episodes": episodes and str(episodes.resolve())}
        self._send({"t": "watch", **paths})

    def close(self, why: str = "") -> None:
        """End the server, having told the page why. Once more is no error."""
        if self._closed:
            return
        self._closed = True
        self._send({"t": "end", "why": why})
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(3.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join()
        self._line.close()
        for box in (self._state, *self._pictures.values()):
            box.close()

    def _send(self, message: dict[str, Any], descriptors: list[int] | None = None) -> None:
        """Tell the server; where it does not listen, it is not told."""
        with contextlib.suppress(OSError):
            socket.send_fds(self._line, [json.dumps(message).encode()], descriptors or [], socket.MSG_DONTWAIT)

    def _listen(self) -> None:
        while True:
            try:
                raw = self._line.recv(_MESSAGE_BYTES)
            except OSError:
                raw = b""
            if not raw:  # it has ended
                self.page.leave()
                return
            message = json.loads(raw)
            kind = message["t"]
            if kind == "push":
                self.page.push(message["stamp"], message["axes"], message["frame"])
            elif kind == "leave":
                self.page.leave()
            elif kind == "press":
                word = message["word"]
                if word == "emergency":
                    self._emergency()
                self.page.press(word)
                if word == "release":
                    self._release()


def _listen(settings: CockpitSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family)
    except OSError as error:
        raise UserError(
            f"port: {settings.host}:{settings.port} cannot be listened at ({error.strerror}); choose another, or 0 for "
            "a free one"
        ) from error
