from __future__ import annotations

import numpy as np
import pytest

from benchmarks import stepping


@pytest.fixture(scope="module")
def env():
    env = stepping.make("peg_insertion", 3, threads=1)
    yield env
    env.close()


@pytest.fixture(scope="module")
def tape(env):
    return stepping.record(env, seed=4)


def test_bare_physics_does_the_very_same_steps(tape):
    bare = stepping.Bare(tape, threads=2)
    assert bare.difference() < 1e-6  # over a whole episode with contact
    bare.close()


def test_bare_physics_without_the_commands_does_not(tape):
    still = stepping.Tape(**{**vars(tape), "control": np.repeat(tape.control[:1], len(tape.control), axis=0)})
    bare = stepping.Bare(still, threads=1)
    assert bare.difference() > 1e-3
    bare.close()


def test_a_tape_holds_one_whole_episode_everywhere(env, tape):
    assert tape.env_steps == 3 * env.horizon
    assert tape.actions.shape == (env.horizon, 3, *env.action_space.shape)
    assert tape.substeps == env.world.substeps
    # Fixtures stand elsewhere in each environment.
    assert len({tuple(model.body("hole").pos) for model in tape.models}) == 3


def test_rates_are_finite_and_positive(env, tape):
    bare = stepping.Bare(tape, threads=1)
    for rate in (stepping.our_rate(env, tape), bare.rate(), stepping.steady_rate(env, 0.05, seed=0)()):
        assert np.isfinite(rate)
        assert rate > 0
    bare.close()


def test_parts_of_a_step_add_up_to_it():
    found = stepping.profile("peg_insertion", steps=20, rounds=1)
    parts = dict(found["microseconds"])
    whole = parts.pop("step")
    assert sum(parts.values()) == pytest.approx(whole, abs=1.0)  # each is rounded to a tenth
    assert parts["physics"] > 0
    assert found["physics_share"] == pytest.approx(parts["physics"] / whole, abs=0.001)
