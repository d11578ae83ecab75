"""The replay buffer: a ring of observations that knows which one follows which."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING

import gymnasium
import numpy as np
import torch
from torch.nn.functional import pad

from robo_rl.contracts import Batch, Following, Step
from robo_rl.errors import UserError
from robo_rl.replay import saved
from robo_rl.replay.frames import Frames, put
from robo_rl.replay.layout import Block, Layout
from robo_rl.replay.ring import Draw, Places, Ring
from robo_rl.replay.sizes import byte_size, grouped
from robo_rl.replay.storage import Storage

if TYPE_CHECKING:
    from robo_rl.agents.augmentation import Augmentation
    from robo_rl.contracts.learning import Obs


class ReplayBuffer:
    """The newest observations of ``num_envs`` streams and the transitions between them, sampled uniformly.

    A stream is the sequence of transitions of one environment. All streams share one ring of rows, in order of arrival.
    A row holds one observation, and the action and reward of the transition that starts there; the next observation of
    a transition is the row that its successor starts in, so each is stored once. What no transition starts in is a
    stream's newest observation or the last one of an episode: T transitions take T + 1 rows. A transition is whole from
    the start, so the newest one can be sampled at once, and neither a truncation, an automatic reset nor the end of the
    ring can give it a wrong next observation. Images have a place for each row (:class:`Frames`).

    A transition is the successor of the one before in its stream, unless that one ended its episode, or
    :meth:`break_stream` was called, or its observation is not exactly the next observation stored there. The last rule
    makes a forgotten ``break_stream`` harmless (a reset by hand, an intervention, an environment that resets itself).
    Nor is it, if other streams filled more rows in between than a hop can bridge (see :class:`Ring`): that takes a
    stream that stands still while others advance.

    An n-step return takes as many of the n steps as its episode has from there, fewer at a termination, a truncation, a
    break, and at the newest transition; with ``k`` steps taken, d their last ``1 - terminated``::

        reward = sum_{i<k} gamma^i r_i,   next_obs = s_k,   discount = gamma^k d

    One thread may add while another one samples: a transition is drawn once it is whole, and if it was overwritten
    while it was read, another one takes its place.

    Args:
        observation_space: of one environment; see :class:`Layout`.
        action_space: of one environment.
        capacity: observations.
        num_envs: streams.
        n_step: steps folded into one return.
        discount: gamma.
        device: where batches appear.
        memory_budget: bytes that the buffer may take, None for no bound; of a storage in files, bytes on the disk.
        seed: of the sampling.
        storage: where transitions live; RAM if None.

    Raises:
        UserError: if a space cannot be stored, or the capacity does not fit the budget or the number of environments.

    Example:
        >>> step = env.step(action)                                       # doctest: +SKIP
        >>> buffer.add(obs, step.info["executed_action"], step)           # doctest: +SKIP
        >>> batch = buffer.sample(256)                                    # doctest: +SKIP
    """

    def __init__(
        self,
        observation_space: gymnasium.spaces.Dict,
        action_space: gymnasium.spaces.Box,
        *,
        capacity: int,
        num_envs: int = 1,
        n_step: int = 1,
        discount: float = 0.99,
        device: torch.device | str = "cpu",
        memory_budget: int | None = None,
        seed: int = 0,
        storage: Storage | None = None,
    ) -> None:
        self.layout = Layout(observation_space, action_space)
        if capacity < 2 * num_envs:
            raise UserError(
                f"capacity: {capacity} observations for {num_envs} environments; give at least two for each"
            )
        if n_step < 1:
            raise UserError(f"n_step: {n_step}; it must be at least 1")
        self.capacity = capacity
        self.num_envs = num_envs
        self.n_step = n_step
        self.discount = discount
        self.device = torch.device(device)
        self.memory_budget = memory_budget
        if memory_budget is not None and self._bytes_for(capacity) > memory_budget:
            fits = max(bisect_right(range(capacity), memory_budget, key=self._bytes_for) - 1, 0)
            budget = "memory_budget" if storage is None else storage.budget
            raise UserError(
                f"capacity: {grouped(capacity)} observations need {byte_size(self.bytes_used)}, but {budget} is "
                f"{byte_size(memory_budget)}; lower capacity to {grouped(fits)} or raise {budget}"
            )
        self.storage = storage or Storage("ram", self.device)
        # RAM is taken page by page as rows are first written, not here.
        self._rows = self.storage.empty("rows", (capacity, self.layout.width), torch.float32)
        self._frames = {
            key: Frames(space, capacity, f"frames.{key}", self.storage) for key, space in self.layout.images.items()
        }
        self._ring = Ring(capacity, num_envs)
        self._generator = torch.Generator().manual_seed(seed)
        self._lock = threading.RLock()

    def __len__(self) -> int:
        """Transitions that can be sampled."""
        return len(self._ring)

    @property
    def bytes_used(self) -> int:
        """Bytes taken once the buffer is full: what the budget is held against."""
        return self._bytes_for(self.capacity)

    @property
    def free(self) -> int:
        """Observations that can be added before the oldest make room."""
        return self.capacity - (self._ring.head - self._ring.tail)

    def describe(self) -> str:
        """Return one line for people: what fits in, how much memory it takes."""
        budget = "" if self.memory_budget is None else f" of {byte_size(self.memory_budget)} budget"
        place = "" if self.storage.kind == "ram" else f", {self.storage.kind}"
        return f"{grouped(self.capacity)} observations, {byte_size(self.bytes_used)}{budget}{place}"

    def add(
        self, obs: Obs, action: torch.Tensor, step: Step, *, env_ids: Sequence[int] | torch.Tensor | None = None
    ) -> torch.Tensor:
        """Store B transitions, one a stream; the oldest make room.

        Args:
            obs: before the step, each (B, ...).
            action: (B, A), the executed one.
            step: what came of it; ``step.obs`` is the true next observation, at an episode's end the last one.
            env_ids: B different streams that the rows belong to; 0 to B-1 if None.

        Returns:
            (B,) the slots that they lie in.

        Raises:
            ValueError: if a shape does not fit the spaces, or the streams are not different.
        """
        places = self._store(obs, action, step, self._streams(len(step.reward), env_ids))
        return torch.from_numpy(places.starts % self.capacity)

    def break_stream(self, env_ids: Sequence[int] | torch.Tensor | None = None) -> None:
        """Declare that the next transitions of these streams (of all, if None) do not follow the ones before."""
        with self._lock:
            self._ring.open[slice(None) if env_ids is None else np.asarray(env_ids)] = -1

    def sample(self, n: int, *, following: int = 0, augment: Augmentation | None = None) -> Batch:
        """Draw n transitions, uniformly and with replacement, from all that are stored.

        Args:
            n: how many.
            following: K, the steps from there on that come with them as :attr:`Batch.following`; 0 for none.
            augment: what is done to images and feature maps while they are copied.

        Raises:
            ValueError: if there are none.
        """
        block = self.block(n, augmented=augment is not None)
        self.sample_into(block, [slice(0, n, 1)], following=following, augment=augment)
        return block.batch(augmented=augment is not None)

    def block(self, size: int, *, augmented: bool = False) -> Block:
        """Return memory for a batch of that size."""
        shapes = {key: (one.drawn_shape if augmented else one.shape, one.dtype) for key, one in self._frames.items()}
        return Block(self.layout, size, self.storage, shapes)

    def sample_into(
        self, block: Block, places: Sequence[slice], *, following: int = 0, augment: Augmentation | None = None
    ) -> None:
        """Draw what ``places`` of a block hold in all, as :meth:`sample` does, and copy it there."""
        counts = [len(range(block.size)[place]) for place in places]
        with self._lock:
            draw = self._draw(sum(counts))
            ahead = self._follow(draw.slots, following) if following else None
        begin = 0
        for place, count in zip(places, counts, strict=True):
            part = slice(begin, begin + count)
            self._gather(draw, part, block, place, augment)
            self._relabel(draw, part, block, place)
            if ahead is not None:
                block.add_following(place, ahead.rows(part))
            begin += count
        if following == 0:
            block.following = None
        self._replace_overwritten(draw, block, places, augment)

    def valid_indices(self) -> torch.Tensor:
        """Return the slots of all transitions, those first whose observation came first."""
        slots = self._ring.live
        return torch.from_numpy(slots[self._ring.hop[slots] != 0])

    def gather(self, slots: torch.Tensor) -> Batch:
        """Return the transitions that start in ``slots`` (N,), n-step returns folded; copies, not views."""
        block = self.block(len(slots))
        everything = slice(0, len(slots), 1)
        with self._lock:
            where = slots.cpu().numpy()
            draw = self._ring.fold(where, n_step=self.n_step, discount=self.discount)
            self._gather(draw, everything, block, everything, None)
        return block.batch()

    def follow(self, slots: torch.Tensor, steps: int) -> Following:
        """Return the K = ``steps`` steps that begin with the transitions in ``slots`` (N,), within their episodes."""
        with self._lock:
            return self._follow(slots.cpu().numpy(), steps)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return what it takes to go on, the state of the sampling included, as flat tensors.

        Rows and images are views, too large to copy: save them before the next :meth:`add`. Those of a storage in files
        are not in there, since the files are; they are put on the disk itself.
        """
        ring = self._ring
        used = min(ring.head, self.capacity)
        state = {
            "hop": torch.from_numpy(ring.hop[:used].copy()),
            "last": torch.from_numpy(ring.open.copy()),
            "span": torch.tensor([ring.tail, ring.head]),
            "generator": self._generator.get_state(),
        }
        if self.storage.kind == "file":
            self.storage.flush()
            return state | {"file": torch.tensor(self._rows.shape)}
        images = {f"frames.{key}": one.rows[:used] for key, one in self._frames.items()}
        return state | {"rows": self._rows[:used]} | images

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from what :meth:`state_dict` gave; the next samples are the ones that would have come.

        Raises:
            UserError: if it comes from a buffer of other spaces or another number of environments, or does not fit in.
        """
        with self._lock:
            if "file" in state:
                found = saved.from_file(state, tuple(self._rows.shape), self.num_envs, self.storage)
            else:
                found = saved.from_tensors(state, self.layout, self.num_envs, self.capacity, self._ring.reach)
            self._ring.restore(found.tail, found.head, found.hop, found.newest)
            if found.copy is not None:
                self.storage.written = found.head
                found.copy(self._rows, {key: one.rows for key, one in self._frames.items()})
            generator = state["generator"].cpu()
            if generator.shape == self._generator.get_state().shape:  # older versions drew on the GPU
                self._generator.set_state(generator)

    def random_state(self) -> torch.Tensor:
        """Return the state of the sampling."""
        return self._generator.get_state()

    def set_random_state(self, state: torch.Tensor) -> None:
        """Sample from here on as it would have been done after :meth:`random_state`."""
        self._generator.set_state(state)

    def _store(self, obs: Obs, action: torch.Tensor, step: Step, streams: np.ndarray) -> Places:
        """Store one transition in each of ``streams``; return where they went."""
        count, device, ring = len(streams), self._rows.device, self._ring
        before, after = self.layout.flat(obs, count, device), self.layout.flat(step.obs, count, device)
        done = torch.cat([action.reshape(count, -1).to(device), step.reward.reshape(count, 1).to(device)], dim=1)
        over, terminated = step.done.cpu().numpy(), step.terminated.cpu().numpy()
        observed = slice(0, self.layout.action.start)
        with self._lock:
            places = ring.admit(streams, self._same(ring.open[streams], before, obs))
            head = int(places.ends[-1]) + 1
            self.storage.written = max(self.storage.written, head) if ring.head else head
            starts, ends = (torch.from_numpy(n % self.capacity).to(device) for n in (places.starts, places.ends))
            self._rows[ends] = pad(after, (0, self.layout.width - observed.stop))  # zeros, so that runs are alike
            put(self._frames, ends, step.obs)
            if not places.follows.all():
                new = torch.from_numpy(np.flatnonzero(~places.follows))
                self._rows[starts[new.to(device)], observed] = before[new.to(device)]
                put(
                    self._frames,
                    starts[new.to(device)],
                    {key: obs[key][new.to(obs[key].device)] for key in self._frames},
                )
            self._rows[starts, observed.stop :] = done.to(torch.float32)
            ring.commit(places, over, terminated)
        return places

    def _same(self, opened: np.ndarray, before: torch.Tensor, obs: Obs) -> np.ndarray:
        """Return (B,) whether the rows numbered ``opened`` hold just these observations."""
        found = (opened >= 0) & (opened >= self._ring.tail)
        if not found.any():
            return found
        slots = torch.from_numpy(opened % self.capacity).to(before.device)
        same = (self._rows[slots, : self.layout.action.start] == before).all(1)
        for key, frames in self._frames.items():
            same &= frames.equal(slots, obs[key])
        return found & same.cpu().numpy()

    def _draw(self, n: int) -> Draw:
        return self._ring.draw(n, self._generator, n_step=self.n_step, discount=self.discount)

    def _gather(self, draw: Draw, part: slice, block: Block, place: slice, augment: Augmentation | None) -> None:
        """Copy the transitions ``part`` of a draw to the rows ``place`` of a block."""
        device = self._rows.device
        slots, ends = draw.slots[part], draw.ends[part]
        both = torch.from_numpy(np.concatenate([slots, ends])).to(device)
        count = len(slots)
        if count == block.size:
            torch.index_select(self._rows, 0, both, out=block.both_sides)
        elif place.step > 1:  # all over the block: one gather covers both sides
            torch.index_select(self._rows, 0, both, out=block.both_sides[place.start :: place.step])
        else:
            for side, index in enumerate((both[:count], both[count:])):
                torch.index_select(self._rows, 0, index, out=block.rows[side, place])
        for key, frames in self._frames.items():
            for side, index in enumerate((both[:count], both[count:])):
                out = block.images[key][side, place]
                if augment is None:
                    frames.get(index, out)
                else:
                    frames.draw(index, out, augment, self._generator)
        block.set_discount(place, draw.discount[part])
        if draw.later is not None and draw.weights is not None:
            later = torch.from_numpy(draw.later[:, part]).to(device)
            weights = torch.from_numpy(draw.weights[:, part]).to(device)
            rewards = self._rows[:, self.layout.reward][later]
            block.rows[0, place, self.layout.reward] += (rewards * weights).sum(0)

    def _relabel(self, draw: Draw, part: slice, block: Block, place: slice) -> None:
        """Change what was copied to the rows ``place`` of a block; for buffers that do."""

    def _replace_overwritten(
        self, draw: Draw, block: Block, places: Sequence[slice], augment: Augmentation | None
    ) -> None:
        """Draw others for the transitions that made room for new ones while they were being copied."""
        if self._ring.tail == draw.tail:
            return
        with self._lock:
            gone = self._ring.overwritten(draw)
            if len(gone) == 0:
                return
            others = self._draw(len(gone))
            everything = slice(0, len(gone), 1)
            small = self.block(len(gone), augmented=augment is not None)
            self._gather(others, everything, small, everything, augment)
            self._relabel(others, everything, small, everything)
            at = torch.cat([torch.arange(block.size)[place] for place in places])[torch.from_numpy(gone)]
            block.write(at, small)
            if block.following is not None:
                steps = block.following.valid.shape[1]
                block.add_following(at, self._follow(others.slots, steps))

    def _follow(self, slots: np.ndarray, steps: int) -> Following:
        device = self._rows.device
        chain, ends, valid = self._ring.chain(slots, steps)
        whole = torch.from_numpy(valid).to(device)
        rows = self._rows[torch.from_numpy(chain.ravel()).to(device)]
        after = torch.from_numpy(ends.ravel()).to(device)
        obs = self.layout.unpack(self._rows[after])
        obs |= {key: frames.rows[after] for key, frames in self._frames.items()}
        gamma = self.discount ** torch.arange(steps, device=device)
        shape = (len(slots), steps)
        return Following(
            rows[:, self.layout.action].unflatten(0, shape),
            {key: value.unflatten(0, shape) for key, value in obs.items()},
            (rows[:, self.layout.reward].unflatten(0, shape) * whole * gamma).sum(1),
            whole,
        )

    def _streams(self, count: int, env_ids: Sequence[int] | torch.Tensor | None) -> np.ndarray:
        if count > self.num_envs:
            raise ValueError(f"{count} transitions in one call, but num_envs is {self.num_envs}")
        if env_ids is None:
            return np.arange(count)
        streams = np.asarray(env_ids.cpu() if isinstance(env_ids, torch.Tensor) else env_ids)
        if len(streams) != count or len(np.unique(streams)) != count:
            raise ValueError(f"env_ids: {count} transitions need as many different streams, got {streams.tolist()}")
        return streams

    def _bytes_for(self, capacity: int) -> int:
        rows = capacity * (self.layout.width * 4 + Ring.hop_type(self.num_envs).itemsize) + self.num_envs * 8
        return rows + sum(Frames.bytes_for(space, capacity) for space in self.layout.images.values())
