"""Simulated people: when they come, what they push, when they go; all of it repeatable."""

import pytest
import torch

from robo_rl.contracts import View
from robo_rl.errors import UserError
from robo_rl.human.simulated import SimulatedHuman, SimulatedSettings

PERFECT = {"noise": 0.0, "misjudgement": 0.0, "attention": 1.0, "mistakes": 0.0, "premature": 0.0}


def view(progress, expert=(1.0, -0.5)):
    return View(
        {}, {}, torch.zeros(2), 0, 0.1, torch.zeros(2), expert=lambda: torch.tensor(expert), progress=lambda: progress
    )


def settings(**more):
    return SimulatedSettings(**(PERFECT | {"patience": 0.5, "reaction": 0.2, "correction": 0.6, "gain": 0.0} | more))


def pushes(human, progress):
    return [human.read(view(value)).action is not None for value in progress]


def seen_once(human):
    """Let them know what little and much progress are."""
    pushes(human, [0.0, 1.0])
    human.begin()


def test_they_come_when_nothing_moves_on_and_go_after_a_while():
    human = SimulatedHuman(settings())
    seen_once(human)
    pushed = pushes(human, [0.5] * 16)
    # Still for 0.5 s, 0.2 s to react, then a correction of 0.6 s; and the patience begins anew.
    assert pushed == [False] * 7 + [True] * 6 + [False] * 3


def test_they_leave_alone_what_moves_on():
    human = SimulatedHuman(settings(gain=0.01))
    seen_once(human)
    assert not any(pushes(human, [0.02 * t for t in range(50)]))


def test_they_come_at_once_when_something_is_lost():
    human = SimulatedHuman(settings(setback=0.2))
    seen_once(human)
    assert pushes(human, [0.5, 0.25, 0.25, 0.25]) == [False, False, False, True]


def test_they_go_when_it_is_better_than_before():
    human = SimulatedHuman(settings(correction=9.0, relief=0.1))
    seen_once(human)
    pushed = pushes(human, [0.5] * 10 + [0.55, 0.65, 0.66])
    assert pushed == [False] * 7 + [True] * 4 + [False] * 2


def test_what_they_push_is_what_they_saw_a_reaction_ago():
    human = SimulatedHuman(settings(reaction=0.3, patience=0.1))
    seen_once(human)
    said = [human.read(view(0.5, expert=(t / 10, 0.0))).action for t in range(8)]
    first = next(t for t, action in enumerate(said) if action is not None)
    assert said[first].tolist() == pytest.approx([(first - 3) / 10, 0.0])


def test_they_know_how_far_they_have_pushed_since_what_they_see():
    """Pushing towards a place in one dimension, seen late: they arrive, and do not swing about it."""
    human = SimulatedHuman(settings(reaction=0.3, patience=0.1, correction=50.0))
    seen_once(human)
    place, ways = 0.0, []
    for _ in range(40):
        said = human.read(view(0.5, expert=((2.5 - place), 0.0)))
        place += 0.0 if said.action is None else float(said.action[0])
        ways.append(place)
    assert max(ways) <= 2.5 + 1e-6
    assert ways[-1] == pytest.approx(2.5)


def test_noise_mistakes_and_letting_go_too_early():
    noisy = SimulatedHuman(settings(noise=0.2, reaction=0.0, patience=0.1, correction=50.0), seed=1)
    seen_once(noisy)
    said = [noisy.read(view(0.5, expert=(0.3, 0.0))).action for _ in range(400)]
    errors = torch.stack([action - torch.tensor([0.3, 0.0]) for action in said if action is not None])
    assert errors[:, 0].std().item() == pytest.approx(0.2 * 0.3, rel=0.15)
    assert not errors[:, 1].any()  # who does not push does not err
    wrong = SimulatedHuman(settings(mistakes=1.0, patience=0.1, reaction=0.0, correction=5.0), seed=1)
    seen_once(wrong)
    said = [each.action for each in (wrong.read(view(0.5)) for _ in range(20)) if each.action is not None]
    right = [torch.equal(action, torch.tensor([1.0, -0.5])) for action in said]
    assert right == [False] + [True] * (len(said) - 1)
    early = SimulatedHuman(settings(premature=1.0))
    seen_once(early)
    assert sum(pushes(early, [0.5] * 12)) == 3  # of six


def test_the_place_they_aim_at_is_off_by_as_much_throughout_a_correction():
    human = SimulatedHuman(settings(misjudgement=0.1, reaction=0.0, patience=0.1, correction=0.5), seed=1)
    seen_once(human)
    said = [human.read(view(0.5, expert=(0.3, 0.0))).action for _ in range(400)]
    corrections, now = [], []
    for action in said:
        if action is not None:
            now.append(action - torch.tensor([0.3, 0.0]))
        elif now:
            corrections.append(torch.stack(now))
            now = []
    assert all(torch.equal(errors, errors[:1].expand_as(errors)) for errors in corrections)
    between = torch.stack([errors[0] for errors in corrections])
    assert between.std().item() == pytest.approx(0.1, rel=0.3)


def test_who_does_not_look_does_not_come():
    human = SimulatedHuman(settings(attention=0.0))
    seen_once(human)
    assert not any(pushes(human, [0.5] * 60))


def test_the_same_seed_is_the_same_person():
    def story(seed):
        human = SimulatedHuman(SimulatedSettings(patience=0.2, attention=0.5, mistakes=0.5), seed=seed)
        seen_once(human)
        said = [human.read(view(0.5)).action for _ in range(60)]
        return [None if action is None else action.tolist() for action in said]

    assert story(3) == story(3)
    assert story(3) != story(4)


def test_a_gripper_is_moved_as_it_is_meant():
    human = SimulatedHuman(settings(noise=0.5, patience=0.1), gripper=True)
    seen_once(human)
    said = [human.read(view(0.5, expert=(0.2, -1.0))) for _ in range(6)]
    pushed = [each for each in said if each.action is not None]
    assert pushed
    assert all(each.gripper == -1.0 and each.action[-1].item() == -1.0 for each in pushed)


def test_a_task_that_tells_nothing_is_refused():
    bare = View({}, {}, torch.zeros(2), 0, 0.1, torch.zeros(2))
    with pytest.raises(UserError, match="expert and dense reward terms"):
        SimulatedHuman().read(bare)
    with pytest.raises(UserError, match="attention"):
        SimulatedSettings(attention=1.5)
    with pytest.raises(UserError, match="patience"):
        SimulatedSettings(patience=0.0)
