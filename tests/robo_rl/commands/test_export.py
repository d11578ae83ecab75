"""``robo-rl export``: a trained policy as one file that acts without torch."""

import json

import numpy as np

from robo_rl.agents.exported import ExportedPolicy


def test_a_trained_policy_is_written_and_acts_alike(finished):
    terminal, run, _ = finished
    code, out, err = terminal.run("export", str(run))
    assert code == 0, err
    told = json.loads(out)
    assert told["largest_difference"] < 1e-5
    policy = ExportedPolicy.load(run / "policy.safetensors")
    assert policy.about["task"] == terminal.task
    obs = {key: np.zeros(width, np.float32) for key, width in policy.widths.items()}
    assert np.abs(policy.act(obs)).max() <= 1.0


def test_a_folder_that_is_no_run_is_told(terminal, tmp_path):
    code, _, err = terminal.run("export", str(tmp_path / "nothing"))
    assert (code, err.count("\n")) == (2, 1)
    assert "robo-rl: error:" in err
