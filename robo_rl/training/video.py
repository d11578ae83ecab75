"""Videos of a policy at work."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robo_rl.errors import UserError
from robo_rl.training.durable import StorageError, write_file

if TYPE_CHECKING:
    import numpy as np

    from robo_rl.training.evaluation import Act

    Frame = np.ndarray  # (H, W, 3) uint8, RGB

_CODECS = ("vp09", "mp4v")  # VP9 plays in browsers; the other is there where OpenCV was built without VP9.


def write_video(path: Path, frames: Iterable[Frame], rate: float) -> None:
    """Store frames as an mp4.

    Args:
        path: of the file.
        frames: each (H, W, 3) uint8 RGB, all of one size, at least one.
        rate: frames per second.

    Raises:
        UserError: if there is no frame, or OpenCV has no codec to write one.
        StorageError: if it could not be stored.
    """
    import cv2

    frames = list(frames)
    if not frames:
        raise UserError(f"no frame to write to {path}")
    height, width = frames[0].shape[:2]

    def write(unfinished: Path) -> None:
        writer = _open_writer(unfinished, rate, (width, height))
        for frame in frames:
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        writer.release()
        if not _readable(unfinished):  # OpenCV says nothing when the disk is full.
            raise StorageError(f"could not write {path}: is the disk full?")

    write_file(path, write)


def tile(frames: Sequence[Frame]) -> Frame:
    """Lay frames of one size out in a grid as square as can be, row by row; missing ones are black."""
    import numpy as np

    columns = math.ceil(math.sqrt(len(frames)))
    rows = math.ceil(len(frames) / columns)
    blank = np.zeros_like(frames[0])
    filled = [*frames, *[blank] * (rows * columns - len(frames))]
    return np.concatenate(
        [np.concatenate(filled[r * columns : (r + 1) * columns], axis=1) for r in range(rows)], axis=0
    )


def film(
    env: Any,
    act: Act,
    *,
    episodes: int = 4,
    seed: int = 0,
    camera: str | None = None,
    size: tuple[int, int] = (320, 240),
    deterministic: bool = True,
) -> list[Frame]:
    """Run episodes and return what a camera saw, the environments side by side.

    Args:
        env: a ``BatchedEnv`` with ``render(camera, env_index, width, height)``; all its environments are shown.
        act: the policy.
        episodes: how many are shown, in rounds of ``env.num_envs``.
        seed: of the start states, the same ones that :func:`~robo_rl.training.evaluation.evaluate` takes.
        camera: name, None for the environment's own view.
        size: width and height of each environment's picture, pixels.
        deterministic: take the policy's mode.

    Returns:
        Frames in order, one a control step; an environment whose episode is over stands still until its round is.

    Raises:
        UserError: if the environment cannot render.
    """
    import torch

    from robo_rl.training.evaluation import Starts

    if not hasattr(env, "render"):
        raise UserError("this environment cannot render")
    starts = Starts(env, episodes, seed)
    import numpy as np

    shown: list[Frame] = []
    places = min(env.num_envs, episodes)
    blank = np.zeros((size[1], size[0], 3), np.uint8)  # Every frame has all places, also in a last round with fewer.
    everywhere = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
    by_itself = getattr(env, "unattended", nullcontext)  # where people could take over
    with torch.random.fork_rng(devices=[]), torch.no_grad(), by_itself():
        torch.manual_seed(seed)
        for first in range(0, episodes, env.num_envs):
            count = min(env.num_envs, episodes - first)
            obs = starts.reset(everywhere, list(range(first, first + env.num_envs)))
            pictures = [env.render(camera, i, *size) for i in range(count)] + [blank] * (places - count)
            shown.append(tile(pictures))
            over = torch.zeros_like(everywhere)
            for _ in range(env.horizon):
                step = env.step(act(obs, explore=not deterministic))
                obs = step.obs
                for i in range(count):
                    if not over[i]:
                        pictures[i] = env.render(camera, i, *size)
                shown.append(tile(pictures))
                over = over | step.done
                if bool(over[:count].all()):
                    break
    return shown


def _open_writer(path: Path, rate: float, size: tuple[int, int]) -> Any:
    import cv2

    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # A missing codec is no news: the next is tried.
    try:
        for codec in _CODECS:
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), rate, size)
            if writer.isOpened():
                return writer
            writer.release()
    finally:
        cv2.utils.logging.setLogLevel(level)
    raise UserError(
        f"OpenCV has no codec ({' or '.join(_CODECS)}) to write {path.name}; pip install opencv-python-headless"
    )


def _readable(path: Path) -> bool:
    import cv2

    reader = cv2.VideoCapture(str(path))
    try:
        return bool(reader.isOpened() and reader.read()[0])
    finally:
        reader.release()
