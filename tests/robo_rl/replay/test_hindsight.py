"""Hindsight goals against a list of episodes: always from the same episode, never from the past."""

from collections import Counter

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from robo_rl.contracts import Step
from robo_rl.errors import UserError
from robo_rl.replay.hindsight import HindsightReplay

ACTION = gym.spaces.Box(-1, 1, (1,))
VECTOR = {key: gym.spaces.Box(-np.inf, np.inf, (1,)) for key in ("observation", "achieved_goal", "desired_goal")}
SPACES = {
    "state": gym.spaces.Dict(VECTOR),
    "camera": gym.spaces.Dict(VECTOR | {"camera": gym.spaces.Box(0, 255, (2, 2, 3), np.uint8)}),
}
WANTED = -1.0  # the goal of every episode; what is achieved is the number of the moment, so nothing achieves it


def sparse(achieved, desired):
    """0 where the goal is met, -1 elsewhere, as in Gymnasium-Robotics."""
    return -(achieved != desired).any(1).float()


def make(space=SPACES["state"], **options):
    options = {"capacity": 20, "compute_reward": sparse, "discount": 0.5} | options
    return HindsightReplay(space, ACTION, **options)


def observation(space, moments):
    value = torch.tensor(moments, dtype=torch.float32)[:, None]
    obs = {"observation": value, "achieved_goal": value, "desired_goal": torch.full_like(value, WANTED)}
    if "camera" in space.spaces:
        obs["camera"] = (value % 256).to(torch.uint8)[:, :, None, None].expand(-1, 2, 2, 3)
    return obs


def add(buffer, space, befores, afters, ends, env_ids=None):
    step = Step(
        observation(space, afters),
        torch.full((len(afters),), -7.0),
        torch.tensor([end == "terminated" for end in ends]),
        torch.tensor([end == "truncated" for end in ends]),
        {},
    )
    return buffer.add(observation(space, befores), torch.zeros(len(ends), 1), step, env_ids=env_ids)


def walk(buffer, ends, start=0):
    for t, end in enumerate(ends, start):
        add(buffer, SPACES["state"], [t], [t + 1], [end])


def goals_of(batch):
    """The goals that each transition was given, by the moment that it starts in."""
    goals: dict[float, Counter] = {}
    pairs = torch.cat([batch.obs["observation"], batch.obs["desired_goal"]], dim=1)
    for before, goal in pairs.tolist():
        goals.setdefault(before, Counter())[goal] += 1
    return goals


@st.composite
def scripts(draw):
    num_envs = draw(st.integers(1, 5))
    envs = st.permutations(range(num_envs)).flatmap(
        lambda order: st.integers(1, num_envs).map(lambda count: list(order)[:count])
    )
    end = st.sampled_from([None, None, None, None, "terminated", "truncated"])
    row = st.tuples(end, st.sampled_from([False, False, False, False, True]))  # end, jump
    rows = st.lists(row, min_size=num_envs, max_size=num_envs)
    everyone = st.tuples(st.just("add"), st.just(list(range(num_envs))), rows)
    some = st.tuples(st.just("add"), envs, rows)
    other = st.sampled_from([("break", [0], None), ("reload", None, None)])
    script = draw(st.lists(st.one_of(everyone, everyone, some, some, some, other), min_size=1, max_size=40))
    return num_envs, draw(st.integers(2 * num_envs, 24)), script


@pytest.mark.parametrize("kind", SPACES)
@settings(max_examples=100, deadline=None)
@given(scenario=scripts())
def test_goals_come_from_the_future_of_the_same_episode(kind, scenario):
    num_envs, capacity, script = scenario
    space = SPACES[kind]
    buffer = make(space, capacity=capacity, num_envs=num_envs)
    episodes: list[list[int]] = [[] for _ in range(num_envs)]  # moments achieved in each stream's newest episode
    future = {}  # moment a transition starts in: the list its goals may come from, and how much of it is its past
    now, moment = list(range(num_envs)), num_envs
    over = [False] * num_envs
    for what, env_ids, rows in script:
        if what == "reload":
            state = load(save(buffer.state_dict()))
            buffer = make(space, capacity=capacity, num_envs=num_envs)
            buffer.load_state_dict(state)
            continue
        if what == "break":
            buffer.break_stream(env_ids)
            over[env_ids[0]] = True
            continue
        rows = rows[: len(env_ids)]
        befores, afters = [now[env] for env in env_ids], list(range(moment, moment + len(env_ids)))
        moment += len(env_ids)
        add(buffer, space, befores, afters, [end for end, _ in rows], env_ids)
        for env, before, after, (end, jump) in zip(env_ids, befores, afters, rows, strict=True):
            if over[env] or before not in episodes[env][-1:]:
                episodes[env] = []
            future[before, after] = (episodes[env], len(episodes[env]))
            episodes[env].append(after)
            over[env] = end is not None
            now[env] = moment if jump else after
            moment += jump
    if not len(buffer):
        return
    stored = buffer.gather(buffer.valid_indices())
    assert len(stored.reward) == len(buffer)
    batch = buffer.sample(400)
    relabelled = batch.obs["desired_goal"][:, 0] != WANTED
    for before, after, goal in zip(
        batch.obs["observation"][relabelled, 0].int().tolist(),
        batch.next_obs["observation"][relabelled, 0].int().tolist(),
        batch.obs["desired_goal"][relabelled, 0].int().tolist(),
        strict=True,
    ):
        episode, past = future[before, after]
        assert goal in episode[past:]
    assert torch.equal(batch.obs["desired_goal"], batch.next_obs["desired_goal"])
    met = batch.next_obs["achieved_goal"][:, 0] == batch.obs["desired_goal"][:, 0]
    assert torch.equal(batch.reward[relabelled], -(~met[relabelled]).float())
    assert (batch.reward[~relabelled] == -7.0).all()
    assert (batch.discount[relabelled] == 0.5).all()
    if kind == "camera":
        assert torch.equal(batch.obs["camera"][:, 0, 0, 0].float(), batch.obs["observation"][:, 0] % 256)
        assert torch.equal(batch.next_obs["camera"][:, 1, 1, 2].float(), batch.next_obs["observation"][:, 0] % 256)


def test_every_future_step_is_drawn_evenly_and_a_fifth_keeps_its_goal():
    buffer = make()
    walk(buffer, [None, None, "truncated", None, None])
    goals = goals_of(buffer.sample(50_000))
    expected = {0: [1, 2, 3], 1: [2, 3], 2: [3], 3: [4, 5], 4: [5]}
    for before, futures in expected.items():
        assert sorted(goals[before]) == [WANTED, *futures]
        count = goals[before].total()
        assert goals[before][WANTED] / count == pytest.approx(0.2, abs=0.02)
        for moment in futures:
            assert goals[before][moment] / count == pytest.approx(0.8 / len(futures), abs=0.03)


def test_an_open_episode_that_closes_keeps_its_end():
    buffer = make()
    walk(buffer, [None, None])
    assert set(goals_of(buffer.sample(500))[0]) == {WANTED, 1.0, 2.0}
    walk(buffer, ["terminated", None], start=2)
    assert set(goals_of(buffer.sample(2000))[0]) == {WANTED, 1.0, 2.0, 3.0}


def test_the_end_of_the_ring_does_not_cut_an_episode():
    buffer = make(capacity=5)
    walk(buffer, [None] * 10)
    goals = goals_of(buffer.sample(4000))
    assert {before: set(counts) - {WANTED} for before, counts in goals.items()} == {
        6: {7.0, 8.0, 9.0, 10.0},
        7: {8.0, 9.0, 10.0},
        8: {9.0, 10.0},
        9: {10.0},
    }


def test_reaching_a_goal_ends_nothing_unless_asked_to():
    def met(achieved, desired):
        return (achieved == desired).all(1)

    for terminates, discounts in ((None, {0.5}), (met, {0.0, 0.5})):
        buffer = make(compute_terminated=terminates)
        walk(buffer, [None, None, "terminated"])
        batch = buffer.sample(2000)
        relabelled = batch.obs["desired_goal"][:, 0] != WANTED
        assert set(batch.discount[relabelled].tolist()) == discounts
        reached = relabelled & met(batch.next_obs["achieved_goal"], batch.obs["desired_goal"])
        assert set(batch.discount[reached].tolist()) == {min(discounts)}
        kept_last = ~relabelled & (batch.obs["observation"][:, 0] == 2)
        assert set(batch.discount[kept_last].tolist()) == {0.0}


def test_k_zero_relabels_nothing():
    buffer = make(k=0)
    walk(buffer, [None] * 5)
    assert (buffer.sample(200).obs["desired_goal"] == WANTED).all()


def test_what_is_stored_stays_as_it_was():
    buffer = make()
    walk(buffer, [None] * 5)
    buffer.sample(200)
    stored = buffer.gather(buffer.valid_indices())
    assert (stored.obs["desired_goal"] == WANTED).all()
    assert (stored.reward == -7.0).all()


def test_one_stream_alone_may_hold_four_shares():
    space = SPACES["state"]
    buffer = make(capacity=80, num_envs=8)
    for t in range(100):
        add(buffer, space, [t], [t + 1], [None], env_ids=[3])
    assert len(buffer) == 40
    batch = buffer.sample(3000)
    assert batch.obs["observation"].min() == 60
    assert (batch.obs["desired_goal"][:, 0] - batch.obs["observation"][:, 0]).max() > 35
    smaller = make(capacity=41, num_envs=8)
    smaller.load_state_dict(buffer.state_dict())
    assert len(smaller) == 24
    assert smaller.sample(1000).obs["observation"].min() == 76


def test_a_resumed_buffer_draws_the_same():
    buffer = make(capacity=8)
    walk(buffer, [None, None, "truncated", None] * 4)
    resumed = make(capacity=8, seed=1)
    resumed.load_state_dict(load(save(buffer.state_dict())))
    for _ in range(3):
        first, second = buffer.sample(64), resumed.sample(64)
        assert torch.equal(first.obs["desired_goal"], second.obs["desired_goal"])
        assert torch.equal(first.reward, second.reward)
        walk(buffer, [None], start=16)
        walk(resumed, [None], start=16)


def test_what_cannot_be_relabelled_is_refused():
    with pytest.raises(UserError, match="n_step"):
        make(n_step=3)
    with pytest.raises(UserError, match="k: -1"):
        make(k=-1)
    with pytest.raises(UserError, match="desired_goal"):
        make(gym.spaces.Dict(state=gym.spaces.Box(-1, 1, (3,))))
    with pytest.raises(UserError, match="memory_budget"):
        make(capacity=10_000, memory_budget=10_000 * 44)


def test_bytes_used_is_what_the_tensors_take():
    buffer = make(capacity=30, num_envs=7)
    parts = [*vars(buffer).values(), *vars(buffer._ring).values()]
    assert buffer.bytes_used == sum(v.nbytes for v in parts if isinstance(v, torch.Tensor | np.ndarray))


def test_following_steps_are_refused():
    buffer = make(capacity=4)
    add(buffer, SPACES["state"], [0], [1], [""])
    with pytest.raises(UserError, match="following"):
        buffer.sample(2, following=3)
