"""Two tasks on a line: to the right end and back to the left one. What one of them ends at, the other begins at."""

from __future__ import annotations

import dataclasses
import itertools

import gymnasium
import numpy as np
import pytest
import torch

from robo_rl.agents.sac import SACConfig
from robo_rl.contracts.learning import Step
from robo_rl.settings import to_json
from robo_rl.training.config import TrainConfig
from robo_rl.training.reset_free import SharedWorld, Turn, train_both
from robo_rl.training.run_folder import RunFolder


class Line:
    """A point on a line, which stays where it is until it is moved or reset."""

    def __init__(self):
        self.x, self.resets, self.faults = torch.zeros(1), 0, set()
        self.steps = 0

    def reading(self):
        return {"interrupted": torch.tensor([self.steps in self.faults])}


class LineStart:
    def __init__(self, x):
        self.x = x

    def __getitem__(self, rows):
        return LineStart(self.x[rows])


class LineTask:
    def __init__(self, goal):
        self.goal = goal

    def start(self, generator, n):
        return LineStart(-self.goal + 0.1 * torch.rand(n, generator=generator))


class LineEnv:
    """Comes to ``goal``; whoever falls off the line has failed."""

    device = torch.device("cpu")
    control_dt = 0.1
    observation_space = gymnasium.spaces.Dict({"state": gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)})
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, goal, world=None, num_envs=1, horizon=12, seed=0, log=None):
        self.world = world or Line()
        self.num_envs, self.horizon, self.task, self.log = num_envs, horizon, LineTask(goal), log
        self.world.x = torch.zeros(num_envs)
        self.t = torch.zeros(num_envs)
        self.seed(seed)

    def seed(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    @property
    def reading(self):
        return self.world.reading()

    def reset(self, mask=None, *, start=None):
        mask = torch.ones(self.num_envs, dtype=torch.bool) if mask is None else mask
        start = start or self.task.start(self.generator, int(mask.sum()))
        self.world.x = self.world.x.clone()
        self.world.x[mask] = start.x
        self.world.resets += 1
        self._note("reset")
        return self._begin(mask)

    def carry_on(self, mask=None):
        self._note("carry on")
        return self._begin(torch.ones(self.num_envs, dtype=torch.bool) if mask is None else mask)

    def _note(self, what):
        if self.log is not None:
            self.log.append((self.task.goal, what, round(self.world.x[0].item(), 3)))

    def _begin(self, mask):
        self.t = torch.where(mask, 0.0, self.t)
        return self.observe()

    def observe(self):
        return {"state": torch.stack([self.world.x - self.task.goal, self.t / self.horizon], dim=1)}

    def expert_action(self):
        return ((self.task.goal - self.world.x[:, None]) / 0.3).clamp(-1.0, 1.0)

    def step(self, action):
        world = self.world
        world.steps += 1
        world.x = world.x + 0.3 * action.clamp(-1.0, 1.0)[:, 0]
        self.t = self.t + 1
        success, lost = (world.x - self.task.goal).abs() < 0.15, world.x.abs() > 2.0
        over = (self.t >= self.horizon) | world.reading()["interrupted"]
        ended = success | lost
        info = {"success": success, "executed_action": action.clamp(-1.0, 1.0)}
        return Step(self.observe(), success.float(), ended, over & ~ended, info)

    def render(self, camera=None, env_index=0, width=320, height=240):
        return np.zeros((height, width, 3), np.uint8)

    def close(self):
        pass


FORWARD, BACKWARD = 1.0, -1.0


@pytest.fixture(autouse=True)
def quick_picture(monkeypatch):
    monkeypatch.setattr("robo_rl.training.outcome.plot_learning_curve", lambda *args, **kwargs: None)


def pair(reset_every=20):
    log = []
    forward = LineEnv(FORWARD, log=log)
    backward = LineEnv(BACKWARD, forward.world, log=log)
    shared = SharedWorld(forward, backward, reset_every)
    return shared, Turn(forward, shared, shared), Turn(backward, shared, shared), log


def play(turn, actions=None):
    """One episode, by the expert or by the given action."""
    turn.reset()
    while True:
        step = turn.step(turn.expert_action() if actions is None else torch.tensor([[actions]]))
        if bool(step.done.any()):
            return step


def test_an_episode_begins_where_the_last_one_has_ended():
    shared, forward, backward, log = pair()
    for turn in (forward, backward, forward, backward):
        assert bool(play(turn).info["success"])
    assert [entry[:2] for entry in log] == [(1.0, "reset"), (-1.0, "carry on"), (1.0, "carry on"), (-1.0, "carry on")]
    assert [round(entry[2]) for entry in log] == [-1, 1, -1, 1]
    assert shared.resets == shared.forward.world.resets == 1


def test_a_reset_is_due_after_enough_episodes():
    shared, forward, backward, log = pair(reset_every=3)
    reasons = []
    shared.on_reset = reasons.append
    for turn in (forward, backward, forward, forward, backward):
        play(turn)
    assert [entry[1] for entry in log] == ["reset", "carry on", "carry on", "reset", "carry on"]
    assert reasons == ["start", "every"]


def test_a_reset_is_due_after_a_fault_or_a_failure():
    shared, forward, backward, log = pair()
    shared.forward.world.faults = {2}
    assert bool(play(forward).truncated)
    assert shared.due == "fault"
    play(forward)
    assert shared.due is None
    assert not bool(play(backward, actions=1.0).info["success"])  # off the end
    assert shared.due == "failure"
    # Whoever begins: the world is reset to a start of the forward task.
    play(backward)
    assert log[-2][:2] == (1.0, "reset")
    assert log[-1][:2] == (-1.0, "carry on")
    assert shared.resets == 3


def test_a_fault_between_two_episodes_leads_to_a_reset():
    shared, forward, backward, log = pair()
    play(forward)
    shared.forward.world.faults = {shared.forward.world.steps}
    backward.reset()
    assert [entry[1] for entry in log] == ["reset", "carry on", "reset", "carry on"]


def test_a_reset_is_due_where_a_person_ends_an_episode_but_not_where_they_see_a_success():
    shared, forward, backward, _ = pair()
    over = torch.tensor([True])

    class Person:
        """Ends the episode at its first step, as InterventionEnv would."""

        success = False

        def __getattr__(self, name):
            return getattr(shared, name)

        def step(self, action):
            step = shared.step(action)
            info = {**step.info, "success": torch.tensor([self.success])}
            return Step(step.obs, step.reward, over & self.success, over & (not self.success), info)

    person = Person()
    for turn in (Turn(forward.env, person, shared), Turn(backward.env, person, shared)):
        shared.due = None
        Person.success = True
        turn.reset()
        turn.step(torch.zeros(1, 1))
        assert shared.due is None
        Person.success = False
        turn.reset()
        turn.step(torch.zeros(1, 1))
        assert shared.due == "person"


def settings(task, **changes):
    values = {
        "task": task, "steps": 300, "demos": 2, "agent": SACConfig(critics=2, hidden=(16, 16)), "batch_size": 32,
        "utd": 0.5, "warmup_steps": 50, "eval_every": 200, "eval_episodes": 4, "eval_envs": 4, "final_episodes": 8,
        "target_success": None, "checkpoint_every": 100, "log_every": 50, "video_episodes": 0, "reset_every": 10,
    }  # fmt: skip
    return TrainConfig(**{**values, **changes})


def train(tmp_path, run=None, log=None, should_stop=lambda: False, faults=(), **changes):
    first = settings("right", backward="left", **changes)
    changes.pop("reset_every", None)
    second = settings("left", **changes, reset_every=20)
    run = run or RunFolder.create(tmp_path, "right", to_json(first), seed=0)
    log = [] if log is None else log

    def maker(goal):
        return lambda num_envs, seed: LineEnv(goal, num_envs=num_envs, seed=seed, log=log if num_envs == 1 else None)

    def share(env):
        env.world.faults = set(faults)
        return LineEnv(BACKWARD, env.world, log=log)

    makers = maker(FORWARD), maker(BACKWARD)
    return run, train_both((first, second), run, makers, share, should_stop=should_stop), log


def test_two_agents_learn_in_turns(tmp_path):
    run, summary, log = train(tmp_path)
    begun = [entry for entry in log if entry[1] == "carry on"]
    assert summary["real_resets"] == sum(summary["reset_reasons"].values()) < len(begun) / 3
    assert set(summary["reset_reasons"]) <= {"start", "every", "failure"}
    # After one that was no reset the other one acts.
    for before, after in itertools.pairwise(log):
        if after[1] == "carry on":
            assert after[0] != before[0]
    second = summary["backward"]
    assert (summary["task"], second["task"]) == ("right", "left")
    for found, folder in ((summary, run), (second, RunFolder.open(run.path / "backward"))):
        assert 0.0 <= found["success_rate"] <= 1.0
        assert found["training_episodes"] > 5
        assert 0.0 <= found["training_success"] <= 1.0
        assert found["demos"] == 2
        assert found["updates"] == (found["env_steps"] - 50) // 2
        assert folder.summary is not None
        assert {row["kind"] for row in folder.metrics()} >= {"train", "evaluation"}
        assert list(folder.checkpoints.glob("latest-*"))
        assert len(list((folder.path / "demonstrations").glob("*.safetensors"))) == 2
    assert max(summary["env_steps"], second["env_steps"]) == 300
    assert min(summary["env_steps"], second["env_steps"]) > 50


def test_a_fault_leads_to_a_reset(tmp_path):
    _, summary, _ = train(tmp_path, steps=120, faults=(30, 90))
    assert summary["reset_reasons"]["fault"] == 2


def test_a_run_that_was_stopped_goes_on(tmp_path):
    asked = []

    def after_a_while():
        asked.append(None)
        return len(asked) > 400

    run, stopped, _ = train(tmp_path, should_stop=after_a_while)
    assert stopped["interrupted"]
    assert stopped["backward"]["interrupted"]
    steps = stopped["env_steps"], stopped["backward"]["env_steps"]
    assert min(steps) > 0
    run, summary, log = train(tmp_path, run=run)
    assert log[-1]  # it acted
    assert not summary["interrupted"]
    assert max(summary["env_steps"], summary["backward"]["env_steps"]) == 300
    assert summary["env_steps"] > steps[0]
    assert summary["backward"]["env_steps"] > steps[1]
    assert summary["reset_reasons"]["start"] == 2  # nobody knows how a world was left
    for folder in (run, RunFolder.open(run.path / "backward")):
        logged = [row["env_steps"] for row in folder.metrics() if row["kind"] == "train"]
        assert logged == sorted(set(logged))
    updates = [found["updates"] for found in (summary, summary["backward"])]
    assert updates == [(found["env_steps"] - 50) // 2 for found in (summary, summary["backward"])]


def test_both_go_on_until_both_are_at_their_target(tmp_path):
    _, summary, _ = train(tmp_path, steps=20_000, target_success=0.8, utd=1.0, eval_every=150)
    assert summary["stopped_by"] == summary["backward"]["stopped_by"] == "target"
    assert summary["success_rate"] > 0.7
    assert summary["backward"]["success_rate"] > 0.7


def test_on_a_cell_nothing_is_evaluated_since_that_would_reset_it(tmp_path):
    """Of which there is but one: the makers give what is in that world."""
    world = LineEnv(FORWARD)
    back = LineEnv(BACKWARD, world.world)
    first = settings("right", backward="left", cell="sim", demos=0, steps=150, keep_episodes=False)
    second = dataclasses.replace(first, task="left", backward=None, reset_every=20)
    run = RunFolder.create(tmp_path, "right", to_json(first), seed=0)
    before = world.world.resets
    summary = train_both((first, second), run, (lambda n, s: world, lambda n, s: back), lambda env: back)
    assert world.world.resets - before == summary["real_resets"]
    for found in (summary, summary["backward"]):
        assert found["success_rate"] is None
        assert found["training_success"] >= 0.0
        assert found["stopped_by"] == "steps"
        assert found["video"] is None
