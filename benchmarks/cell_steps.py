"""What a step costs on a robot cell over ROS 2, beyond its control period; and how many pictures get lost.

    python -m benchmarks.cell_steps --minutes 10

starts the simulated cell with its cameras, or attaches to one that is up, and holds still by zero actions: the task's
state and every camera are read in each step. The overhead of a step is by how much it returns later than its period is
over. Writes benchmarks/results/cell_steps.json.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import tyro

from benchmarks.report import RESULTS, make_report, save, target

if TYPE_CHECKING:
    from hardware.ros import RosCamera


@dataclass(frozen=True)
class Options:
    """What to measure."""

    minutes: float = 10.0
    """How long."""
    cell: str = "sim"
    """Cell file, or name of one that is shipped."""
    task: str = "peg_insertion"
    """Whose readings are made."""
    results: Path = RESULTS
    """Folder of the report."""


def main() -> int:
    """Measure and report."""
    options = tyro.cli(Options, description=__doc__.partition("\n")[0])
    import torch

    from hardware.cell_file import load_cell
    from hardware.realtime import prioritise
    from robo_rl.commands.cell_env import cell_environment
    from robo_rl.commands.deploy import PRIORITY
    from robo_rl.training.config import TrainConfig

    prioritise(PRIORITY)
    cell = load_cell(options.cell)
    robot = cell.arms[cell.arm()].robot
    with cell_environment(cell, TrainConfig(task=options.task, robot=robot), cameras=True) as on_cell:
        env, world = on_cell.env, on_cell.world
        cameras = cast("dict[str, RosCamera]", world.cameras)
        env.reset()
        action = torch.zeros(1, *env.action_space.shape)
        before = {name: (each.read(1.0).index, each.arrived) for name, each in cameras.items()}
        overheads, skews, until = [], [], time.monotonic() + 60.0 * options.minutes
        while time.monotonic() < until:
            step = env.step(action)
            now = time.monotonic()
            if bool(step.done[0]):
                env.reset(step.done)
            else:
                overheads.append(1e3 * (now - world.due))
                skews.append(1e3 * max(world.skews.values()))
        after = {name: (each.read(1.0).index, each.arrived) for name, each in cameras.items()}
        counters = world.arm.status().counters
    lost = {
        name: max(0, (after[name][0] - before[name][0]) - (after[name][1] - before[name][1]))
        / max(1, after[name][0] - before[name][0])
        for name in before
    }
    p50, p99 = np.percentile(overheads, (50, 99)).tolist()
    results = {
        "steps": len(overheads),
        "overhead_ms": {"p50": round(p50, 2), "p99": round(p99, 2), "max": round(max(overheads), 2)},
        "skew_ms": {"p50": round(float(np.median(skews)), 2), "p99": round(float(np.percentile(skews, 99)), 2)},
        "pictures_lost": {name: round(share, 5) for name, share in lost.items()},
        "overruns": world.overruns,
        "control_loop": {key: round(value, 3) for key, value in counters.items()},
    }
    worst = max(lost.values())
    targets = [
        target("overhead of a step, median, ms", "<= 4", round(p50, 2), p50 <= 4.0),
        target("overhead of a step, 99th percentile, ms", "<= 15", round(p99, 2), p99 <= 15.0),
        target("pictures lost, worst camera", "<= 0.01", round(worst, 5), worst <= 0.01),
    ]
    report = make_report(
        "cell_steps",
        compares="a step of the environment on a robot cell over ROS 2 with its control period",
        command=f"python -m benchmarks.cell_steps --minutes {options.minutes:g} --cell {options.cell}",
        seeds=[0],
        targets=targets,
        results={options.cell: results},
    )
    save(report, options.results)
    print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
