"""A person contradicts a success classifier."""

from dataclasses import replace

import pytest
import torch

from robo_rl.contracts import LABELS, HumanInput
from robo_rl.human.authority import AuthoritySettings
from robo_rl.human.intervention import InterventionEnv


def claims(env, claimed=True, true=False):
    """Have ``env`` be judged by a classifier that says ``claimed`` at every step, while ``true`` holds."""
    inside = env.step

    def step(action):
        plain = inside(action)
        said = torch.full((env.num_envs,), claimed)
        info = {**plain.info, "success": torch.full_like(said, true), "success_classified": said}
        return replace(plain, reward=said.float(), terminated=said, truncated=plain.truncated & ~said, info=info)

    env.step = step
    return env


def one_step(inside, human, veto=0.5):
    env = InterventionEnv(inside, {0: human}, AuthoritySettings(veto=veto))
    env.reset()
    return env.step(torch.zeros(1, 2))


def silence():
    return HumanInput(device="gamepad")


@pytest.mark.parametrize("lines_before", [0, 1, 5])
def test_a_veto_takes_a_classified_success_back(counting_env, puppet, lines_before):
    """Said with the step, or within the moment after it."""
    said = [silence()] * lines_before + [HumanInput(label="failure", device="gamepad")]
    step = one_step(claims(counting_env()), puppet(*said))
    assert step.reward.tolist() == [0.0]
    assert not bool(step.terminated[0])
    assert bool(step.truncated[0])
    assert not bool(step.info["success_classified"][0])
    assert LABELS[int(step.info["label"][0])] == "failure"


def test_without_a_veto_the_classifier_is_believed(counting_env, puppet):
    human = puppet()
    step = one_step(claims(counting_env()), human, veto=0.1)
    assert step.reward.tolist() == [1.0]
    assert bool(step.terminated[0])
    assert bool(step.info["success_classified"][0])
    assert len(human.views) > 1, "they were asked"


def test_nobody_is_asked_where_nothing_was_claimed(counting_env, puppet):
    human = puppet(silence(), HumanInput(label="failure", device="gamepad"))
    step = one_step(claims(counting_env(), claimed=False), human)
    assert len(human.views) == 1
    assert not bool(step.done[0])


def test_a_success_that_was_not_noticed_is_one_by_a_persons_word(counting_env, puppet):
    step = one_step(claims(counting_env(), claimed=False), puppet(HumanInput(label="success", device="gamepad")))
    assert step.reward.tolist() == [1.0]
    assert bool(step.terminated[0])
    assert bool(step.info["success_classified"][0])


def test_a_confirmed_success_is_worth_no_more_than_one(counting_env, puppet):
    step = one_step(claims(counting_env()), puppet(HumanInput(label="success", device="gamepad")))
    assert step.reward.tolist() == [1.0]
