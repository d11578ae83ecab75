from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.cameras.view import Crop, Intrinsics, choose_crop, fit, fit_intrinsics
from robo_rl.errors import UserError

SIDES = st.integers(1, 1500)


def test_the_largest_centred_part_of_the_wanted_proportions_is_taken():
    assert choose_crop((640, 480), (128, 128)) == Crop(80, 0, 480, 480)
    assert choose_crop((480, 640), (128, 64)) == Crop(0, 200, 480, 240)
    assert choose_crop((128, 128), (128, 128)) == Crop(0, 0, 128, 128)


def test_the_wanted_field_of_view_is_taken_around_the_principal_point():
    lens = Intrinsics(640, 480, 500.0, 500.0, 339.5, 219.5)
    # 2 * 500 * tan(20 deg) = 363.97 rows
    assert choose_crop((640, 480), (128, 128), 40.0, lens) == Crop(158, 38, 364, 364)
    assert fit_intrinsics(lens, Crop(158, 38, 364, 364), 128, 128).fovy == pytest.approx(40.0, abs=0.01)


def test_a_camera_that_sees_less_gives_all_it_has():
    lens = Intrinsics(640, 480, 600.0, 600.0, 319.5, 239.5)
    assert choose_crop((640, 480), (128, 128), 90.0, lens) == Crop(80, 0, 480, 480)


def test_a_size_of_nothing_is_refused():
    with pytest.raises(UserError, match="640x0"):
        choose_crop((640, 0), (128, 128))


@given(SIDES, SIDES, SIDES, SIDES, st.floats(1.0, 170.0), st.floats(-200, 1700), st.floats(-200, 1700))
def test_a_crop_lies_within_the_picture(width, height, w, h, fovy, cx, cy):
    crop = choose_crop((width, height), (w, h), fovy, Intrinsics(width, height, 500.0, 500.0, cx, cy))
    assert 0 <= crop.left <= crop.left + crop.width <= width
    assert 0 <= crop.top <= crop.top + crop.height <= height
    assert min(crop.width, crop.height) >= 1


def test_colours_are_averaged_and_depths_are_picked():
    rgb = np.zeros((4, 4, 3), np.uint8)
    rgb[:, ::2] = 100
    depth = np.array([[0, 1, 2, 3]] * 4, np.float32)
    small, near = fit(rgb, depth, Crop(0, 0, 4, 4), 2, 2)
    assert (small == 50).all()
    assert set(near.ravel()) <= {0.0, 1.0, 2.0, 3.0}


def test_what_is_handed_out_owns_its_memory():
    rgb, depth = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float32)
    for width in (4, 2):
        cut, near = fit(rgb, depth, Crop(0, 0, 4, 4), width, width)
        assert not np.shares_memory(cut, rgb)
        assert not np.shares_memory(near, depth)


@given(
    st.integers(8, 80), st.integers(8, 80), st.integers(4, 64), st.integers(4, 64),
    st.floats(-0.2, 0.2), st.floats(-0.2, 0.2),
)  # fmt: skip
def test_the_intrinsics_of_a_fitted_picture_see_the_same_rays(width, height, w, h, x, y):
    lens = Intrinsics(100, 100, 90.0, 95.0, 48.0, 51.0)
    crop = Crop(10, 12, width, height)
    fitted = fit_intrinsics(lens, crop, w, h)
    u, v = lens.fx * x + lens.cx, lens.fy * y + lens.cy
    # Edges of pixels, which lie at halves, keep their share of the way across the picture.
    assert (fitted.fx * x + fitted.cx + 0.5) / w == pytest.approx((u - crop.left + 0.5) / width)
    assert (fitted.fy * y + fitted.cy + 0.5) / h == pytest.approx((v - crop.top + 0.5) / height)
