"""A camera in a process of its own, seen through its topics."""

from __future__ import annotations

import time

import numpy as np
import pytest

from hardware.ros import RosCamera, qos
from robo_rl.contracts import Camera
from robo_rl.errors import Stale

pytest.importorskip("rclpy")


@pytest.fixture(scope="module")
def node(serve):
    return serve("camera", "depth")


@pytest.fixture(scope="module")
def camera(node, place, session):
    camera = RosCamera(place.name, 64, 48, session, depth=True)
    camera.wait_until_ready(20.0)
    yield camera
    camera.close()


def shown(frame):
    """The index that the far camera has written into its picture."""
    return int.from_bytes(frame.rgb[0, :4, 0].tobytes(), "little")


def test_pictures_come_whole_with_their_depth(camera):
    assert isinstance(camera, Camera)
    frame = camera.read(1.0)
    expected = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    np.testing.assert_array_equal(frame.rgb[1:], expected[1:])
    assert frame.depth[0, 0] == 0.0
    assert (frame.depth.ravel()[1:] == np.float32(0.5)).all()


def test_indices_count_pictures_and_those_that_the_far_camera_has_lost(camera, eventually):
    frames = {}
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        frame = camera.read(1.0)
        frames[frame.index] = frame
        time.sleep(0.004)
    indices = sorted(frames)
    assert len(indices) > 10
    stamps = [frames[index].stamp for index in indices]
    assert stamps == sorted(stamps)
    assert max(stamps) <= time.monotonic()
    # News of a loss may come just after the picture that follows it; then all agrees again.
    apart = [shown(frames[index]) - index for index in indices]
    usual = max(set(apart), key=apart.count)

    def agrees():
        frame = camera.read(1.0)
        return shown(frame) - frame.index == usual

    eventually(agrees)


def test_the_lens_is_published_with_every_picture(camera, place, session, eventually):
    from sensor_msgs.msg import CameraInfo

    seen = []
    heard = session.node.create_subscription(CameraInfo, f"{place.name}/camera_info", seen.append, qos.image_in())
    eventually(lambda: seen)
    assert list(seen[0].k) == [50.0, 0.0, 32.0, 0.0, 50.0, 24.0, 0.0, 0.0, 1.0]
    assert (seen[0].width, seen[0].height, seen[0].distortion_model) == (64, 48, "plumb_bob")
    assert seen[0].header.frame_id == f"{place.name}_optical_frame"
    session.node.destroy_subscription(heard)


def test_pictures_of_somebody_else_are_set_aside(camera, place, session, eventually):
    from sensor_msgs.msg import Image

    stranger = session.node.create_publisher(Image, f"{place.name}/image", qos.image_out())
    eventually(lambda: stranger.get_subscription_count())
    for message in (
        Image(),
        Image(height=48, width=64, encoding="rgb8", step=192, data=b"1234"),
        Image(height=480, width=640, encoding="rgb8", step=1920, data=bytes(1920 * 480)),
        Image(height=48, width=64, encoding="mono8", step=64, data=bytes(64 * 48)),
    ):
        stranger.publish(message)
    session.node.destroy_publisher(stranger)
    newest = camera.read(1.0).index
    eventually(lambda: camera.read(1.0).index > newest)
    assert camera.read(1.0).rgb.shape == (48, 64, 3)


def test_a_node_that_is_killed_leaves_a_stale_camera_that_says_so(camera, node, eventually):
    node.kill()
    node.wait()
    with pytest.raises(Stale, match=r"the newest picture is [\d.]+ s old, 0\.2 s are allowed"):
        eventually(lambda: camera.read() is None)


def test_nobody_there_is_said_with_the_remedy(session):
    camera = RosCamera("nobody", 64, 48, session)
    with pytest.raises(Stale, match=r"no picture for 0\.2 s; nobody publishes nobody/image on ROS domain"):
        camera.wait_until_ready(0.2)
    with pytest.raises(Stale, match="nobody publishes"):
        camera.read()
    camera.close()
    camera.close()
