"""What of an episode enters which buffer, and as what: the rules, for whatever people do."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robo_rl.contracts import LABELS, PROVENANCE, Provenance, Step
from robo_rl.human.admission import Intake, admit
from robo_rl.human.supervision import Supervision
from robo_rl.replay.buffer import ReplayBuffer

SPACE = gym.spaces.Dict(state=gym.spaces.Box(-np.inf, np.inf, (1,)))
ACTION = gym.spaces.Box(-1, 1, (1,))
GAMMA = 0.5

# Of each step: is a person in control, do they push, does this begin another segment.
happenings = st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=12)
endings = st.sampled_from([None, "terminated", "truncated"])
labels = st.sampled_from(["none", "none", "success", "failure", "discard"])


def provenance(steps, label):
    """Of an episode: a person in control and not pushing follows a push of the same segment, as Authority has it."""
    authority, active, segment, number, inside = [], [], [], -1, False
    for human, push, anew in steps:
        if human and (push or inside):
            number += not inside or (push and anew)
            push = push or not inside
            inside = True
        else:
            inside, push = False, False
        authority.append(int(inside))
        active.append(push)
        segment.append(number if inside else -1)
    length = len(steps)
    told = torch.zeros(length, dtype=torch.uint8)
    told[-1] = LABELS.index(label)
    return Provenance(
        policy_action=torch.full((length, 1), -9.0), human_action=torch.full((length, 1), 9.0),
        authority=torch.tensor(authority, dtype=torch.uint8), active=torch.tensor(active),
        segment=torch.tensor(segment),
        onset=torch.zeros(length, dtype=torch.bool), offset=torch.zeros(length, dtype=torch.bool),
        device=told.clone(), latency=torch.zeros(length), label=told,
    )  # fmt: skip


@settings(deadline=None, max_examples=100)
@given(happenings, labels)
def test_the_rules(steps, label):
    told = provenance(steps, label)
    admission = admit(told)
    if label == "discard":
        assert admission.online == admission.demonstrations == ()
        return
    assert [t for run in admission.online for t in run] == list(range(len(steps)))
    for run in admission.online[1:]:  # broken where a person takes over, and nowhere else
        assert told.active[run.start]
        assert told.segment[run.start] != told.segment[run.start - 1]
    for t in range(1, len(steps)):
        if told.authority[t] and not told.authority[t - 1]:
            assert t in {run.start for run in admission.online}
    entered = [t for run in admission.demonstrations for t in run]
    assert entered == sorted(set(entered))
    human = {t for t in range(len(steps)) if told.authority[t]}
    pushed = {t for t in range(len(steps)) if told.active[t]}
    assert pushed <= set(entered) <= human
    for run in admission.demonstrations:
        assert len({told.segment[t].item() for t in run}) == 1  # a run is contiguous, and of one segment
        assert told.active[run.start]
        assert told.active[run.stop - 1]  # the rest at its end is nobody's intention


def step_at(moment, end, told, t):
    info = {name: getattr(told, name)[t : t + 1] for name in PROVENANCE}
    info |= {"success": torch.tensor([end == "terminated"]), "executed_action": torch.tensor([[moment / 100.0]])}
    return Step(
        {"state": torch.tensor([[moment + 1.0]])}, torch.tensor([moment]), torch.tensor([end == "terminated"]),
        torch.tensor([end == "truncated"]), info,
    )  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(happenings, endings, labels), min_size=1, max_size=4), st.integers(1, 4))
def test_no_return_joins_what_did_not_follow_each_other(episodes, n_step):
    """Every transition of both buffers, against what is worked out from the episodes by hand."""
    online = ReplayBuffer(SPACE, ACTION, capacity=64, n_step=n_step, discount=GAMMA)
    demos = ReplayBuffer(SPACE, ACTION, capacity=64, n_step=n_step, discount=GAMMA)
    intake = Intake(online, demos, 1)
    wanted = {"online": {}, "demos": {}}
    moment = -1.0
    for steps, end, label in episodes:
        told = provenance(steps, label)
        # One moment after the other, over all episodes: what does not follow looks as if it could.
        first = moment + 1.0
        for t in range(len(steps)):
            moment = first + t
            step = step_at(moment, end if t == len(steps) - 1 else None, told, t)
            intake.add({"state": torch.tensor([[moment]])}, step)
        if end is None:  # somebody reset it, or training ends
            intake.flush()
        admission = admit(told)
        for kind, runs in (("online", admission.online), ("demos", admission.demonstrations)):
            for run in runs:
                for t in run:
                    taken = range(t, min(t + n_step, run.stop))
                    alive = not (end == "terminated" and taken.stop == len(steps))
                    reward = sum(GAMMA**k * (first + u) for k, u in enumerate(taken))
                    discount = GAMMA ** len(taken) * alive
                    wanted[kind][first + t] = (reward, first + taken.stop, discount, (first + t) / 100.0)
    for kind, buffer in (("online", online), ("demos", demos)):
        assert len(buffer) == len(wanted[kind])
        if not len(buffer):
            continue
        batch = buffer.gather(buffer.valid_indices())
        for row in range(len(buffer)):
            got = (batch.reward[row], batch.next_obs["state"][row, 0], batch.discount[row], batch.action[row, 0])
            assert [x.item() for x in got] == pytest.approx(wanted[kind].pop(batch.obs["state"][row, 0].item()))
        assert not wanted[kind]
    assert intake.admitted == len(online)
    assert intake.demonstrated == len(demos)


def test_the_controls_would_fail_without_the_breaks():
    """Negative control: the same two runs without a break between them do make a false return."""
    buffer = ReplayBuffer(SPACE, ACTION, capacity=8, n_step=2, discount=GAMMA)
    told = provenance([(True, True, True)] * 2, "none")
    for t in range(2):
        step = step_at(float(t), None, told, t)
        buffer.add({"state": torch.tensor([[float(t)]])}, step.info["executed_action"], step)
    assert buffer.gather(torch.tensor([0])).reward.item() == 0.5  # 0 + 0.5 * 1, from two segments


def test_environments_side_by_side_have_streams_of_their_own():
    online = ReplayBuffer(SPACE, ACTION, capacity=16, num_envs=2, n_step=3, discount=GAMMA)
    demos = ReplayBuffer(SPACE, ACTION, capacity=16, n_step=3, discount=GAMMA)
    intake = Intake(online, demos, 2)
    told = provenance([(True, True, False)] * 3, "none")
    for t in range(3):
        rows = [step_at(base + t, "truncated" if t == 2 else None, told, t) for base in (0.0, 50.0)]
        both = {name: torch.cat([row.info[name] for row in rows]) for name in rows[0].info}
        step = Step(
            {"state": torch.cat([row.obs["state"] for row in rows])},
            *(torch.cat([getattr(row, name) for row in rows]) for name in ("reward", "terminated", "truncated")),
            both,
        )
        intake.add({"state": torch.tensor([[0.0 + t], [50.0 + t]])}, step)
        assert len(online) == (6 if t == 2 else 0)  # only once it is known that nobody discards it
    batch = demos.gather(demos.valid_indices())
    assert batch.obs["state"][:, 0].tolist() == [0.0, 1.0, 2.0, 50.0, 51.0, 52.0]
    assert batch.reward.tolist() == [1.0, 2.0, 2.0, 50.0 + 25.5 + 13.0, 51.0 + 26.0, 52.0]
    assert batch.discount.tolist() == [0.125, 0.25, 0.5] * 2  # a time limit is never terminal


def test_supervision_counts_and_goes_on():
    buffers = [ReplayBuffer(SPACE, ACTION, capacity=64) for _ in range(2)]
    told: list = []
    supervision = Supervision.of(*buffers, 1, 0.1, on_episode=told.append)
    assert not supervision.ready
    assert supervision.figures()["intervention_rate"] is None
    steps = [(True, True, False), (False, False, False), (False, False, False), (True, True, False)]
    for label, end in (("none", "terminated"), ("discard", "truncated")):
        there = provenance(steps, label)
        there.onset[[0, 3]] = True
        for t in range(4):
            supervision.add({"state": torch.tensor([[float(t)]])}, step_at(float(t), end if t == 3 else None, there, t))
    assert told[0] == {
        "length": 4, "success": True, "interventions": 2, "intervention_rate": 0.5, "cycle_seconds": pytest.approx(0.4),
        "label": "none",
    }  # fmt: skip
    figures = supervision.figures()
    assert figures["intervention_rate"] == 0.5
    assert figures["cycle_seconds"] == pytest.approx(0.4)
    assert (figures["human_steps"], figures["demonstrated"], figures["discarded"]) == (4, 2, 1)
    assert supervision.ready
    resumed = Supervision.of(*buffers, 1, 0.1)
    resumed.resume(supervision.state())
    assert resumed.figures() == figures
    assert resumed.ready
