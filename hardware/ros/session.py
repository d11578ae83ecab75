"""One ROS 2 node of a process: its domain, its interfaces, its executor thread, and its end."""

from __future__ import annotations

import atexit
import importlib
import logging
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from hardware.ros import transport
from hardware.ros.clock import StampClock
from robo_rl.errors import MissingExtra, UserError

_log = logging.getLogger(__name__)


def require_ros() -> None:
    """Raise MissingExtra if the client library or a message package is not installed."""
    for module in ("rclpy", "diagnostic_msgs", "geometry_msgs", "sensor_msgs", "std_srvs", "trajectory_msgs"):
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise MissingExtra(f"ROS 2 ({module})", "ros") from error


def check_name(name: str, what: str) -> str:
    """Return ``name`` if it can be a ROS 2 namespace of one level; else raise UserError."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or "__" in name:
        raise UserError(
            f"{what} {name!r} cannot be a ROS 2 name: letters, digits and single underscores, a letter first"
        )
    return name


class Session:
    """A ROS 2 node with its executor in a thread of its own.

    Nothing is heard or sent beyond this machine unless ``interfaces`` names addresses of it; they hold for the whole
    process. The environment's own choice of profile, discovery range and peers is set aside for it.

    Example:
        >>> with Session("policy", domain=7) as session:                       # doctest: +SKIP
        ...     arm = RosRobot("arm", FR3, session)

    Args:
        node_name: of the node, for people.
        domain: ROS_DOMAIN_ID, 0 to 232.
        interfaces: addresses of this machine to use besides loopback.
        shared_memory: whether pictures come and go through shared memory; :mod:`hardware.ros.transport` says why not.

    Attributes:
        domain: ROS_DOMAIN_ID.
        node: to make publishers and subscriptions on.
        clock: that stamps what this process publishes.
        errors: exceptions that messages have caused in the executor so far.
    """

    def __init__(
        self, node_name: str, *, domain: int = 0, interfaces: Sequence[str] = (), shared_memory: bool = True
    ) -> None:
        require_ros()
        check_name(node_name, "node")
        if not 0 <= domain <= 232:
            raise UserError(f"ros.domain is {domain}; it must be between 0 and 232")
        transport.choose(tuple(interfaces), shared_memory)
        import rclpy
        from rclpy.context import Context
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions

        self.domain = domain
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain, signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node(node_name, context=self._context, start_parameter_services=False)
        self.clock = StampClock()
        self.errors = 0
        self._failure: BaseException | None = None
        self._ended = threading.Event()
        self._loops: list[Callable[[], None]] = []
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, name=f"{node_name} executor", daemon=True)
        self._thread.start()
        atexit.register(self.close)  # a running executor at the end of the interpreter would abort the process

    def _spin(self) -> None:
        # Messages come from outside: one that cannot even be taken apart must not end the node.
        from rclpy.exceptions import InvalidHandle
        from rclpy.executors import ExternalShutdownException, ShutdownException

        while not self._ended.is_set():
            try:
                self._executor.spin_once(timeout_sec=0.2)
            except (ExternalShutdownException, ShutdownException):
                return
            except InvalidHandle:  # a client was closed while the wait set was gathered; no message is lost
                time.sleep(0.001)  # should it last, the control thread needs the interpreter
            except Exception as error:
                self.errors += 1
                if self.errors & (self.errors - 1) == 0:  # the 1st, 2nd, 4th, 8th, ...
                    _log.warning("message set aside (%d so far): %s", self.errors, error, exc_info=True)
                time.sleep(0.001)

    def loop(self, name: str, period: float, act: Callable[[], None]) -> Callable[[], None]:
        """Call ``act`` every ``period`` s in a thread of its own; return what ends and joins it.

        An exception of ``act`` ends :meth:`wait` with it.
        """
        ended = threading.Event()

        def run() -> None:
            due = time.monotonic()
            try:
                while not ended.wait(max(0.0, due - time.monotonic())):
                    act()
                    due = max(due + period, time.monotonic() - period)
            except BaseException as error:
                self._failure = error
                self._ended.set()
                raise

        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()

        def end() -> None:
            ended.set()
            if thread is not threading.current_thread():
                thread.join()

        self._loops.append(end)
        return end

    def wait(self, until: threading.Event | None = None) -> None:
        """Return on SIGINT, SIGTERM or ``until``; raise what ended a loop of this session, if that comes first."""
        with _signals() as asked:
            while not (asked.is_set() or self._ended.is_set() or (until is not None and until.is_set())):
                asked.wait(0.05)
        if self._failure is not None:
            raise self._failure

    def advice(self, topic: str) -> str:
        """Say what can be wrong if nothing comes on ``topic``."""
        if self.node.count_publishers(topic):
            return "its node was there, but is silent"
        return (
            f"nobody publishes {topic} on ROS domain {self.domain}; start its node, or mend ros.domain, ros.interfaces"
        )

    def close(self) -> None:
        """End the loops and the executor, and leave the network. Once more is no error."""
        atexit.unregister(self.close)
        for end in self._loops:
            end()
        self._ended.set()
        if self._thread is not threading.current_thread():
            self._thread.join()
        if self._context.ok():
            self._executor.shutdown()
            self.node.destroy_node()
            self._context.try_shutdown()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def _signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set; outside of the main thread, where signals cannot be had, nothing does."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: asked.set()) for number in numbers]
    try:
        yield asked
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
