"""What an environment loop gives to a learner, and what a learner gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import gymnasium
    import torch

Obs = dict[str, "torch.Tensor"]
"""An observation: values by name, each (B, ...)."""

Metrics = dict[str, "torch.Tensor"]
"""Numbers about an update, each a tensor without dimensions."""


@dataclass(frozen=True)
class Step:
    """What one environment step gives, for B environments.

    Attributes:
        obs: observation after the step, each (B, ...). At an end it is the true last one: nothing resets by itself.
        reward: (B,).
        terminated: (B,) bool, the episode ended in a state worth nothing more.
        truncated: (B,) bool, the episode was cut by its horizon; never true together with ``terminated``.
        info: (B, ...) each; always ``success`` (bool) and ``executed_action``, the action that was really carried out.
    """

    obs: Obs
    reward: torch.Tensor
    terminated: torch.Tensor
    truncated: torch.Tensor
    info: dict[str, torch.Tensor]

    @property
    def done(self) -> torch.Tensor:
        """(B,) bool: the episode is over, for either reason."""
        return self.terminated | self.truncated


class BatchedEnv(Protocol):
    """What the training loop and the evaluation step: ours (:class:`envs.env.Env`) or an adapted foreign one."""

    num_envs: int
    device: torch.device
    observation_space: gymnasium.spaces.Dict
    action_space: gymnasium.spaces.Box
    horizon: int

    def reset(self, mask: torch.Tensor | None = None) -> Obs:
        """Begin new episodes where ``mask`` is true (everywhere if None) and return all B observations."""
        ...

    def seed(self, seed: int) -> None:
        """Make the starts to come a function of ``seed``."""
        ...

    def step(self, action: torch.Tensor) -> Step:
        """Take one action (B, A) in each environment."""
        ...

    def close(self) -> None:
        """Free what the environment holds."""
        ...


@dataclass(frozen=True)
class Following:
    """What came after the observations of a batch, over K steps of the same episode.

    Attributes:
        action: (N, K, A), the actions a_t to a_{t+K-1}, the executed ones.
        obs: each (N, K, ...), the observations s_{t+1} to s_{t+K}.
        reward: (N,), sum of ``gamma**k r_{t+k}`` over the valid steps.
        valid: (N, K) bool, the step was taken within the episode; where not, the last one that was stands there.
    """

    action: torch.Tensor
    obs: Obs
    reward: torch.Tensor
    valid: torch.Tensor

    def rows(self, rows: slice) -> Following:
        """Return the rows of a slice; views, no copies."""
        obs = {k: v[rows] for k, v in self.obs.items()}
        return Following(self.action[rows], obs, self.reward[rows], self.valid[rows])


@dataclass(frozen=True)
class Batch:
    """Transitions to learn from.

    Attributes:
        obs: each (N, ...).
        action: (N, A), the executed one.
        reward: (N,), the n-step sum.
        next_obs: the observation n steps later (fewer at an episode's end).
        discount: (N,) ``gamma**n * (1 - terminated)``, so that a target reads ``reward + discount * q_next``.
        following: the K steps from there on, where they were asked for.
        augmented: images were changed at random already (shifts, colours), and of feature maps one was drawn.
    """

    obs: Obs
    action: torch.Tensor
    reward: torch.Tensor
    next_obs: Obs
    discount: torch.Tensor
    following: Following | None = None
    augmented: bool = False

    def split(self, parts: int) -> list[Batch]:
        """Cut into ``parts`` batches of equal size, row i*size to (i+1)*size each; views, no copies."""
        size = self.reward.shape[0] // parts

        def cut(i: int) -> Batch:
            rows = slice(i * size, (i + 1) * size)
            return Batch(
                {k: v[rows] for k, v in self.obs.items()},
                self.action[rows],
                self.reward[rows],
                {k: v[rows] for k, v in self.next_obs.items()},
                self.discount[rows],
                None if self.following is None else self.following.rows(rows),
                self.augmented,
            )

        return [cut(i) for i in range(parts)]


class Agent(Protocol):
    """A learner with a policy.

    Example:
        >>> action = agent.act(obs, explore=True)     # doctest: +SKIP
        >>> metrics = agent.update(batch, utd=4)      # doctest: +SKIP
    """

    def act(self, obs: Obs, *, explore: bool) -> torch.Tensor:
        """Return actions (B, A) in [-1, 1]: sampled if ``explore``, otherwise the policy's mode."""
        ...

    def update(self, batch: Batch, utd: int) -> Metrics:
        """Learn from ``batch``, cut into ``utd`` parts: as many critic updates, one of actor and temperature."""
        ...

    def policy_state(self) -> dict[str, torch.Tensor]:
        """Return the weights that :meth:`act` needs."""
        ...

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return everything that training needs to go on, optimisers included, as flat tensors."""
        ...

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        ...
