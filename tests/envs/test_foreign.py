from __future__ import annotations

import sys

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from envs.foreign import GOAL_KEYS, ForeignEnv, make_gym_env
from robo_rl.errors import InvalidAction, MissingExtra, UserError


class Counter(gymnasium.Env):
    """Counts its steps; ends where told; remembers what it was asked."""

    render_mode = None

    def __init__(self, observation=None, action=None, ends_at=None, success_key=None):
        self.observation_space = observation or spaces.Box(-1e6, 1e6, (2,), np.float64)
        self.action_space = action or spaces.Box(np.array([-2.0, 0.0]), np.array([2.0, 1.0]), dtype=np.float64)
        self.ends_at, self.success_key = ends_at, success_key
        self.actions, self.seeds, self.resets = [], [], 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count, self.first = 0, float(self.np_random.integers(1000))
        self.seeds.append(seed)
        self.resets += 1
        return np.array([0.0, self.first]), {}

    def step(self, action):
        self.actions.append(action)
        self.count += 1
        ended = self.count == self.ends_at
        info = {self.success_key: ended} if self.success_key else {}
        return np.array([float(self.count), self.first]), 1.5, ended, ended, info


def counters(n=3, horizon=5, **options):
    copies = []

    def make():
        copies.append(Counter(**options))
        return copies[-1]

    return ForeignEnv(make, n, horizon=horizon), copies


def test_actions_are_mapped_to_the_bounds_and_the_executed_one_is_reported():
    env, copies = counters(n=3)
    env.reset()
    step = env.step(torch.tensor([[-1.0, -1.0], [0.0, 0.5], [3.0, 1.0]]))  # the last is beyond its bound
    given = [copy.actions[-1] for copy in copies]
    np.testing.assert_allclose(given, [[-2.0, 0.0], [0.0, 0.75], [2.0, 1.0]])
    torch.testing.assert_close(step.info["executed_action"][2], torch.tensor([1.0, 1.0]))


def test_a_cut_is_no_end_and_nothing_resets_by_itself():
    env, copies = counters(n=2, horizon=3)
    env.reset()
    resets = copies[0].resets
    zero = torch.zeros(2, 2)
    steps = [env.step(zero) for _ in range(4)]
    assert [s.truncated.tolist() for s in steps] == [[False] * 2, [False] * 2, [True] * 2, [True] * 2]
    assert not any(s.terminated.any() for s in steps)
    assert steps[2].obs["state"][:, 0].tolist() == [3.0, 3.0]  # the true last observation
    assert steps[3].obs["state"][:, 0].tolist() == [3.0, 3.0]  # and there it stands
    assert steps[3].reward.tolist() == [0.0, 0.0]
    assert copies[0].resets == resets


def test_an_end_is_never_a_cut_as_well():
    env, _ = counters(n=1, horizon=2, ends_at=2)  # the copy says terminated and truncated at once, at the horizon
    env.reset()
    env.step(torch.zeros(1, 2))
    step = env.step(torch.zeros(1, 2))
    assert step.terminated.item()
    assert not step.truncated.item()
    assert step.done.item()


def test_only_the_masked_copies_begin_anew():
    env, _ = counters(n=3)
    before = env.reset()
    env.step(torch.zeros(3, 2))
    obs = env.reset(torch.tensor([False, True, False]))
    assert obs["state"][:, 0].tolist() == [1.0, 0.0, 1.0]
    assert obs["state"][1, 1] != before["state"][1, 1]


def test_starts_are_a_function_of_the_seed_and_of_nothing_else():
    env, _ = counters(n=2)

    def starts(steps):
        env.seed(7)
        first = env.reset()["state"][:, 1].tolist()
        for _ in range(steps):
            env.step(torch.rand(2, 2))
        return first + env.reset()["state"][:, 1].tolist()

    assert starts(0) == starts(4)
    other, _ = counters(n=4)
    other.seed(7)
    assert other.reset()["state"][:, 1].tolist() == starts(1)  # the k-th episode, however many copies run
    env.seed(8)
    assert env.reset()["state"][:, 1].tolist() != starts(0)[:2]


def test_an_episode_can_be_given_its_seed():
    env, copies = counters(n=2)
    env.reset(torch.tensor([False, True]), seeds=[41])
    assert copies[1].seeds[-1] == 41
    with pytest.raises(ValueError, match="2 episodes begin but 1"):
        env.reset(seeds=[1])


@pytest.mark.parametrize("key", ["success", "is_success"])
def test_success_is_read_from_either_name(key):
    env, _ = counters(n=1, ends_at=2, success_key=key)
    env.reset()
    assert env.has_success
    assert not env.step(torch.zeros(1, 2)).info["success"].item()
    assert env.step(torch.zeros(1, 2)).info["success"].item()
    env.reset()
    assert not env.step(torch.zeros(1, 2)).info["success"].item()


def test_an_environment_without_success_says_so():
    env, _ = counters(n=1)
    env.reset()
    assert env.step(torch.zeros(1, 2)).info["success"].tolist() == [False]
    assert not env.has_success


@pytest.mark.parametrize(
    "action", [torch.full((1, 2), float("nan")), torch.full((1, 2), float("inf")), torch.zeros(2, 1)]
)
def test_a_bad_action_is_refused_before_the_environment_sees_it(action):
    env, copies = counters(n=1)
    env.reset()
    seen = len(copies[0].actions)
    with pytest.raises(InvalidAction, match="action"):
        env.step(action)
    assert len(copies[0].actions) == seen


@pytest.mark.parametrize(
    ("action", "says"),
    [
        (spaces.Discrete(3), "continuous variant"),
        (spaces.Box(-np.inf, np.inf, (2,)), "action 0 has no bounds"),
        (spaces.Box(np.array([0.0, 0.0]), np.array([1.0, np.inf]), dtype=np.float64), "action 1 has no bounds"),
        (spaces.Box(0, 5, (2,), np.int64), "real numbers"),
        (spaces.Tuple([spaces.Box(-1, 1)]), "one box"),
    ],
    ids=str,
)
def test_actions_that_cannot_be_learned_are_refused_with_the_remedy(action, says):
    with pytest.raises(UserError, match=says) as refusal:
        ForeignEnv(lambda: Counter(action=action), horizon=5)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "observation",
    [spaces.Discrete(3), spaces.Dict({"where": spaces.Discrete(3)}), spaces.Tuple([spaces.Box(-1, 1)])],
    ids=str,
)
def test_observations_that_are_no_boxes_are_refused_with_the_remedy(observation):
    with pytest.raises(UserError, match="FlattenObservation"):
        ForeignEnv(lambda: Counter(observation=observation), horizon=5)


def test_an_environment_without_a_horizon_is_refused():
    with pytest.raises(UserError, match="max_episode_steps"):
        ForeignEnv(Counter)


class Pictured(Counter):
    def __init__(self):
        super().__init__(
            spaces.Dict(
                {"image": spaces.Box(0, 255, (4, 6, 3), np.uint8), "pose": spaces.Box(-1, 1, (2, 2), np.float64)}
            )
        )

    def _seen(self, value):
        return {"image": np.full((4, 6, 3), value, np.uint8), "pose": np.full((2, 2), 0.5)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._seen(0), {}

    def step(self, action):
        return self._seen(200), *super().step(action)[1:]


def test_images_stay_bytes_and_numbers_become_vectors():
    env = ForeignEnv(Pictured, 2, horizon=5)
    env.reset()
    obs = env.step(torch.zeros(2, 2)).obs
    assert obs["image"].dtype == torch.uint8
    assert obs["image"].shape == (2, 4, 6, 3)
    assert (obs["image"] == 200).all()
    assert obs["pose"].dtype == torch.float32
    assert obs["pose"].shape == (2, 4)
    assert env.observation_space.contains({key: value[0].numpy() for key, value in obs.items()})


def test_observations_are_not_overwritten_later():
    env, _ = counters(n=1)
    first = env.reset()["state"]
    second = env.step(torch.zeros(1, 2)).obs["state"]
    env.step(torch.zeros(1, 2))
    assert [first[0, 0].item(), second[0, 0].item()] == [0.0, 1.0]


def test_pendulum():
    env = make_gym_env("Pendulum-v1", num_envs=2, seed=3)
    assert (env.horizon, env.action_space.shape, env.has_success) == (200, (1,), False)
    bare = gymnasium.make("Pendulum-v1")
    env.reset(seeds=[5, 6])
    bare.reset(seed=6)
    for _ in range(5):
        step = env.step(torch.tensor([[0.1], [0.5]]))
        obs, reward, *_ = bare.step(np.array([1.0], np.float32))  # half of its torque limit of 2
    np.testing.assert_allclose(step.obs["state"][1].numpy(), obs, rtol=1e-6)
    assert step.reward[1].item() == pytest.approx(reward, rel=1e-5)
    env.close()


def test_the_horizon_can_be_shortened():
    env = make_gym_env("Pendulum-v1", horizon=4)
    env.reset()
    ends = [env.step(torch.zeros(1, 1)).truncated.item() for _ in range(4)]
    assert ends == [False, False, False, True]


def test_the_newest_version_is_taken_where_none_is_named():
    assert make_gym_env("Pendulum").name == "Pendulum-v1"


@pytest.mark.parametrize(
    ("env_id", "says"),
    [
        ("Pendulun-v1", "did you mean 'Pendulum-v1'"),
        ("CartPole-v1", "continuous variant"),
        ("no_such_package:Thing-v0", "cannot import 'no_such_package'"),
        ("qqqqqqqqqqqq", "pprint_registry"),
    ],
)
def test_a_wrong_name_gets_one_line_with_the_remedy(env_id, says):
    with pytest.raises(UserError, match=says) as refusal:
        make_gym_env(env_id)
    assert "\n" not in str(refusal.value)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium_robotics", None)
    monkeypatch.setattr("envs.foreign.find_spec", lambda name: None)
    monkeypatch.setattr("gymnasium.registry", {k: v for k, v in gymnasium.registry.items() if "Fetch" not in k})
    with pytest.raises(MissingExtra, match=r"robo-rl\[benchmarks\]"):
        make_gym_env("FetchReach-v4")


def test_rendering_needs_a_view_that_can_be_drawn():
    env, _ = counters(n=1)
    env.reset()
    with pytest.raises(UserError, match="rgb_array"):
        env.render()
    with pytest.raises(UserError, match="no camera 'wrist'"):
        env.render("wrist")


@pytest.fixture(scope="module")
def fetch():
    pytest.importorskip("gymnasium_robotics")
    env = make_gym_env("FetchReach-v4", num_envs=2, seed=0)
    yield env
    env.close()


def test_fetch_is_a_goal_environment(fetch):
    assert fetch.is_goal_env
    assert frozenset(fetch.reset()) == GOAL_KEYS
    assert (fetch.horizon, fetch.has_success, fetch.action_space.shape) == (50, True, (4,))


def test_fetch_reward_can_be_asked_for_other_goals(fetch):
    fetch.reset()
    step = fetch.step(torch.rand(2, 4) * 2 - 1)
    achieved, desired = step.obs["achieved_goal"], step.obs["desired_goal"]
    torch.testing.assert_close(fetch.compute_reward(achieved, desired), step.reward)
    assert fetch.compute_reward(achieved, achieved).tolist() == [0.0, 0.0]
    assert fetch.compute_reward(achieved, achieved + 0.1).tolist() == [-1.0, -1.0]
    assert fetch.compute_terminated(achieved, achieved).tolist() == [False, False]


def test_fetch_a_hand_made_policy_succeeds(fetch):
    obs = fetch.reset()
    for _ in range(fetch.horizon):
        way = obs["desired_goal"] - obs["achieved_goal"]
        step = fetch.step(torch.cat([(way * 20).clamp(-1, 1), torch.zeros(2, 1)], dim=-1))
        obs = step.obs
    assert step.info["success"].all()
    assert step.truncated.all()


def test_a_reward_written_for_one_goal_is_asked_row_by_row():
    class OneByOne(Counter):
        def __init__(self):
            box = spaces.Box(-1e3, 1e3, (2,), np.float64)
            super().__init__(spaces.Dict(dict.fromkeys(GOAL_KEYS, box)))

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return {key: np.zeros(2) for key in GOAL_KEYS}, {}

        def step(self, action):
            return {key: np.zeros(2) for key in GOAL_KEYS}, *super().step(action)[1:]

        def compute_reward(self, achieved, desired, info):
            return -np.linalg.norm(achieved - desired)  # without an axis: a batch becomes one number

        def compute_terminated(self, achieved, desired, info):
            return bool(np.linalg.norm(achieved - desired) < 1.0)

    env = ForeignEnv(OneByOne, horizon=5)
    achieved, desired = torch.tensor([[3.0, 4.0], [0.0, 0.5]]), torch.zeros(2, 2)
    assert env.compute_reward(achieved, desired).tolist() == [-5.0, -0.5]
    assert env.compute_terminated(achieved, desired).tolist() == [False, True]


def test_an_environment_without_goals_cannot_be_relabelled():
    env, _ = counters()
    with pytest.raises(UserError, match="hindsight"):
        env.compute_reward(torch.zeros(1, 2), torch.zeros(1, 2))
