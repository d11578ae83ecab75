"""The control PC has no torch: laws, contracts and robots must import and run without it."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import importlib, pkgutil, sys
sys.modules["torch"] = None  # importing it now raises ImportError
import controllers, robo_rl.contracts, robo_rl.robots, robo_rl.geometry
for package in (controllers, robo_rl.contracts, robo_rl.robots):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)

import numpy as np
from controllers.impedance import CartesianImpedance
from controllers.kinematics import Chain
from controllers.state import ArmState
from robo_rl.contracts import Pose
from robo_rl.robots import robot

spec = robot("panda")
chain, q = Chain(spec), np.array(spec.home)
pos, rot = chain.forward(q)
state = ArmState(q, np.zeros(7), chain.jacobian(q), pos, rot, np.zeros(7))
controller = CartesianImpedance(spec, 0.001)
controller.reset(state)
torque = controller.torque(state, Pose(pos + [0.0, 0.0, 0.01], rot))
assert np.abs(torque).max() > 0.5, torque
print("ran")
"""


def test_laws_contracts_and_robots_run_with_torch_blocked() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "ran"
