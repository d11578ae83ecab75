"""Batches drawn ahead: the same draws, no deadlock, no error lost, no half-written row."""

import threading
import time

import gymnasium as gym
import numpy as np
import pytest
import torch

from robo_rl.contracts import Step
from robo_rl.replay.buffer import ReplayBuffer
from robo_rl.replay.mixing import MixedReplay
from robo_rl.replay.prefetch import Prefetch

SPACE = gym.spaces.Dict(cam=gym.spaces.Box(0, 255, (4, 4, 3), np.uint8), state=gym.spaces.Box(-np.inf, np.inf, (6,)))
ACTION = gym.spaces.Box(-1, 1, (3,))
NOTHING = torch.zeros(1, dtype=torch.bool)


def seen(t):
    return {"cam": torch.full((1, 4, 4, 3), t % 251, dtype=torch.uint8), "state": torch.full((1, 6), float(t))}


def add(buffer, t, end=NOTHING):
    step = Step(seen(t + 1), torch.full((1,), float(t)), NOTHING, end, {})
    buffer.add(seen(t), torch.full((1, 3), float(t)), step)


def filled(count=40, capacity=64, seed=0):
    buffer = ReplayBuffer(SPACE, ACTION, capacity=capacity, seed=seed)
    for t in range(count):
        add(buffer, t)
    return buffer


def mixed(depth=1):
    return MixedReplay(filled(seed=1), filled(seed=2), blocks=depth + 1)


def starts(batch):
    return batch.obs["state"][:, 0].clone()


@pytest.fixture
def deadline():
    """Ends the test run with all stacks if a test hangs."""
    import faulthandler

    faulthandler.dump_traceback_later(60, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


pytestmark = pytest.mark.usefixtures("deadline")


@pytest.mark.parametrize("depth", [1, 2])
def test_draws_are_those_without(depth):
    plain = mixed()
    with Prefetch(mixed(depth), depth) as ahead:
        for size, parts in ((16, 2), (16, 2), (16, 2), (8, 1), (8, 1), (16, 2)):
            assert torch.equal(starts(ahead.sample(size, parts)), starts(plain.sample(size, parts)))


def test_a_batch_stays_as_it_is_until_the_next_is_asked_for():
    with Prefetch(mixed(), 1) as ahead:
        for _ in range(20):
            batch = ahead.sample(64)
            before = starts(batch)
            time.sleep(0.005)  # the next one is drawn meanwhile
            assert torch.equal(starts(batch), before)
            assert torch.equal(batch.next_obs["state"][:, 0], before + 1)


def test_a_batch_drawn_ahead_does_not_know_what_is_added_after():
    source = MixedReplay(filled(count=1), None, blocks=2)
    with Prefetch(source, 1) as ahead:
        ahead.sample(200)
        while not ahead._ready:
            time.sleep(0.001)
        add(source.online, 1000)
        assert ahead.sample(200).obs["state"].max() == 0
        ahead.drain()
        assert ahead.sample(200).obs["state"].max() == 1000


def test_draining_takes_the_sampling_back_as_a_checkpoint_needs_it():
    plain, source = mixed(), mixed(2)
    with Prefetch(source, 2) as ahead:
        for _ in range(3):
            ahead.sample(16)
            plain.sample(16)
        while len(ahead._ready) < 2:
            time.sleep(0.001)
        ahead.drain()
        for a, b in zip(source.random_state(), plain.random_state(), strict=True):
            assert torch.equal(a, b)
        assert torch.equal(starts(ahead.sample(16)), starts(plain.sample(16)))


def test_without_draining_a_checkpoint_would_skip_batches():
    """The negative control of the test above."""
    plain, source = mixed(), mixed()
    with Prefetch(source, 1) as ahead:
        ahead.sample(16)
        plain.sample(16)
        while not ahead._ready:
            time.sleep(0.001)
        assert not torch.equal(source.random_state()[0], plain.random_state()[0])


class Broken(MixedReplay):
    """Fails at the third batch."""

    calls = 0

    def sample(self, batch_size, parts=1):
        self.calls += 1
        if self.calls == 3:
            raise ZeroDivisionError("third batch")
        return super().sample(batch_size, parts)


def test_an_error_comes_in_its_turn_and_the_next_batch_is_the_one_that_failed():
    plain = mixed()
    with Prefetch(Broken(filled(seed=1), filled(seed=2), blocks=3), 2) as ahead:
        for _ in range(2):
            assert torch.equal(starts(ahead.sample(16)), starts(plain.sample(16)))
        with pytest.raises(ZeroDivisionError, match="third batch"):
            ahead.sample(16)
        assert torch.equal(starts(ahead.sample(16)), starts(plain.sample(16)))


def test_an_empty_memory_is_told_and_does_not_hang():
    source = MixedReplay(filled(count=0), None, blocks=2)
    with Prefetch(source, 1) as ahead:
        with pytest.raises(ValueError, match="empty"):
            ahead.sample(4)
        add(source.online, 0)
        assert len(ahead.sample(4).reward) == 4


def test_closing_ends_the_thread_whatever_it_does():
    before = threading.active_count()
    idle = Prefetch(mixed(), 1)
    idle.close()
    full = Prefetch(mixed(), 1)
    full.sample(8)
    full.close()
    full.close()
    with pytest.raises(RuntimeError, match="close"):
        full.sample(8)
    failing = mixed()

    def learn():
        with Prefetch(failing, 1) as ahead:
            ahead.sample(8)
            raise KeyError

    with pytest.raises(KeyError):
        learn()
    assert threading.active_count() == before


def test_closing_wakes_a_learner_that_waits():
    gate = threading.Event()

    class Slow(MixedReplay):
        def sample(self, batch_size, parts=1):
            gate.wait(20)
            return super().sample(batch_size, parts)

    ahead = Prefetch(Slow(filled(), None, blocks=2), 1)
    told = []

    def learn():
        try:
            ahead.sample(8)
        except RuntimeError as error:
            told.append(str(error))

    learner = threading.Thread(target=learn)
    learner.start()
    time.sleep(0.05)
    closer = threading.Thread(target=ahead.close)
    closer.start()
    learner.join(10)
    gate.set()
    closer.join(10)
    assert told == ["no batch can be drawn after close()"]
    assert not closer.is_alive()


def test_too_few_blocks_are_refused():
    with pytest.raises(ValueError, match="2 blocks"):
        Prefetch(MixedReplay(filled(), None), 1)


def test_no_row_is_seen_half_written():
    """A small ring is overwritten all the time while large batches are read from it."""
    buffer = filled(capacity=32)
    stop = threading.Event()
    failed = []

    def write():
        t = 40
        try:
            while not stop.is_set():
                add(buffer, t, torch.tensor([t % 7 == 0]))
                t += 1
        except Exception as error:
            failed.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    newest = 0.0
    with Prefetch(MixedReplay(buffer, None, blocks=2, following=2), 1) as ahead:
        for _ in range(150):
            batch = ahead.sample(500)
            begin = batch.obs["state"][:, :1]
            assert torch.equal(batch.obs["state"], begin.expand(-1, 6))
            assert torch.equal(batch.next_obs["state"], begin.expand(-1, 6) + 1)
            assert torch.equal(batch.action, begin.expand(-1, 3))
            assert torch.equal(batch.reward, begin[:, 0])
            for obs, ahead_by in ((batch.obs, 0), (batch.next_obs, 1)):
                shown = obs["cam"].flatten(1).float()
                assert torch.equal(shown, ((begin + ahead_by) % 251).expand_as(shown))
            assert torch.equal(batch.following.action[:, 0], batch.action)
            newest = max(newest, float(begin.max()))
    stop.set()
    writer.join(10)
    assert not failed
    assert newest > 200  # it really was written to
