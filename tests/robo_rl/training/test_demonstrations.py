import pytest
import torch

from robo_rl.data.episodes import load_episodes
from robo_rl.errors import UserError
from robo_rl.training.demonstrations import expert_tries, record_expert, successes

ABOUT = {"task": "point", "robot": "none", "seed": 0}


def clumsy(point_env, worst):
    """An expert that loses its way when it starts on the right of ``worst``."""

    class Clumsy(point_env):
        def expert_action(self):
            action = super().expert_action()
            return torch.where(self.x[:, None] > worst, torch.ones_like(action), action)

    return Clumsy


def test_only_successes_are_kept_and_tries_are_told(point_env, tmp_path):
    env = clumsy(point_env, 0.5)(4)
    kept, tried = record_expert(env, tmp_path, 6, **ABOUT)
    assert kept == 6
    assert tried > 6
    episodes = load_episodes(tmp_path)
    assert len(episodes) == 6
    for episode in episodes:
        assert bool(episode.success[-1])
        assert not bool(episode.success[:-1].any())
        assert episode.obs["state"].shape == (len(episode) + 1, 2)
        # What was stored is what happens: x' = x + 0.2 a.
        x = episode.obs["state"][:, 0]
        torch.testing.assert_close(x[1:], x[:-1] + 0.2 * episode.executed_action[:, 0])


def test_kept_starts_do_not_favour_short_episodes(point_env):
    """The successes of the tries in order, although short episodes end first."""
    env = point_env(5)
    tries = expert_tries(env)
    first = [next(tries) for _ in range(5)]
    starts = [episode.transitions[0][0]["state"][0, 0].item() for episode in first]
    assert starts == pytest.approx(env.started[:5])
    assert len({len(episode.transitions) for episode in first}) > 1


def test_a_hopeless_expert_is_told_of(point_env):
    class Away(point_env):
        def expert_action(self):
            return self.x[:, None].sign()

    env = Away(4)
    with pytest.raises(UserError, match=r"succeeded in 0 of \d+ tries only"):
        list(successes(expert_tries(env), 3))


def test_no_expert(point_env):
    class Alone:
        num_envs = 1

    with pytest.raises(UserError, match="no scripted expert"):
        next(expert_tries(Alone()))


def test_stopping_keeps_what_was_recorded(point_env, tmp_path):
    asked = []
    kept, _ = record_expert(point_env(2), tmp_path, 50, **ABOUT, should_stop=lambda: len(asked) > 15 or asked.append(1))
    assert 0 < kept < 50
    assert len(load_episodes(tmp_path)) == kept
