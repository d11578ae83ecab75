"""The node of an emergency stop: stops every arm of the cell while its button is pressed, and until it is reset."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from hardware.inputs.emergency_stop import EmergencyStop, StopInput
from hardware.ros import messages
from hardware.ros.robot_client import RosRobot
from hardware.ros.session import Session, check_name
from robo_rl.contracts import RobotSpec
from robo_rl.errors import Faulted, Stale, UserError

_ANSWER = 3.0  # s within which a node has to answer
_UNDER_WAY = 0.3  # s in which the last stop before a reset has been confirmed


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

    Arms that are started later are stopped too while it is latched.

    Args:
        source: what is pressed.
        name: of the emergency stop.
        arms: of the cell, by name.
        domain: ROS_DOMAIN_ID.
        interfaces: addresses of this machine to use besides loopback.
        until: ends it as well.

    Raises:
        UserError: if the input cannot be opened. The arms are stopped then: nobody could do it by this input.
    """
    from std_srvs.srv import Trigger

    node_name = f"{check_name(name, 'emergency stop')}_node"
    with Session(node_name, domain=domain, interfaces=interfaces, shared_memory=False) as session:
        robots = [RosRobot(each, spec, session) for each, spec in arms.items()]
        try:
            stop = EmergencyStop(source, robots)
        except UserError as error:
            for robot in robots:
                robot.wait_until_ready(_ANSWER)
                robot.stop(f"the emergency stop {name} cannot be read: {error}")
            raise

        def reset(_: Any, response: Any) -> Any:
            try:
                stop.reset()
            except Faulted as error:
                response.success, response.message = False, messages.text(str(error))
            else:
                response.success, response.message = True, "reset; recover the arms"
            return response

        with stop:
            service = session.node.create_service(Trigger, f"{name}/reset", reset)
            try:
                session.wait(until)
            finally:
                session.node.destroy_service(service)


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
