"""The replay buffer: a ring of transitions that knows which one follows which."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import gymnasium
import torch

from robo_rl.contracts import Batch, Following, Step
from robo_rl.errors import UserError
from robo_rl.replay.frames import FrameStore, is_image
from robo_rl.replay.sizes import byte_size, grouped

if TYPE_CHECKING:
    from robo_rl.contracts.learning import Obs


class ReplayBuffer:
    """The newest ``capacity`` transitions of ``num_envs`` streams, sampled uniformly, n-step returns folded on the way.

    A stream is the sequence of transitions of one environment. All streams share one ring, in order of arrival. Each
    transition keeps its own next observation, so it is whole by itself: the newest one can be sampled at once, and
    neither a truncation, an automatic reset nor the end of the ring can give it a wrong successor.

    Vectors lie packed, one float32 row ``[obs | action | reward | 1 - terminated | next obs]`` a transition, so a batch
    is one gather. Images lie in a :class:`FrameStore`, each once: the next observation of a transition and the
    observation of its successor are the same frame.

    A transition is the successor of the one before in its stream, unless that one ended its episode, or
    :meth:`break_stream` was called, or its observation is not exactly the next observation stored there. The last rule
    makes a forgotten ``break_stream`` harmless (a reset by hand, an intervention, an environment that resets itself).

    An n-step return takes as many of the n steps as its episode has from there, fewer at a termination, a truncation, a
    break, and at the newest transition; with ``k`` steps taken, d their last ``1 - terminated``::

        reward = sum_{i<k} gamma^i r_i,   next_obs = s_k,   discount = gamma^k d

    Args:
        observation_space: of one environment; boxes only. With three dimensions or more, uint8 is an image and
            float16 a feature map; all else is a vector.
        action_space: of one environment.
        capacity: transitions.
        num_envs: streams.
        n_step: steps folded into one return.
        discount: gamma.
        device: where transitions live and batches appear.
        memory_budget: bytes that the buffer may take, None for no bound.
        seed: of the sampling.

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
    ) -> None:
        for key, space in observation_space.spaces.items():
            if not isinstance(space, gymnasium.spaces.Box):
                raise UserError(f"observation_space: {key!r} is a {type(space).__name__}; flatten it to a Box first")
        if capacity < num_envs:
            raise UserError(f"capacity: {capacity} transitions for {num_envs} environments; give at least one for each")
        if n_step < 1:
            raise UserError(f"n_step: {n_step}; it must be at least 1")
        self.capacity = capacity
        self.num_envs = num_envs
        self.n_step = n_step
        self.discount = discount
        self.device = torch.device(device)
        self.memory_budget = memory_budget

        self._shapes = {key: space.shape or () for key, space in observation_space.spaces.items()}
        self._images = {key: space for key, space in observation_space.spaces.items() if is_image(space)}
        self._vectors: dict[str, slice] = {}  # columns of each in an observation
        width = 0
        for key, shape in self._shapes.items():
            if key not in self._images:
                self._vectors[key] = slice(width, width + math.prod(shape))
                width += math.prod(shape)
        self._action = slice(width, width + math.prod(action_space.shape))
        self._reward = self._action.stop
        self._alive = self._reward + 1  # column of 1 - terminated
        self._next = self._alive + 1  # first column of the next observation
        self._width = self._next + width

        if memory_budget is not None and self._bytes_for(capacity) > memory_budget:
            fits = max(bisect_right(range(capacity), memory_budget, key=self._bytes_for) - 1, 0)
            raise UserError(
                f"capacity: {grouped(capacity)} transitions need {byte_size(self.bytes_used)}, but memory_budget is "
                f"{byte_size(memory_budget)}; lower capacity to {grouped(fits)} or raise memory_budget"
            )
        # Memory is taken page by page as rows are first written, not here.
        self._rows = torch.empty((capacity, self._width), device=self.device)
        # Slot of each one's successor, -1 if there is none; the last entry takes what no transition wants to know.
        self._successor = torch.full((capacity + 1,), -1, device=self.device)
        self._last = torch.full((num_envs,), -1, device=self.device)  # number of each stream's newest transition
        self._frames: FrameStore | None = None
        if self._images:
            self._frames = FrameStore(self._images, self._frame_capacity(capacity), self.device)
            self._obs_frame = torch.zeros(capacity, dtype=torch.int64, device=self.device)
            self._next_frame = torch.zeros(capacity, dtype=torch.int64, device=self.device)
        # Transitions are numbered as they come; number c lies in slot c % capacity, and [tail, head) are alive.
        self._tail = 0
        self._head = 0
        self._generator = torch.Generator(self.device).manual_seed(seed)

    def __len__(self) -> int:
        """Transitions that can be sampled."""
        return self._head - self._tail

    @property
    def bytes_used(self) -> int:
        """Bytes taken once the buffer is full: what the budget is held against."""
        return self._bytes_for(self.capacity)

    def describe(self) -> str:
        """Return one line for people: what fits in, how much memory it takes."""
        frames = f", {grouped(self._frames.capacity)} frames" if self._frames else ""
        budget = "" if self.memory_budget is None else f" of {byte_size(self.memory_budget)} budget"
        return f"{grouped(self.capacity)} transitions{frames}, {byte_size(self.bytes_used)}{budget}"

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
        count = len(step.reward)
        streams = self._streams(count, env_ids)
        rows = torch.cat(
            [
                *self._flat(obs, count),
                action.reshape(count, -1).to(self.device, torch.float32),
                step.reward.reshape(count, 1).to(self.device, torch.float32),
                1.0 - step.terminated.reshape(count, 1).to(self.device, torch.float32),
                *self._flat(step.obs, count),
            ],
            dim=1,
        )
        numbers = torch.arange(self._head, self._head + count, device=self.device)
        slots = numbers % self.capacity
        self._evict(self._head + count - self.capacity)

        before = self._last[streams]
        before_slot = before % self.capacity
        follows = (self._rows[before_slot, self._next :] == rows[:, : self._action.start]).all(1)
        if self._frames is not None:
            follows &= self._frames.equal(self._next_frame[before_slot], obs)
            follows = self._add_frames(slots, before, follows, obs, step.obs)
        else:
            follows &= before >= self._tail

        self._rows[slots] = rows
        self._successor[slots] = -1
        self._successor[torch.where(follows, before_slot, self.capacity)] = slots
        self._last[streams] = torch.where(step.done.to(self.device), -1, numbers)
        self._head += count
        return slots

    def break_stream(self, env_ids: Sequence[int] | torch.Tensor | None = None) -> None:
        """Declare that the next transitions of these streams (of all, if None) do not follow the ones before."""
        if env_ids is None:
            self._last.fill_(-1)
        else:
            self._last[torch.as_tensor(env_ids, device=self.device)] = -1

    def sample(self, n: int, *, following: int = 0) -> Batch:
        """Draw n transitions, uniformly and with replacement, from all that are stored.

        Args:
            n: how many.
            following: K, the steps from there on that come with them as :attr:`Batch.following`; 0 for none.

        Raises:
            ValueError: if there are none.
        """
        slots = self._draw(n)
        batch = self.gather(slots)
        return replace(batch, following=self.follow(slots, following)) if following else batch

    def valid_indices(self) -> torch.Tensor:
        """Return the slots that :meth:`sample` draws from, oldest first."""
        return torch.arange(self._tail, self._head, device=self.device) % self.capacity

    def gather(self, slots: torch.Tensor) -> Batch:
        """Return the transitions that start in ``slots`` (N,), n-step returns folded; copies, not views."""
        rows = self._rows.index_select(0, slots)
        reward = rows[:, self._reward]
        discount = rows[:, self._alive] * self.discount
        last, last_rows = slots, rows
        if self.n_step > 1:
            for _ in range(self.n_step - 1):
                successor = self._successor.index_select(0, last)
                goes_on = successor >= 0
                last = torch.where(goes_on, successor, last)
                here = self._rows[last, self._reward : self._next]  # (N, 2): reward, 1 - terminated
                reward = torch.where(goes_on, reward + discount * here[:, 0], reward)
                discount = torch.where(goes_on, discount * self.discount * here[:, 1], discount)
            last_rows = self._rows.index_select(0, last)
        obs = self._unpack(rows, 0)
        next_obs = self._unpack(last_rows, self._next)
        if self._frames is not None:
            obs |= self._frames.get(self._obs_frame[slots])
            next_obs |= self._frames.get(self._next_frame[last])
        return Batch(obs, rows[:, self._action], reward, next_obs, discount)

    def follow(self, slots: torch.Tensor, steps: int) -> Following:
        """Return the K = ``steps`` steps that begin with the transitions in ``slots`` (N,), within their episodes."""
        chain = [slots]
        valid = [torch.ones_like(slots, dtype=torch.bool)]
        for _ in range(steps - 1):
            successor = self._successor.index_select(0, chain[-1])
            goes_on = (successor >= 0) & valid[-1]
            chain.append(torch.where(goes_on, successor, chain[-1]))
            valid.append(goes_on)
        taken = torch.stack(chain, dim=1)  # (N, K)
        whole = torch.stack(valid, dim=1)
        rows = self._rows[taken.flatten()]
        obs = self._unpack(rows, self._next)
        if self._frames is not None:
            obs |= self._frames.get(self._next_frame[taken.flatten()])
        gamma = self.discount ** torch.arange(steps, device=self.device)
        shape = (len(slots), steps)
        return Following(
            rows[:, self._action].unflatten(0, shape),
            {key: value.unflatten(0, shape) for key, value in obs.items()},
            (rows[:, self._reward].unflatten(0, shape) * whole * gamma).sum(1),
            whole,
        )

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return what it takes to go on, the state of the sampling included, as flat tensors.

        Transitions come oldest first and are numbered from 0. Images are views: save them before the next :meth:`add`.
        """
        slots = self.valid_indices()
        successor = self._successor[slots]
        state = {
            "rows": self._rows[slots],
            "successor": torch.where(successor >= 0, (successor - self._tail) % self.capacity, -1),
            "last": torch.where(self._last >= self._tail, self._last - self._tail, -1),
            "generator": self._generator.get_state(),
        }
        if self._frames is not None:
            state |= {"obs_frame": self._obs_frame[slots], "next_frame": self._next_frame[slots]}
            state |= self._frames.state_dict()
        return state

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from what :meth:`state_dict` gave; the next samples are the ones that would have come.

        Raises:
            UserError: if it comes from a buffer of other spaces or another number of environments, or does not fit in.
        """
        rows = state["rows"]
        if rows.shape[1] != self._width or len(state["last"]) != self.num_envs:
            raise UserError(
                f"replay state: rows of {rows.shape[1]} numbers and {len(state['last'])} environments, here "
                f"{self._width} and {self.num_envs}; it was saved by another task or setting"
            )
        images = [f"frames.{key}" for key in self._images]
        if sorted(images) != sorted(key for key in state if key.startswith("frames.")):
            raise UserError("replay state: its images are not those of observation_space; it was saved by another task")
        frames = max((len(state[key]) for key in images), default=0)
        if len(rows) > self.capacity or (self._frames is not None and frames > self._frames.capacity):
            raise UserError(f"capacity: {grouped(self.capacity)} holds less than the {grouped(len(rows))} saved")
        self._tail, self._head = 0, len(rows)
        self._rows[: self._head] = rows.to(self.device)
        self._successor[: self._head] = state["successor"].to(self.device)
        self._last[:] = state["last"].to(self.device)
        if self._frames is not None:
            self._obs_frame[: self._head] = state["obs_frame"].to(self.device)
            self._next_frame[: self._head] = state["next_frame"].to(self.device)
            held = torch.cat([self._obs_frame[: self._head], self._next_frame[: self._head]])
            self._frames.load_state_dict(state, held)
        self._generator.set_state(state["generator"].cpu())

    def _draw(self, n: int) -> torch.Tensor:
        if not len(self):
            raise ValueError("the replay buffer is empty: add a transition before sampling")
        slots = torch.randint(len(self), (n,), generator=self._generator, device=self.device)
        return (slots + self._tail) % self.capacity if self._tail else slots

    def _add_frames(
        self, slots: torch.Tensor, before: torch.Tensor, follows: torch.Tensor, obs: Obs, next_obs: Obs
    ) -> torch.Tensor:
        """Store the images of new transitions; return which of them follow the transition ``before`` and share a frame.

        Where the pool is short of frames, the oldest transitions go.
        """
        assert self._frames is not None
        while True:
            follows = follows & (before >= self._tail)
            new = (~follows).nonzero().squeeze(1)
            missing = len(slots) + len(new) - self._frames.free_count
            if missing <= 0:
                break
            self._evict(self._tail + (missing + 1) // 2)  # each frees two frames at most, so none goes in vain
        obs_ids = self._next_frame[before % self.capacity]
        if len(new):
            obs_ids[new] = self._frames.put({key: obs[key].to(self.device)[new] for key in self._images})
        next_ids = self._frames.put(next_obs)
        self._frames.hold(torch.cat([obs_ids, next_ids]))
        self._obs_frame[slots] = obs_ids
        self._next_frame[slots] = next_ids
        return follows

    def _evict(self, tail: int) -> None:
        """Forget the transitions numbered below ``tail``."""
        if tail <= self._tail:
            return
        if self._frames is not None:
            slots = torch.arange(self._tail, tail, device=self.device) % self.capacity
            self._frames.release(torch.cat([self._obs_frame[slots], self._next_frame[slots]]))
        self._tail = tail

    def _streams(self, count: int, env_ids: Sequence[int] | torch.Tensor | None) -> torch.Tensor:
        if env_ids is None:
            streams = torch.arange(count, device=self.device)
        else:
            streams = torch.as_tensor(env_ids, device=self.device)
            if len(streams) != count or len(streams.unique()) != count:
                raise ValueError(f"env_ids: {count} transitions need as many different streams, got {streams.tolist()}")
        if count > self.num_envs:
            raise ValueError(f"{count} transitions in one call, but num_envs is {self.num_envs}")
        return streams

    def _flat(self, obs: Obs, count: int) -> list[torch.Tensor]:
        for key, shape in self._shapes.items():
            if obs[key].shape != (count, *shape):
                raise ValueError(f"obs[{key!r}]: want shape {(count, *shape)}, got {tuple(obs[key].shape)}")
        return [obs[key].reshape(count, -1).to(self.device, torch.float32) for key in self._vectors]

    def _unpack(self, rows: torch.Tensor, start: int) -> Obs:
        obs = {}
        for key, columns in self._vectors.items():
            part = rows[:, start + columns.start : start + columns.stop]
            obs[key] = part if len(self._shapes[key]) == 1 else part.reshape(len(rows), *self._shapes[key])
        return obs

    def _frame_capacity(self, capacity: int) -> int:
        # One frame a transition, one more for each episode's first observation: spare ones for episodes of 8 steps.
        return min(2 * capacity, capacity + capacity // 8 + 2 * self.num_envs)

    def _bytes_for(self, capacity: int) -> int:
        total = capacity * self._width * 4 + (capacity + 1) * 8 + self.num_envs * 8
        if self._images:
            total += 2 * capacity * 8 + FrameStore.bytes_for(self._images, self._frame_capacity(capacity))
        return total
