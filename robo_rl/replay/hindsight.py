"""Hindsight experience replay: what was reached is what was wanted (Andrychowicz et al. 2017, arXiv 1707.01495)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import gymnasium
import torch

from robo_rl.contracts import Batch, Step
from robo_rl.errors import UserError
from robo_rl.replay.buffer import ReplayBuffer

if TYPE_CHECKING:
    from robo_rl.contracts.learning import Obs

GoalFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From goals achieved (N, G) and desired (N, G) to a value each (N,)."""


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
        capacity: transitions.
        num_envs: streams.
        n_step: must be 1, since the rewards of later steps were paid for the first goal.
        discount: gamma.
        device: where transitions live and batches appear.
        memory_budget: bytes that the buffer may take, None for no bound.
        seed: of the sampling.

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
        )
        self.k = k
        self._compute_reward = compute_reward
        self._compute_terminated = compute_terminated
        achieved = self._vectors["achieved_goal"]
        self._achieved_next = slice(self._next + achieved.start, self._next + achieved.stop)
        # By slot: a transition's stream, its position in there, and where its episode ends (-1: it is the newest one of
        # the stream, its end that of the stream). By stream and position, modulo the width: the slot.
        self._stream = torch.full((capacity,), -1, device=self.device)
        self._position = torch.full((capacity,), -1, device=self.device)
        self._end = torch.full((capacity,), -1, device=self.device)
        self._slot_at = torch.zeros((num_envs, self._stream_width(capacity)), dtype=torch.int64, device=self.device)
        self._newest = torch.full((num_envs,), -1, device=self.device)  # positions
        self._first = torch.zeros(num_envs, dtype=torch.int64, device=self.device)  # of the newest episode

    def add(
        self, obs: Obs, action: torch.Tensor, step: Step, *, env_ids: Sequence[int] | torch.Tensor | None = None
    ) -> torch.Tensor:
        """Store B transitions as :meth:`ReplayBuffer.add` does, and note which episode they belong to."""
        slots = super().add(obs, action, step, env_ids=env_ids)
        streams = self._streams(len(slots), env_ids)
        width = self._slot_at.shape[1]
        before = self._slot_at[streams, self._newest[streams] % width]
        begins = (self._newest[streams] < 0) | (self._successor[before] != slots)
        self._close(streams[begins])

        positions = self._newest[streams] + 1
        self._stream[slots] = streams
        self._position[slots] = positions
        self._end[slots] = -1
        overtaken = self._slot_at[streams, positions % width]
        crowding = (self._stream[overtaken] == streams) & (self._position[overtaken] == positions - width)
        if crowding.any():
            self._evict(int(self._number(overtaken[crowding]).max()) + 1)
        self._slot_at[streams, positions % width] = slots
        self._newest[streams] = positions
        self._first[streams] = torch.where(begins, positions, self._first[streams])
        return slots

    def sample(self, n: int, *, following: int = 0) -> Batch:
        """Draw n transitions uniformly and give each, with probability k / (k + 1), a goal of its episode's future.

        Raises:
            UserError: if following steps are asked for, whose rewards were paid for the first goal.
        """
        if following:
            raise UserError("following: hindsight relabelling gives no following steps; switch one of the two off")
        slots = self._draw(n)
        batch = self.gather(slots)
        chance, where = torch.rand((2, n), generator=self._generator, device=self.device)
        relabelled = chance < self.k / (self.k + 1)

        stream, position, end = self._stream[slots], self._position[slots], self._end[slots]
        end = torch.where(end >= 0, end, self._newest[stream])
        choices = end - position + 1
        future = position + torch.minimum((where * choices).long(), choices - 1)  # where * choices may round up
        future_slots = self._slot_at[stream, future % self._slot_at.shape[1]]

        desired = batch.obs["desired_goal"]
        goal = torch.where(relabelled[:, None], self._rows[future_slots, self._achieved_next], desired)
        achieved = batch.next_obs["achieved_goal"]
        reward = self._compute_reward(achieved, goal).to(batch.reward.dtype)
        discount = torch.full_like(batch.discount, self.discount)
        if self._compute_terminated is not None:
            discount = torch.where(self._compute_terminated(achieved, goal), 0.0, discount)
        return replace(
            batch,
            obs=batch.obs | {"desired_goal": goal},
            next_obs=batch.next_obs | {"desired_goal": goal},
            reward=torch.where(relabelled, reward, batch.reward),
            discount=torch.where(relabelled, discount, batch.discount),
        )

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the state of the base class and which episode each transition belongs to."""
        slots = self.valid_indices()
        return super().state_dict() | {
            "hindsight.stream": self._stream[slots],
            "hindsight.position": self._position[slots],
            "hindsight.end": self._end[slots],
            "hindsight.newest": self._newest.clone(),
            "hindsight.first": self._first.clone(),
        }

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from what :meth:`state_dict` gave.

        Raises:
            UserError: if it comes from a buffer without hindsight; else as the base class.
        """
        if "hindsight.stream" not in state:
            raise UserError("replay state: it was saved without hindsight relabelling; turn that off to go on from it")
        super().load_state_dict(state)
        live = slice(0, len(self))
        for name, tensor in (("stream", self._stream), ("position", self._position), ("end", self._end)):
            tensor.fill_(-1)
            tensor[live] = state[f"hindsight.{name}"].to(self.device)
        self._newest[:] = state["hindsight.newest"].to(self.device)
        self._first[:] = state["hindsight.first"].to(self.device)
        width = self._slot_at.shape[1]
        crowding = (self._position[live] <= self._newest[self._stream[live]] - width).nonzero()
        if len(crowding):  # it was saved with a larger capacity
            self._evict(int(crowding.max()) + 1)
        slots = self.valid_indices()
        self._slot_at[self._stream[slots], self._position[slots] % width] = slots

    def _close(self, streams: torch.Tensor) -> None:
        """Write the end of the newest episode of each stream into those of its transitions that are still here."""
        width = self._slot_at.shape[1]
        for stream in streams.tolist():
            newest, first = int(self._newest[stream]), int(self._first[stream])
            positions = torch.arange(max(first, newest - width + 1), newest + 1, device=self.device)
            slots = self._slot_at[stream, positions % width]
            here = (self._stream[slots] == stream) & (self._position[slots] == positions)
            self._end[slots[here]] = newest

    def _number(self, slots: torch.Tensor) -> torch.Tensor:
        """Return the numbers of the transitions in ``slots``; below the tail are the dead ones."""
        return self._head - 1 - (self._head - 1 - slots) % self.capacity

    def _stream_width(self, capacity: int) -> int:
        return min(capacity, 4 * -(-capacity // self.num_envs))

    def _bytes_for(self, capacity: int) -> int:
        index = 3 * capacity + self.num_envs * (self._stream_width(capacity) + 2)
        return super()._bytes_for(capacity) + 8 * index
