"""A policy to run: of a run folder, or one file that ``robo-rl export`` wrote."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from robo_rl.agents.exported import ExportedPolicy
from robo_rl.commands.environments import make_environment
from robo_rl.commands.trained import load_trained
from robo_rl.errors import UserError
from robo_rl.settings import from_json
from robo_rl.training.config import TrainConfig

if TYPE_CHECKING:
    from robo_rl.contracts.learning import BatchedEnv, Obs
    from robo_rl.training.evaluation import Act


@dataclass(frozen=True)
class Source:
    """What a policy to run comes from: a run folder, or one file that ``robo-rl export`` wrote.

    Attributes:
        config: of the run; ``world`` may be another one.
        results: folder that results are noted in: the run's, or the one that the file is in.
        name: of the checkpoint or the file.
        env_steps: that it was trained for.
        updates: likewise.
        exported: the policy, if it is a file; it has no noise.
    """

    config: TrainConfig
    results: Path
    name: str
    env_steps: int
    updates: int
    exported: ExportedPolicy | None = None


@dataclass(frozen=True)
class Runnable:
    """A policy and what it acts in.

    Attributes:
        source: where it comes from.
        env: to act in; whoever asked for it closes it.
        act: its actions, where the environment is.
    """

    source: Source
    env: BatchedEnv
    act: Act


def read_exported(path: Path) -> Source | None:
    """Read a policy that ``robo-rl export`` wrote; None if ``path`` is no file.

    Raises:
        UserError: if it is another kind of file.
    """
    if not path.is_file():
        return None
    policy = ExportedPolicy.load(path)
    about = policy.about
    if "config" not in about:
        raise UserError(f"{path} does not say what it was trained in; make it anew by robo-rl export RUN")
    config = from_json(TrainConfig, about["config"], where=str(path))
    return Source(config, path.parent, path.name, about["env_steps"], about["updates"], policy)


def load_runnable(
    path: Path, checkpoint: str, *, num_envs: int, seed: int, world: str | None = None, env: BatchedEnv | None = None
) -> Runnable:
    """Bring back a policy to run, from a run folder or an exported file; see :func:`load_trained`.

    Raises:
        UserError: as there, or if the file is no exported policy or one of other observations.
    """
    source = read_exported(path)
    if source is None or source.exported is None:
        trained = load_trained(path, checkpoint, num_envs=num_envs, seed=seed, world=world, env=env)
        found = trained.checkpoint
        updates = found.state["updates"]
        source = Source(trained.config, trained.run.path, found.path.name, found.env_steps, updates)
        return Runnable(source, trained.env, trained.act)
    policy = source.exported
    if checkpoint != "best":
        raise UserError(f"checkpoint: {path} holds one policy; leave it out")
    if world is not None:
        source = dataclasses.replace(source, config=dataclasses.replace(source.config, world=world))
    env = env or make_environment(source.config, num_envs, seed)
    return Runnable(source, env, act_exported(policy, env.device))


def act_exported(policy: ExportedPolicy, device: torch.device) -> Act:
    """Return what takes observations, each (B, n), to the policy's actions (B, A) on ``device``, one after the other.

    Asked to explore, it raises a UserError: an exported policy has no noise.
    """

    def act(obs: Obs, explore: bool) -> torch.Tensor:
        if explore:
            raise UserError("an exported policy draws no actions; give the run folder instead")
        values: Mapping[str, np.ndarray] = {key: obs[key].cpu().numpy() for key in policy.widths if key in obs}
        rows = len(next(iter(obs.values())))
        actions = [policy.act({key: value[i] for key, value in values.items()}) for i in range(rows)]
        return torch.from_numpy(np.stack(actions)).to(device)

    return act
