"""The environment in which a person may take over."""

import threading
import time

import pytest
import torch

from robo_rl.contracts import DEVICES, LABELS, PROVENANCE, Human, HumanInput, Provenance
from robo_rl.errors import UserError
from robo_rl.human.authority import AuthoritySettings
from robo_rl.human.intervention import InterventionEnv
from robo_rl.training.evaluation import evaluate

SETTINGS = AuthoritySettings(hold=0.0, max_change=10.0)
PUSH = HumanInput(torch.tensor([1.0, -1.0]), device="gamepad", latency=0.01)
REST = HumanInput(device="gamepad")


def policy(num_envs=1):
    return torch.full((num_envs, 2), 0.25)


def supervised(env, *humans, **more):
    return InterventionEnv(env, dict(enumerate(humans)), SETTINGS, **more)


def test_what_the_person_does_is_carried_out_and_told(puppet, counting_env):
    human, inside = puppet(REST, PUSH, REST), counting_env(num_envs=2)
    assert isinstance(human, Human)
    env = InterventionEnv(inside, {1: human}, SETTINGS)
    env.reset()
    steps = [env.step(policy(2)) for _ in range(3)]
    assert [told.tolist() for told in inside.told] == [
        [[0.25, 0.25], [0.25, 0.25]], [[0.25, 0.25], [1.0, -1.0]], [[0.25, 0.25], [0.25, 0.25]]
    ]  # fmt: skip
    told = Provenance.of(steps[1].info)
    assert set(PROVENANCE) <= set(steps[1].info)
    assert told.policy_action.tolist() == policy(2).tolist()
    assert told.human_action.tolist() == [[0.0, 0.0], [1.0, -1.0]]
    assert steps[1].info["executed_action"].tolist() == [[0.125, 0.125], [0.5, -0.5]]  # what the world made of it
    assert told.authority.tolist() == [0, 1]
    assert [DEVICES[code] for code in told.device] == ["none", "gamepad"]
    assert told.latency.tolist() == pytest.approx([0.0, 0.01])
    assert [step.info["segment"][1].item() for step in steps] == [-1, 0, -1]
    assert [step.info["offset"][1].item() for step in steps] == [False, False, True]
    assert [view.obs["state"].item() for view in human.views] == [1000.0, 1001.0, 1002.0]
    assert [view.step for view in human.views] == [0, 1, 2]


@pytest.mark.parametrize("succeeds", [False, True])
@pytest.mark.parametrize("label", ["success", "failure", "discard"])
def test_verdicts(puppet, counting_env, label, succeeds):
    inside = counting_env()
    inside.succeeds = succeeds
    env = supervised(inside, puppet(HumanInput(label=label)))
    env.reset()
    step = env.step(policy())
    good = label == "success" or (succeeds and label == "discard")
    assert bool(step.info["success"][0]) == good
    assert step.reward.tolist() == [float(good)]
    assert bool(step.terminated[0]) == good  # what a person gives up, or vetoes, is never terminal
    assert bool(step.truncated[0]) == (not good)
    assert LABELS[step.info["label"][0]] == label


def test_a_person_who_begins_anew_truncates(puppet, counting_env):
    env = supervised(counting_env(), puppet(HumanInput(request="reset")))
    env.reset()
    step = env.step(policy())
    assert (bool(step.terminated[0]), bool(step.truncated[0])) == (False, True)
    assert not env.stop_requested


def test_a_pause_waits_before_anything_is_carried_out(puppet, counting_env):
    human, inside = puppet(HumanInput(request="pause")), counting_env()
    told = []
    env = supervised(inside, human, tell=told.append)
    env.reset()
    steps = []
    thread = threading.Thread(target=lambda: steps.append(env.step(policy())))
    thread.start()
    deadline = time.monotonic() + 20.0
    while len(human.views) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert env.paused
    assert not inside.told
    human.lines.extend([HumanInput(label="discard"), HumanInput(request="resume")])
    thread.join(20.0)
    assert not env.paused
    assert len(inside.told) == 1
    assert LABELS[steps[0].info["label"][0]] == "discard"  # a verdict in the pause is not lost
    assert any("paused" in line for line in told)


@pytest.mark.parametrize("ends", ["stop", "outside"])
def test_a_pause_ends_with_a_stop(puppet, counting_env, ends):
    lines = [HumanInput(request="pause")] + ([HumanInput(request="stop")] if ends == "stop" else [])
    env = supervised(counting_env(), puppet(*lines), should_stop=lambda: ends == "outside", tell=lambda _: None)
    env.reset()
    env.step(policy())
    assert env.stop_requested == (ends == "stop")
    assert not env.paused


def test_a_lost_device_is_told_once_and_hands_are_off(puppet, counting_env):
    inside, told = counting_env(), []
    env = supervised(inside, puppet(PUSH, None, None, REST), tell=told.append)
    env.reset()
    for _ in range(4):
        env.step(policy())
    assert [row.tolist() for row in inside.told[1:]] == [policy().tolist()] * 3
    assert told == ["gamepad: lost; hands off until it is back", "gamepad: back"]


def test_evaluations_are_the_policys_alone_but_a_stop_is_heard(puppet, counting_env):
    human, inside = puppet(*[PUSH] * 20, HumanInput(request="stop")), counting_env(horizon=10)
    env = supervised(inside, human)
    result = evaluate(env, lambda obs, explore: policy(), episodes=3)
    assert result.episodes == 3
    assert all(torch.equal(told, policy()) for told in inside.told)
    assert env.stop_requested
    assert env.attended


def test_everything_else_is_the_environment_inside(puppet, counting_env):
    human, inside = puppet(), counting_env()
    env = supervised(inside, human)
    env.seed(7)
    assert env.reset()["state"].item() == 1007.0
    assert env.succeeds is False
    assert human.episodes == 1
    env.close()
    assert (inside.closed, human.closed) == (1, 1)
    with pytest.raises(UserError, match="environments 0 to 0"):
        InterventionEnv(inside, {1: human})
    with pytest.raises(UserError, match="has not been reset"):
        supervised(inside, puppet()).step(policy())


def test_an_episode_of_a_person_begins_with_their_push(puppet, counting_env):
    human, inside = puppet(REST, REST, PUSH), counting_env()
    env = supervised(inside, human)
    env.reset()
    assert env.await_push()
    assert not inside.told
    step = env.step(env.neutral())
    assert inside.told[0].tolist() == [[1.0, -1.0]]
    assert bool(step.info["active"][0])
    stopped = supervised(inside, puppet(HumanInput(request="stop")))
    stopped.reset()
    assert not stopped.await_push()


def test_a_budget_of_steps_is_kept_to_and_outlives_the_environment(puppet, counting_env):
    def rates(spent, budget):
        env = InterventionEnv(
            counting_env(), {0: puppet(*[PUSH] * 9)}, AuthoritySettings(hold=0.0, max_change=10.0, budget=budget)
        )
        env.human_steps = spent
        env.reset()
        steps = [env.step(policy()) for _ in range(9)]
        return [int(step.info["authority"][0]) for step in steps], env.human_steps

    assert rates(0, None) == ([1] * 9, 9)
    assert rates(0, 4) == ([1] * 4 + [0] * 5, 4)
    assert rates(3, 4) == ([1] + [0] * 8, 4)  # as a run that goes on
    assert rates(0, 0) == ([0] * 9, 0)
    with pytest.raises(UserError, match="budget"):
        AuthoritySettings(budget=-1)
