"""The newest policy, on its way from the thread that learns to the thread that acts; neither ever waits."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from robo_rl.agents.behaviour_cloning import BehaviourCloning
    from robo_rl.agents.networks import ActingModule
    from robo_rl.agents.sac import SAC
    from robo_rl.contracts.learning import Obs


@dataclass(frozen=True)
class FrozenPolicy:
    """A policy as it was at one moment. Nobody moves its weights any more.

    Attributes:
        version: critic updates that had been made.
        network: a copy; only weights that are never learned (a frozen encoder's) are shared.
        least_std: bound from below of the standard deviation while exploring; None for none.
    """

    version: int
    network: ActingModule
    least_std: Tensor | None

    @classmethod
    def of(cls, agent: SAC | BehaviourCloning) -> FrozenPolicy:
        """Copy the policy of ``agent``; by the thread that learns, between two updates."""
        shared = {id(weight): weight for weight in agent.constants()}
        # What is shared is looked up in deepcopy's memory, which takes it for copied already.
        network = copy.deepcopy(agent.actor, shared).requires_grad_(False)
        return cls(int(agent.updates), network, agent.least_std())

    def act(self, obs: Obs, generator: torch.Generator | None) -> Tensor:
        """Return actions (B, A) in [-1, 1]: drawn with ``generator``, the mode if None."""
        return self.network.act(obs, generator, None if generator is None else self.least_std)


class PolicyMailbox:
    """Holds one policy to act with, and the newest one that was posted. Both change by one assignment of a reference.

    One thread learns and calls :meth:`publish` between updates, about a millisecond for a policy on vectors. One thread
    acts and calls :meth:`adopt` between steps, a microsecond; what it acts with stays as it is until then, whatever
    is learned or published meanwhile. Of several policies published in between, the newest is adopted. There is no
    lock: a slow learner never holds up an action, nor a slow environment an update.

    It has ``device`` and ``act`` as an agent has, so that it stands in for one wherever only acting is asked for. Only
    it draws from ``agent.acting`` then: the agent's own ``act`` is not to be called from another thread.

    Args:
        agent: that learns. Its policy as it is now is the first one.

    Example:
        >>> mailbox = PolicyMailbox(agent)                              # doctest: +SKIP
        >>> agent.update(batch, utd=20); mailbox.publish()              # doctest: +SKIP  the learner's thread
        >>> if mailbox.adopt():                                         # doctest: +SKIP  the acting thread
        ...     log(policy_version=mailbox.version, behind=mailbox.behind)
        >>> action = mailbox.act(obs, explore=True)                     # doctest: +SKIP
    """

    def __init__(self, agent: SAC | BehaviourCloning) -> None:
        self._agent = agent
        self.device = agent.device
        self._posted = self._acting = FrozenPolicy.of(agent)

    @property
    def version(self) -> int:
        """Critic updates that went into the policy that acts."""
        return self._acting.version

    @property
    def behind(self) -> int:
        """Critic updates that the newest published policy is ahead of the one that acts."""
        return self._posted.version - self._acting.version

    def publish(self) -> int:
        """Post a copy of the agent's policy and return its version; by the thread that learns, between updates."""
        posted = FrozenPolicy.of(self._agent)
        self._posted = posted
        return posted.version

    def adopt(self) -> bool:
        """Act with the newest published policy from now on; return whether that is another one than before."""
        posted = self._posted
        changed = posted is not self._acting
        self._acting = posted
        return changed

    def act(self, obs: Obs, *, explore: bool) -> Tensor:
        """Return actions (B, A) in [-1, 1], where ``obs`` is: drawn if ``explore``, otherwise the policy's mode."""
        return self._acting.act(obs, self._agent.acting if explore else None)
