"""How fast learners learn, act and remember: ours against others', each in a process of its own, timed in turns.

    python -m benchmarks.learner
    python -m benchmarks.learner --cases block_10 --learners ours floor sb3 --rounds 3
    python -m benchmarks.learner --device cuda
    python -m benchmarks.learner --only scaling

Parts: `speed` times the cases; `bytes` weighs replay memories; `scaling` shows what one of our updates costs by batch,
ensemble and image size. docs/speed.md tells what each case is.

Peers are installed into runs/benchmarks/NAME; one that cannot be is told of and left out. RLPD is on no package index:
its checkout is named by the environment variable RLPD_ROOT. `floor` is no learner: the bare matrix products of the same
work, or the bare copy of the same bytes. What counts is the median of the ratios of single rounds, of wall and of CPU
time. Writes benchmarks/results/learner.json and pictures beside it; what was not measured anew stays as it was. The
last line on standard output is JSON.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

import tyro
from rich.console import Console

from benchmarks.learners import scaling
from benchmarks.learners.catalogue import CASES, LEARNERS, OURS, STORES, Ours
from benchmarks.learners.process import Learner
from benchmarks.learners.tables import plot, show
from benchmarks.learners.targets import find_targets
from benchmarks.learners.timing import Setup
from benchmarks.peers import PeerError
from benchmarks.report import RESULTS, load, make_report, revision, save
from benchmarks.study import make_console, show_targets
from robo_rl.errors import UserError, unknown_name
from robo_rl.threads import configure

Part = Literal["speed", "bytes", "scaling"]


@dataclass(frozen=True)
class Options:
    """What to measure."""

    only: tuple[Part, ...] = ("speed", "bytes")
    """Parts."""
    learners: tuple[str, ...] = ()
    """Which learners; all of them if empty."""
    cases: tuple[str, ...] = tuple(CASES)
    """What to time."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where everybody learns."""
    threads: int = 1
    """Threads and cores of each."""
    rounds: int = 9
    """Rounds; an odd number."""
    seconds: float = 1.0
    """Least seconds of one measurement."""
    batches: tuple[int, ...] = (64, 128, 256, 512, 1024)
    """Batches of `scaling`."""
    critics: tuple[int, ...] = (1, 2, 5, 10, 20)
    """Ensembles of `scaling`."""
    images: tuple[int, ...] = (48, 64, 96, 128)
    """Heights and widths of images of `scaling`, pixels."""
    setup: Setup = field(default_factory=Setup)
    """What every learner is given; its `device` is the one above."""
    venvs: Path = Path("runs/benchmarks")
    """Folder of the peers' virtual environments."""
    results: Path = RESULTS
    """Folder of the report."""


def start(names: Sequence[str], options: Options, missing: dict[str, str], console: Console) -> dict[str, Learner]:
    """Start learners; why one cannot be is put into ``missing``."""
    setup = replace(options.setup, device=options.device)
    found = {}
    for name in names:
        console.print(f"starting {name}")
        try:
            found[name] = Learner(name, setup, threads=options.threads, venvs=options.venvs)
        except PeerError as error:
            missing[name] = str(error)
            console.print(f"[red]{name}[/]: {error}", highlight=False)
    return found


def measure_speed(options: Options, names: Sequence[str], console: Console) -> dict[str, Any]:
    """Time every case of every learner, in turns."""
    missing: dict[str, str] = {}
    learners = start(names, options, missing, console)
    cases = {case: [name for name in learners if can(learners[name], case)] for case in options.cases}
    found: dict[str, dict[str, dict[str, Any]]] = {case: {} for case in options.cases}
    try:
        for number in range(options.rounds):
            console.print(f"round {number + 1} of {options.rounds}")
            for case, able in cases.items():
                turn = number % max(len(able), 1)
                for name in [*able[turn:], *able[:turn]]:
                    try:
                        took = learners[name].time(case, options.seconds)
                    except PeerError as error:
                        missing[f"{name}, {case}"] = str(error)
                        console.print(f"[red]{name}, {case}[/]: {error}", highlight=False)
                        able.remove(name)
                        found[case].pop(name, None)
                        continue
                    rounds = found[case].setdefault(name, {"wall_ms": [], "cpu_ms": []})
                    rounds.setdefault("first_seconds", round(took["first_seconds"], 3))
                    for clock in ("wall", "cpu"):
                        rounds[f"{clock}_ms"].append(round(1e3 * median(took[clock]), 5))
    finally:
        for learner in learners.values():
            learner.close()
    versions = {name: learner.versions for name, learner in learners.items()}
    return {"cases": {case: each for case, each in found.items() if each}, "versions": versions, "unavailable": missing}


def can(learner: Learner, case: str) -> bool:
    """Whether a learner is timed at a case; of our variants, only those that make a difference there."""
    entry = LEARNERS[learner.name]
    return case in learner.cases and not (isinstance(entry, Ours) and entry.only and case not in entry.only)


def measure_bytes(options: Options, names: Sequence[str], console: Console) -> dict[str, Any]:
    """Weigh every replay memory, each in a process of its own: what another one left behind would be filled first."""
    missing: dict[str, str] = {}
    counts = {"state": 5 * options.setup.transitions, "images": options.setup.frames}
    found: dict[str, dict[str, float]] = {}
    for name in (name for name in names if LEARNERS[name].weighed):
        fresh: Learner | None = None
        for store in STORES:
            fresh = fresh or start([name], options, missing, console).get(name)
            if fresh is None:
                break
            if store not in fresh.stores:
                continue
            try:
                weight = fresh.weigh(store, counts[store.removesuffix("_shared")])
                found.setdefault(store, {})[name] = round(weight, 1)
            except PeerError as error:
                missing[f"{name}, {store}"] = str(error)
                console.print(f"[red]{name}, {store}[/]: {error}", highlight=False)
            finally:
                fresh.close()
                fresh = None
        if fresh is not None:
            fresh.close()
    return {"bytes": found, "unavailable": missing}


def measure_scaling(options: Options, names: Sequence[str], console: Console) -> dict[str, Any]:
    """Time single updates of ours over each axis."""
    missing: dict[str, str] = {}
    learners = start([name for name in names if name in OURS], options, missing, console)
    points = {"batch": options.batches, "critics": options.critics, "image": options.images}
    try:
        found = scaling.measure(learners, points, options.seconds, console.print)
    finally:
        for learner in learners.values():
            learner.close()
    return {"scaling": found, "unavailable": missing}


MEASURES = {"speed": measure_speed, "bytes": measure_bytes, "scaling": measure_scaling}


def chosen(options: Options) -> list[str]:
    """Return the learners to start.

    Raises:
        UserError: if a name of a learner or a case is unknown, or there is no such device.
    """
    for what, given, known in (("learner", options.learners, LEARNERS), ("case", options.cases, CASES)):
        for name in given:
            if name not in known:
                raise unknown_name(what, name, known)
    if options.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise UserError("device: torch finds no CUDA device here; leave --device out to measure on the CPU")
    return [
        name
        for name, entry in LEARNERS.items()
        if options.device in entry.devices and name in (options.learners or LEARNERS)
    ]


def merge(before: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Put what was measured over what was there, case by case."""
    cases = {**before.get("cases", {}), **new.get("cases", {})}
    versions = {**before.get("versions", {}), **new.get("versions", {})}
    merged = {**before, **new, "versions": versions}
    return {**merged, "cases": {case: cases[case] for case in CASES if case in cases}} if cases else merged


def main(options: Options) -> int:
    """Measure, store, print."""
    configure(options.threads)
    names = chosen(options)
    console = make_console(stderr=True)
    path = options.results / "learner.json"
    results = dict(load(path)["results"]) if path.exists() else {}
    place = "cuda" if options.device == "cuda" else f"cpu, {options.threads} thread{'s' * (options.threads > 1)}"
    figures: dict[str, Any] = dict(results.get(place, {}))
    for part in options.only:
        about = {"revision": revision(), "load_at_start": round(os.getloadavg()[0], 2)}
        found = MEASURES[part](options, names, console)
        figures = merge(figures, found | {"measured": {**figures.get("measured", {}), part: about}})
    results[place] = figures
    targets = [each for where, what in results.items() for each in find_targets(what, where)]
    report = make_report(
        "learner",
        compares="Time and memory of our learner's updates, actions and batches against other libraries'",
        command=f"python -m benchmarks.learner --device {options.device} --threads {options.threads} "
        f"--rounds {options.rounds} --only {' '.join(options.only)}",
        seeds=[0],
        targets=targets,
        results=results,
    )
    options.results.mkdir(parents=True, exist_ok=True)
    save(report, options.results)
    pictures = []
    if figures.get("cases"):
        pictures.append(options.results / ("learner_cuda.png" if options.device == "cuda" else "learner.png"))
        plot(figures, pictures[-1], title=f"Time of others as a multiple of ours ({place})")
    if figures.get("scaling"):
        pictures.append(options.results / f"learner_scaling_{options.device}.png")
        scaling.plot(figures["scaling"], pictures[-1], title=f"Cost of one update ({place})")
    show(figures, console, title=place)
    show_targets(targets, console)
    print(json.dumps({"report": str(path), "pictures": [str(each) for each in pictures], "targets": targets}))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(tyro.cli(Options, description=__doc__)))
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
