"""What a run came to: the figures, the picture and the film."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robo_rl.contracts.learning import BatchedEnv
from robo_rl.errors import UserError
from robo_rl.training.config import TrainConfig
from robo_rl.training.evaluation import Act, EvaluationResult, control_period
from robo_rl.training.plots import plot_learning_curve
from robo_rl.training.progress import TrainingProgress, Voice
from robo_rl.training.run_folder import RunFolder
from robo_rl.training.trainer import FINAL_SEED
from robo_rl.training.video import film, write_video

_FOREIGN_FRAME_RATE = 30.0  # frames per second of a film of an environment without a clock


def figures(
    config: TrainConfig, run: Path, evaluation: EvaluationResult | dict[str, Any] | None, **counters: Any
) -> dict[str, Any]:
    """Return one flat record of an evaluation: what ``summary.json`` holds and what is printed at the end.

    Args:
        config: of the run.
        run: folder of the run, or of the exported policy.
        evaluation: the figures, None if there was no evaluation yet.
        counters: ``env_steps``, ``updates``, ``wall_seconds`` and what else is to be told.
    """
    if isinstance(evaluation, EvaluationResult):
        evaluation = evaluation.to_json()
    found = dict(evaluation or {"success_rate": None, "success_interval_95": None, "episodes": 0})
    found["evaluation_seed"] = found.pop("seed", None)
    ours = not config.is_foreign
    about = {
        "task": config.task,
        "robot": config.robot if ours else None,
        "world": config.world if ours else None,
        "obs": config.obs if ours else None,
        "seed": config.seed,
    }
    return {**about, **found, **counters, "run": str(run)}


def draw_curve(config: TrainConfig, run: RunFolder) -> str:
    """Draw the learning curve and return the name of the file."""
    file = run.path / "learning_curve.png"
    title = ", ".join([config.task, *([] if config.is_foreign else [config.robot]), f"seed {config.seed}"])
    plot_learning_curve(run.metrics(), file, title=title, target=config.target_success)
    return file.name


def make_film(
    config: TrainConfig, run: RunFolder, env: BatchedEnv, act: Act, progress: TrainingProgress | Voice
) -> str | None:
    """Film the policy and return the name of the file; where that cannot be done, say why in one line and go on."""
    if config.video_episodes == 0:
        return None
    file = run.path / "evaluation.mp4"
    try:
        frames = film(env, act, episodes=config.video_episodes, seed=FINAL_SEED)
        write_video(file, frames, frame_rate(env))
    except UserError as error:
        progress.say(f"no video: {error}")
        return None
    return file.name


def frame_rate(env: BatchedEnv) -> float:
    """Frames per second at which one frame a control step shows the robot at its own speed."""
    period = control_period(env)
    return 1.0 / period if period else _FOREIGN_FRAME_RATE
