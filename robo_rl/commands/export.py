"""``robo-rl export``: a trained policy as one file that acts without torch."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from robo_rl.commands.arguments import parse
from robo_rl.errors import UserError


@dataclasses.dataclass(frozen=True)
class ExportArguments:
    """What to export."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder."""

    out: Path | None = None
    """File to write; None: RUN/policy.safetensors."""

    checkpoint: str = "best"
    """best, latest, or the folder of a checkpoint."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    arguments = parse(
        ExportArguments,
        args,
        prog="robo-rl export",
        description="Write a trained policy on vectors as one file that acts in NumPy, without torch; robo-rl eval and "
        "deploy take it in place of the run folder. Ends with one JSON line, which says how far its actions are from "
        "the original's.",
    )
    import numpy as np
    import torch

    from robo_rl.agents.encoders import Encoder
    from robo_rl.agents.exported import ExportedPolicy
    from robo_rl.commands.trained import load_trained
    from robo_rl.settings import to_json
    from robo_rl.training.durable import write_file

    trained = load_trained(arguments.run, arguments.checkpoint, num_envs=1, seed=0)
    try:
        policy, space = trained.agent.policy, trained.env.observation_space
        if trained.agent.actor is not policy:
            raise UserError("export: policies with a discrete gripper, or a cloned one beside them, need torch to act")
        if not isinstance(policy.encoder, Encoder) or policy.experts is not None:
            raise UserError("export: only policies on vectors, without learned features or experts, act without torch")
        widths = {key: int(np.prod(space[key].shape or ())) for key in policy.encoder.keys}
        config, steps = trained.config, trained.checkpoint.env_steps
        told = {"task": config.task, "robot": config.robot, "env_steps": steps}
        about = {**told, "updates": trained.checkpoint.state["updates"], "config": to_json(config)}
        path = arguments.out or trained.run.path / "policy.safetensors"
        write_file(path, ExportedPolicy.of(policy, widths, about).save)
        exported = ExportedPolicy.load(path)
        obs = trained.env.reset()
        off = 0.0
        for _ in range(100):
            action = trained.agent.act(obs, explore=False)
            same = exported.act({key: value[0].cpu().numpy() for key, value in obs.items()})
            off = max(off, float(np.abs(action[0].cpu().numpy() - same).max()))
            step = trained.env.step(action)
            obs = trained.env.reset(step.done) if bool(torch.any(step.done)) else step.obs
    finally:
        trained.env.close()
    if off > 1e-4:
        raise UserError(f"{path}: its actions are {off:.1g} from the original's; do not use it")
    print(f"exported {path}", file=sys.stderr)
    print(json.dumps({"file": str(path), **told, "largest_difference": off, "bytes": path.stat().st_size}), flush=True)
    return 0
