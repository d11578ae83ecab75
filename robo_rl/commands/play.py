"""``robo-rl play``: show a trained policy, as a video or in MuJoCo's viewer."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from robo_rl.commands.arguments import parse
from robo_rl.errors import UserError

if TYPE_CHECKING:
    from robo_rl.commands.trained import Trained


@dataclasses.dataclass(frozen=True)
class PlayArguments:
    """What to show."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder."""

    episodes: int = 4
    """Number of episodes."""

    seed: int | None = None
    """Of the start states; None: those of the final evaluation of training."""

    stochastic: tyro.conf.FlagCreatePairsOff[bool] = False
    """Draw actions as in training, instead of taking the policy's mode."""

    checkpoint: str = "best"
    """best, latest, or the folder of a checkpoint."""

    viewer: bool | None = None
    """Open a window instead of writing a video; None: where there is a display."""

    out: Path | None = None
    """File of the video; None: play.mp4 in the run folder."""

    camera: str | None = None
    """Camera of the video; None: the environment's own view."""

    width: int = 320
    """Of each episode's picture, pixels."""

    height: int = 240
    """Of each episode's picture, pixels."""

    def __post_init__(self) -> None:
        for name, low in (("episodes", 1), ("width", 16), ("height", 16)):
            if getattr(self, name) < low:
                raise UserError(f"{name}: must be at least {low}, got {getattr(self, name)}")


def main(args: Sequence[str]) -> int:
    """Run the command."""
    arguments = parse(
        PlayArguments,
        args,
        prog="robo-rl play",
        description="Show a trained policy: in MuJoCo's viewer where there is a display, as a video elsewhere. "
        "Prints the path of the video.",
    )
    from robo_rl.commands.trained import load_trained
    from robo_rl.training.outcome import frame_rate
    from robo_rl.training.trainer import FINAL_SEED
    from robo_rl.training.video import film, write_video

    seed = FINAL_SEED if arguments.seed is None else arguments.seed
    display = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    if arguments.viewer and not display:
        raise UserError("viewer: there is no display (DISPLAY is not set); leave --viewer out to get a video")
    window = display if arguments.viewer is None else arguments.viewer
    num_envs = 1 if window else min(arguments.episodes, 4)
    trained = load_trained(arguments.run, arguments.checkpoint, num_envs=num_envs, seed=seed)
    try:
        if window and hasattr(getattr(trained.env, "world", None), "datas"):
            _show(trained, arguments, seed)
            return 0
        frames = film(
            trained.env,
            trained.act,
            episodes=arguments.episodes,
            seed=seed,
            camera=arguments.camera,
            size=(arguments.width, arguments.height),
            deterministic=not arguments.stochastic,
        )
        path = trained.run.path / "play.mp4" if arguments.out is None else arguments.out
        write_video(path, frames, frame_rate(trained.env))
    finally:
        trained.env.close()
    print(path)
    return 0


def _show(trained: Trained, arguments: PlayArguments, seed: int) -> None:
    """Run episodes in MuJoCo's viewer at the robot's own speed, until they are over or the window is closed."""
    import mujoco.viewer
    import torch

    from robo_rl.training.evaluation import Starts

    env: Any = trained.env
    starts = Starts(env, arguments.episodes, seed)
    with (
        torch.no_grad(),
        mujoco.viewer.launch_passive(
            env.world.models[0], env.world.datas[0], show_left_ui=False, show_right_ui=False
        ) as window,
    ):
        for episode in range(arguments.episodes):
            obs = starts.reset(torch.ones(1, dtype=torch.bool, device=env.device), [episode])
            over = False
            while window.is_running() and not over:
                began = time.monotonic()
                step = env.step(trained.act(obs, explore=arguments.stochastic))
                obs, over = step.obs, bool(step.done[0])
                window.sync()
                time.sleep(max(0.0, env.world.control_dt - (time.monotonic() - began)))
            if not window.is_running():
                return
            verdict = "success" if bool(step.info["success"][0]) else "no success"
            print(f"episode {episode + 1}: {verdict}", file=sys.stderr)
