"""Who is in control: by hand-worked cases, and by what must hold whatever a person and a policy do."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robo_rl.contracts import AUTHORITIES, DEVICES, HumanInput, View
from robo_rl.errors import UserError
from robo_rl.human.authority import Authority, AuthoritySettings

FREE = {"max_change": 10.0}


def view(policy=(0.0, 0.0), neutral=None):
    policy = torch.tensor(policy)
    rest = torch.zeros_like(policy) if neutral is None else torch.tensor(neutral)
    return View({}, {}, policy, 0, 0.1, rest)


def push(*action, **more):
    return HumanInput(torch.tensor(action), device="gamepad", **more)


REST = HumanInput(device="gamepad")


def run(authority, lines, policy=(0.2, -0.2)):
    return [authority.decide(view(policy), line) for line in lines]


def test_takes_over_by_moving_and_hands_back_by_letting_go():
    authority = Authority(AuthoritySettings(hold=0.2, **FREE), gripper=False)
    steps = run(authority, [REST, push(1.0, 0.0), push(0.5, 0.0), REST, REST, REST, push(0.0, 1.0)])
    assert [AUTHORITIES[s.authority] for s in steps] == ["policy"] + ["override"] * 4 + ["policy", "override"]
    assert [s.action.tolist() for s in steps] == [
        pytest.approx(each) for each in ([0.2, -0.2], [1, 0], [0.5, 0], [0, 0], [0, 0], [0.2, -0.2], [0, 1])
    ]
    assert [s.segment for s in steps] == [-1, 0, 0, 0, 0, -1, 1]
    assert [s.onset for s in steps] == [False, True, False, False, False, False, True]
    assert [s.offset for s in steps] == [False, False, False, False, False, True, False]
    assert [s.active for s in steps] == [False, True, True, False, False, False, True]
    assert [DEVICES[s.device] for s in steps] == ["none"] + ["gamepad"] * 4 + ["none", "gamepad"]


def test_a_push_within_the_threshold_is_none():
    authority = Authority(AuthoritySettings(threshold=0.1, **FREE), gripper=False)
    (step,) = run(authority, [push(0.099, -0.099)])
    assert not step.active
    assert step.action.tolist() == pytest.approx([0.2, -0.2])


@pytest.mark.parametrize(
    "gone",
    [
        None,
        push(1.0, 1.0, latency=0.6),
        push(math.nan, 1.0),
        push(1.0, 1.0, latency=math.nan),
        push(1.0, 1.0, latency=-1.0),
    ],
    ids=["lost", "too old", "not finite", "of unknown age", "from the future"],
)
def test_who_is_gone_has_the_hands_off_and_is_never_repeated(gone):
    authority = Authority(AuthoritySettings(hold=0.1, **FREE), gripper=False)
    _, first, second = run(authority, [push(1.0, 1.0), gone, gone])
    assert not first.active
    assert first.action.tolist() == [0.0, 0.0]  # at once at rest, not the last action again
    assert second.authority == 0
    assert second.action.tolist() == pytest.approx([0.2, -0.2])


def test_blend_and_residual_by_hand():
    blend = Authority(AuthoritySettings("blend", share=0.75, **FREE), gripper=False)
    (step,) = run(blend, [push(1.0, 0.0)])
    assert step.action.tolist() == pytest.approx([0.8, -0.05])
    residual = Authority(AuthoritySettings("residual", scale=0.5, **FREE), gripper=False)
    pushed, rested = run(residual, [push(1.0, -1.0), REST])
    assert pushed.action.tolist() == pytest.approx([0.7, -0.7])
    assert AUTHORITIES[pushed.authority] == "residual"
    assert rested.action.tolist() == pytest.approx([0.2, -0.2])  # whoever lets go leaves the policy alone at once


def test_taking_over_is_no_jerk():
    authority = Authority(AuthoritySettings(max_change=0.5), gripper=False)
    steps = run(authority, [REST, push(-1.0, 0.0), push(-1.0, 0.0), push(-1.0, 0.0), REST])
    assert [round(s.action[0].item(), 6) for s in steps] == [0.2, -0.3, -0.8, -1.0, 0.0]  # but letting go is at once


def test_the_gripper_stays_unless_it_is_wished_for():
    rest = [0.0, 0.0, 0.4]  # told to be open by 0.7 of the whole
    authority = Authority(AuthoritySettings(**FREE), gripper=True)

    def decide(line):
        return authority.decide(view((0.2, 0.2, -1.0), rest), line).action.tolist()

    assert decide(push(1.0, 0.0, 0.4)) == pytest.approx([1.0, 0.0, 0.4])
    assert decide(HumanInput(gripper=1.0)) == pytest.approx([0.0, 0.0, 1.0])  # alone, it takes over too
    assert decide(REST) == pytest.approx(rest)
    blend = Authority(AuthoritySettings("blend", **FREE), gripper=True)
    line = push(1.0, 0.0, 0.4)
    assert blend.decide(view((0.0, 0.0, -1.0), rest), line).action.tolist() == pytest.approx([0.5, 0.0, -1.0])


def test_a_new_episode_begins_with_the_policy():
    authority = Authority(AuthoritySettings(**FREE), gripper=False)
    run(authority, [push(1.0, 1.0)])
    authority.begin()
    (step,) = run(authority, [REST])
    assert (step.authority, step.segment, step.offset) == (0, -1, False)


def test_an_action_of_another_size_is_refused():
    with pytest.raises(UserError, match=r"gamepad: an action of shape \(3,\)"):
        run(Authority(AuthoritySettings(), gripper=False), [push(1.0, 0.0, 0.0)])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [({"threshold": 2.0}, "threshold"), ({"hold": -1.0}, "hold"), ({"max_change": 0.0}, "max_change"),
     ({"share": math.nan}, "share")],
)  # fmt: skip
def test_settings_out_of_range(wrong, told):
    with pytest.raises(UserError, match=told):
        AuthoritySettings(**wrong)


numbers = st.floats(-2.0, 2.0, allow_nan=False, width=32)
said = st.one_of(
    st.none(),
    st.just(REST),
    st.tuples(numbers, numbers, numbers, st.sampled_from([0.0, 0.1, 9.0]), st.sampled_from([None, -1.0, 1.0])).map(
        lambda t: HumanInput(torch.tensor(t[:3]), gripper=t[4], device="gamepad", latency=t[3])
    ),
)


@settings(deadline=None, max_examples=60)
@given(
    mode=st.sampled_from(["override", "blend", "residual"]),
    hold=st.sampled_from([0.0, 0.1, 0.3]),
    lines=st.lists(st.tuples(said, numbers, numbers), max_size=30),
)
def test_whatever_is_said(mode, hold, lines):
    """Segments are contiguous and counted, each begins with a push; outside of them the policy's action is executed."""
    rules = AuthoritySettings(mode, hold=hold)
    authority = Authority(rules, gripper=True)
    inside, segments, idle = False, 0, 0
    for line, x, y in lines:
        policy = torch.tensor([x, y, -1.0])
        step = authority.decide(View({}, {}, policy, 0, 0.1, torch.tensor([0.0, 0.0, 0.5])), line)
        assert bool((step.action.abs() <= 1.0).all())
        heard = line is not None and line.latency <= rules.max_latency
        moved = heard and line.action is not None and float(line.action[:2].abs().max()) > rules.threshold
        assert step.active == (moved or (heard and line.gripper is not None))
        idle = 0 if step.active else idle + 1
        now = step.active or (inside and idle * 0.1 <= hold + 1e-6)
        assert (step.segment >= 0) == now == (step.authority != 0)
        assert step.onset == (now and not inside)
        assert step.offset == (inside and not now)
        segments += step.onset
        if now:
            assert step.segment == segments - 1
        else:
            assert torch.equal(step.action, policy.clamp(-1.0, 1.0))
            assert step.human_action.tolist() == [0.0, 0.0, 0.0]
        if now and not step.active:
            expected = [0.0, 0.0, 0.5] if mode == "override" else policy.clamp(-1.0, 1.0).tolist()
            assert step.action.tolist() == expected
        inside = now
