import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MODULE = '''
"""A point on a line as a Gymnasium environment, and a task of one's own."""
from dataclasses import dataclass
import gymnasium, numpy as np
from envs.tasks.reach import Reach


class Line(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-2.0, 2.0, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-1, 1, 1).astype(np.float32)
        return self.x.copy(), {}

    def step(self, action):
        self.x = np.clip(self.x + 0.2 * action, -2, 2).astype(np.float32)
        near = bool(abs(self.x[0]) < 0.1)
        return self.x.copy(), float(near), near, False, {"success": near}

    def render(self):
        picture = np.zeros((60, 80, 3), np.uint8)
        picture[:, int((self.x[0] + 2) / 4 * 79)] = 255
        return picture


gymnasium.register("Line-v0", entry_point=Line, max_episode_steps=15)
'''

SMALL = [
    "--agent.critics", "2", "--agent.hidden", "16", "16", "--batch-size", "32", "--utd", "0.1", "--warmup-steps", "50",
    "--eval-episodes", "3", "--eval-envs", "3", "--final-episodes", "6", "--video-episodes", "1", "--num-envs", "2",
    "--log-every", "20", "--eval-every", "100", "--checkpoint-every", "60", "--target-success", "None",
]  # fmt: skip


class Terminal:
    """Runs ``robo-rl`` in a folder of its own, as a person would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "line_env.py").write_text(MODULE)
        path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        self.small = SMALL
        self.task = "gym:line_env:Line-v0"

    def start(self, *words: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "robo_rl.cli", *words],
            cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, *words: str) -> tuple[int, str, str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    def only_run(self) -> Path:
        (path,) = (self.folder / "runs").iterdir()
        return path


@pytest.fixture
def terminal(tmp_path):
    return Terminal(tmp_path)


@pytest.fixture(scope="session")
def terminal_in():
    """Make a :class:`Terminal` in a folder, where several tests share what it has started."""
    return Terminal


@pytest.fixture(scope="session")
def short_run(tmp_path_factory):
    """Folder of a finished run of `reach` on the default arm; its episodes take a second on a cell."""
    terminal = Terminal(tmp_path_factory.mktemp("short"))
    code, _, err = terminal.run("train", "reach", *SMALL, "--task.horizon", "10", "--steps", "60")
    assert code == 0, err
    return terminal.only_run()


@pytest.fixture
def run(terminal, short_run):
    """A copy of it, which a test may deploy."""
    copy = terminal.folder / "runs" / short_run.name
    shutil.copytree(short_run, copy)
    return copy


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished run: its terminal, the path of its folder and the line it printed."""
    terminal = Terminal(tmp_path_factory.mktemp("finished"))
    code, out, err = terminal.run("train", terminal.task, *SMALL, "--steps", "120")
    assert code == 0, err
    return terminal, terminal.only_run(), json.loads(out)
