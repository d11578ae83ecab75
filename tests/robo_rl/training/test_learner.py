import math
import sys
import threading
import time

import pytest
import torch

from robo_rl.agents.sac import SAC, SACConfig
from robo_rl.replay.buffer import ReplayBuffer
from robo_rl.training.config import TrainConfig
from robo_rl.training.learner import Learner, LearnerThread


def config(**changes) -> TrainConfig:
    settings = {
        "task": "point", "agent": SACConfig(critics=2, hidden=(8, 8)), "batch_size": 8, "utd": 0.5, "warmup_steps": 0,
        "max_lag": 8,
    }  # fmt: skip
    return TrainConfig(**{**settings, **changes})


def make(kind, point_env, settings=None, **options) -> Learner:
    settings = settings or config()
    agent = SAC(point_env.observation_space, point_env.action_space, settings.agent)
    memory = ReplayBuffer(point_env.observation_space, point_env.action_space, capacity=1000, num_envs=2)
    return kind(settings, agent, memory, None, **options)


def slow(learner, seconds):
    """Let each update take ``seconds`` more; return the times at which updates began."""
    began, update = [], learner.agent.update

    def slow_update(batch, utd):
        began.append(time.monotonic())
        time.sleep(seconds)
        return update(batch, utd)

    learner.agent.update = slow_update
    return began


class Loop:
    """An environment's side of training, step by step."""

    def __init__(self, learner, env):
        self.learner, self.env, self.obs, self.steps = learner, env, env.reset(), 0

    def step(self):
        action = self.learner.act(self.obs, explore=True)
        step = self.env.step(action)
        self.learner.store(self.obs, step.info["executed_action"], step)
        self.steps += self.env.num_envs
        self.learner.allow(self.env.num_envs)
        self.obs = self.env.reset(step.done)


def test_updates_never_exceed_the_ratio_and_never_lag_beyond_the_bound(point_env):
    settings = config(utd=0.75, critic_updates_per_actor_update=3, max_lag=8)
    learner, env = make(LearnerThread, point_env, settings), point_env(2)
    slow(learner, 0.002)
    lags = []
    with learner:
        loop = Loop(learner, env)
        for _ in range(60):
            loop.step()
            made, owed = learner.updates, learner.owed  # read in this order, made only grows meanwhile
            assert made <= settings.utd * loop.steps
            lags.append(owed / settings.utd)
            assert lags[-1] <= settings.max_lag
        assert learner.figures()["learner_lag_steps"] <= settings.max_lag + env.num_envs
        learner.catch_up()
        assert learner.updates == 3 * math.floor(settings.utd * loop.steps / 3)
    assert max(lags) > 0  # it was not in turns
    assert learner.waiting > 0
    assert learner.forgone == 0


def test_a_learner_that_does_nothing_stands_the_simulator_still(point_env):
    """The negative control of the bound: it is the updates that let the environment go on."""
    stop = threading.Event()
    learner, env = make(LearnerThread, point_env, should_stop=stop.is_set), point_env(2)
    learner._next = lambda: bool(stop.wait()) and False  # the thread does nothing until the end
    with learner:
        loop = Loop(learner, env)
        for _ in range(4):  # as far as the bound lets it
            loop.step()
        blocked = threading.Thread(target=loop.step)
        blocked.start()
        blocked.join(0.3)
        assert blocked.is_alive()
        assert learner.owed / 0.5 > 8
        stop.set()
        blocked.join(10)
        assert not blocked.is_alive()


def test_a_robot_waits_for_nobody_and_what_is_left_behind_is_not_made_up_for(point_env):
    settings = config(utd=2.0, max_lag=8)
    learner, env = make(LearnerThread, point_env, settings, waits=False), point_env(1)
    gate = threading.Event()
    update = learner.agent.update

    def held(batch, utd):
        assert gate.wait(30)
        return update(batch, utd)

    learner.agent.update = held
    with learner:
        loop = Loop(learner, env)
        for _ in range(50):  # no update is finished meanwhile, and none of the steps waits for one
            loop.step()
        assert learner.updates == 0
        assert learner.waiting < 1.0
        learner.catch_up()  # nor does anything else
        assert learner.updates == 0
        figures = learner.figures()
        assert figures["learner_lag_steps"] <= settings.max_lag + 1
        assert figures["policy_age_steps"] == 49
        assert learner.owed == 16
        assert learner.forgone == figures["updates_forgone"] == 2 * 50 - 16
        gate.set()
        while learner.due:
            time.sleep(0.01)
        assert learner.updates == 16
        assert len(learner.memory) + len(learner._inbox) == 50


def test_weights_are_adopted_within_an_episode(point_env):
    learner, env = make(LearnerThread, point_env, config(utd=1.0, max_lag=0)), point_env(1, horizon=1000)
    versions = []
    with learner:
        loop = Loop(learner, env)
        env.x += 50.0  # too far from the origin for the episode to end
        for _ in range(20):
            loop.step()
            versions.append(learner._mailbox.version)
        assert len(env.started) == 1
    assert versions == list(range(20))  # what the updates of a step made acts at the next one
    assert learner.figures()["policy_age_steps"] <= 1


def test_without_a_lag_the_thread_makes_what_turns_make(point_env):
    states = []
    for kind in (Learner, LearnerThread):
        torch.manual_seed(0)
        with make(kind, point_env, config(utd=1.0, max_lag=0)) as learner:
            loop = Loop(learner, point_env(2))
            for _ in range(15):
                loop.step()
        states.append(learner.agent.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("fails_at", ["sample", "update"])
def test_what_the_thread_raises_is_raised_where_the_environment_steps(point_env, fails_at):
    learner = make(LearnerThread, point_env)

    def broken(*_):
        raise RuntimeError("out of memory")

    if fails_at == "sample":
        learner.source.sample = broken
    else:
        learner.agent.update = broken
    loop = Loop(learner, point_env(2))

    def train():
        with learner:
            for _ in range(1000):
                loop.step()

    with pytest.raises(RuntimeError, match="out of memory"):
        train()
    assert learner.whole == (fails_at == "sample")
    assert len(learner.memory) == loop.steps  # nothing of what was handed over is lost
    assert not learner_threads()


def test_nothing_moves_while_it_is_quiet(point_env):
    learner, env = make(LearnerThread, point_env, config(utd=1.0, max_lag=100)), point_env(2)
    slow(learner, 0.005)
    with learner:
        loop = Loop(learner, env)
        for _ in range(20):
            loop.step()
        with learner.quiet():
            assert len(learner.memory) == loop.steps
            assert learner.due  # there would be something to do
            before, updates = learner.agent.state_dict(), learner.updates
            time.sleep(0.05)
            after = learner.agent.state_dict()
            assert learner.updates == updates == int(after["updates"])
            assert all(torch.equal(before[name], after[name]) for name in before)
        learner.catch_up()
        assert learner.updates == loop.steps


@pytest.mark.parametrize("phase", ["idle", "updating", "waiting", "quiet"])
def test_the_thread_ends_in_every_phase(point_env, phase):
    learner, env = make(LearnerThread, point_env), point_env(2)
    began = slow(learner, 0.05)
    loop = Loop(learner, env)

    def train():
        with learner:
            if phase == "updating":
                loop.step()
                while not began:
                    time.sleep(0.001)
            elif phase == "waiting":
                for _ in range(6):
                    loop.step()
            elif phase == "quiet":
                with learner.quiet():
                    raise KeyboardInterrupt
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()
    assert not learner_threads()
    assert learner.whole
    assert len(learner.memory) == loop.steps
    learner.stop()  # once more does no harm


def test_a_learner_beside_a_robot_steps_back(point_env):
    if sys.platform != "linux":
        pytest.skip("threads have no priorities of their own here")
    import os

    found = []
    learner = make(LearnerThread, point_env, config(utd=1.0), waits=False)
    update = learner.agent.update

    def look(batch, utd):
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return update(batch, utd)

    learner.agent.update = look
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    with learner:
        Loop(learner, point_env(2)).step()
        while not found:
            time.sleep(0.001)
    assert found[0] > own
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own


def learner_threads():
    return [thread for thread in threading.enumerate() if thread.name == "learner"]
