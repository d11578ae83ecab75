"""The nodes of an emergency stop and of a camera, in processes of their own, flooded on every name of theirs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hardware.ros import RosCamera, Session, messages, qos, reset_emergency_stop
from hardware.ros.messages import NodeStatus
from robo_rl.contracts import Applied, RobotState, RobotStatus
from robo_rl.errors import Faulted, Stale
from robo_rl.robots.fr3 import FR3

pytest.importorskip("rclpy")

NAMES = messages.joint_names(FR3)
FLOOD = 5000


@pytest.fixture(scope="module")
def strangers(place, session):
    """Two sessions that are up to no good."""
    with Session("one", domain=place.domain) as one, Session("two", domain=place.domain) as two:
        yield one, two


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    path = tmp_path_factory.mktemp("gpio") / "value"
    path.write_text("0")
    return path


def put(line, level: str) -> None:
    """Write over a level in place: a file that is truncated first would read as none for an instant."""
    with line.open("r+") as file:
        file.write(level)


@pytest.fixture(scope="module")
def button(serve, line):
    return serve("stop", str(line))


class Ears:
    """What the emergency stop says: its signs of life, and its stops."""

    def __init__(self, session: Session, name: str) -> None:
        from std_msgs.msg import Empty, String

        self.alive, self.stops = 0, []
        session.node.create_subscription(Empty, f"{name}/alive", self._beat, qos.state_in())
        session.node.create_subscription(
            String, f"{name}_arm/emergency_stop", lambda message: self.stops.append(message.data), qos.command()
        )

    def _beat(self, _: object) -> None:
        self.alive += 1


@pytest.fixture(scope="module")
def ears(session, place):
    return Ears(session, place.name)


def lies(name: str) -> list[tuple[type, str, Callable[[int], Any], Any]]:
    """What the arm of the cell never said: type, topic, the message of a number, quality of service."""
    from diagnostic_msgs.msg import DiagnosticArray
    from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped
    from sensor_msgs.msg import JointState
    from trajectory_msgs.msg import MultiDOFJointTrajectory

    def part(index: int) -> Callable[[int], Any]:
        def make(number: int) -> Any:
            odd = np.full(7, [np.nan, 1e300, 0.1, -np.inf][number % 4])
            zero, pos = np.zeros(3), np.array([0.5, 0.0, 0.3])
            state = RobotState(0.0, odd, odd, odd, pos, np.eye(3), zero, zero, zero, zero, 0.04)
            return messages.state_messages(state, NAMES, "x", 1 + number)[index]

        return make

    def target(number: int) -> Any:
        return messages.applied_message(Applied(1, np.full(3, np.nan), np.eye(3), 0.0), "world", number)

    def status(number: int) -> Any:
        # That the arm has stopped already, or that nothing ever was the matter with it.
        robot = RobotStatus("fault", "I have stopped", "stopped") if number % 2 else RobotStatus("holding")
        return messages.status_message(NodeStatus(robot), name, "fr3", 1)

    return [
        (JointState, "joint_states", part(0), qos.state_out()),
        (PoseStamped, "tcp_pose", part(1), qos.state_out()),
        (TwistStamped, "tcp_velocity", part(2), qos.state_out()),
        (WrenchStamped, "tcp_wrench", part(3), qos.state_out()),
        (MultiDOFJointTrajectory, "applied", target, qos.state_out()),
        (DiagnosticArray, "status", status, qos.status()),
    ]


def test_an_emergency_stop_that_is_lied_to_five_thousand_times_still_stops(
    button, ears, line, place, session, strangers, eventually
):
    eventually(lambda: ears.alive > 3)
    arm = f"{place.name}_arm"
    sending = [
        (each.node.create_publisher(kind, f"{arm}/{topic}", profile), make)
        for each in strangers
        for kind, topic, make, profile in lies(arm)
    ]
    eventually(lambda: all(out.get_subscription_count() for out, _ in sending))
    for number in range(FLOOD // len(sending) + 1):
        for out, make in sending:
            out.publish(make(number))
        if number == 200:
            put(line, "1")
    eventually(lambda: len(ears.stops) > 3)
    assert "was pressed" in ears.stops[0]
    heard = ears.alive
    eventually(lambda: ears.alive > heard + 3)
    assert button.poll() is None


def test_a_storm_of_resets_does_not_release_what_is_pressed(button, ears, line, place, strangers, eventually):
    from std_srvs.srv import Trigger

    put(line, "1")
    eventually(lambda: len(ears.stops) > 3)
    clients = [each.node.create_client(Trigger, f"{place.name}/reset") for each in strangers]
    assert all(client.wait_for_service(10.0) for client in clients)
    asked = [client.call_async(Trigger.Request()) for _ in range(500) for client in clients]
    eventually(lambda: asked[-1].done())
    assert not any(each.result().success for each in asked if each.done())
    with pytest.raises(Faulted, match="still pressed"):
        reset_emergency_stop(place.name, strangers[0])
    said = len(ears.stops)
    eventually(lambda: len(ears.stops) > said + 3)
    put(line, "0")
    eventually(lambda: released(place.name, strangers[0]))
    assert button.poll() is None


def released(name: str, session: Session) -> bool:
    try:
        reset_emergency_stop(name, session)
    except (Faulted, Stale):
        return False
    return True


def test_a_camera_node_that_is_flooded_on_its_own_names_goes_on(serve, place, session, strangers, eventually):
    """It listens to nothing, so that only its readers see the flood; what they are shown stays the camera's."""
    from diagnostic_msgs.msg import DiagnosticArray
    from sensor_msgs.msg import CameraInfo, Image

    node = serve("camera")
    camera = RosCamera(place.name, 64, 48, session)
    camera.wait_until_ready(20.0)
    sending = [
        (each.node.create_publisher(kind, f"{place.name}/{topic}", qos.image_out()), kind)
        for each in strangers
        for kind, topic in (
            (Image, "image"),
            (Image, "depth"),
            (CameraInfo, "camera_info"),
            (DiagnosticArray, "status"),
        )
    ]
    garbage = Image(height=48, width=64, encoding="rgb8", step=192, data=b"1234")
    for _ in range(FLOOD // len(sending)):
        for out, kind in sending:
            out.publish(garbage if kind is Image else kind())
    time.sleep(0.2)
    arrived = camera.arrived
    eventually(lambda: camera.arrived > arrived + 5)
    assert camera.read(2.0).rgb.shape == (48, 64, 3)
    assert session.errors == 0
    assert node.poll() is None
    camera.close()
