"""The agent that a configuration asks for, and what it learns before the environment is stepped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from robo_rl.agents.behaviour_cloning import BehaviourCloning, BehaviourCloningConfig
from robo_rl.agents.gripper import GripperEntry
from robo_rl.agents.sac import SAC
from robo_rl.errors import UserError
from robo_rl.settings import differences

if TYPE_CHECKING:
    from robo_rl.contracts.learning import Metrics
    from robo_rl.replay.buffer import ReplayBuffer
    from robo_rl.training.config import TrainConfig


CLONING_USES = frozenset({"agent.hidden", "agent.actor_layer_norm", "agent.actor_lr", "agent.observation_keys"})
"""What ``hg-dagger`` takes of ``agent``."""

_WITHOUT_CLONING_USE = ("demo_ratio", "n_step", "discount", "hindsight", "hindsight_k")


def refuse_unused(config: TrainConfig, usual: TrainConfig) -> None:
    """Refuse a setting of the learner that the chosen algorithm has no use for.

    Args:
        config: of the run.
        usual: what holds where nobody says otherwise; what differs from it was set by somebody.

    Raises:
        UserError: if one was set; names it.
    """
    if config.algorithm != "hg-dagger":
        return
    for name, (was, now) in differences(usual, config).items():
        if (name.startswith("agent.") and name not in CLONING_USES) or name in _WITHOUT_CLONING_USE:
            raise UserError(f"{name}: hg-dagger imitates and has no use for {now!r}; leave it at {was!r}")


def make_agent(config: TrainConfig, env: Any, *, seed: int) -> SAC | BehaviourCloning:
    """Build the agent of a run for the environment that it acts in.

    ``hg-dagger`` is behaviour cloning with what :data:`CLONING_USES` names.

    Args:
        config: of the run.
        env: a ``BatchedEnv``.
        seed: of the agent.

    Raises:
        UserError: if the agent cannot learn in this environment.
    """
    agent, spaces = config.agent, (env.observation_space, env.action_space)
    if config.algorithm == "sac":
        return SAC(*spaces, agent, seed=seed, device=config.device, gripper=GripperEntry.of(env))
    if config.obs == "pixels":
        raise UserError("algorithm: hg-dagger learns from vectors only; use --obs state, or --algorithm sac")
    cloning = BehaviourCloningConfig(
        hidden=agent.hidden,
        layer_norm=agent.actor_layer_norm,
        learning_rate=agent.actor_lr,
        batch_size=config.batch_size,
        observation_keys=agent.observation_keys,
    )
    return BehaviourCloning(*spaces, cloning, seed=seed, device=config.device)


def imitate_first(config: TrainConfig, agent: SAC | BehaviourCloning, demonstrations: ReplayBuffer | None) -> Metrics:
    """Clone the demonstrations before training, where that is asked for; return the metrics of the last update."""
    if not config.imitates or demonstrations is None:
        return {}
    if isinstance(agent, SAC):
        return agent.imitate(demonstrations.sample, config.cloning_updates)
    metrics = agent.fit(demonstrations.sample, config.cloning_updates)
    agent.updates.zero_()  # counted are those of training
    return metrics


def demonstration_share(config: TrainConfig) -> float:
    """Return the share of demonstrations in a batch; all of it where nothing else is imitated.

    HG-DAgger (Kelly et al. 2019, algorithm 1) learns from the aggregate of demonstrations and of what people did when
    they took over: that is what the buffer of demonstrations holds.
    """
    return config.demo_ratio if config.algorithm == "sac" else 1.0
