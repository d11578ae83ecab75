import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from robo_rl.agents.encoders import Encoder
from robo_rl.agents.exported import ExportedPolicy
from robo_rl.agents.networks import Policy
from robo_rl.errors import UserError

SPACE = gymnasium.spaces.Dict(
    state=gymnasium.spaces.Box(-1, 1, (5,), np.float32), goal=gymnasium.spaces.Box(-1, 1, (2,), np.float32)
)


def policy(layer_norm: bool) -> Policy:
    generator = torch.Generator().manual_seed(0)
    net = Policy(Encoder(SPACE), 3, (32, 16), layer_norm=layer_norm, generator=generator)
    for norm in net.norms:
        for parameter in norm.parameters():
            parameter.data.normal_(generator=generator)
    return net


def exported(layer_norm: bool) -> ExportedPolicy:
    return ExportedPolicy.of(policy(layer_norm), {"state": 5, "goal": 2}, {"task": "reach"})


@pytest.mark.parametrize("layer_norm", [False, True])
@given(seed=st.integers(0, 1000), size=st.floats(0.01, 100.0))
@settings(max_examples=30, deadline=None)
def test_it_acts_as_the_policy_does(layer_norm: bool, seed: int, size: float) -> None:
    random = np.random.default_rng(seed)
    obs = {"state": size * random.standard_normal(5), "goal": size * random.standard_normal(2)}
    obs = {key: value.astype(np.float32) for key, value in obs.items()}
    wanted = policy(layer_norm).act({key: torch.from_numpy(value)[None] for key, value in obs.items()})[0]
    np.testing.assert_allclose(exported(layer_norm).act(obs), wanted.numpy(), atol=2e-5)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_it_comes_back_from_its_file(tmp_path: Path, layer_norm: bool) -> None:
    exported(layer_norm).save(tmp_path / "policy.safetensors")
    back = ExportedPolicy.load(tmp_path / "policy.safetensors")
    obs = {"state": np.ones(5, np.float32), "goal": np.zeros(2, np.float32)}
    assert np.array_equal(back.act(obs), exported(layer_norm).act(obs))
    assert (back.about, back.widths, back.actions) == ({"task": "reach"}, {"state": 5, "goal": 2}, 3)


def test_one_action_does_not_change_with_the_next() -> None:
    it = exported(False)
    first = it.act({"state": np.ones(5, np.float32), "goal": np.zeros(2, np.float32)})
    kept = first.copy()
    it.act({"state": -np.ones(5, np.float32), "goal": np.zeros(2, np.float32)})
    assert np.array_equal(first, kept)


def test_a_wrong_observation_is_told() -> None:
    with pytest.raises(UserError, match="'goal' is missing; the policy needs goal, state"):
        exported(False).act({"state": np.ones(5)})
    with pytest.raises(UserError, match=r"shape \(8,\)"):
        exported(False).act({"state": np.ones(6), "goal": np.ones(2)})


def test_another_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no exported policy"):
        ExportedPolicy.load(tmp_path / "nothing.safetensors")
    save_file({"a": np.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="of this version"):
        ExportedPolicy.load(tmp_path / "other.safetensors")


def test_it_acts_where_there_is_no_torch(tmp_path: Path) -> None:
    exported(True).save(tmp_path / "policy.safetensors")
    program = """
import sys
sys.modules["torch"] = None
import numpy as np
from robo_rl.agents.exported import ExportedPolicy
policy = ExportedPolicy.load(sys.argv[1])
print(*policy.act({"state": np.ones(5, np.float32), "goal": np.zeros(2, np.float32)}))
"""
    command = [sys.executable, "-c", program, str(tmp_path / "policy.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    here = exported(True).act({"state": np.ones(5, np.float32), "goal": np.zeros(2, np.float32)})
    np.testing.assert_allclose([float(word) for word in done.stdout.split()], here, rtol=1e-6)
