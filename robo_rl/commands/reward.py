"""``robo-rl reward``: train a success classifier, and report what one is worth."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from robo_rl.commands.arguments import parse
from robo_rl.errors import UserError, unknown_name
from robo_rl.rewards.learning import ClassifierSettings
from robo_rl.rewards.rule import RuleSettings

if TYPE_CHECKING:
    from robo_rl.rewards.classifier import SuccessClassifier
    from robo_rl.rewards.frames import LabelledFrames
    from robo_rl.rewards.measures import Measures
    from robo_rl.training.config import TrainConfig

_PARTS = {
    "train": "learn a success classifier from labelled camera images, calibrate and measure it",
    "check": "report a classifier, and measure it on other episodes",
}

_TRAIN = """Learn a success classifier from labelled camera images.

Without --data, attempts at the task are recorded in the simulator: the scripted expert with noise, near misses, aimless
motion, each frame with the true success. --data takes episodes recorded with camera images (robo-rl record TASK
--obs pixels) and the success that was recorded with them; --corrections takes those of training runs (RUN/episodes) in
which a person said success or failure, and nothing else of them.

Threshold and probabilities are calibrated on episodes that nothing is learned from, and the figures are measured on
yet others. Each training writes the next version, with a precision-recall curve and a picture of the most confusing
frames beside it. It ends with one JSON line.

Learn from it with: robo-rl train TASK --classifier FILE"""

_CHECK = """Report what a success classifier was learned from and how good it was on held-out episodes.

With --data it is measured on these episodes; they should be others than those it was learned from."""


@dataclasses.dataclass(frozen=True)
class RewardTrainArguments:
    """What to learn from, and how."""

    task: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TASK")]
    """Name of a task, or dotted path of one (package.module:Class)."""

    robot: str = "panda"
    """Arm that does the task."""

    data: tuple[Path, ...] = ()
    """Folders of labelled episodes; none: attempts are recorded in the simulator, once, and used again later."""

    corrections: tuple[Path, ...] = ()
    """Folders of episodes, such as RUN/episodes, of which those with a person's verdict are learned from too."""

    attempts: int = 160
    """Attempts to record."""

    cameras: tuple[str, ...] = ()
    """Names of the cameras to look at, such as wrist; none: all."""

    encoder_weights: str | None = None
    """Weights of backbones that stay as they are: a file of robo-rl pretrain-encoder, or timm:NAME; None: they are
    learned."""

    learn: ClassifierSettings = dataclasses.field(default_factory=ClassifierSettings)
    """How it is learned."""

    rule: RuleSettings = dataclasses.field(default_factory=RuleSettings)
    """When frames make a success."""

    held_out: float = 0.4
    """Share of the episodes that nothing is learned from: one half calibrates, the other one measures."""

    previous: Path | None = None
    """Version that this one replaces: it gets the next number, and learns most from what that one is wrong about;
    None: what FILE holds, or the newest of the task where no file is given."""

    file: Path | None = None
    """File to write; None: the next version in OUT/rewards/TASK-ROBOT."""

    num_envs: int = 4
    """Environments side by side while recording."""

    seed: int = 0
    """Seed of the attempts."""

    threads: int | None = None
    """Threads of the physics and of the learner, each; None: as many as there are cores."""

    out: Path = Path("runs")
    """Folder of the runs."""

    def __post_init__(self) -> None:
        for name in ("attempts", "num_envs"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}: must be at least 1, got {getattr(self, name)}")
        if not 0.0 < self.held_out < 1.0:
            raise UserError(f"held_out: must lie in (0, 1), got {self.held_out}")


@dataclasses.dataclass(frozen=True)
class RewardCheckArguments:
    """What to report."""

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """Success classifier."""

    data: tuple[Path, ...] = ()
    """Folders of labelled episodes to measure it on."""

    corrections: tuple[Path, ...] = ()
    """Folders of episodes of which those with a person's verdict are measured on."""

    pictures: Path | None = None
    """Folder for the precision-recall curve and the most confusing frames of these episodes; None: none are drawn."""

    def __post_init__(self) -> None:
        if self.pictures is not None and not (self.data or self.corrections):
            raise UserError("pictures: there are no episodes to draw; give --data or --corrections too")


def main(args: Sequence[str]) -> int:
    """Run the command."""
    words = list(args)
    if not words or words[0] in ("-h", "--help"):
        lines = [f"  {name:<6} {what}" for name, what in _PARTS.items()]
        print("\n".join(["usage: robo-rl reward PART ...", "", *lines]), file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    if words[0] not in _PARTS:
        raise unknown_name("part of robo-rl reward", words[0], _PARTS)
    return (_train if words[0] == "train" else _check)(words[1:])


def _train(args: list[str]) -> int:
    prog = "robo-rl reward train"
    if not args or args[0].startswith("-"):
        if {"-h", "--help"} & set(args):
            parse(RewardTrainArguments, args, prog=prog, description=_TRAIN)
        raise UserError(f"name the task first: {prog} TASK [options]")
    from robo_rl import threads
    from robo_rl.commands.environments import options_type
    from robo_rl.commands.task_options import with_task_options
    from robo_rl.settings import to_json
    from robo_rl.training.config import TrainConfig
    from robo_rl.training.durable import finite
    from robo_rl.training.interrupts import Interrupts

    options = options_type(args[0])
    kind = with_task_options(RewardTrainArguments, options, options())
    arguments = parse(kind, args[1:], prog=f"{prog} {args[0]}", description=_TRAIN, default=kind(args[0]))
    config = TrainConfig(
        arguments.task, robot=arguments.robot, obs="pixels" if not args[0].startswith("gym:") else "state",
        threads=arguments.threads, task_options=to_json(arguments.task_options),  # type: ignore[attr-defined]
    )  # fmt: skip
    if config.is_foreign:
        raise UserError(f"reward train: {config.task} has no cameras of its own; use a task of `robo-rl tasks`")
    threads.configure(arguments.threads)
    with Interrupts() as interrupts:
        found = _learn(arguments, config, lambda: interrupts.requested)
        if found is None:
            print("robo-rl: interrupted; no classifier was stored", file=sys.stderr)
            return interrupts.exit_code
    print(json.dumps(finite(found)), flush=True)
    return 0


def _learn(
    arguments: RewardTrainArguments, config: TrainConfig, should_stop: Callable[[], bool]
) -> dict[str, Any] | None:
    from robo_rl.agents.encoder_weights import load_weights
    from robo_rl.rewards.classifier import SuccessClassifier
    from robo_rl.rewards.files import folder_of, newest
    from robo_rl.rewards.frames import load_frames, split
    from robo_rl.rewards.learning import learn_classifier
    from robo_rl.rewards.measures import measure

    started = time.monotonic()
    folder = folder_of(config.task, config.robot, arguments.out)
    previous = arguments.previous or (arguments.file if arguments.file and arguments.file.exists() else None)
    if previous is None and arguments.file is None:
        previous = newest(folder)
    before = None if previous is None else SuccessClassifier.load(previous)
    weights = None if arguments.encoder_weights is None else load_weights(arguments.encoder_weights)
    data = arguments.data or (_attempts(arguments, config, folder, should_stop),)
    if should_stop():
        return None
    recorded = time.monotonic()
    cameras = [name if name.startswith("camera.") else f"camera.{name}.rgb" for name in arguments.cameras]
    frames = load_frames(data, arguments.corrections, cameras)
    if before is not None and set(before.observes) != set(frames.images):
        seen = ", ".join(sorted(frames.images))
        raise UserError(
            f"previous: {previous} looks at {', '.join(before.observes)}, the data at {seen}; "
            "choose by --cameras, or write a new line of versions by --file"
        )
    share = arguments.held_out / 2.0
    parts = split(frames, calibrate=share, test=share, seed=arguments.learn.seed)
    _tell(
        f"{len(frames)} frames of {len(frames.digests)} episodes, {int(frames.success.sum())} of success, "
        f"{len(frames.corrected)} episodes judged by a person"
    )

    def told(update: int, loss: float) -> None:
        if update % max(1, arguments.learn.updates // 10) == 0:
            _tell(f"update {update} of {arguments.learn.updates}: loss {loss:.4f}")

    classifier = learn_classifier(
        parts, arguments.learn, arguments.rule,
        weights=weights, before=before, should_stop=should_stop, on_update=told,
    )  # fmt: skip
    if should_stop():
        return None
    classifier = classifier.noted(
        task=config.task, robot=config.robot, data=[str(path) for path in (*data, *arguments.corrections)],
        previous=None if previous is None else str(previous),
    )  # fmt: skip
    file = arguments.file or folder / f"v{classifier.version}.safetensors"
    classifier.save(file)
    measures = measure(classifier, frames, parts.test)
    pictures = _draw(classifier, measures, frames, file.parent, file.stem)
    found = measures.to_json()
    _report(found, classifier)
    return {
        **_about(classifier), "test": found, **pictures, "out": str(file),
        "recording_seconds": round(recorded - started, 3), "wall_seconds": round(time.monotonic() - started, 3),
    }  # fmt: skip


def _attempts(
    arguments: RewardTrainArguments, config: TrainConfig, folder: Path, should_stop: Callable[[], bool]
) -> Path:
    """Return the folder of the recorded attempts; they are recorded if they are not there."""
    import shutil

    from robo_rl.commands.environments import make_environment
    from robo_rl.rewards.collection import record_attempts
    from robo_rl.settings import to_json
    from robo_rl.training.durable import write_json
    from robo_rl.training.run_folder import read_json

    place, notes = folder / "attempts", folder / "attempts" / "recording.json"
    wanted = {"attempts": arguments.attempts, "seed": arguments.seed, "task_options": to_json(config)["task_options"]}
    if notes.exists() and {key: read_json(notes).get(key) for key in wanted} == wanted:
        _tell(f"using the attempts in {place}")
        return place
    shutil.rmtree(place, ignore_errors=True)  # of other settings, or cut short
    _tell(f"recording {arguments.attempts} attempts at {config.task}")
    env = make_environment(config, min(arguments.num_envs, arguments.attempts), arguments.seed)

    def told(over: int, successes: int) -> None:
        if over % max(1, arguments.attempts // 10) == 0:
            _tell(f"{over} of {arguments.attempts} attempts, {successes} reached the goal")

    try:
        over, successes = record_attempts(
            env, place, arguments.attempts, task=config.task, robot=config.robot, seed=arguments.seed,
            should_stop=should_stop, on_episode=told,
        )  # fmt: skip
    finally:
        env.close()
    if over == arguments.attempts:
        write_json(notes, {**wanted, "successes": successes})
    return place


def _check(args: list[str]) -> int:
    arguments = parse(RewardCheckArguments, args, prog="robo-rl reward check", description=_CHECK)
    from robo_rl.rewards.classifier import SuccessClassifier
    from robo_rl.rewards.frames import load_frames
    from robo_rl.rewards.measures import measure
    from robo_rl.training.durable import finite

    classifier = SuccessClassifier.load(arguments.file)
    found: dict[str, Any] = {"file": str(arguments.file), **_about(classifier), "test": classifier.notes.get("test")}
    told = found["test"]
    if arguments.data or arguments.corrections:
        import torch

        frames = load_frames(arguments.data, arguments.corrections, classifier.observes)
        measures = measure(classifier, frames, torch.arange(len(frames)))
        found["measured"] = told = measures.to_json()
        found["same_data"] = frames.digest == classifier.notes.get("digest")
        if found["same_data"]:
            _tell("these are the episodes that it was learned from: the figures tell nothing about others")
        if arguments.pictures is not None:
            found |= _draw(classifier, measures, frames, arguments.pictures, arguments.file.stem)
    if told is not None:
        _report(told, classifier)
    print(json.dumps(finite(found)), flush=True)
    return 0


def _about(classifier: SuccessClassifier) -> dict[str, Any]:
    notes = classifier.notes
    return {
        "task": notes.get("task"),
        "robot": notes.get("robot"),
        "version": classifier.version,
        "cameras": list(classifier.observes),
        "threshold": round(classifier.threshold_probability, 6),
        "rule": dataclasses.asdict(classifier.rule),
        "dataset": notes.get("dataset"),
        "corrected_episodes": notes.get("corrected_episodes"),
        "digest": notes.get("digest"),
    }


def _draw(
    classifier: SuccessClassifier, measures: Measures, frames: LabelledFrames, folder: Path, stem: str
) -> dict[str, str]:
    from robo_rl.rewards.pictures import draw_confusing, plot_precision_recall

    curve, confusing = folder / f"{stem}-precision-recall.png", folder / f"{stem}-confusing.png"
    title = f"{classifier.notes.get('task')}, version {classifier.version}, {measures.episodes} episodes"
    plot_precision_recall(classifier, measures, curve, title=title)
    draw_confusing(classifier, measures, frames, confusing)
    return {"precision_recall": str(curve), "confusing": str(confusing)}


def _report(found: dict[str, Any], classifier: SuccessClassifier) -> None:
    at, rule = found["by_frame"], found["rule"]
    _tell(
        f"{found['frames']} frames of {found['episodes']} held-out episodes: precision {_share(at['precision'])}, "
        f"recall {_share(at['recall'])}; recall at a precision of 99 %: {_share(found['recall_at_precision_99'])}"
    )
    _tell(
        f"by the rule ({classifier.rule.consecutive} in a row): {rule['truly']} of {rule['claimed']} declared "
        f"successes true, recall {_share(rule['recall'])}"
    )
    low, wanted = rule["precision_interval_95"][0], classifier.notes.get("wanted_precision", 0.99)
    if low < wanted:
        _tell(
            f"{rule['claimed']} held-out episodes with a declared success show a precision of {low:.1%} or more, not "
            f"{wanted:.0%}; record more to be sure (--attempts)"
        )


def _share(value: float | None) -> str:
    return "unknown" if value is None or value != value else f"{value:.1%}"


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
