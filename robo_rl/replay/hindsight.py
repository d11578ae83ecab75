"""Hindsight experience replay: what was reached is what was wanted (Andrychowicz et al. 2017, arXiv 1707.01495)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import gymnasium
import numpy as np
import torch

from robo_rl.contracts import Step
from robo_rl.errors import UserError
from robo_rl.replay.buffer import ReplayBuffer
from robo_rl.replay.layout import Block
from robo_rl.replay.ring import Draw, Places
from robo_rl.replay.storage import Storage

if TYPE_CHECKING:
    from robo_rl.agents.augmentation import Augmentation
    from robo_rl.contracts.learning import Obs

GoalFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From goals achieved (N, G) and desired (N, G) to a value each (N,)."""
_INDEX = np.dtype(np.int32)


class HindsightReplay(ReplayBuffer):
    """A replay buffer that gives k of k + 1 sampled transitions another goal, drawn anew at each sampling.

    The strategy is "future": for the transition at step t of an episode whose newest stored step is T, a step j is
    drawn uniformly from t..T, and the goal becomes what step j achieved. The reward is computed again for that goal.
    An episode is a chain of successors in the sense of :class:`ReplayBuffer`; of one that still goes on, what there is.

    Each stream may hold up to four times its share ``capacity / num_envs``. Beyond, which takes very uneven streams,
    the oldest transitions go: it is what keeps the index of the streams small.

    Args:
        observation_space: with the keys ``achieved_goal`` and ``desired_goal``, of the same shape (G,).
        action_space: of one environment.
        compute_reward: reward (N,) of having achieved (N, G) where (N, G) was desired.
        compute_terminated: whether that ends the episode, (N,) bool; None if reaching a goal never does, as in
            Gymnasium-Robotics, where a relabelled transition is thus never terminal.
        k: relabelled transitions for each one that keeps its goal.
        capacity: observations.
        num_envs: streams.
        n_step: must be 1, since the rewards of later steps were paid for the first goal.
        discount: gamma.
        device: where batches appear.
        memory_budget: bytes that the buffer may take, None for no bound.
        seed: of the sampling.
        storage: where transitions live; RAM if None.

    Raises:
        UserError: if ``n_step`` is not 1, ``k`` is negative, or the observations have no goals; else as the base class.
    """

    def __init__(
        self,
        observation_space: gymnasium.spaces.Dict,
        action_space: gymnasium.spaces.Box,
        *,
        compute_reward: GoalFunction,
        compute_terminated: GoalFunction | None = None,
        k: int = 4,
        capacity: int,
        num_envs: int = 1,
        n_step: int = 1,
        discount: float = 0.99,
        device: torch.device | str = "cpu",
        memory_budget: int | None = None,
        seed: int = 0,
        storage: Storage | None = None,
    ) -> None:
        if n_step != 1:
            raise UserError(f"n_step: {n_step}; hindsight relabelling works with n_step 1 only")
        if k < 0:
            raise UserError(f"k: {k}; give how many transitions to relabel for each one kept, 0 or more")
        shapes = {key: space.shape or () for key, space in observation_space.spaces.items()}
        achieved_shape, desired_shape = shapes.get("achieved_goal", ()), shapes.get("desired_goal", ())
        if len(achieved_shape) != 1 or achieved_shape != desired_shape:
            raise UserError(
                "observation_space: hindsight relabelling needs achieved_goal and desired_goal, vectors of one length "
                f"(given: {', '.join(observation_space.spaces)})"
            )
        super().__init__(
            observation_space,
            action_space,
            capacity=capacity,
            num_envs=num_envs,
            n_step=n_step,
            discount=discount,
            device=device,
            memory_budget=memory_budget,
            seed=seed,
            storage=storage,
        )
        self.k = k
        self._compute_reward = compute_reward
        self._compute_terminated = compute_terminated
        self._achieved, self._desired = (self.layout.vectors[key] for key in ("achieved_goal", "desired_goal"))
        # By slot: a transition's stream, its position in there, and where its episode ends (-1: it is the newest one of
        # the stream, its end that of the stream). By stream and position, modulo the width: the slot.
        self._stream = np.full(capacity, -1, _INDEX)
        self._position = np.full(capacity, -1, np.int64)
        self._end = np.full(capacity, -1, np.int64)
        self._slot_at = np.zeros((num_envs, self._stream_width(capacity)), _INDEX)
        self._newest = np.full(num_envs, -1)  # positions
        self._first = np.zeros(num_envs, np.int64)  # of the newest episode

    def sample_into(
        self, block: Block, places: Sequence[slice], *, following: int = 0, augment: Augmentation | None = None
    ) -> None:
        """Draw transitions uniformly and give each, with probability k / (k + 1), a goal of its episode's future.

        Raises:
            UserError: if following steps are asked for, whose rewards were paid for the first goal.
        """
        if following:
            raise UserError("following: hindsight relabelling gives no following steps; switch one of the two off")
        super().sample_into(block, places, augment=augment)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the state of the base class and which episode each transition belongs to."""
        slots = self.valid_indices().numpy()
        index = {
            "stream": self._stream[slots],
            "position": self._position[slots],
            "end": self._end[slots],
            "newest": self._newest.copy(),
            "first": self._first.copy(),
        }
        return super().state_dict() | {f"hindsight.{name}": torch.from_numpy(value) for name, value in index.items()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from what :meth:`state_dict` gave.

        Raises:
            UserError: if it comes from a buffer without hindsight; else as the base class.
        """
        if "hindsight.stream" not in state:
            raise UserError("replay state: it was saved without hindsight relabelling; turn that off to go on from it")
        super().load_state_dict(state)
        slots = self.valid_indices().numpy()
        for name, array in (("stream", self._stream), ("position", self._position), ("end", self._end)):
            array[:] = -1
            saved = state[f"hindsight.{name}"].numpy()
            array[slots] = saved[len(saved) - len(slots) :]  # the oldest may not have found room
        self._newest[:] = state["hindsight.newest"].numpy()
        self._first[:] = state["hindsight.first"].numpy()
        width = self._slot_at.shape[1]
        crowding = slots[self._position[slots] <= self._newest[self._stream[slots]] - width]
        if len(crowding):  # it was saved with a larger capacity
            self._ring.evict(int(self._number(crowding).max()) + 1)
        slots = self.valid_indices().numpy()
        self._slot_at[self._stream[slots], self._position[slots] % width] = slots

    def _store(self, obs: Obs, action: torch.Tensor, step: Step, streams: np.ndarray) -> Places:
        with self._lock:
            places = super()._store(obs, action, step, streams)
            slots, begins = places.starts % self.capacity, ~places.follows
            width = self._slot_at.shape[1]
            self._close(streams[begins])
            positions = self._newest[streams] + 1
            self._stream[slots] = streams
            self._position[slots] = positions
            self._end[slots] = -1
            overtaken = self._slot_at[streams, positions % width]
            crowding = (self._stream[overtaken] == streams) & (self._position[overtaken] == positions - width)
            crowding &= self._ring.hop[overtaken] != 0  # a last observation may lie there by now
            if crowding.any():
                self._ring.evict(int(self._number(overtaken[crowding]).max()) + 1)
            self._slot_at[streams, positions % width] = slots
            self._newest[streams] = positions
            self._first[streams] = np.where(begins, positions, self._first[streams])
        return places

    def _relabel(self, draw: Draw, part: slice, block: Block, place: slice) -> None:
        slots = draw.slots[part]
        chance, where = torch.rand((2, len(slots)), generator=self._generator).numpy()
        with self._lock:
            stream, position, end = self._stream[slots], self._position[slots], self._end[slots]
            end = np.where(end >= 0, end, self._newest[stream])
            choices = end - position + 1
            future = position + np.minimum((where * choices).astype(np.int64), choices - 1)  # the product may round up
            chosen = self._slot_at[stream, future % self._slot_at.shape[1]]
            device = block.rows.device
            reached = torch.from_numpy(self._ring.slots(chosen + np.abs(self._ring.hop[chosen]).astype(np.int64)))
            future_goal = self._rows[reached.to(device)][:, self._achieved]

        relabelled = torch.from_numpy(chance < self.k / (self.k + 1)).to(device)
        before, after = block.rows[0, place], block.rows[1, place]
        goal = torch.where(relabelled[:, None], future_goal, before[:, self._desired])
        achieved = after[:, self._achieved]
        discount = torch.full_like(block.discount[place], self.discount)
        if self._compute_terminated is not None:
            discount = torch.where(self._compute_terminated(achieved, goal), 0.0, discount)
        reward = self._compute_reward(achieved, goal).to(before.dtype)
        column = self.layout.reward
        before[:, column] = torch.where(relabelled, reward, before[:, column])
        before[:, self._desired] = goal
        after[:, self._desired] = goal
        block.discount[place] = torch.where(relabelled, discount, block.discount[place])

    def _close(self, streams: np.ndarray) -> None:
        """Write the end of the newest episode of each stream into those of its transitions that are still here."""
        width = self._slot_at.shape[1]
        for stream in streams.tolist():
            newest, first = int(self._newest[stream]), int(self._first[stream])
            positions = np.arange(max(first, newest - width + 1), newest + 1)
            slots = self._slot_at[stream, positions % width]
            here = (self._stream[slots] == stream) & (self._position[slots] == positions)
            self._end[slots[here]] = newest

    def _number(self, slots: np.ndarray) -> np.ndarray:
        """Return the numbers of the rows in ``slots``; below the tail are the dead ones."""
        head = self._ring.head
        return head - 1 - (head - 1 - slots) % self.capacity

    def _stream_width(self, capacity: int) -> int:
        return min(capacity, 4 * -(-capacity // self.num_envs))

    def _bytes_for(self, capacity: int) -> int:
        index = capacity * 20 + self.num_envs * (self._stream_width(capacity) * 4 + 16)
        return super()._bytes_for(capacity) + index
