from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "examples/stable_baselines3_sac.py"


def test_the_example_trains_and_evaluates():
    pytest.importorskip("stable_baselines3")
    ran = subprocess.run([sys.executable, str(SCRIPT), "robo_rl/Reach-v0", "200"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    rate = re.fullmatch(r"success in 20 episodes: (\d+)%", ran.stdout.splitlines()[-1])
    assert rate is not None, ran.stdout
    assert 0 <= int(rate[1]) <= 100
    assert ran.stderr == ""
