"""The replay buffer against a slow, obvious model: a list of transitions that is searched from one end to the other."""

import re
import struct
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
from robo_rl.replay.buffer import ReplayBuffer

ACTION = gym.spaces.Box(-1, 1, (2,))
STATE = gym.spaces.Dict(state=gym.spaces.Box(-np.inf, np.inf, (3,)))
GRID = gym.spaces.Dict(
    state=gym.spaces.Box(-np.inf, np.inf, (3,)),
    matrix=gym.spaces.Box(-np.inf, np.inf, (2, 2)),
    scalar=gym.spaces.Box(-np.inf, np.inf, ()),
)
CAMERAS = gym.spaces.Dict(
    front=gym.spaces.Box(0, 255, (2, 2, 3), np.uint8),
    state=gym.spaces.Box(-np.inf, np.inf, (3,)),
    wrist=gym.spaces.Box(0, 255, (3, 2, 1), np.uint8),
)
PIXELS = gym.spaces.Dict(front=gym.spaces.Box(0, 255, (2, 2, 3), np.uint8))
MAPS = gym.spaces.Dict(
    front=gym.spaces.Box(-np.inf, np.inf, (2, 3, 1, 2), np.float16), state=gym.spaces.Box(-np.inf, np.inf, (3,))
)
SPACES = {"state": STATE, "grid": GRID, "cameras": CAMERAS, "pixels": PIXELS, "maps": MAPS}
GAMMA = 0.5  # with whole rewards every return is exact in float32


def observation(space, moments):
    """One row a moment: the moment's number, written into every value of the observation."""
    obs = {}
    for key, box in space.spaces.items():
        if box.dtype == np.uint8:
            size = int(np.prod(box.shape))
            rows = [np.frombuffer(struct.pack("<I", m) * size, np.uint8)[:size].reshape(box.shape) for m in moments]
            obs[key] = torch.as_tensor(np.array(rows))
        else:
            kind = torch.float16 if box.dtype == np.float16 else torch.float32
            obs[key] = torch.stack([torch.full(box.shape, float(m), dtype=kind) for m in moments])
    return obs


def step_to(space, moments, rewards, ends):
    return Step(
        observation(space, moments),
        torch.tensor(rewards, dtype=torch.float32),
        torch.tensor([e == "terminated" for e in ends]),
        torch.tensor([e == "truncated" for e in ends]),
        {},
    )


class Model:
    """What the buffer should hold: a list of observations, oldest first, each with the transition that starts there."""

    def __init__(self, capacity, num_envs, n_step):
        self.capacity, self.n_step = capacity, n_step
        self.seen = []
        self.newest = [None] * num_envs

    def add(self, env_ids, befores, rewards, ends, afters):
        begins = [None] * len(env_ids)
        while True:
            for i, (env, before) in enumerate(zip(env_ids, befores, strict=True)):
                newest = self.newest[env]
                alive = any(one is newest for one in self.seen)
                begins[i] = newest if newest is not None and alive and newest["moment"] == before else None
            if len(self.seen) + len(env_ids) + begins.count(None) <= self.capacity:
                break
            self.seen.pop(0)
        for i, before in enumerate(befores):
            if begins[i] is None:
                begins[i] = {"moment": before, "step": None}
                self.seen.append(begins[i])
        for env, begin, reward, end, after in zip(env_ids, begins, rewards, ends, afters, strict=True):
            arrived = {"moment": after, "step": None}
            self.seen.append(arrived)
            begin["step"] = {"reward": reward, "end": end, "to": arrived}
            self.newest[env] = None if end else arrived

    def cut(self, env_ids):
        for env in env_ids:
            self.newest[env] = None

    def returns(self):
        """(obs, reward sum, discount, next obs) of each, by the definition of an n-step return."""
        folded = []
        for begin in self.seen:
            if begin["step"] is None:
                continue
            steps = [begin["step"]]
            while len(steps) < self.n_step and steps[-1]["to"]["step"] is not None:
                steps.append(steps[-1]["to"]["step"])
            reward = sum(GAMMA**i * s["reward"] for i, s in enumerate(steps))
            discount = 0.0 if steps[-1]["end"] == "terminated" else GAMMA ** len(steps)
            folded.append((begin["moment"], reward, discount, steps[-1]["to"]["moment"]))
        return folded


def assert_same(buffer, model, space):
    expected = model.returns()
    assert len(buffer) == len(expected)
    slots = buffer.valid_indices()
    assert len(set(slots.tolist())) == len(expected)
    if not expected:
        return
    batch = buffer.gather(slots)
    for got, moments in ((batch.obs, [e[0] for e in expected]), (batch.next_obs, [e[3] for e in expected])):
        want = observation(space, moments)
        assert got.keys() == want.keys()
        for key in want:
            assert got[key].dtype == want[key].dtype
            assert torch.equal(got[key], want[key]), key
    assert batch.reward.tolist() == [e[1] for e in expected]
    assert batch.discount.tolist() == [e[2] for e in expected]
    assert torch.equal(batch.action, torch.tensor([[e[0], -e[0]] for e in expected], dtype=torch.float32))


ENDS = st.sampled_from([None, None, None, "terminated", "truncated"])


@st.composite
def scripts(draw):
    """What happens to a few streams: steps of some of them in any order, ends, resets that are announced or not."""
    num_envs = draw(st.integers(1, 3))
    envs = st.permutations(range(num_envs)).flatmap(
        lambda order: st.integers(1, num_envs).map(lambda count: list(order)[:count])
    )
    row = st.tuples(st.integers(-3, 3), ENDS, st.sampled_from([False, False, False, True]))  # reward, end, jump
    everyone = st.tuples(st.just("add"), st.just(list(range(num_envs))), st.lists(row, min_size=3, max_size=3))
    some = st.tuples(st.just("add"), envs, st.lists(row, min_size=3, max_size=3))
    cut = st.tuples(st.just("break"), st.one_of(st.none(), envs), st.none())
    reload = st.tuples(st.just("reload"), st.none(), st.none())
    script = draw(st.lists(st.one_of(everyone, everyone, everyone, some, some, cut, reload), min_size=1, max_size=40))
    capacity = draw(st.integers(2 * num_envs, 24))
    return num_envs, capacity, script


@pytest.mark.parametrize("kind", SPACES)
@settings(max_examples=120, deadline=None)
@given(scenario=scripts(), n_step=st.integers(1, 5))
def test_every_transition_is_the_one_of_the_slow_model(kind, scenario, n_step):
    num_envs, capacity, script = scenario
    space = SPACES[kind]

    def fresh():
        return ReplayBuffer(space, ACTION, capacity=capacity, num_envs=num_envs, n_step=n_step, discount=GAMMA)

    buffer = fresh()
    model = Model(capacity, num_envs, n_step)
    moment = num_envs
    now = list(range(num_envs))  # what each stream sees
    for what, env_ids, rows in script:
        if what == "reload":
            state = load(save(buffer.state_dict()))
            buffer = fresh()
            buffer.load_state_dict(state)
        elif what == "break":
            buffer.break_stream(env_ids)
            model.cut(range(num_envs) if env_ids is None else env_ids)
        else:
            rows = rows[: len(env_ids)]
            befores = [now[env] for env in env_ids]
            afters = list(range(moment, moment + len(env_ids)))
            moment += len(env_ids)
            rewards, ends, jumps = zip(*rows, strict=True)
            action = torch.tensor([[b, -b] for b in befores], dtype=torch.float32)
            named = None if env_ids == list(range(num_envs)) else env_ids
            buffer.add(observation(space, befores), action, step_to(space, afters, rewards, ends), env_ids=named)
            model.add(env_ids, befores, rewards, ends, afters)
            for env, after, jump in zip(env_ids, afters, jumps, strict=True):
                now[env] = after  # even after an end: an episode may start where the last one ended
                if jump:  # a reset; the buffer is not told
                    now[env] = moment
                    moment += 1
        assert_same(buffer, model, space)


def walk(buffer, space, ends, env=0, start=0):
    """Add one transition for each of ``ends``, moments ``start``, ``start + 1``, ...; a new episode after each end."""
    moment = start
    for end in ends:
        obs = observation(space, [moment])
        buffer.add(obs, torch.zeros(1, 2), step_to(space, [moment + 1], [1.0], [end]), env_ids=[env])
        moment += 2 if end else 1
    return moment


def test_three_step_returns_worked_by_hand():
    """Rewards 1, 10, 100, 1000 and a termination, gamma 0.5, n = 3."""
    buffer = ReplayBuffer(STATE, ACTION, capacity=10, n_step=3, discount=0.5)
    for t, (reward, end) in enumerate([(1.0, None), (10.0, None), (100.0, None), (1000.0, "terminated")]):
        buffer.add(observation(STATE, [t]), torch.zeros(1, 2), step_to(STATE, [t + 1], [reward], [end]))
    batch = buffer.gather(buffer.valid_indices())
    assert batch.reward.tolist() == [1 + 5 + 25, 10 + 50 + 250, 100 + 500, 1000]
    assert batch.discount.tolist() == [0.125, 0.0, 0.0, 0.0]
    assert batch.next_obs["state"][:, 0].tolist() == [3, 4, 4, 4]


def test_a_truncated_return_bootstraps_from_the_last_observation():
    buffer = ReplayBuffer(STATE, ACTION, capacity=10, n_step=3, discount=0.5)
    walk(buffer, STATE, [None, "truncated", None])
    batch = buffer.gather(buffer.valid_indices())
    assert batch.reward.tolist() == [1.5, 1.0, 1.0]
    assert batch.discount.tolist() == [0.25, 0.5, 0.5]
    assert batch.next_obs["state"][:, 0].tolist() == [2, 2, 4]


def test_the_newest_terminal_is_sampled_at_once():
    buffer = ReplayBuffer(STATE, ACTION, capacity=4, n_step=3)
    walk(buffer, STATE, ["terminated"], start=7)
    batch = buffer.sample(5)
    assert batch.obs["state"][:, 0].tolist() == [7] * 5
    assert batch.next_obs["state"][:, 0].tolist() == [8] * 5
    assert batch.discount.tolist() == [0] * 5


@pytest.mark.parametrize("space", [STATE, CAMERAS], ids=["state", "cameras"])
def test_sampling_is_uniform_over_all_that_is_stored(space):
    buffer = ReplayBuffer(space, ACTION, capacity=20, seed=3)
    walk(buffer, space, ["truncated"] * 33)
    counts = Counter(buffer.sample(20_000).obs["state"][:, 0].tolist())
    stored = buffer.gather(buffer.valid_indices()).obs["state"][:, 0].tolist()
    assert stored[-1] == 64.0
    assert sorted(counts) == stored
    expected = 20_000 / len(stored)
    assert max(abs(n - expected) for n in counts.values()) < 5 * expected**0.5


def test_samples_are_a_function_of_the_seed_and_go_on_after_a_resume():
    first, second, third = (ReplayBuffer(STATE, ACTION, capacity=20, seed=s) for s in (5, 5, 6))
    for buffer in (first, second, third):
        walk(buffer, STATE, [None] * 33)
    assert torch.equal(first.sample(50).reward, second.sample(50).reward)
    assert not torch.equal(first.sample(50).obs["state"], third.sample(50).obs["state"])
    resumed = ReplayBuffer(STATE, ACTION, capacity=20, seed=9)
    resumed.load_state_dict(load(save(first.state_dict())))
    for _ in range(3):
        assert torch.equal(first.sample(50).obs["state"], resumed.sample(50).obs["state"])
        walk(first, STATE, [None], start=33)
        walk(resumed, STATE, [None], start=33)


def test_a_camera_that_jumps_breaks_the_stream_though_the_vector_does_not():
    buffer = ReplayBuffer(CAMERAS, ACTION, capacity=10, n_step=2)
    buffer.add(observation(CAMERAS, [0]), torch.zeros(1, 2), step_to(CAMERAS, [1], [1.0], [None]))
    obs = observation(CAMERAS, [1]) | {"wrist": observation(CAMERAS, [99])["wrist"]}
    buffer.add(obs, torch.zeros(1, 2), step_to(CAMERAS, [2], [1.0], [None]))
    batch = buffer.gather(buffer.valid_indices())
    assert batch.reward.tolist() == [1.0, 1.0]
    assert torch.equal(batch.obs["wrist"][1:], obs["wrist"])


def test_an_episode_of_t_steps_stores_t_plus_one_frames():
    buffer = ReplayBuffer(CAMERAS, ACTION, capacity=100)
    walk(buffer, CAMERAS, [None] * 29 + ["truncated"])
    assert len(buffer.state_dict()["frames.front"]) == 31
    walk(buffer, CAMERAS, [None] * 9, start=500)
    assert len(buffer.state_dict()["frames.front"]) == 31 + 10


def tensors_of(buffer):
    """Every tensor and array that a buffer holds, by itself or in its parts."""
    found, open_ = [], [vars(buffer), vars(buffer._ring), *(vars(one) for one in buffer._frames.values())]
    for values in open_:
        found += [value for value in values.values() if isinstance(value, torch.Tensor | np.ndarray)]
    return found


def test_frames_are_counted_once_in_the_bytes():
    size = 64 * 64 * 3
    space = gym.spaces.Dict(cam=gym.spaces.Box(0, 255, (64, 64, 3), np.uint8))
    buffer = ReplayBuffer(space, ACTION, capacity=1000)
    assert 1000 * size < buffer.bytes_used < 1.01 * 1000 * size


def test_a_transition_takes_the_numbers_of_one_observation_action_reward_and_a_byte():
    wide = gym.spaces.Dict(state=gym.spaces.Box(-1, 1, (24,)))
    arm = gym.spaces.Box(-1, 1, (7,))
    buffer = ReplayBuffer(wide, arm, capacity=100_000, num_envs=10)
    assert buffer.bytes_used == 100_000 * (4 * (24 + 7 + 1) + 1) + 10 * 8


def test_bytes_used_is_what_the_tensors_take():
    for space in SPACES.values():
        buffer = ReplayBuffer(space, ACTION, capacity=50, num_envs=3)
        assert buffer.bytes_used == sum(t.nbytes for t in tensors_of(buffer))


def test_very_short_episodes_take_two_rows_a_transition():
    buffer = ReplayBuffer(CAMERAS, ACTION, capacity=40)
    walk(buffer, CAMERAS, ["terminated"] * 100)
    assert len(buffer) == 20
    batch = buffer.gather(buffer.valid_indices())
    moments = batch.obs["state"][:, 0].int().tolist()
    assert moments == [2 * i for i in range(80, 100)]
    assert torch.equal(batch.obs["front"], observation(CAMERAS, moments)["front"])
    assert torch.equal(batch.next_obs["front"], observation(CAMERAS, [m + 1 for m in moments])["front"])


@pytest.mark.parametrize("num_envs", [2, 200])
def test_a_stream_that_others_leave_far_behind_begins_anew(num_envs):
    """A hop is as long as its type of number allows; what lies farther apart is two episodes, and right as such."""
    buffer = ReplayBuffer(STATE, ACTION, capacity=100_000, num_envs=num_envs, n_step=2, discount=GAMMA)
    walk(buffer, STATE, [None], env=0)
    others = list(range(1, num_envs))
    for moment in range(5000, 5000 + buffer._ring.reach // len(others) + 1):
        step = step_to(STATE, [moment + 1] * len(others), [1.0] * len(others), [None] * len(others))
        buffer.add(observation(STATE, [moment] * len(others)), torch.zeros(len(others), 2), step, env_ids=others)
    walk(buffer, STATE, [None, None], env=0, start=1)
    batch = buffer.gather(buffer.valid_indices())
    begins, ends = batch.obs["state"][:, 0], batch.next_obs["state"][:, 0]
    assert ends[begins == 0].tolist() == [1.0]
    assert batch.reward[begins == 0].tolist() == [1.0]
    assert ends[begins == 1].tolist() == [3.0]
    assert batch.reward[begins == 1].tolist() == [1.5]


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_a_budget_is_enforced_and_the_remedy_works(space):
    with pytest.raises(UserError, match=r"capacity: 100 000 observations need .* memory_budget") as caught:
        ReplayBuffer(space, ACTION, capacity=100_000, memory_budget=1_000_000)
    fits = int(re.search(r"lower capacity to ([\d ]+\d)", str(caught.value)).group(1).replace(" ", ""))
    buffer = ReplayBuffer(space, ACTION, capacity=fits, memory_budget=1_000_000)
    assert buffer.bytes_used <= 1_000_000
    with pytest.raises(UserError):
        ReplayBuffer(space, ACTION, capacity=fits + 1, memory_budget=1_000_000)


def test_describe_is_one_line_for_people():
    wide = gym.spaces.Dict(state=gym.spaces.Box(-1, 1, (18,)))
    text = ReplayBuffer(wide, ACTION, capacity=100_000, memory_budget=2_000_000_000).describe()
    assert text == "100 000 observations, 8.5 MB of 2.0 GB budget"
    assert ReplayBuffer(CAMERAS, ACTION, capacity=80).describe().startswith("80 observations, ")


def test_a_batch_is_a_copy():
    buffer = ReplayBuffer(CAMERAS, ACTION, capacity=4)
    walk(buffer, CAMERAS, [None])
    for values in (buffer.sample(1).obs, buffer.sample(1).next_obs):
        for value in values.values():
            value.zero_()
    assert torch.equal(buffer.sample(1).next_obs["front"], observation(CAMERAS, [1])["front"])
    assert buffer.sample(1).next_obs["state"].tolist() == [[1.0, 1.0, 1.0]]


def test_what_cannot_be_stored_is_refused():
    step = step_to(STATE, [1, 2], [0.0, 0.0], [None, None])
    buffer = ReplayBuffer(STATE, ACTION, capacity=4, num_envs=2)
    obs = observation(STATE, [0, 0])
    with pytest.raises(ValueError, match="different streams"):
        buffer.add(obs, torch.zeros(2, 2), step, env_ids=[1, 1])
    with pytest.raises(ValueError, match="num_envs"):
        ReplayBuffer(STATE, ACTION, capacity=4).add(obs, torch.zeros(2, 2), step)
    with pytest.raises(ValueError, match="state"):
        buffer.add({"state": torch.zeros(2, 5)}, torch.zeros(2, 2), step)
    with pytest.raises(ValueError, match="empty"):
        buffer.sample(1)
    with pytest.raises(UserError, match="Discrete"):
        ReplayBuffer(gym.spaces.Dict(which=gym.spaces.Discrete(3)), ACTION, capacity=4)
    with pytest.raises(UserError, match="n_step"):
        ReplayBuffer(STATE, ACTION, capacity=4, n_step=0)
    with pytest.raises(UserError, match="capacity"):
        ReplayBuffer(STATE, ACTION, capacity=1, num_envs=2)


def test_a_state_of_another_buffer_is_refused():
    saved = ReplayBuffer(STATE, ACTION, capacity=8)
    walk(saved, STATE, [None] * 8)
    for other in (
        ReplayBuffer(GRID, ACTION, capacity=8),
        ReplayBuffer(CAMERAS, ACTION, capacity=8),
        ReplayBuffer(STATE, ACTION, capacity=8, num_envs=2),
        ReplayBuffer(STATE, ACTION, capacity=7),
    ):
        with pytest.raises(UserError):
            other.load_state_dict(saved.state_dict())


@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=8),
    ends=st.sampled_from(["terminated", "truncated", "broken"]),
    capacity=st.integers(3, 40),
    steps=st.integers(1, 5),
    kind=st.sampled_from(["state", "cameras"]),
)
@settings(max_examples=80, deadline=None)
def test_following_steps_never_cross_an_episodes_end(lengths, ends, capacity, steps, kind):
    space = SPACES[kind]
    buffer = ReplayBuffer(space, ACTION, capacity=capacity, discount=GAMMA)
    episode_of, last_of, moment = {}, {}, 0
    for number, length in enumerate(lengths):
        for i in range(length):
            end = ends if i == length - 1 and ends != "broken" else ""
            action = torch.full((1, 2), float(moment))
            buffer.add(observation(space, [moment]), action, step_to(space, [moment + 1], [float(moment % 4)], [end]))
            episode_of[moment] = number
            moment += 1
        last_of[number] = moment  # the observation that the episode ends with
        moment += ends == "broken"  # what comes next was not seen before
        buffer.break_stream()
    slots = buffer.valid_indices()
    begins = buffer.gather(slots).action[:, 0].long()
    found = buffer.follow(slots, steps)
    key = "state"
    for row, begin in enumerate(begins.tolist()):
        within = min(steps, last_of[episode_of[begin]] - begin)
        assert found.valid[row].tolist() == [k < within for k in range(steps)]
        assert found.action[row, :within, 0].tolist() == [begin + k for k in range(within)]
        assert found.obs[key][row, :within, 0].tolist() == [begin + k + 1 for k in range(within)]
        assert found.reward[row].item() == sum(GAMMA**k * ((begin + k) % 4) for k in range(within))
        assert found.action[row, within:, 0].tolist() == [begin + within - 1] * (steps - within)
        if kind == "cameras":
            seen = observation(space, [begin + k + 1 for k in range(within)])
            assert torch.equal(found.obs["front"][row, :within], seen["front"])


def test_following_steps_come_with_a_sample_and_belong_to_it():
    buffer = ReplayBuffer(STATE, ACTION, capacity=50, n_step=2, discount=GAMMA, seed=3)
    twin = ReplayBuffer(STATE, ACTION, capacity=50, n_step=2, discount=GAMMA, seed=3)
    for moment in range(30):
        for one in (buffer, twin):
            step = step_to(STATE, [moment + 1], [1.0], [""])
            one.add(observation(STATE, [moment]), torch.full((1, 2), float(moment)), step)
    batch, plain = buffer.sample(64, following=3), twin.sample(64)
    assert plain.following is None
    assert torch.equal(batch.action, plain.action)
    assert torch.equal(batch.following.action[:, 0], batch.action)
    halves = batch.split(2)
    assert torch.equal(torch.cat([half.following.action for half in halves]), batch.following.action)
    assert torch.equal(torch.cat([half.following.obs["state"] for half in halves]), batch.following.obs["state"])
