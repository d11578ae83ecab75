"""Attempts that are recorded in the simulator."""

import pytest
import torch

from envs.registry import make_env, make_task
from robo_rl.data.episodes import load_episodes
from robo_rl.errors import UserError
from robo_rl.rewards.collection import STYLES, Performer, record_attempts
from robo_rl.rewards.frames import frames_of

ABOUT = {"task": "peg_insertion", "robot": "panda", "seed": 0}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attempts")
    env = make_env(make_task("peg_insertion", "panda", {}), num_envs=3, seed=0, obs="pixels")
    try:
        counted = record_attempts(env, folder, 8, steps=50, **ABOUT)
    finally:
        env.close()
    return folder, counted


def test_as_many_as_asked_for_with_the_truth_at_every_step(recorded):
    folder, (over, successes) = recorded
    episodes = load_episodes(folder)
    assert len(episodes) == over == 8
    assert sum(bool(each.success.any()) for each in episodes) == successes
    assert 1 <= successes < 8, "both kinds are there"
    for each in episodes:
        assert not bool(each.terminated.any())
        assert each.truncated.nonzero()[:, 0].tolist() == [len(each) - 1]


def test_they_go_on_after_success_so_that_it_is_seen(recorded):
    frames = frames_of(load_episodes(recorded[0]))
    assert set(frames.images) == {"camera.front.rgb", "camera.wrist.rgb"}
    runs = [int(frames.success[frames.episode == each].sum()) for each in range(len(frames.digests))]
    assert max(runs) >= 5
    assert 0 in runs


def test_stopped_it_keeps_what_was_finished(tmp_path):
    env = make_env(make_task("peg_insertion", "panda", {}), num_envs=2, seed=0, obs="pixels")
    calls = iter([False] * 12 + [True] * 100)
    try:
        over, _ = record_attempts(env, tmp_path, 20, steps=5, should_stop=lambda: next(calls), **ABOUT)
    finally:
        env.close()
    assert over == len(load_episodes(tmp_path)) == 4
    assert not list(tmp_path.glob("*.journal"))


def test_without_a_camera_it_is_refused(tmp_path):
    env = make_env(make_task("peg_insertion", "panda", {}), num_envs=1, seed=0)
    try:
        with pytest.raises(UserError, match="no camera"):
            record_attempts(env, tmp_path, 1, **ABOUT)
    finally:
        env.close()


def test_what_is_done_follows_from_the_seed_and_has_all_styles():
    def played(seed):
        performer = Performer(400, 3, seed)
        performer.begin(torch.ones(400, dtype=torch.bool))
        actions = torch.stack([performer.actions(torch.full((400, 3), 0.5)) for _ in range(60)])
        return performer.style, actions

    style, actions = played(1)
    assert torch.equal(played(1)[1], actions)
    assert not torch.equal(played(2)[1], actions)
    assert bool((actions.abs() <= 1.0).all())
    assert style.unique().tolist() == list(range(len(STYLES)))
    towards = actions.mean(-1)  # 0.5 is right
    assert float((towards[:, style == 0] - 0.5).abs().mean()) < 0.1
    assert bool((towards[-20:, style == 1] < 0.1).any()), "near misses leave the right way"
