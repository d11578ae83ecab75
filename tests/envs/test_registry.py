from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
import torch

from envs import registry
from robo_rl.contracts import Task
from robo_rl.errors import UserError

OUTSIDE = '''
    """Reach, twice as hard to hit."""
    from dataclasses import dataclass
    from typing import ClassVar

    from envs.tasks.reach import Reach


    @dataclass(frozen=True)
    class FineReach(Reach):
        name: ClassVar[str] = "fine_reach"
        tolerance: float = 0.005


    def not_a_task():
        pass
'''


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A folder with tasks of somebody else's, worked in."""
    (tmp_path / "outside_tasks.py").write_text(textwrap.dedent(OUTSIDE))
    (tmp_path / "outside_broken.py").write_text("import no_such_module_anywhere\n")
    (tmp_path / "outside_faulty.py").write_text("raise RuntimeError('first line\\nsecond line')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for module in ("outside_tasks", "outside_broken", "outside_faulty"):
        sys.modules.pop(module, None)


def test_the_built_in_tasks_are_found_in_their_files():
    assert registry.task_names() == ["peg_insertion", "peg_insertion_hard", "pick_cube", "place_cube", "reach"]
    for name in registry.task_names():
        kind = registry.task_class(name)
        assert issubclass(kind, Task)
        assert kind.name == name


@pytest.mark.parametrize("robot", registry.robot_names())
@pytest.mark.parametrize("name", registry.task_names())
def test_every_task_is_done_with_every_robot(name, robot):
    env = registry.make_env(registry.make_task(name, robot), num_envs=2, seed=1, threads=1)
    obs = env.reset()
    assert env.task.robot.name == robot
    step = env.step(env.expert_action())
    assert obs["state"].shape == step.obs["state"].shape == (2, *env.observation_space["state"].shape)
    assert torch.isfinite(step.obs["state"]).all()
    env.close()


def test_fields_are_overridden_and_the_rest_is_kept():
    task = registry.make_task("peg_insertion", overrides={"clearance": 0.002, "horizon": 60})
    assert (task.clearance, task.horizon) == (0.002, 60)
    assert task.depth == registry.make_task("peg_insertion").depth


def test_a_task_from_outside_is_found_by_its_dotted_path(outside):
    task = registry.make_task("outside_tasks:FineReach", "widowx250s", {"horizon": 7})
    assert (task.name, task.tolerance, task.horizon, task.robot.name) == ("fine_reach", 0.005, 7, "widowx250s")
    assert "fine_reach" not in registry.task_names()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("peg_insert", "unknown task 'peg_insert'; did you mean 'peg_insertion'"),
        ("outside_tasks.FineReach", "known: peg_insertion, peg_insertion_hard, pick_cube, place_cube, reach"),
        ("no_such_package:Task", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("outside_broken:Task", "No module named 'no_such_module_anywhere'"),
        ("outside_faulty:Task", "RuntimeError: first line second line"),
        ("outside_tasks:Missing", "has no attribute 'Missing'"),
        ("outside_tasks:not_a_task", "no subclass of robo_rl.contracts.Task"),
        ("robo_rl.contracts:Task", "it lacks action_of, action_space"),
    ],
)
def test_a_wrong_task_gets_one_line(outside, name, says):
    with pytest.raises(UserError) as refusal:
        registry.make_task(name)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: registry.make_task("reach", "pandar"), "unknown robot 'pandar'; did you mean 'panda'"),
        (lambda: registry.make_task("peg_insertion", overrides={"clearence": 1}), "did you mean 'clearance'"),
        (lambda: registry.make_task("reach", overrides={"robot": "fr3"}), "unknown field of task 'reach': 'robot'"),
        (lambda: registry.make_env(registry.make_task("reach"), world="mujocco"), "did you mean 'mujoco'"),
        (
            lambda: registry.make_env(registry.make_task("reach"), world="mujoco_law", device="cuda"),
            "device: world 'mujoco_law' runs on the CPU",
        ),
        (lambda: registry.make_env(registry.make_task("reach"), reward="shaped"), "reward"),
        (lambda: registry.make_env(registry.make_task("reach"), num_envs=0), "num_envs"),
        (
            lambda: registry.make_env(registry.make_task("reach"), device="cuda"),
            "device: world 'mujoco' runs on the CPU",
        ),
        (
            lambda: registry.make_env(registry.make_task("reach"), world="warp", threads=2),
            "threads: world 'warp' has none",
        ),
    ],
)
def test_a_wrong_option_gets_one_line_with_the_remedy(build, says):
    with pytest.raises(UserError) as refusal:
        build()
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("world", "timestep"), [("mujoco", 0.002), ("mujoco_law", 0.001)])
def test_a_fidelity_of_control_has_a_name(world, timestep):
    env = registry.make_env(registry.make_task("reach"), world=world)
    assert env.world.model.opt.timestep == timestep
    env.close()
    assert world in registry.world_names()


def test_the_seed_decides_the_starts():
    def starts(seed):
        env = registry.make_env(registry.make_task("reach"), num_envs=3, seed=seed, threads=1)
        return env.reset()["state"]

    assert torch.equal(starts(4), starts(4))
    assert not torch.equal(starts(4), starts(5))


def test_listing_tasks_touches_no_simulator():
    code = "import sys; from envs import registry; registry.task_names(); print('mujoco' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
