"""The node of an emergency stop: stops every arm of the cell while its button is pressed, and until it is reset."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from hardware.inputs.emergency_stop import EmergencyStop
from hardware.inputs.stop_inputs import MissingInput, StopInput
from hardware.ros import messages, qos
from hardware.ros.robot_client import RosRobot
from hardware.ros.session import Session, check_name
from robo_rl.contracts import Robot, RobotSpec
from robo_rl.errors import Faulted, Stale, UserError

_ANSWER = 3.0  # s within which a node has to answer
BEAT = 0.1
"""Seconds between two signs of life of an emergency stop."""
SILENCE = 0.5
"""Seconds without one after which arms stop: nobody knows whether it is pressed."""
START = 30.0
"""Seconds that an emergency stop may take to come up with the arms."""
_UNDER_WAY = 0.3  # s in which the last stop before a reset has been confirmed

_log = logging.getLogger(__name__)


def serve_emergency_stop(
    source: StopInput,
    name: str,
    arms: Mapping[str, RobotSpec],
    *,
    domain: int = 0,
    interfaces: Sequence[str] = (),
    until: threading.Event | None = None,
) -> None:
    """Stop ``arms`` by ``source`` until SIGINT, SIGTERM or ``until``; the service ``NAME/reset`` unlatches it.

    Arms that are started later are stopped too while it is latched. An input that cannot be opened is lost from the
    start: the arms stay stopped, as nobody could stop them by it.

    Args:
        source: what is pressed.
        name: of the emergency stop.
        arms: of the cell, by name.
        domain: ROS_DOMAIN_ID.
        interfaces: addresses of this machine to use besides loopback.
        until: ends it as well.
    """
    from std_msgs.msg import Empty
    from std_srvs.srv import Trigger

    node_name = f"{check_name(name, 'emergency stop')}_node"
    with Session(node_name, domain=domain, interfaces=interfaces, shared_memory=False) as session:
        robots = [RosRobot(each, spec, session) for each, spec in arms.items()]
        try:
            stop = EmergencyStop(source, robots)
        except UserError as error:
            _log.error("%s", error)
            stop = EmergencyStop(MissingInput(source.what, str(error)), robots)

        def reset(_: Any, response: Any) -> Any:
            try:
                stop.reset()
            except Faulted as error:
                response.success, response.message = False, messages.text(str(error))
            else:
                response.success, response.message = True, "reset; recover the arms"
            return response

        def beat() -> None:
            if time.monotonic() - stop.looked < SILENCE:
                alive.publish(Empty())

        with stop:
            service = session.node.create_service(Trigger, f"{name}/reset", reset)
            alive = session.node.create_publisher(Empty, f"{name}/alive", qos.state_out())
            end = session.loop(f"{name} alive", BEAT, beat)
            try:
                session.wait(until)
            finally:
                end()
                session.node.destroy_service(service)


class StopWatch:
    """Stops an arm while one of the cell's emergency stops is silent, in the process that owns the arm.

    So an emergency stop whose process was killed, or hangs, counts as pressed.

    Args:
        robot: to stop.
        names: of the emergency stops.
        session: whose node it listens on.
    """

    def __init__(self, robot: Robot, names: Sequence[str], session: Session) -> None:
        from std_msgs.msg import Empty

        self._robot, self._session = robot, session
        self._due = dict.fromkeys(names, time.monotonic() + START)
        self._inputs = [
            session.node.create_subscription(Empty, f"{name}/alive", partial(self._heard, name), qos.state_in())
            for name in names
        ]
        self._end = session.loop("emergency stops", BEAT, self._look) if names else lambda: None

    def close(self) -> None:
        """Watch no more. Once more is no error."""
        self._end()
        for each in self._inputs:
            self._session.node.destroy_subscription(each)
        self._inputs = []

    def _heard(self, name: str, _: object) -> None:
        self._due[name] = time.monotonic() + SILENCE

    def _look(self) -> None:
        for name, due in self._due.items():
            if time.monotonic() > due:
                self._robot.stop(f"the emergency stop {name} is silent; look at its log")


def longest_silence(name: str, session: Session, seconds: float) -> float:
    """Listen to an emergency stop for ``seconds``; return the longest time without a sign of life, s."""
    from std_msgs.msg import Empty

    began = time.monotonic()
    heard: list[float] = [began]
    listening = session.node.create_subscription(
        Empty, f"{name}/alive", lambda _: heard.append(time.monotonic()), qos.state_in()
    )
    time.sleep(seconds)
    session.node.destroy_subscription(listening)
    times = [*heard, time.monotonic()]
    # The way there has to be found first, which is no silence.
    return max(b - a for a, b in pairwise(times[1:] if len(heard) > 1 else times))


def reset_emergency_stop(name: str, session: Session) -> None:
    """Unlatch the emergency stop of a node.

    Raises:
        Faulted: if it is still pressed, or its input is lost.
        Stale: if its node does not answer: whether somebody presses it is unknown then.
    """
    from std_srvs.srv import Trigger

    client: Any = session.node.create_client(Trigger, f"{name}/reset")
    try:
        if not client.wait_for_service(_ANSWER):
            raise Stale(f"the node of the emergency stop {name} does not answer; look at its log")
        answered = threading.Event()
        future = client.call_async(Trigger.Request())
        future.add_done_callback(lambda _: answered.set())
        if not answered.wait(_ANSWER):
            raise Stale(f"the node of the emergency stop {name} does not answer; look at its log")
        response = future.result()
    finally:
        session.node.destroy_client(client)
    if not response.success:
        raise Faulted(f"emergency stop {name}: {messages.text(response.message)}")
    time.sleep(_UNDER_WAY)
