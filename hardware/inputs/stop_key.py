"""The stop key of a command that runs on a terminal: space or Escape stops the arms, which latch it themselves."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from hardware.inputs.stop_inputs import InputLost, KeyInput
from robo_rl.contracts import Robot
from robo_rl.errors import UserError

KEY_PRESSED = "the stop key was pressed"
CELL_STOP = "robo-rl cell stop"


class StopKey:
    """Stops arms each time that the key is pressed, and when the terminal is gone.

    Unlike :class:`hardware.inputs.emergency_stop.EmergencyStop` it is not latched: the arms are, until somebody gives
    ``robo-rl cell recover`` in another terminal, and a key cannot be held and released as a button can.

    Example:
        >>> with StopKey([arm]) as key:                                        # doctest: +SKIP
        ...     run()

    Args:
        robots: what is stopped.
        source: the terminal.

    Attributes:
        source: the terminal; ``source.typed`` gives the other keys.
    """

    def __init__(self, robots: Sequence[Robot], source: KeyInput | None = None) -> None:
        self._robots = tuple(robots)
        self.source = source or KeyInput()
        self.source.open()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stop key", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let go of the terminal; what is stopped stays so. Once more is no error."""
        self._closing.set()
        if self._thread is not threading.current_thread():
            self._thread.join()
        self.source.close()

    def __enter__(self) -> StopKey:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                if self.source.wait(0.05):
                    self._stop(KEY_PRESSED)
            except InputLost as error:
                self._stop(str(error))
                return

    def _stop(self, reason: str) -> None:
        for robot in self._robots:
            try:
                robot.stop(reason)
            except UserError:  # one that is gone keeps the others from nothing
                continue
