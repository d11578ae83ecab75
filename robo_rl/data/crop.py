"""Cutting steps off episodes."""

from __future__ import annotations

import dataclasses

import torch

from robo_rl.data.episodes import Episode
from robo_rl.errors import UserError


def crop(episode: Episode, first: int = 0, stop: int | None = None) -> Episode:
    """Keep the steps ``first`` to ``stop`` - 1.

    Where steps are cut off at the end, the last one that remains is truncated: what would have come is not known to be
    worth nothing. Segments of a person are numbered from 0 anew; one that is cut at its beginning begins with the
    first step.

    Args:
        episode: of T steps.
        first: step to begin with.
        stop: step to end before; None: T. Negative ones count from the end.

    Raises:
        UserError: if no step would remain.
    """
    total = len(episode)
    begin, end, _ = slice(first, stop).indices(total)
    if begin >= end:
        raise UserError(f"first, stop: steps {first} to {stop} of an episode of {total} are none; choose others")
    rows = slice(begin, end)
    terminated, truncated = episode.terminated[rows].clone(), episode.truncated[rows].clone()
    if end < total:
        truncated[-1] = True
        terminated[-1] = False
    return dataclasses.replace(
        episode,
        obs={key: value[begin : end + 1].clone() for key, value in episode.obs.items()},
        action=episode.action[rows].clone(),
        executed_action=episode.executed_action[rows].clone(),
        reward=episode.reward[rows].clone(),
        terminated=terminated,
        truncated=truncated,
        success=episode.success[rows].clone(),
        provenance=_cropped({key: value[rows].clone() for key, value in episode.provenance.items()}),
    )


def crop_idle(episode: Episode, tolerance: float) -> Episode:
    """Leave out the steps at the end in which nothing happened: no number of an observed vector moved.

    The last step's outcome (reward, terminated, truncated, success, a person's label) becomes that of the last step
    that remains, as if the idle ones had never been.

    Args:
        episode: of T steps, with an observation other than images.
        tolerance: a number that differs from its last value by no more has not moved, in the number's own unit.

    Raises:
        UserError: if only images were observed, which noise alone changes.
    """
    vectors = [value.double() for value in episode.obs.values() if value.dtype != torch.uint8]
    if not vectors:
        raise UserError("idle: these episodes hold images only, and noise changes those; crop them by --stop")
    total = len(episode)
    moved = torch.zeros(total + 1, dtype=torch.bool)
    for value in vectors:
        moved |= ((value - value[-1]).abs() > tolerance).reshape(total + 1, -1).any(dim=1)
    where = moved.nonzero()
    # Row t is before step t: if row t still differs from the last row, step t did something.
    keep = max(1, int(where[-1]) + 1 if len(where) else 1)
    if keep >= total:
        return episode
    short = crop(episode, 0, keep)
    for name in ("reward", "terminated", "truncated", "success"):
        getattr(short, name)[-1] = getattr(episode, name)[-1]
    if "label" in short.provenance:
        short.provenance["label"][-1] = episode.provenance["label"][-1]
    return short


def _cropped(said: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Mend what :class:`robo_rl.contracts.Provenance` says of segments after steps were cut off."""
    if "segment" in said:
        segment = said["segment"]
        inside = segment >= 0
        if inside.any():
            said["segment"] = torch.where(inside, segment - segment[inside].min(), segment)
        if "onset" in said:
            said["onset"][0] = inside[0]
        if "offset" in said:
            said["offset"][0] = False
    return said
