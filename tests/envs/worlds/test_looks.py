"""Pictures vary, what happens in the scene does not."""

import numpy as np
import pytest
import torch

from envs.registry import make_env, make_task


@pytest.fixture
def reach_for_cube():
    env = make_env(make_task("pick_cube"), num_envs=2, threads=1, seed=3)
    env.reset()
    yield env
    env.close()


def looks(env, strength: float, seed: int = 0) -> tuple[np.ndarray, torch.Tensor]:
    """Both cameras' pictures of both copies after one step with these looks, and where the tool is then."""
    env.seed(3)
    env.reset()
    env.world.vary_looks(np.random.default_rng(seed), strength)
    env.step(torch.zeros(2, *env.action_space.shape))
    pictures = [env.render(camera, i, 64, 64) for camera in ("front", "wrist") for i in range(2)]
    return np.stack(pictures).astype(int), env.reading["tcp_pos"].clone()


def test_looks_vary_with_strength_and_go_back(reach_for_cube):
    plain, tool = looks(reach_for_cube, 0.0)
    weak, _ = looks(reach_for_cube, 0.2)
    strong, tool_then = looks(reach_for_cube, 1.0)
    other, _ = looks(reach_for_cube, 1.0, seed=1)
    again, _ = looks(reach_for_cube, 0.0)
    assert np.array_equal(plain, again)
    assert torch.equal(tool, tool_then)
    assert 0 < np.abs(weak - plain).mean() < np.abs(strong - plain).mean()
    assert np.abs(strong - other).mean() > 3
    for i in range(4):
        assert np.abs(strong[i] - plain[i]).mean() > 3
