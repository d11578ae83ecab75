from __future__ import annotations

import numpy as np
import pytest

from hardware.calibration.poses import pose
from robo_rl import geometry


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def random_poses(rng):
    """Makes n poses around one place: (n, turn in rad, shift in m)."""

    def make(n, turn, shift, around=(0.0, 0.0, 0.0)):
        return pose(np.asarray(around) + shift * rng.normal(size=(n, 3)), geometry.exp(turn * rng.normal(size=(n, 3))))

    return make
