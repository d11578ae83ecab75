"""Reads the state of a replay buffer from a checkpoint, those of earlier versions too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from robo_rl.errors import UserError
from robo_rl.replay.sizes import grouped

if TYPE_CHECKING:
    from robo_rl.replay.layout import Layout
    from robo_rl.replay.storage import Storage

State = Mapping[str, torch.Tensor]
Copy = Callable[[torch.Tensor, Mapping[str, torch.Tensor]], None]
_CHUNK = 4096  # rows copied at a time: images are too large to be copied twice


@dataclass(frozen=True)
class Found:
    """What a buffer goes on from.

    Attributes:
        tail: number of the oldest row.
        head: number of the row to come.
        hop: of the rows in between, by number.
        newest: number of the newest observation of each stream, -1 if nothing can follow it.
        copy: puts rows and images where they belong; None if they are there.
    """

    tail: int
    head: int
    hop: np.ndarray
    newest: np.ndarray
    copy: Copy | None


def from_file(state: State, shape: tuple[int, ...], num_envs: int, storage: Storage) -> Found:
    """Read a state whose rows lie in the files of ``storage``.

    The files may have been written to after the state was saved, until its process ended. What came then is given up,
    and the oldest transitions, which made room for it, are lost.

    Raises:
        UserError: if the files are not there or are of another shape.
    """
    if storage.kind != "file":
        raise UserError("replay_storage: the run keeps its transitions in a file; give --replay-storage file again")
    if storage.fresh:
        raise UserError(
            f"replay_storage: the files in {storage.folder} that the run keeps its transitions in are gone, or of "
            "another size; put them back, or start a new run"
        )
    _check(tuple(state["file"].tolist()), shape, len(state["last"]), num_envs)
    capacity = shape[0]
    tail, head = state["span"].tolist()
    written = max(storage.written, head)
    live = np.arange(tail, head)
    kept = live[live >= written - capacity]
    # Numbers go on after what was written last: those in between belong to rows that nothing starts in.
    hop = np.concatenate([state["hop"].numpy()[kept % capacity], np.zeros(written - head, np.int8)])
    if len(kept) == 0:
        return Found(written, written, hop[:0], state["last"].numpy(), None)
    return Found(int(kept[0]), written, hop, state["last"].numpy(), None)


def from_tensors(state: State, layout: Layout, num_envs: int, capacity: int, reach: int) -> Found:
    """Read a state that holds its rows.

    Args:
        state: of this version or an earlier one.
        layout: of the buffer to go on.
        num_envs: of that buffer.
        capacity: of that buffer.
        reach: the longest hop that it can store.

    Raises:
        UserError: if the state is of other spaces or another number of environments, or does not fit in.
    """
    images = {f"frames.{key}" for key in layout.images}
    if images != {key for key in state if key.startswith("frames.")}:
        raise UserError("replay state: its images are not those of observation_space; it was saved by another task")
    if "successor" in state:
        return _from_pairs(state, layout, num_envs, capacity, reach)
    rows = state["rows"]
    _check((0, rows.shape[1]), (0, layout.width), len(state["last"]), num_envs)
    tail, head = state["span"].tolist()
    if head - tail > capacity:
        raise UserError(f"capacity: {grouped(capacity)} holds less than the {grouped(head - tail)} saved")
    newest = state["last"].numpy()
    slots = np.arange(tail, head) % max(len(rows), 1)
    hop = state["hop"].numpy()[slots]
    if np.abs(hop.astype(np.int64)).max(initial=0) > reach:
        raise UserError("replay state: it was saved with more environments; start a new run")
    if head > len(rows) and len(rows) != capacity:  # a ring of another size: rows are numbered anew
        newest = np.where(newest >= tail, newest - tail, -1)
        tail, head = 0, head - tail
    to = np.arange(tail, head) % capacity

    def copy(into: torch.Tensor, frames: Mapping[str, torch.Tensor]) -> None:
        _copy_rows(rows, slots, into, to)
        for key, one in frames.items():
            _copy_rows(state[f"frames.{key}"], slots, one, to)

    return Found(tail, head, hop, newest, copy)


def _from_pairs(state: State, layout: Layout, num_envs: int, capacity: int, reach: int) -> Found:
    """Read what earlier versions saved: each transition with its own next observation, images in a pool by themselves.

    A transition that has a successor no longer needs its next observation; the others get a row for it.
    """
    rows, before = state["rows"], state["last"].numpy()
    observed = layout.action.start
    _check((0, rows.shape[1]), (0, layout.width + 1 + observed), len(before), num_envs)
    if len(rows) > capacity:
        raise UserError(f"capacity: {grouped(capacity)} holds less than the {grouped(len(rows))} saved")
    successor = state["successor"].numpy()
    steps = np.arange(len(rows))
    ends = (successor < 0) | (2 * (successor - steps) > reach)
    begins = steps + np.cumsum(ends) - ends  # number of the row that each transition starts in
    total = len(rows) + int(ends.sum())
    hop = np.zeros(total, np.int64)
    hop[begins] = np.where(ends, 1, begins[np.where(ends, 0, successor)] - begins)
    hop[begins] *= np.where(rows[:, layout.reward + 1].numpy() > 0, 1, -1)
    newest = np.where(before >= 0, begins[before] + 1, -1) if len(rows) else before
    tail = max(total - capacity, 0)

    def copy(into: torch.Tensor, frames: Mapping[str, torch.Tensor]) -> None:
        for numbers, which, columns, name in (
            (begins, steps, slice(0, layout.width), "obs_frame"),
            (begins[ends] + 1, steps[ends], slice(layout.width + 1, None), "next_frame"),
        ):
            kept = numbers >= tail
            to, source = numbers[kept] % capacity, which[kept]
            _copy_rows(rows[:, columns], source, into[:, : rows[:, columns].shape[1]], to)
            for key, one in frames.items():
                _copy_rows(state[f"frames.{key}"], state[name].numpy()[source], one, to)

    return Found(tail, total, hop[tail:], newest, copy)


def _copy_rows(source: torch.Tensor, which: np.ndarray, into: torch.Tensor, to: np.ndarray) -> None:
    for begin in range(0, len(which), _CHUNK):
        part = slice(begin, begin + _CHUNK)
        at = torch.from_numpy(to[part]).to(into.device)
        into[at] = source[torch.from_numpy(which[part])].to(into.device)


def _check(there: tuple[int, ...], here: tuple[int, ...], num_envs_there: int, num_envs: int) -> None:
    if there != here or num_envs_there != num_envs:
        raise UserError(
            f"replay state: rows of {there[1]} numbers and {num_envs_there} environments, here {here[1]} and "
            f"{num_envs}; it was saved by another task or setting"
        )
