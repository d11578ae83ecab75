"""What several benchmarks set up alike."""

from __future__ import annotations

import ctypes
import os
from dataclasses import replace
from typing import Any

from robo_rl.training.config import TrainConfig


def resolved_config(task: str, **settings: Any) -> TrainConfig:
    """Return the configuration of ``robo-rl train TASK`` with what the task recommends and ``settings`` on top."""
    from robo_rl.commands.environments import training_defaults
    from robo_rl.training.config import with_settings

    recommended = with_settings(TrainConfig(task), training_defaults(task), where=f"training_defaults of {task}")
    return replace(recommended, **settings)


def choose_egl() -> None:
    """Let MuJoCo draw by EGL where there is the library and nothing else was chosen; before MuJoCo is imported."""
    if os.environ.get("MUJOCO_GL"):
        return
    try:
        ctypes.CDLL("libEGL.so.1")
    except OSError:
        return
    os.environ["MUJOCO_GL"] = "egl"
