"""``robo-rl ablate``: what a setting is worth, over several seeds, with intervals."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from robo_rl.commands.arguments import parse
from robo_rl.commands.train import read_request
from robo_rl.errors import UserError
from robo_rl.training.ablation import make_arms, make_job, summarise
from robo_rl.training.durable import finite, write_json
from robo_rl.training.jobs import find_outcomes, run_jobs

_PROG = "robo-rl ablate"
_DESCRIPTION = """Find out what a setting is worth.

`robo-rl ablate TASK --switches agent.hl_gauss=true agent.critics=2,agent.critic_dropout=0.01 --seeds 3` trains the base
configuration and each variant with seeds 0, 1 and 2, and prints the interquartile mean of final success and of the area
under the learning curve with stratified bootstrap intervals.

All options of `robo-rl train` but --seed and --resume may be given too and hold for every run. Stop it and start it
again as you like: runs that are done are not repeated, and one that was cut short goes on. The report ends up in
OUT/ablate-TASK, and as one JSON line on standard output."""


@dataclass(frozen=True)
class Options:
    """What to compare."""

    switches: tuple[str, ...] = ()
    """Variants, each NAME=VALUE[,NAME=VALUE...] with names as in config.json; several settings make one variant."""
    seeds: int = 3
    """Number of seeds, counted from 0."""
    jobs: int = 1
    """Runs side by side, one core each."""

    def __post_init__(self) -> None:
        if not self.switches:
            raise UserError("switches: nothing to compare; give --switches NAME=VALUE, for example agent.hl_gauss=true")
        if self.seeds < 1 or self.jobs < 1:
            raise UserError(f"seeds and jobs must be at least 1, got {self.seeds} and {self.jobs}")


def main(args: Sequence[str]) -> int:
    """Run the command; the exit code is 0 if every run is done, 1 if one failed."""
    own, rest = _split(args)
    if not rest or {"-h", "--help"} & set(rest):
        parse(Options, ["--help"], prog=_PROG, description=_DESCRIPTION, default=Options(("NAME=VALUE",)))
    options = parse(Options, own, prog=_PROG, description=_DESCRIPTION)
    base, resumed = read_request(rest)
    if resumed is not None:
        raise UserError("--resume is for one run; `robo-rl ablate` goes on by itself when it is started again")
    if base.seed != 0:
        raise UserError("--seed is for one run; give the number of seeds with --seeds")
    base = dataclasses.replace(base, threads=base.threads or 1)
    arms = make_arms(base, options.switches)
    _need_statistics()
    work = base.out / f"ablate-{base.task.replace(':', '-').replace('/', '-')}"
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 140)
    # Seed by seed, so that an early end leaves whole seeds.
    jobs = [make_job(title, config, seed, work) for seed in range(options.seeds) for title, config in arms.items()]
    with _ended_by_termination():
        whole = run_jobs(jobs, work, slots=options.jobs, console=console)
    found = find_outcomes(jobs, work)
    if not found:
        raise UserError(f"no run ended well; the logs in {work} say why")
    # With a limit on time the runs end anywhere; the longest of them is the common ground then.
    longest = max(run["env_steps"] for runs in found.values() for run in runs)
    horizon = base.steps if base.max_minutes is None else longest
    results = summarise(arms, found, horizon)
    report = {"task": base.task, "seeds": options.seeds, "env_steps": horizon, "complete": whole}
    write_json(work / "ablation.json", {**report, "arms": results})
    from robo_rl.training.curves import plot_arms

    plot_arms(results, work / "ablation.png")
    _show(results, console)
    kept = ("final_success", "area_under_curve", "seeds")
    told = {title: {key: arm[key] for key in kept} for title, arm in results.items()}
    places = {"report": str(work / "ablation.json"), "plot": str(work / "ablation.png")}
    print(json.dumps(finite({**report, "arms": told, **places})), flush=True)
    return 0 if whole else 1


def _split(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tell this command's own options, and the words that belong to them, from those of training."""
    own: list[str] = []
    rest: list[str] = []
    into = rest
    for word in args:
        if word.startswith("--"):
            into = own if word.split("=")[0] in ("--switches", "--seeds", "--jobs") else rest
        into.append(word)
        if own[-2:-1] in (["--seeds"], ["--jobs"]) or word.startswith(("--seeds=", "--jobs=")):
            into = rest
    return own, rest


def _need_statistics() -> None:
    """Refuse to train for hours where the figures could not be worked out in the end."""
    from robo_rl.training.statistics import interquartile_means

    interquartile_means({"any": [0.0]}, repetitions=2)


@contextlib.contextmanager
def _ended_by_termination() -> Iterator[None]:
    """Let a request to terminate stop the runs as Ctrl-C does: each stores a checkpoint first."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _show(results: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    """Print one row for each arm."""
    table = Table(title="Interquartile means and 95 % intervals")
    for column in ("arm", "final success", "95 %", "area under curve", "95 %", "each seed"):
        table.add_column(column, justify="left" if column == "arm" else "right", overflow="fold")
    for title, arm in results.items():
        cells: list[str] = []
        for figures in (arm["final_success"], arm["area_under_curve"]):
            low, high = figures["interval_95"]
            cells += [f"{figures['interquartile_mean']:.3f}", f"{low:.3f} - {high:.3f}"]
        table.add_row(title, *cells, " ".join(f"{run['success_rate']:.0%}" for run in arm["runs"]))
    console.print(table)
