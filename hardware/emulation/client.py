"""Questions and requests to the processes of a simulated cell: where things are, how time is kept, what shall break."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from hardware.emulation.faults import Fault
from hardware.emulation.wire import (
    CAMERAS,
    MAX_DATAGRAM,
    PHYSICS,
    Garbled,
    Kind,
    pack,
    pack_poses,
    socket_path,
    unpack,
    unpack_figures,
    unpack_poses,
    unpack_text,
)
from robo_rl.contracts.plant import Placement
from robo_rl.errors import UserError

_ASK_AGAIN = 0.5  # s


class CellClient:
    """Asks the processes of a simulated cell; each call waits for its answer.

    Example:
        >>> cell = CellClient(folder)                                          # doctest: +SKIP
        >>> cell.wait_until_up()                                               # doctest: +SKIP
        >>> cell.inject(Fault("drop", "state", seconds=2.0, amount=0.3))       # doctest: +SKIP

    Args:
        folder: of the cell.
        timeout: for an answer, s.
    """

    def __init__(self, folder: Path | str, timeout: float = 2.0) -> None:
        self._folder, self._timeout = Path(folder), timeout

    def place(self, objects: Mapping[str, Placement]) -> None:
        """Put objects where they shall be, at rest; of a ``tool`` object the pose is relative to the tool.

        Raises:
            UserError: if there is no such object, or no answer.
        """
        self._ask(PHYSICS, pack_poses(Kind.PLACE, objects), Kind.DONE)

    def truth(self) -> dict[str, Placement]:
        """Return the true pose of each object, and of the tool centre point as ``tcp``, in the base frame.

        Raises:
            UserError: if there is no answer.
        """
        return unpack_poses(self._ask(PHYSICS, pack(Kind.ASK_TRUTH), Kind.TRUTH))

    def figures(self, of: str = PHYSICS) -> dict[str, float]:
        """Return how well the physics, or the cameras (``cameras.sock``), keep their time, and counts of errors.

        Raises:
            UserError: if there is no answer.
        """
        return unpack_figures(self._ask(of, pack(Kind.ASK_FIGURES), Kind.FIGURES))

    def inject(self, fault: Fault) -> None:
        """Let a fault begin: of the arm if it is of ``state`` or ``command``, of the camera of that name otherwise.

        Raises:
            UserError: if there is no such device, or no answer.
        """
        self._ask(PHYSICS if fault.of in ("state", "command") else CAMERAS, fault.to_bytes(), Kind.DONE)

    def wait_until_up(self, timeout: float = 30.0, *, cameras: bool = False) -> None:
        """Return once the physics answers, and the cameras too if they shall.

        Raises:
            UserError: if that takes longer than ``timeout`` s.
        """
        deadline = time.monotonic() + timeout
        for name in (PHYSICS, CAMERAS) if cameras else (PHYSICS,):
            while True:
                try:
                    self.figures(name)
                    break
                except UserError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.02)

    def _ask(self, whom: str, datagram: bytes, wanted: Kind) -> bytes:
        """Return the body of the answer; asks again now and then, which does no harm with any of these requests."""
        deadline = time.monotonic() + self._timeout
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
            asking.bind("")  # the kernel finds a name, by which the answer can come
            asking.settimeout(min(_ASK_AGAIN, self._timeout))
            try:
                asking.connect(socket_path(self._folder, whom))
                while time.monotonic() < deadline:
                    with contextlib.suppress(TimeoutError):
                        asking.send(datagram)
                        body = self._answer(asking, wanted)
                        if body is not None:
                            return body
            except (OSError, ValueError) as error:
                why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
                raise UserError(f"nothing answers at {self._folder}/{whom} ({why}); is the cell running?") from error
        raise UserError(f"{self._folder}/{whom} did not answer within {self._timeout:g} s; is it overloaded?")

    def _answer(self, asking: socket.socket, wanted: Kind) -> bytes | None:
        try:
            kind, body = unpack(asking.recv(MAX_DATAGRAM))
        except Garbled:
            return None
        if kind == Kind.REFUSED:
            raise UserError(f"the simulated cell at {self._folder} refuses: {unpack_text(body)}")
        return body if kind == wanted else None
