"""Where the weights of image encoders lie: made beforehand in one place, kept by each run in its folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from robo_rl.agents.encoder_weights import EncoderWeights, load_weights
from robo_rl.agents.encoders import check_fit
from robo_rl.errors import UserError
from robo_rl.training.config import TrainConfig
from robo_rl.training.durable import write_file

OWN_FILE = "encoder.safetensors"
"""Name of the weights in a run folder."""


def default_file(task: str, robot: str, out: Path) -> Path:
    """Return the file that ``robo-rl pretrain-encoder`` writes and frozen encoders are looked for in.

    Args:
        task: its name.
        robot: the arm.
        out: folder of the runs.
    """
    plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in task)
    return out / "encoders" / f"{plain}-{robot}.safetensors"


def settled(config: TrainConfig, run: Path | None) -> TrainConfig:
    """Return the configuration with ``agent.encoder_weights`` naming a file, the run's own where there is a run.

    A frozen encoder also says how far images are shifted, unless the configuration does. A run keeps the weights that
    it starts from, so that it can be resumed, evaluated and deployed by itself.

    Args:
        config: of the run.
        run: its folder; None to look whether the weights are there and fit.

    Raises:
        UserError: if there are no weights, or they are of another architecture.
        StorageError: if they could not be stored.
    """
    agent = config.agent
    sees = config.obs == "pixels" or config.is_foreign
    if not sees or (agent.encoder_weights is None and agent.encoder != "frozen"):
        return config
    own = None if run is None else run / OWN_FILE
    if own is not None and own.exists():
        return _with(config, str(own), load_weights(str(own)))
    source = agent.encoder_weights
    if source is None:
        found = default_file(config.task, config.robot, config.out)
        if not found.exists():
            robot = "" if config.robot == "panda" else f" --robot {config.robot}"
            raise UserError(
                f"agent.encoder: there are no weights {found} to freeze; make them with: "
                f"robo-rl pretrain-encoder {config.task}{robot}, or give --agent.encoder-weights"
            )
        source = str(found)
    weights = load_weights(source)
    check_fit(weights, agent)
    if own is not None:
        write_file(own, weights.save)
        source = str(own)
    return _with(config, source, weights)


def _with(config: TrainConfig, source: str, weights: EncoderWeights) -> TrainConfig:
    """Name the file of weights, and augment no more than a frozen encoder was made to bear, if nothing else is said."""
    agent = replace(config.agent, encoder_weights=source)
    if agent.encoder == "frozen" and agent.random_shift is None:
        agent = replace(agent, random_shift=weights.notes.get("random_shift"))
    return replace(config, agent=agent)
