"""Where success classifiers lie: numbered by version in one place, and the one that a run goes by in its folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from robo_rl.rewards.classifier import SuccessClassifier

if TYPE_CHECKING:
    from robo_rl.training.config import TrainConfig

OWN_FILE = "classifier.safetensors"
"""Name of the classifier in a run folder."""


def folder_of(task: str, robot: str, out: Path) -> Path:
    """Return the folder of a task's classifiers, and of the frames that ``robo-rl reward train`` records for it.

    Args:
        task: its name.
        robot: the arm.
        out: folder of the runs.
    """
    plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in task)
    return out / "rewards" / f"{plain}-{robot}"


def newest(folder: Path) -> Path | None:
    """Return the file of the highest version in ``folder``, None if there is none."""
    found = {int(path.stem[1:]): path for path in folder.glob("v*.safetensors") if path.stem[1:].isdigit()}
    return found[max(found)] if found else None


def keep_classifier(config: TrainConfig, run: Path) -> None:
    """Store the classifier that a run goes by in its folder, so that it can be resumed and evaluated by itself.

    Raises:
        UserError: if it cannot be read.
        StorageError: if it could not be stored.
    """
    if config.classifier is not None and config.classifier.resolve() != (run / OWN_FILE).resolve():
        SuccessClassifier.load(config.classifier).save(run / OWN_FILE)


def with_own_classifier(config: TrainConfig, run: Path) -> TrainConfig:
    """Return the configuration of a run with the classifier in its folder, if it goes by one."""
    own = run / OWN_FILE
    return replace(config, classifier=own) if config.classifier is not None and own.exists() else config
