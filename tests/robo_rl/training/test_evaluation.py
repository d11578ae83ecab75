import pytest
import torch

from robo_rl.training.evaluation import evaluate


def slow_right(obs, *, explore):
    """Comes to the origin from the left only, one step in 0.1 m."""
    return torch.full((len(obs["state"]), 1), 0.5)


def homing(obs, *, explore):
    return (-obs["state"][:, :1] / 0.2).clamp(-1.0, 1.0)


def noisy(obs, *, explore):
    action = homing(obs, explore=explore)
    return action + 0.5 * torch.randn_like(action) if explore else action


def test_every_start_is_counted_once_whatever_the_number_of_environments(point_env):
    results = [evaluate(point_env(num_envs), slow_right, 30, seed=4) for num_envs in (1, 7, 30, 50)]
    assert results[0].successes == results[1].successes == results[2].successes == results[3].successes
    assert results[0].lengths == results[1].lengths == results[2].lengths == results[3].lengths
    # Worked out from the starts themselves: from the left it arrives, from the right it runs away.
    starts = point_env().task.start(torch.Generator().manual_seed(4), 30).position
    assert results[0].successes == tuple((starts < 0.0).tolist())


def test_short_episodes_do_not_crowd_out_long_ones(point_env):
    """With as many environments as episodes, the first to finish are all successes; the rate must not be theirs."""
    result = evaluate(point_env(200), slow_right, 100, seed=0)
    alone = evaluate(point_env(1), slow_right, 100, seed=0)
    assert result.success_rate == alone.success_rate
    assert 0.3 < result.success_rate < 0.8


def test_numbers_of_a_result(point_env):
    class FourStarts(point_env):
        def __init__(self):
            super().__init__(num_envs=2)
            rows = self.task.start(torch.Generator(), 4)
            self.task = type(
                "Task", (), {"start": lambda _, g, n: type(rows)(torch.tensor([-0.45, 0.9, -0.25, 0.8]))}
            )()

    result = evaluate(FourStarts(), slow_right, 4)
    # -0.45 -> -0.05 in 4 steps, -0.25 -> -0.05 in 2; the others run away for 20 steps.
    assert result.successes == (True, False, True, False)
    assert result.lengths == (4, 20, 2, 20)
    assert result.returns == (1.0, 0.0, 1.0, 0.0)
    told = result.to_json()
    assert told["success_rate"] == 0.5
    assert told["length"] == 11.5
    assert told["robot_seconds"] == pytest.approx(1.15)
    assert told["robot_seconds_to_success"] == pytest.approx(0.3)
    assert told["success_interval_95"] == pytest.approx([0.1500, 0.8500], abs=1e-4)


def test_stochastic_is_another_number_than_deterministic_and_repeats(point_env):
    def run(deterministic):
        return evaluate(point_env(4), noisy, 20, deterministic=deterministic, seed=1)

    assert run(True).lengths == run(True).lengths
    assert run(False).lengths == run(False).lengths != run(True).lengths
    before = torch.get_rng_state()
    run(False)
    assert torch.equal(before, torch.get_rng_state())


def test_foreign_environments_start_by_seed(point_env):
    class Foreign(point_env):
        def __init__(self, num_envs):
            super().__init__(num_envs)
            del self.task

        def reset(self, mask=None, *, seeds=None):
            self.x = self.x.clone()
            rows = mask.nonzero()[:, 0].tolist()
            for row, seed in zip(rows, seeds, strict=True):
                self.x[row] = 2.0 * torch.rand((), generator=torch.Generator().manual_seed(seed)) - 1.0
            self.t = torch.where(mask, 0.0, self.t)
            return self.observe()

    alone, together = evaluate(Foreign(1), slow_right, 12, seed=3), evaluate(Foreign(5), slow_right, 12, seed=3)
    assert alone.lengths == together.lengths
    assert alone.lengths != evaluate(Foreign(1), slow_right, 12, seed=4).lengths


def test_can_be_given_up(point_env):
    asked = []
    assert evaluate(point_env(), homing, 5, should_stop=lambda: len(asked) > 3 or asked.append(1)) is None


def test_needs_an_episode(point_env):
    with pytest.raises(ValueError, match="at least 1"):
        evaluate(point_env(), homing, 0)
