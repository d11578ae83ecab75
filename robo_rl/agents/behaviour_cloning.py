"""Behaviour cloning: the baseline that demonstrations alone give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robo_rl.agents.encoders import Encoder
from robo_rl.agents.networks import Policy, action_width
from robo_rl.agents.snapshot import Part, pack, unpack
from robo_rl.contracts.learning import Batch

if TYPE_CHECKING:
    import gymnasium

    from robo_rl.contracts.learning import Metrics, Obs


@dataclass(frozen=True)
class BehaviourCloningConfig:
    """What behaviour cloning can be told."""

    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers."""
    layer_norm: bool = False
    """Normalise the hidden layers."""
    learning_rate: float = 3e-4
    """Adam's step size."""
    batch_size: int = 256
    """Transitions per update."""
    observation_keys: tuple[str, ...] = ()
    """Observations to learn from, by name; all of them if empty."""


class BehaviourCloning:
    """The learners' policy network, its mode fitted to demonstrated actions by squared error.

    Squared error rather than likelihood: scripted experts and human devices often push an action to its limit of +-1,
    where the density of a squashed Gaussian is infinite. The standard deviation is not learned, and not used: with or
    without ``explore`` the policy's mode is what acts.

    Args:
        observation_space: of one environment, a dictionary of vectors.
        action_space: of one environment, a box of [-1, 1].
        config: see :class:`BehaviourCloningConfig`.
        seed: of the initial weights.
        device: where it learns.

    Example:
        >>> agent = BehaviourCloning(env.observation_space, env.action_space)    # doctest: +SKIP
        >>> metrics = agent.fit(demonstrations.sample, steps=5000)               # doctest: +SKIP
    """

    def __init__(
        self,
        observation_space: gymnasium.Space,
        action_space: gymnasium.Space,
        config: BehaviourCloningConfig | None = None,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config = config = config or BehaviourCloningConfig()
        self.device = torch.device(device)
        self.policy = Policy(
            Encoder(observation_space, config.observation_keys),
            action_width(action_space),
            config.hidden,
            layer_norm=config.layer_norm,
            generator=torch.Generator().manual_seed(seed),
        ).to(self.device)
        self.actor = self.policy
        self.acting: torch.Generator | None = None  # nothing is drawn
        self.optimiser = torch.optim.Adam(self.policy.parameters(), config.learning_rate, fused=True)
        self.updates = torch.zeros((), dtype=torch.int64)

    def act(self, obs: Obs, *, explore: bool) -> Tensor:
        """Return actions (B, A) in [-1, 1], where ``obs`` is; ``explore`` changes nothing, see the class."""
        return self.policy.act(obs)

    def constants(self) -> list[Tensor]:
        """Return what is never learned of what acts: nothing."""
        return []

    def least_std(self) -> None:
        """Return the least noise of exploration: there is none."""

    def remember_episode(self, episode_return: float) -> None:
        """Take note of an episode: what it was worth does not matter to who imitates."""

    def fit(self, sample: Callable[[int], Batch], steps: int) -> Metrics:
        """Take ``steps`` gradient steps on what ``sample(batch_size)`` gives; return the metrics of the last.

        Raises:
            ValueError: if ``steps`` is less than 1.
        """
        if steps < 1:
            raise ValueError(f"steps must be at least 1, not {steps}")
        for _ in range(steps):
            metrics = self.update(sample(self.config.batch_size), utd=1)
        return metrics

    def update(self, batch: Batch, utd: int) -> Metrics:
        """Take ``utd`` gradient steps, each on its part of ``batch``; return the metrics of the last, 0-d tensors.

        Raises:
            ValueError: if the batch cannot be cut into ``utd`` equal parts.
        """
        if utd < 1 or len(batch.reward) % utd:
            raise ValueError(f"a batch of {len(batch.reward)} cannot be cut into {utd} equal parts")
        for part in batch.split(utd):
            mean, _ = self.policy(self.policy.encoder(part.obs))
            loss = (torch.tanh(mean) - part.action).square().mean()
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
        self.updates += utd
        return {"actor_loss": loss.detach()}

    def policy_state(self) -> dict[str, Tensor]:
        """Return a copy of the weights that :meth:`act` needs."""
        return pack({"policy": self.policy})

    def load_policy_state(self, state: dict[str, Tensor]) -> None:
        """Act with the weights that :meth:`policy_state` gave from now on."""
        unpack({"policy": self.policy}, state)

    def state_dict(self) -> dict[str, Tensor]:
        """Return a copy of everything that training needs to go on: flat, contiguous, no shared storage."""
        return pack(self._parts())

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from what :meth:`state_dict` gave.

        Raises:
            UserError: if it is the state of an agent of another make.
        """
        unpack(self._parts(), state)

    def _parts(self) -> dict[str, Part]:
        return {"policy": self.policy, "optimiser": self.optimiser, "updates": self.updates}
