import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pytest

from robo_rl.agents.sac import SACConfig
from robo_rl.errors import UserError
from robo_rl.settings import differences, from_json, to_json, with_settings
from robo_rl.training.config import TrainConfig


def test_json_round_trip():
    config = TrainConfig(
        "reach", utd=0.5, max_minutes=3.0, demo_path=Path("a/b"), agent=SACConfig(hidden=(8, 9), q_bounds=(0.0, 1.0)),
        task_options={"clearance": 0.1},
    )  # fmt: skip
    assert from_json(TrainConfig, json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"stepz": 3}, "unknown field in config.json: 'stepz'; did you mean 'steps'"),
        ({"steps": "many"}, "config.json: steps: 'many' given, a whole number expected"),
        ({"steps": True}, "config.json: steps: True given, a whole number expected"),
        ({"steps": 1.5}, "1.5 given, a whole number expected"),
        ({"reward": "spars"}, "config.json: reward"),
        ({"agent": {"critics": 2, "layers": 3}}, "unknown field in config.json: agent: 'layers'"),
        ({"agent": {"hidden": [8, "x"]}}, "hidden"),
        ({"agent": {"q_bounds": [0.0, 1.0, 2.0]}}, "q_bounds"),
        ({"seed": -1}, "seed: must be at least 0"),
        ({"threads": 0}, "threads: must be at least 1"),
        ({"max_minutes": 0.0}, "max_minutes: must be positive"),
    ],
)
def test_what_does_not_fit_is_named(change, told):
    with pytest.raises(UserError) as refused:
        from_json(TrainConfig, to_json(TrainConfig("reach")) | change)
    assert told in str(refused.value)


def test_a_missing_task_is_told():
    with pytest.raises(UserError, match="task"):
        from_json(TrainConfig, {"steps": 3})


def test_settings_by_dotted_path():
    config = with_settings(
        TrainConfig("reach"),
        {"utd": 4, "agent.hl_gauss": True, "agent.q_bounds": (0, 1), "n_step": 3},  # only together do the two fit
        where="defaults",
    )
    assert config.utd == 4.0
    assert config.agent.q_bounds == (0.0, 1.0)
    assert config.agent.hl_gauss
    assert config.n_step == 3
    for path in ("agent.nothing", "nothing", "steps.more"):
        with pytest.raises(UserError, match=f"unknown setting in defaults: '{path}'"):
            with_settings(TrainConfig("reach"), {path: 1}, where="defaults")
    with pytest.raises(UserError, match="defaults: utd: 'x' given, a number expected"):
        with_settings(TrainConfig("reach"), {"utd": "x"}, where="defaults")


def test_differences_are_named_by_their_path():
    old = TrainConfig("reach")
    new = replace(old, steps=5, agent=replace(old.agent, critics=3))
    assert differences(old, new) == {"steps": (old.steps, 5), "agent.critics": (old.agent.critics, 3)}


def test_a_robot_never_waits_for_the_learner():
    assert not TrainConfig("reach").overlaps
    assert TrainConfig("reach", sync=False).overlaps
    assert TrainConfig("reach", cell="sim").overlaps
    with pytest.raises(UserError, match="max_lag: must be at least 0, got -1"):
        TrainConfig("reach", max_lag=-1)


def test_updates_come_in_blocks():
    assert TrainConfig("reach", utd=0.2).block == 1
    assert TrainConfig("reach", utd=4.0).block == 4
    assert TrainConfig("reach", utd=4.0, critic_updates_per_actor_update=2).block == 2


@dataclass(frozen=True)
class Kinds:
    pair: tuple[float, str] = (1.0, "a")
    many: tuple[int, ...] = ()
    choice: Literal["a", 2] = "a"
    maybe: float | None = None
    flag: bool = False


def test_types_of_values():
    assert from_json(Kinds, {"pair": [2, "b"], "many": [1, 2], "choice": 2, "maybe": 3, "flag": True}) == Kinds(
        (2.0, "b"), (1, 2), 2, 3.0, True
    )
    for bad in ({"pair": [1]}, {"many": 3}, {"choice": "b"}, {"maybe": "x"}, {"flag": 1}):
        with pytest.raises(UserError):
            from_json(Kinds, bad)
