import json

import pytest

from robo_rl.errors import UserError
from robo_rl.training.run_folder import RunFolder


def test_folders_of_one_second_do_not_meet(tmp_path):
    runs = [RunFolder.create(tmp_path, "gym:A/B-v1", {"seed": 3}, seed=3) for _ in range(3)]
    assert len({run.path for run in runs}) == 3
    assert all(run.path.parent == tmp_path and run.path.name.startswith("gym_A_B-v1-") for run in runs)
    assert RunFolder.open(runs[0].path).config == {"seed": 3}


def test_versions_hardware_and_seed_are_recorded(tmp_path):
    run = RunFolder.create(tmp_path, "reach", {}, seed=7)
    run.record_system(7)
    first, second = json.loads((run.path / "system.json").read_text())
    assert first["seed"] == 7
    assert first["versions"]["torch"]
    assert first["cores"] >= 1
    assert first.keys() == second.keys()


def test_lines_are_there_at_once(tmp_path):
    run = RunFolder.create(tmp_path, "reach", {}, seed=0)
    run.log({"kind": "train", "env_steps": 5, "return": float("nan"), "note": "text"})
    assert run.metrics() == [{"kind": "train", "env_steps": 5, "return": None, "note": "text"}]
    run.close()
    run.log({"kind": "train", "env_steps": 6})
    run.close()
    assert [row["env_steps"] for row in run.metrics()] == [5, 6]


def test_tensorboard_holds_the_same_numbers_and_hides_what_was_rewound(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = RunFolder.create(tmp_path, "reach", {}, seed=0)
    for step in (10, 20, 30):
        run.log({"kind": "train", "env_steps": step, "return": float(step)})
    run.close()
    run = RunFolder.open(run.path)
    run.rewind(10)
    run.log({"kind": "train", "env_steps": 20, "return": -1.0})
    run.close()
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/return")] == [(10, 10.0), (20, -1.0)]
    assert [row["return"] for row in run.metrics()] == [10.0, -1.0]


def test_what_is_no_run_is_told(tmp_path):
    with pytest.raises(UserError, match="is not a run folder: it holds no config"):
        RunFolder.open(tmp_path / "a")
    RunFolder.create(tmp_path, "reach", {}, seed=0)
    with pytest.raises(UserError, match=r"unknown run 'raech'.* \(known: reach-"):
        RunFolder.open(tmp_path / "raech")
