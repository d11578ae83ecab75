"""Brings back a trained policy and the environment it was trained in."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from robo_rl.commands.environments import make_environment
from robo_rl.errors import UserError
from robo_rl.rewards.files import with_own_classifier
from robo_rl.settings import from_json
from robo_rl.training.acting import act_on
from robo_rl.training.algorithms import make_agent
from robo_rl.training.checkpoint import Checkpoint, check_task, load_checkpoint, open_checkpoint
from robo_rl.training.config import TrainConfig
from robo_rl.training.encoder_files import settled
from robo_rl.training.feature_env import with_features
from robo_rl.training.run_folder import RunFolder

if TYPE_CHECKING:
    import torch

    from robo_rl.agents.behaviour_cloning import BehaviourCloning
    from robo_rl.agents.sac import SAC
    from robo_rl.contracts.learning import BatchedEnv, Obs


@dataclass(frozen=True)
class Trained:
    """A policy with its surroundings.

    Attributes:
        run: the run folder.
        config: of the run; ``world`` may be another one.
        checkpoint: that the weights come from.
        agent: with those weights.
        env: to act in; whoever asked for it closes it.
    """

    run: RunFolder
    config: TrainConfig
    checkpoint: Checkpoint
    agent: SAC | BehaviourCloning
    env: BatchedEnv

    def act(self, obs: Obs, *, explore: bool) -> torch.Tensor:
        """Return the policy's actions, where the environment is."""
        return act_on(self.agent, obs, explore=explore, device=self.env.device)


def load_trained(
    path: Path, checkpoint: str, *, num_envs: int, seed: int, world: str | None = None, env: BatchedEnv | None = None
) -> Trained:
    """Bring back the policy of a run.

    Args:
        path: of the run folder.
        checkpoint: ``best``, ``latest`` or the path of a checkpoint's folder.
        num_envs: copies of the environment.
        seed: of the policy's noise.
        world: another simulator to act in.
        env: to act in, made already; ``num_envs`` and ``world`` are not looked at then.

    Raises:
        UserError: if there is no such run or checkpoint, or it is of another task, robot or make of agent.
    """
    run = RunFolder.open(path)
    config = settled(from_json(TrainConfig, run.config, where=str(run.path / "config.json")), run.path)
    config = with_own_classifier(config, run.path)
    if world is not None:
        config = dataclasses.replace(config, world=world)
    if checkpoint == "best":
        found = load_checkpoint(run.checkpoints)
    elif checkpoint == "latest":
        found = load_checkpoint(run.checkpoints, "latest")
    else:
        found = open_checkpoint(Path(checkpoint))
    if found is None:
        raise UserError(f"run {run.path} has no checkpoint yet")
    check_task(found.state, config, found)
    weights = found.tensors("policy")
    env = env or make_environment(config, num_envs, seed)
    try:
        env = with_features(env, config.agent, device=config.device, variants=1)
        agent = make_agent(config, env, seed=seed)
        agent.load_policy_state(weights)
    except BaseException:
        env.close()
        raise
    return Trained(run, config, found, agent, env)
