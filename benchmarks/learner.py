"""How fast learners learn: ours against others', each in a process of its own, timed in turns within one run.

    python -m benchmarks.learner

1. `block_10`, `block_2`: the RLPD block of 20 critic updates and one of policy and temperature, with 10 or 2 critics
   (layer norm, batch 256, 24 numbers observed, 7 actions).
2. `sac`: one update of plain SAC, sampling included.
3. `act`: one action for one observation, through the function that each offers; `act_exported`: by the policy that
   `robo-rl export` writes.
4. `replay`: a batch of 256 transitions.
5. `floor`: the matrix products of one critic update alone, which nothing can be faster than.

Peers are installed into runs/benchmarks/NAME; one that cannot be is told of and left out. What counts is the median of
the ratios of single rounds, of wall and of CPU time. Writes benchmarks/results/learner.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.peers import PeerError, make_venv
from benchmarks.report import RESULTS, ROOT, load, make_report, save, target
from benchmarks.study import make_console, show_targets
from robo_rl.threads import configure

CASES = ("block_10", "block_2", "sac", "act", "act_exported", "replay")
OURS: dict[str, tuple[str, ...]] = {"ours": (), "ours_bf16": ("--bfloat16",)}
TORCH = "torch==2.13.0"
PEERS: dict[str, tuple[str, ...]] = {
    "sb3": (TORCH, "stable-baselines3==2.9.2"),
}
"""What pip installs for each."""


@dataclass(frozen=True)
class Options:
    """What to measure."""

    learners: tuple[str, ...] = (*OURS, *PEERS)
    """Which learners; `ours` has to be among them."""
    cases: tuple[str, ...] = CASES
    """What to time; the others keep what they came to."""
    threads: int = 1
    """Threads of each."""
    rounds: int = 9
    """Rounds; an odd number."""
    seconds: float = 1.0
    """Least seconds of one measurement."""
    venvs: Path = Path("runs/benchmarks")
    """Folder of the peers' virtual environments."""
    results: Path = RESULTS
    """Folder of the report."""


class Learner:
    """A learner's process, which times what it is asked for.

    Raises:
        PeerError: if it does not start.
    """

    def __init__(self, name: str, options: Options) -> None:
        environment = {
            **os.environ, "OMP_NUM_THREADS": str(options.threads), "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0",
            "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={'true' if options.threads > 1 else 'false'}",
        }  # fmt: skip
        if name in OURS:
            command = [sys.executable, "-m", "benchmarks.learners.ours", *OURS[name]]
        else:
            python = make_venv(options.venvs / name, PEERS[name])
            command = [str(python), str(ROOT / "benchmarks" / "learners" / f"{name}.py")]
        if options.threads < (os.cpu_count() or 1):
            cores = sorted(os.sched_getaffinity(0))[: options.threads]
            command = ["taskset", "-c", ",".join(map(str, cores)), *command]  # JAX knows no other bound
        self._name = name
        self._log = options.venvs / f"{name}.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self.about = self._answer()

    def time(self, case: str, seconds: float) -> dict[str, list[float]]:
        """Do ``case`` for so long; the seconds that each time took, by the wall and by the processor."""
        assert self._process.stdin is not None
        print(json.dumps([case, seconds]), file=self._process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            said = self._log.read_text().strip().splitlines()
            raise PeerError(f"{self._name} did not answer: {said[-1] if said else 'it said nothing'}")
        return json.loads(line)


def floor(critics: int) -> float:
    """Milliseconds of the matrix products of one critic update, in float32: forward, backward, and two targets."""
    import torch

    x, h = torch.randn(256, 31), torch.randn(256, 256)
    first, second, out = torch.randn(31, 256), torch.randn(256, 256), torch.empty(256, 256)
    small = torch.empty(31, 256)

    def forward() -> None:
        torch.mm(x, first, out=out)
        torch.mm(h, second, out=out)

    def backward() -> None:
        torch.mm(h.t(), h, out=out)
        torch.mm(h, second.t(), out=out)
        torch.mm(x.t(), h, out=small)

    def update() -> None:
        for _ in range(critics):
            forward()
            backward()
        for _ in range(3):  # two target critics, and the policy
            forward()

    times = []
    until = time.perf_counter() + 1.0
    while time.perf_counter() < until:
        began = time.perf_counter()
        update()
        times.append(time.perf_counter() - began)
    return 1e3 * median(times)


def measure(options: Options, console: Console) -> dict[str, Any]:
    """Time every case of every learner, in turns."""
    learners: dict[str, Learner] = {}
    missing: dict[str, str] = {}
    for name in options.learners:
        console.print(f"starting {name}")
        try:
            learners[name] = Learner(name, options)
        except PeerError as error:
            missing[name] = str(error)
            console.print(f"[red]{name}[/]: {error}")
    times: dict[str, dict[str, list[dict[str, float]]]] = {case: {} for case in options.cases}
    floors: dict[str, list[float]] = {"10": [], "2": []}
    names = list(learners)
    for number in range(options.rounds):
        turn = number % len(names)
        for case in options.cases:
            for name in names[turn:] + names[:turn]:
                if case in learners[name].about["first_seconds"]:
                    took = learners[name].time(case, options.seconds)
                    round_ = {kind: 1e3 * median(values) for kind, values in took.items()}
                    times[case].setdefault(name, []).append(round_)
        for critics, found in floors.items():
            found.append(floor(int(critics)))
    for learner in learners.values():
        learner.close()
    return {
        "threads": options.threads,
        "floor_ms": {critics: round(median(found), 3) for critics, found in floors.items()},
        "first_seconds": {name: learner.about["first_seconds"] for name, learner in learners.items()},
        "versions": {name: learner.about["versions"] for name, learner in learners.items()},
        "unavailable": missing,
        "cases": {case: _summary(found) for case, found in times.items()},
    }


def _summary(found: Mapping[str, list[dict[str, float]]]) -> dict[str, Any]:
    ours = found["ours"]
    return {
        name: {
            "wall_ms": round(median(each["wall"] for each in rounds), 4),
            "cpu_ms": round(median(each["cpu"] for each in rounds), 4),
            **{
                f"times_ours_{kind}": round(
                    median(each[kind] / our[kind] for each, our in zip(rounds, ours, strict=True)), 3
                )
                for kind in ("wall", "cpu")
            },
        }
        for name, rounds in found.items()
    }


def find_targets(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is promised of the learner's speed, and whether it holds here."""
    cases, floors = results["cases"], results["floor_ms"]
    targets = []

    def ratio(what: str, case: str, ours: str, peer: str, wanted: float) -> None:
        found = cases.get(case, {})
        if ours in found and peer in found:
            measured = round(found[peer]["wall_ms"] / found[ours]["wall_ms"], 2)
            targets.append(target(f"{what}: times {peer}", f">= {wanted}", measured, measured >= wanted))

    ratio("RLPD block, 10 critics", "block_10", "ours", "sb3", 4.0)
    ratio("SAC update with sampling, eager", "sac", "ours", "sb3", 1.35)
    ratio("SAC update with sampling, bfloat16", "sac", "ours_bf16", "sb3", 1.9)
    ratio("state batch from replay", "replay", "ours", "sb3", 6.0)
    if "block_10" in cases:
        share = round(20 * floors["10"] / cases["block_10"]["ours"]["wall_ms"], 2)
        targets.append(target("10 critics: share of the bare matrix products", ">= 0.65", share, share >= 0.65))
    if "block_2" in cases:
        took, name = min((each["wall_ms"], name) for name, each in cases["block_2"].items() if name.startswith("ours"))
        what = f"RLPD block, 2 critics, one core ({name}), ms"
        targets.append(target(what, "< 120", round(took, 1), took < 120.0))
    for case, what, bound in (
        ("act", "one action, us", 100.0),
        ("act_exported", "one action of the exported policy, us", 20.0),
    ):
        if case in cases:
            took = round(1e3 * cases[case]["ours"]["wall_ms"], 1)
            targets.append(target(what, f"< {bound:g}", took, took < bound))
    return targets


def show(results: Mapping[str, Any], console: Console) -> None:
    """Print one row for each learner."""
    table = Table(title=f"Milliseconds, medians; {results['threads']} thread(s); in brackets: times ours")
    table.add_column("learner")
    for case in CASES:
        table.add_column(case, justify="right")
    for name in results["versions"]:
        row = [name]
        for case in CASES:
            found = results["cases"][case].get(name)
            row.append("-" if found is None else f"{found['wall_ms']:.4g} ({found['times_ours_wall']:.2f})")
        table.add_row(*row)
    console.print(table)
    console.print(f"matrix products of one critic update: {results['floor_ms']} ms")


def main(options: Options) -> int:
    """Measure, store, print."""
    configure(options.threads)
    console = make_console()
    results = measure(options, console)
    path = options.results / "learner.json"
    before = load(path)["results"] if path.exists() else {}
    if before.get("threads") == options.threads:
        results["cases"] = {**before["cases"], **results["cases"]}
    targets = find_targets(results)
    report = make_report(
        "learner",
        compares="Time of our learner's updates, actions and batches against other libraries'",
        command=f"python -m benchmarks.learner --threads {options.threads} --rounds {options.rounds}",
        seeds=[0],
        targets=targets,
        results=results,
    )
    save(report, options.results)
    show(results, console)
    show_targets(targets, console)
    console.print(str(path))
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
