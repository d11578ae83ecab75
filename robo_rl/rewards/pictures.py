"""Pictures of a success classifier: its precision-recall curve, and the frames that it is most mistaken about."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from robo_rl.rewards.classifier import SuccessClassifier
from robo_rl.rewards.frames import LabelledFrames
from robo_rl.rewards.measures import Measures
from robo_rl.training.durable import write_file


def plot_precision_recall(classifier: SuccessClassifier, measures: Measures, path: Path, *, title: str) -> None:
    """Draw the curve over frames with the threshold's place on it, and how often frames of each kind are how sure.

    Raises:
        StorageError: if it could not be stored.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4))
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    curve, at = measures.curve, measures.by_frame
    left.step(curve.recall, curve.precision, where="post", label="frames of held-out episodes")
    wanted = classifier.notes.get("wanted_precision")
    if wanted is not None:
        left.axhline(wanted, color="0.3", ls=":", lw=1, label=f"wanted precision {wanted:g}")
    left.plot([at["recall"]], [at["precision"]], "o", label=f"threshold {classifier.threshold_probability:.3f}")
    left.set(xlabel="recall", ylabel="precision", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    left.legend(loc="lower left", fontsize=8)
    for kind, name in ((measures.success, "success"), (~measures.success, "no success")):
        right.hist(measures.probability[kind].numpy(), bins=25, range=(0.0, 1.0), alpha=0.6, label=name)
    right.axvline(classifier.threshold_probability, color="0.3", ls=":", lw=1)
    right.set(xlabel="probability", ylabel="frames", yscale="log")
    right.legend(fontsize=8)
    figure.suptitle(title)
    figure.tight_layout()
    write_file(path, lambda unfinished: figure.savefig(unfinished, dpi=110))


def confusing_rows(measures: Measures, count: int) -> tuple[Tensor, Tensor]:
    """Return the places, among the frames measured, of the ``count`` most confusing ones of each kind.

    First those without success that look most like it, then successes that look least like it; most confusing first.
    """
    found = []
    for kind, sign in ((~measures.success, 1.0), (measures.success, -1.0)):
        places = kind.nonzero()[:, 0]
        found.append(places[(sign * measures.probability[places]).argsort(descending=True, stable=True)[:count]])
    return found[0], found[1]


def draw_confusing(
    classifier: SuccessClassifier, measures: Measures, frames: LabelledFrames, path: Path, *, count: int = 6
) -> None:
    """Draw the most confusing frames: false alarms and near ones above, misses and near ones below.

    Raises:
        StorageError: if it could not be stored.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cameras = len(frames.images)
    figure = Figure(figsize=(1.9 * count, 4.6 * cameras))
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, count, squeeze=False)
    rows = confusing_rows(measures, count)
    for line, places, truth in zip(grid, rows, ("no success", "success"), strict=True):
        for axes in line:
            axes.set_axis_off()
        for axes, place in zip(line, places.tolist(), strict=False):
            row = int(measures.rows[place])
            axes.imshow(torch.cat([frames.images[key][row] for key in sorted(frames.images)]).numpy())
            sure = float(measures.probability[place])
            wrong = (sure >= classifier.threshold_probability) != bool(measures.success[place])
            axes.set_title(
                f"{truth}, p = {sure:.3f}\nepisode {int(frames.episode[row])}, step {int(frames.step[row])}",
                fontsize=7,
                color="tab:red" if wrong else "black",
            )
    figure.suptitle("most confusing frames of held-out episodes; red: on the wrong side of the threshold", fontsize=9)
    figure.tight_layout()
    write_file(path, lambda unfinished: figure.savefig(unfinished, dpi=90))
