"""An emergency stop: keeps the arms stopped from when an input is pressed until somebody resets it.

This stops by software, through the safety filter of each arm. It stands beside the stop button of the arm's maker,
which cuts the power or engages the brakes, and does not take its place.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from hardware.inputs.stop_inputs import StopInput
from robo_rl.contracts import Robot
from robo_rl.errors import Faulted


class EmergencyStop:
    """Stops arms when an input is pressed, or when the input is lost, and keeps them stopped until :meth:`reset`.

    While it is latched, ``stop`` is called again and again: an arm that somebody recovers meanwhile is stopped anew. An
    arm whose ``stop`` fails does not keep the others from being stopped.

    Example:
        >>> with EmergencyStop(EvdevInput("/dev/input/by-id/usb-Button"), [arm]) as stop:      # doctest: +SKIP
        ...     run()
        ...     stop.pressed, stop.reason
        (True, 'usb-Button was pressed')

    Args:
        source: what is pressed; belongs to this from now on.
        robots: what is stopped.
        period: seconds between two looks at the input, and between two stops while latched.

    Raises:
        UserError: if the input cannot be opened.
    """

    def __init__(self, source: StopInput, robots: Sequence[Robot], period: float = 0.05) -> None:
        self._source, self._robots, self._period = source, tuple(robots), period
        self._lock = threading.RLock()
        self._reason = ""
        self._lost = False
        self._held = False
        self._failures: dict[int, str] = {}
        self._looked = time.monotonic()
        self._closing = threading.Event()
        source.open()
        self._thread = threading.Thread(target=self._run, name="emergency-stop", daemon=True)
        self._thread.start()

    @property
    def pressed(self) -> bool:
        """Whether it is latched."""
        return bool(self._reason)

    @property
    def reason(self) -> str:
        """Why it is latched, in one line; empty if it is not."""
        return self._reason

    @property
    def looked(self) -> float:
        """When the input was last looked at, or known to be lost; time.monotonic(), s."""
        return self._looked

    @property
    def failures(self) -> tuple[str, ...]:
        """What arms said that did not take the last stop; empty if all did."""
        return tuple(self._failures.values())

    def trigger(self, reason: str) -> None:
        """Stop as if it had been pressed; from any thread."""
        with self._lock:
            self._reason = self._reason or reason
            self._stop_all()

    def reset(self) -> None:
        """Unlatch it, as a person who has looked at the cell; each arm still has to be recovered.

        Raises:
            Faulted: if it is still held, or its input is lost.
        """
        with self._lock:
            if self._lost:
                raise Faulted(f"{self._source.what} is lost: connect it and start again")
            if self._held:
                raise Faulted(f"{self._source.what} is still pressed; release it first")
            self._reason = ""
            self._failures = {}

    def close(self) -> None:
        """Let go of the input, and watch no more; what is stopped stays so. Once more is no error."""
        self._closing.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> EmergencyStop:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                if self._lost or self._held:  # an input that is held answers at once
                    self._closing.wait(self._period)
                if not self._lost:
                    self._look()
                self._looked = time.monotonic()
                with self._lock:  # or a reset could come between, and the arm would be stopped after it
                    if self._reason:
                        self._stop_all()
        finally:
            self._source.close()

    def _look(self) -> None:
        try:
            pressed = self._source.wait(self._period)
        except BaseException as error:  # whatever it is, nobody could stop the arms with it any more
            self._lost = True
            self.trigger(f"{self._source.what} is lost: {error}")
            return
        with self._lock:
            self._held = pressed
            if pressed and not self._reason:
                self._reason = f"{self._source.what} was pressed"

    def _stop_all(self) -> None:
        reason = f"emergency stop: {self._reason}"
        for index, robot in enumerate(self._robots):
            try:
                robot.stop(reason)
                self._failures.pop(index, None)
            except Exception as error:  # the others have to be stopped all the same
                self._failures[index] = f"{robot.spec.name}: {error}"
