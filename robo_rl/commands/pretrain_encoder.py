"""``robo-rl pretrain-encoder``: make the weights of an image encoder from pictures of the simulator."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from robo_rl.agents.backbones import Architecture
from robo_rl.commands.arguments import parse
from robo_rl.errors import UserError

_PROG = "robo-rl pretrain-encoder"
_DESCRIPTION = """Make the weights of an image encoder from pictures of the simulator.

A network learns to tell, from each camera's picture, where tool and objects are.

`robo-rl pretrain-encoder TASK --help` also lists the options of the task. It ends with one JSON line.

Learn with them: robo-rl train TASK --obs pixels --agent.encoder frozen --agent.cache-features"""


@dataclasses.dataclass(frozen=True)
class PretrainArguments:
    """What to learn from what."""

    task: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TASK")]
    """Name of a task, or dotted path of one (package.module:Class)."""

    robot: str = "panda"
    """Arm that does the task."""

    out: Path | None = None
    """File of the weights; None: runs/encoders/TASK-ROBOT.safetensors, where frozen encoders are looked for."""

    architecture: Architecture = "keypoints"
    """Network: keypoints (a code of 64 numbers), conv (small, 32 maps), resnet10 or resnet18."""

    images: int = 12_000
    """Pictures taken with each camera; those of a tenth of the episodes are held out."""

    updates: int = 2500
    """Gradient steps."""

    batch_size: int = 32
    """Pictures of each camera in a gradient step."""

    learning_rate: float = 2e-3
    """Largest step size of AdamW; it rises and falls once."""

    random_shift: int = 0
    """Largest random shift of a picture that is learned from, pixels. Poses then lean on what else is in the picture,
    which costs precision: a pixel is a millimetre or more."""

    randomise: float = 0.0
    """How much colours, lights and mountings of the cameras vary from picture to picture, 0 to 1; for cells."""

    colour_jitter: float = 0.0
    """Largest random change of contrast, colours and brightness of such a picture, 0 to 1."""

    num_envs: int = 16
    """Environments that pictures are taken of, side by side."""

    seed: int = 0
    """Seed of everything that is drawn."""

    device: str = "cpu"
    """Where it learns: cpu or cuda."""

    threads: int | None = None
    """Threads of the physics and of the learner, each; None: as many as there are cores."""

    def __post_init__(self) -> None:
        for name in ("images", "updates", "batch_size", "num_envs"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}: must be at least 1, got {getattr(self, name)}")
        for name, high in (("random_shift", 64), ("randomise", 1), ("colour_jitter", 1)):
            if not 0 <= getattr(self, name) <= high:
                raise UserError(f"{name}: must lie in [0, {high}], got {getattr(self, name)}")
        if not 0.0 < self.learning_rate < 1.0:
            raise UserError(f"learning_rate: must lie in (0, 1), got {self.learning_rate}")


def main(args: Sequence[str]) -> int:
    """Run the command; the exit code is 0, or 128 + n if signal n stopped it (nothing is stored then)."""
    if not args or args[0].startswith("-"):
        if {"-h", "--help"} & set(args):
            parse(PretrainArguments, args, prog=_PROG, description=_DESCRIPTION)
        raise UserError(f"name the task first: {_PROG} TASK [options]")
    from robo_rl.commands.environments import make_environment, options_type
    from robo_rl.commands.task_options import with_task_options
    from robo_rl.settings import to_json
    from robo_rl.training.config import TrainConfig

    options = options_type(args[0])
    kind = with_task_options(PretrainArguments, options, options())
    arguments = parse(kind, args[1:], prog=f"{_PROG} {args[0]}", description=_DESCRIPTION, default=kind(args[0]))
    config = TrainConfig(
        arguments.task,
        robot=arguments.robot,
        threads=arguments.threads,
        task_options=to_json(arguments.task_options),  # type: ignore[attr-defined]
    )
    if config.is_foreign:
        raise UserError(f"pretrain-encoder: {config.task} does not tell where its objects are; use a task of its own")
    if arguments.threads is not None:
        from robo_rl import threads

        threads.configure(arguments.threads)
    from robo_rl.agents.augmentation import Augmentation
    from robo_rl.training.durable import finite, write_file
    from robo_rl.training.encoder_files import default_file
    from robo_rl.training.interrupts import Interrupts
    from robo_rl.training.pretraining import learn_encoder, take_pictures

    started = time.monotonic()
    file = arguments.out or default_file(config.task, config.robot, config.out)
    env = make_environment(config, arguments.num_envs, arguments.seed)
    with Interrupts() as interrupts:

        def stopped() -> bool:
            return interrupts.requested

        try:
            print(f"taking {arguments.images} pictures with each camera", file=sys.stderr)
            views = take_pictures(
                env, arguments.images, randomise=arguments.randomise, seed=arguments.seed, should_stop=stopped
            )
        finally:
            env.close()
        taken = time.monotonic()

        def tell(update: int, loss: float) -> None:
            if update % max(1, arguments.updates // 20) == 0:
                print(f"update {update} of {arguments.updates}: loss {loss:.4f}", file=sys.stderr)

        about = {"task": config.task, "robot": config.robot, "images": arguments.images, "updates": arguments.updates,
                 "randomise": arguments.randomise}  # fmt: skip
        if not stopped():
            weights, errors = learn_encoder(
                views, architecture=arguments.architecture, updates=arguments.updates, batch_size=arguments.batch_size,
                learning_rate=arguments.learning_rate, seed=arguments.seed, device=arguments.device,
                augment=Augmentation(arguments.random_shift, arguments.colour_jitter), notes=about,
                should_stop=stopped, on_update=tell,
            )  # fmt: skip
        if stopped():
            print("robo-rl: interrupted; nothing was stored", file=sys.stderr)
            return interrupts.exit_code
    write_file(file, weights.save)
    for camera, by_body in errors.items():
        said = ", ".join(f"{body} {error:.1f} mm" for body, error in by_body.items())
        print(f"{camera}: mean error of positions on pictures held out: {said}", file=sys.stderr)
    found = {
        **about,
        "architecture": arguments.architecture,
        "held_out": int(next(iter(views.values())).held_out.sum()),
        "error_mm": errors,
        "picture_seconds": round(taken - started, 3),
        "wall_seconds": round(time.monotonic() - started, 3),
        "out": str(file),
    }
    print(json.dumps(finite(found)), flush=True)
    return 0
