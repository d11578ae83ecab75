"""What several benchmarks set up alike."""

from __future__ import annotations

import ctypes
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robo_rl.training.config import TrainConfig

if TYPE_CHECKING:
    from robo_rl.contracts.learning import Batch
    from robo_rl.training.demonstrations import Demonstrations


def resolved_config(task: str, **settings: Any) -> TrainConfig:
    """Return the configuration of ``robo-rl train TASK`` with what the task recommends and ``settings`` on top."""
    from robo_rl.commands.environments import training_defaults
    from robo_rl.settings import with_settings

    recommended = training_defaults(task, settings.get("obs", "state"))
    return replace(with_settings(TrainConfig(task), recommended, where=f"training_defaults of {task}"), **settings)


def demonstrations(config: TrainConfig) -> Demonstrations:
    """Return the demonstrations that ``robo-rl train`` starts from with this configuration, the very same ones."""
    from robo_rl.commands.environments import make_environment
    from robo_rl.settings import to_json
    from robo_rl.training.demonstrations import provide_demonstrations
    from robo_rl.training.progress import TrainingProgress
    from robo_rl.training.run_folder import RunFolder

    with tempfile.TemporaryDirectory() as folder, TrainingProgress(config.steps) as progress:
        run = RunFolder.create(Path(folder), config.task, to_json(config), seed=config.seed)
        return provide_demonstrations(
            config, run, lambda n, seed: make_environment(config, n, seed), progress, lambda: False
        )


def demonstrated(task: str, demos: int, seed: int) -> Batch | None:
    """Return all transitions of these demonstrations for a learner that is not ours, single steps; None without any."""
    found = demonstrations(resolved_config(task, seed=seed, demos=demos, n_step=1, threads=1))
    return None if found.buffer is None else found.buffer.gather(found.buffer.valid_indices())


def choose_egl() -> None:
    """Let MuJoCo draw by EGL where there is the library and nothing else was chosen; before MuJoCo is imported."""
    if os.environ.get("MUJOCO_GL"):
        return
    try:
        ctypes.CDLL("libEGL.so.1")
    except OSError:
        return
    os.environ["MUJOCO_GL"] = "egl"
