"""Labelled camera frames from recorded episodes, and their division into parts that share no episode."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from robo_rl.contracts.human import LABELS
from robo_rl.data.episodes import Episode, load_episodes
from robo_rl.errors import UserError

NEAR = 4
"""Steps from a change of the label within which frames count as near it: those that are easily mistaken."""

EMPHASIS = 3.0
"""How much more often than others such frames are learned from; of corrections by people, all of them."""


@dataclass(frozen=True)
class LabelledFrames:
    """N frames: what each camera saw at one instant, and whether that was success.

    Attributes:
        images: (N, H, W, 3) uint8 of each camera, by observation key.
        success: (N,) bool.
        episode: (N,) int64, the same number for all frames of an episode.
        step: (N,) int64, control steps since the episode's start.
        emphasis: (N,), how often a frame is learned from, relative to others.
        digests: by episode number, what identifies its content.
        corrected: numbers of the episodes that a person has judged.
    """

    images: dict[str, Tensor]
    success: Tensor
    episode: Tensor
    step: Tensor
    emphasis: Tensor
    digests: tuple[str, ...]
    corrected: frozenset[int] = frozenset()

    def __len__(self) -> int:
        """N."""
        return len(self.success)

    @property
    def digest(self) -> str:
        """SHA-256 of all episodes, whatever their order."""
        return hashlib.sha256("".join(sorted(self.digests)).encode()).hexdigest()


@dataclass(frozen=True)
class Split:
    """Rows of frames to learn from, to calibrate with, and to measure with.

    Attributes:
        train: row numbers.
        calibrate: row numbers.
        test: row numbers.

    Raises:
        UserError: if two parts share an episode. Frames of one episode look alike: what is measured on them after
            others of them were learned from tells nothing.
    """

    frames: LabelledFrames
    train: Tensor
    calibrate: Tensor
    test: Tensor

    def __post_init__(self) -> None:
        parts = {"train": self.train, "calibrate": self.calibrate, "test": self.test}
        found = {name: set(self.frames.episode[rows].tolist()) for name, rows in parts.items()}
        for first, second in (("train", "calibrate"), ("train", "test"), ("calibrate", "test")):
            if shared := found[first] & found[second]:
                raise UserError(
                    f"split: {first} and {second} share {len(shared)} episodes, such as number {min(shared)}; divide "
                    "the frames by whole episodes"
                )


def split(frames: LabelledFrames, *, calibrate: float = 0.2, test: float = 0.2, seed: int = 0) -> Split:
    """Divide frames by whole episodes, alike for those that succeed, those that do not, and those a person judged.

    Which part an episode belongs to follows from its content: recording more moves few of those that are there.

    Args:
        frames: to divide.
        calibrate: share of the episodes.
        test: share of the episodes.
        seed: of the order.

    Raises:
        UserError: if a share is not in [0, 1), or nothing is left to learn from.
    """
    for name, share in (("calibrate", calibrate), ("test", test)):
        if not 0.0 <= share < 1.0:
            raise UserError(f"{name}: must lie in [0, 1), got {share}")
    if calibrate + test >= 1.0:
        raise UserError(f"test: {calibrate:g} to calibrate and {test:g} to test leave nothing to learn from")
    won = set(frames.episode[frames.success].tolist())
    kinds: dict[tuple[bool, bool], list[int]] = {}
    for number in range(len(frames.digests)):
        kinds.setdefault((number in won, number in frames.corrected), []).append(number)
    part = torch.zeros(len(frames.digests), dtype=torch.long)
    for members in kinds.values():
        members.sort(key=lambda number: hashlib.sha256(f"{seed} {frames.digests[number]}".encode()).digest())
        first, second = round(test * len(members)), round((test + calibrate) * len(members))
        part[members[:first]], part[members[first:second]] = 2, 1
    where = part[frames.episode]
    train, held, last = ((where == each).nonzero()[:, 0] for each in range(3))
    return Split(frames, train, held, last)


def thin(frames: LabelledFrames, rows: Tensor, stride: int) -> Tensor:
    """Return every ``stride``-th of ``rows``, and all that are emphasised: neighbours look nearly alike."""
    keep = (frames.step[rows] % stride == 0) | (frames.emphasis[rows] > 1.0)
    return rows[keep]


def frames_of(
    episodes: Iterable[Episode], cameras: Sequence[str] = (), *, judged_only: bool = False, near: int = NEAR
) -> LabelledFrames:
    """Label the frames of episodes.

    A person's verdict counts for more than what the task or a classifier said. ``failure``: no frame is a success.
    ``success``: the last one is; those up to ``near`` steps before it are left out, because nobody said when the goal
    was reached. Without a verdict each frame has the success of the step that led to it. An episode that is there twice
    counts once.

    Args:
        episodes: recorded with camera images.
        cameras: observation keys to look at; all cameras if empty.
        judged_only: leave out episodes without a person's verdict.
        near: steps, see :data:`NEAR`.

    Raises:
        UserError: if a camera is missing, sizes differ, or no frame is left.
    """
    images: dict[str, list[Tensor]] = {}
    columns: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    numbers: dict[str, int] = {}
    corrected = set()
    for episode in episodes:
        verdict = _verdict(episode)
        if verdict is None and judged_only:
            continue
        seen = sorted(key for key in episode.obs if key.startswith("camera."))
        chosen = list(cameras) or seen
        if missing := [key for key in chosen if key not in seen]:
            raise UserError(
                f"cameras: an episode of {episode.metadata.get('task')} has no {', '.join(missing)} but "
                f"{', '.join(seen) or 'no camera'}; record with --obs pixels"
            )
        if not chosen:
            raise UserError("data: its episodes hold no camera images; record with --obs pixels")
        if images and set(chosen) != set(images):
            raise UserError(f"cameras: episodes see different ones ({', '.join(chosen)}); choose by --cameras")
        success, keep = _labels(episode, verdict, near)
        pictures = {key: episode.obs[key] for key in chosen}
        digest = _digest(pictures, success)
        if digest in numbers:
            continue
        numbers[digest] = number = len(numbers)
        rows = keep.nonzero()[:, 0]
        for key, value in pictures.items():
            images.setdefault(key, []).append(value[rows])
        emphasis = torch.where(_near_change(success, near), EMPHASIS, 1.0)
        if verdict is not None:
            corrected.add(number)
            emphasis = torch.full_like(emphasis, EMPHASIS)
        columns.append((success[rows], torch.full_like(rows, number), rows, emphasis[rows]))
    if not columns:
        raise UserError("data: no labelled episode is there; record some, or label them while training with --human")
    sizes = {key: {tuple(value.shape[1:]) for value in values} for key, values in images.items()}
    if different := [key for key, found in sizes.items() if len(found) > 1]:
        raise UserError(f"data: images of {different[0]} are of different sizes; choose episodes of one camera setting")
    success, episode_of, step, emphasis = (torch.cat(column) for column in zip(*columns, strict=True))
    joined = {key: torch.cat(images.pop(key)) for key in list(images)}  # popped: they are many
    return LabelledFrames(joined, success, episode_of, step, emphasis, tuple(numbers), frozenset(corrected))


def load_frames(data: Sequence[Path], corrections: Sequence[Path] = (), cameras: Sequence[str] = ()) -> LabelledFrames:
    """Read folders of episodes: ``data`` with the success that was recorded, ``corrections`` where a person judged.

    Raises:
        UserError: if a folder cannot be read, or nothing in it is of use.
    """
    parts = [frames_of(load_episodes(folder), cameras) for folder in data]
    parts += [frames_of(load_episodes(folder), cameras, judged_only=True) for folder in corrections]
    return join(parts)


def join(parts: Sequence[LabelledFrames]) -> LabelledFrames:
    """Return all frames of several sets; episodes that are in two of them count once.

    Raises:
        UserError: if their cameras differ.
    """
    if len(parts) == 1:
        return parts[0]
    shapes = [{key: tuple(value.shape[1:]) for key, value in part.images.items()} for part in parts]
    if any(shape != shapes[0] for shape in shapes):
        raise UserError("data: the folders hold images of different cameras or sizes; choose by --cameras")
    digests: dict[str, int] = {}
    columns, corrected, pictures = [], set(), []
    for part in parts:
        fresh = [number for number, digest in enumerate(part.digests) if digest not in digests]
        place = torch.full((len(part.digests),), -1)
        for number in fresh:
            digests[part.digests[number]] = place[number] = len(digests)
        corrected |= {int(place[number]) for number in fresh if number in part.corrected}
        rows = (place[part.episode] >= 0).nonzero()[:, 0]
        columns.append((part.success[rows], place[part.episode[rows]], part.step[rows], part.emphasis[rows]))
        pictures.append({key: value[rows] for key, value in part.images.items()})
    success, episode, step, emphasis = (torch.cat(column) for column in zip(*columns, strict=True))
    images = {key: torch.cat([each[key] for each in pictures]) for key in shapes[0]}
    return LabelledFrames(images, success, episode, step, emphasis, tuple(digests), frozenset(corrected))


def _verdict(episode: Episode) -> str | None:
    """A person's verdict on an episode, None without one."""
    if "label" not in episode.provenance:
        return None
    said = [LABELS[code] for code in episode.provenance["label"].tolist() if code]
    return said[-1] if said and said[-1] in ("success", "failure") else None


def _labels(episode: Episode, verdict: str | None, near: int) -> tuple[Tensor, Tensor]:
    """Success of the T + 1 frames of an episode, and which of them can be learned from."""
    length = len(episode) + 1
    keep = torch.ones(length, dtype=torch.bool)
    success = torch.zeros(length, dtype=torch.bool)
    if verdict is None:
        success[1:] = episode.success  # the first frame is not of a step, and no episode starts at its goal
    elif verdict == "success":
        success[-1] = True
        keep[max(0, length - 1 - near) : -1] = False
    return success, keep


def _near_change(success: Tensor, near: int) -> Tensor:
    """Which frames are within ``near`` steps of one with the other label."""
    found = torch.zeros_like(success)
    for at in (success[1:] != success[:-1]).nonzero()[:, 0].tolist():
        found[max(0, at + 1 - near) : at + 1 + near] = True
    return found


def _digest(pictures: dict[str, Tensor], success: Tensor) -> str:
    found = hashlib.sha256(success.to(torch.uint8).numpy().tobytes())
    for key, value in sorted(pictures.items()):
        found.update(f"{key} {tuple(value.shape)}".encode())
        found.update(value.contiguous().numpy().data)
    return found.hexdigest()
