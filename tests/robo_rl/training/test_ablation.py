import json
from dataclasses import replace
from pathlib import Path

import pytest

from robo_rl.agents.sac import SACConfig
from robo_rl.errors import UserError
from robo_rl.settings import from_json, to_json
from robo_rl.training.ablation import area_under_curve, arm_folder, make_arms, make_job, read_switches, summarise
from robo_rl.training.config import TrainConfig
from robo_rl.training.run_folder import RunFolder

BASE = TrainConfig("reach", agent=SACConfig(critics=4))


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("agent.hl_gauss=true", {"agent.hl_gauss": True}),
        ("agent.critic_dropout=0.01,agent.critics=2", {"agent.critic_dropout": 0.01, "agent.critics": 2}),
        ("agent.hidden=[64,64],utd=2", {"agent.hidden": [64, 64], "utd": 2}),
        ("target_success=None, reward=dense", {"target_success": None, "reward": "dense"}),
        ("agent.optimiser=adan", {"agent.optimiser": "adan"}),
    ],
)
def test_a_switch_is_read(text, settings):
    assert read_switches(text) == settings


@pytest.mark.parametrize("text", ["agent.hl_gauss", "=3", "utd=", "utd=1,utd=2"])
def test_what_is_no_switch_is_refused(text):
    with pytest.raises(UserError, match="switches"):
        read_switches(text)


def test_arms_are_the_base_and_each_variant():
    arms = make_arms(BASE, ["agent.critics=2,agent.critic_dropout=0.01", "agent.experts.count=4"])
    assert list(arms) == ["base", "agent.critics=2,agent.critic_dropout=0.01", "agent.experts.count=4"]
    assert arms["base"] == BASE
    assert arms["agent.critics=2,agent.critic_dropout=0.01"].agent == SACConfig(critics=2, critic_dropout=0.01)
    assert arms["agent.experts.count=4"].agent.experts.count == 4


@pytest.mark.parametrize(
    ("switches", "says"),
    [
        (["agent.critic=2"], "did you mean 'agent.critics'"),
        (["agent.critics=two"], "'two' given, a whole number expected"),
        (["agent.critics=4"], "same configuration as 'base'"),
        (["utd=2", "utd=2.0"], "same configuration as 'utd=2'"),
        (["agent.critic_norm=batch,agent.critic_dropout=0.1"], "critic_dropout spoils"),
    ],
)
def test_variants_that_make_no_sense_are_refused_before_anything_runs(switches, says):
    with pytest.raises(UserError, match=says):
        make_arms(BASE, switches)


def test_folders_differ_and_are_plain():
    names = {arm_folder(title) for title in ("base", "a=/x", "a=_x", "b=" + "9" * 300, "b=" + "9" * 301)}
    assert len(names) == 5
    assert all(len(name) < 100 and "/" not in name for name in names)


def test_the_command_changes_with_the_configuration(tmp_path):
    job = make_job("base", BASE, 2, tmp_path)
    assert job.command[:3] == ("robo-rl", "train", "reach")
    file = Path(job.command[job.command.index("--config") + 1])
    assert from_json(TrainConfig, json.loads(file.read_text())) == BASE
    assert job.command[job.command.index("--seed") + 1] == "2"
    assert make_job("base", BASE, 2, tmp_path) == job
    assert make_job("base", replace(BASE, utd=2.0), 2, tmp_path).line != job.line


def test_an_unfinished_run_of_the_very_same_configuration_goes_on(tmp_path):
    job = make_job("base", BASE, 1, tmp_path)
    assert job.go_on() is None
    out = tmp_path / "base" / "seed-1"
    other = replace(BASE, seed=1, out=out, utd=3.0)
    RunFolder.create(out, "reach", to_json(other), seed=1)
    assert job.go_on() is None
    run = RunFolder.create(out, "reach", to_json(replace(BASE, seed=1, out=out)), seed=1)
    assert job.go_on() == ("robo-rl", "train", "--resume", str(run.path))


def outcome(seed, points, *, steps, rate):
    curve = [{"env_steps": n, "success_rate": r} for n, r in points]
    return {
        "seed": seed, "curve": curve, "env_steps": steps, "success_rate": rate, "successes": round(100 * rate),
        "episodes": 100, "success_interval_95": [0.0, 1.0], "train_seconds": 1.0, "updates": 1,
        "seconds_to_target": None,
    }  # fmt: skip


def test_area_by_hand():
    # 0 until 100, 0.5 until 300, 0.9 (the final evaluation) from 300 on: (200 * 0.5 + 100 * 0.9) / 400
    run = outcome(0, [(100, 0.5), (300, 1.0)], steps=300, rate=0.9)
    assert area_under_curve(run, 400) == pytest.approx(0.475)
    assert area_under_curve(run, 200) == pytest.approx(0.25)
    assert area_under_curve(outcome(0, [], steps=400, rate=1.0), 400) == 0.0


def test_the_summary_holds_interquartile_means_of_both_figures():
    pytest.importorskip("rliable")
    arms = make_arms(BASE, ["utd=2"])
    rates = {"base": [0.0, 0.2, 0.4, 1.0], "utd=2": [0.9, 0.9, 0.9, 0.9]}
    found = {
        arm_folder(title): [outcome(seed, [(50, rate)], steps=100, rate=rate) for seed, rate in enumerate(some)]
        for title, some in rates.items()
    }
    summary = summarise(arms, found, 100)
    assert list(summary) == ["base", "utd=2"]
    assert summary["base"]["final_success"]["interquartile_mean"] == pytest.approx(0.3)  # of 0.2 and 0.4
    assert summary["base"]["area_under_curve"]["each"] == [0.0, 0.1, 0.2, 0.5]
    low, high = summary["base"]["final_success"]["interval_95"]
    assert 0.0 <= low < 0.3 < high <= 1.0
    assert summary["utd=2"]["final_success"] == {"interquartile_mean": 0.9, "interval_95": [0.9, 0.9]}
