"""The picture is right where it can be worked out by hand: which pixels an object covers, its colour, its shadow."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from envs.worlds.raycast import RayRenderer

SCENE = """
<mujoco>
  <worldbody>
    <camera name="front" pos="2 0 0.5" xyaxes="0 1 0 0 0 1" fovy="60"/>
    <geom name="floor" type="plane" size="5 5 .1" rgba=".8 .8 .8 1"/>
    <geom name="ball" type="sphere" size=".2" pos="0 0 .5" rgba="1 0 0 1"/>
    <geom name="ghost" type="sphere" size=".2" pos="0 .8 .5" rgba="0 1 0 0"/>
  </worldbody>
</mujoco>
"""


@pytest.fixture
def scene():
    model = mujoco.MjModel.from_xml_string(SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


def picture(scene, **options):
    model, data = scene
    renderer = RayRenderer(model, **options)
    renderer.update_scene(data, camera="front")
    return renderer.render()


def red(image):
    return (image[..., 0] > 80) & (image[..., 1] < 10)


def test_a_ball_covers_the_pixels_that_a_pinhole_gives_it(scene):
    # half the picture's height is tan(30 deg) at distance 1; the ball's rim is seen under asin(0.2 / 2)
    image = picture(scene, height=200, width=300)
    assert image.shape == (200, 300, 3)
    assert image.dtype == np.uint8
    radius = np.tan(np.arcsin(0.1)) / np.tan(np.radians(30)) * 100  # 17.4 pixels
    assert red(image).sum() == pytest.approx(np.pi * radius**2, rel=0.02)
    rows, columns = np.nonzero(red(image))
    assert rows.mean() == pytest.approx(99.5, abs=0.3)
    assert columns.mean() == pytest.approx(149.5, abs=0.3)


def test_left_of_the_camera_is_left_in_the_picture(scene):
    model, data = scene
    model.geom_pos[1] = [0.0, -0.5, 0.8]  # the camera's right hand is +y: this is left and up
    mujoco.mj_forward(model, data)
    rows, columns = np.nonzero(red(picture(scene, height=100, width=150)))
    assert columns.mean() < 60
    assert rows.mean() < 40


def test_what_is_transparent_is_not_seen(scene):
    image = picture(scene, height=100, width=150)
    assert not ((image[..., 1] > 80) & (image[..., 0] < 10)).any()


def test_the_ball_throws_a_shadow(scene):
    model, _ = scene
    with_ball = picture(scene, height=200, width=300).astype(int)
    model.geom_rgba[1, 3] = 0.0
    without = picture(scene, height=200, width=300).astype(int)
    darker = (without - with_ball).sum(axis=-1) > 60
    assert (darker & ~red(with_ball)).sum() > 50


def test_more_samples_smooth_the_edge_and_keep_the_rest(scene):
    plain, smooth = (picture(scene, height=60, width=90, samples=n).astype(float) for n in (1, 3))
    assert np.median(np.abs(plain - smooth)) <= 1.0
    assert len(np.unique(smooth.reshape(-1, 3), axis=0)) > len(np.unique(plain.reshape(-1, 3), axis=0))


def test_a_picture_can_be_put_where_it_is_wanted(scene):
    model, data = scene
    renderer = RayRenderer(model, height=20, width=30)
    renderer.update_scene(data, camera=0)
    wanted = np.zeros((20, 30, 3), np.uint8)
    assert renderer.render(out=wanted) is wanted
    np.testing.assert_array_equal(wanted, renderer.render())


def test_an_unknown_camera_is_refused(scene):
    model, data = scene
    renderer = RayRenderer(model, 10, 10)
    with pytest.raises(ValueError, match="no camera 'back'"):
        renderer.update_scene(data, camera="back")
    with pytest.raises(ValueError, match="update_scene"):
        renderer.render()
