"""Drives a Franka hard for minutes, injects faults, and counts reflexes that were ours: none is allowed.

``python -m benchmarks.franka_endurance --simulator franka-sim --drive franky --minutes 10`` starts the simulator, moves
the tool by deltas at 10 to 20 Hz as policies do, some random, some as bad as they can be, and injects every fault
once in each round. After each fault it looks whether the arm latched it, refused commands, stood still, and moved again
once it was acknowledged. The last line is JSON. It exits with 1 if the arm did not do so, or if it stopped with a
reflex that nobody had injected. Where the whole machine stood still just before, as virtual ones do (see
:mod:`benchmarks.pauses`), a reflex for want of communication is told apart.

On an arm (``--simulator none --address ...``) only the faults that need no simulator are injected. Clear its work
space.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from benchmarks.endurance import Endurance, Server, Simulator, Tally, withstood
from benchmarks.pauses import Pauses
from benchmarks.report import load, make_report, revision, save, target
from hardware.arm import Arm
from hardware.arms.drive import Drive
from hardware.arms.franka import FrankaSettings
from hardware.emulation import franka_sim
from hardware.realtime import prioritise, undisturbed
from hardware.safety.limits import SafetyLimits
from robo_rl.errors import UserError
from robo_rl.robots.fr3 import FR3

LONG_PAUSE = 0.01
"""Seconds that the whole machine has to stand still for a silence to be its own."""

_NOTICED = 0.3  # s within which a fault is noticed
_INSIDE = "ROBO_RL_FRANKA_SIM_INSIDE"  # set where this process runs in the simulator's own network


@dataclass(frozen=True)
class Config:
    """Drive a Franka hard, and count reflexes."""

    simulator: Simulator = "franky-sim"
    """What to drive; franka-sim enforces the limits of the arm and of communication."""
    drive: Literal["franky", "pylibfranka"] = "franky"
    """Through which SDK."""
    minutes: float = 10.0
    """How long."""
    address: str = ""
    """Of an arm, with --simulator none."""
    seed: int = 0
    """Of the motions."""
    out: Path | None = None
    """File for the whole result, JSON."""
    results: Path | None = None
    """Folder of a report that keeps one result for each pair of simulator and drive; none is written if left out."""


def make_drive(config: Config, address: str, limits: SafetyLimits) -> Drive:
    """Return the drive that ``config`` names; the SDKs of both cannot live in one process."""
    real = config.simulator == "none"
    settings = FrankaSettings(address, realtime=real, external_torque=real)
    if config.drive == "franky":
        from hardware.arms.franka_franky import FrankyDrive

        return FrankyDrive(FR3, settings, limits)
    from hardware.arms.franka_pylibfranka import PylibfrankaDrive

    return PylibfrankaDrive(FR3, settings)


def run(config: Config) -> dict[str, Any]:
    """Run it, and return the result."""
    limits = SafetyLimits.of(FR3)
    with tempfile.TemporaryDirectory() as name:
        server = Server(config.simulator, config.address, Path(name))
        server.start()
        try:
            with Pauses() as pauses, undisturbed(), Arm(make_drive(config, server.address, limits), limits) as arm:
                endurance = Endurance(arm, server, config.seed)
                began = time.monotonic()
                endurance.run(60.0 * config.minutes)
                status, tally = arm.status(), endurance.tally
                lasted = time.monotonic() - began
        finally:
            server.stop()
    reflexes, other_faults, in_pauses = attribute(tally, pauses)
    ok = not (reflexes or other_faults or tally.malformed_accepted)
    ok = ok and all(map(withstood, tally.faults))
    return {
        "ok": ok,
        "simulator": config.simulator,
        "drive": config.drive,
        "revision": revision(),
        "minutes": round(lasted / 60.0, 2),
        "commands": tally.commands,
        "commands_hz": round(tally.commands / lasted, 1),
        "malformed_refused": tally.malformed_refused,
        "malformed_accepted": tally.malformed_accepted,
        "seconds": {phase: round(seconds, 1) for phase, seconds in tally.seconds.items()},
        "uninvited_reflexes": reflexes,
        "uninvited_other_faults": other_faults,
        "silences_in_pauses_of_the_machine": in_pauses,
        "pauses_of_the_machine": {
            "watched": pauses.known,
            "longer_than_ms": 1e3 * LONG_PAUSE,
            "number": sum(end - begin >= LONG_PAUSE for begin, end in pauses.found),
            "longest_ms": round(1e3 * max((end - begin for begin, end in pauses.found), default=0.0), 1),
        },
        "injected": tally.faults,
        "applied_reasons": tally.applied_reasons,
        "farthest_outside_mm": round(1e3 * tally.farthest_outside, 1),
        "fastest_m_s": round(tally.fastest, 3),
        "automatic_recoveries": status.recoveries,
        "counters": {name: round(value, 3) for name, value in status.counters.items()},
    }


def attribute(
    tally: Tally, pauses: Pauses
) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, int]], list[dict[str, Any]]]:
    """Tell silences in which the whole machine stood still from those that are ours.

    An arm stops when 20 packets in a row, 20 ms, do not come; where the simulator and the law share a machine, a pause
    of half of that leaves neither time to catch up.

    Returns:
        Reflexes and other faults that nobody injected, by phase and name, and the silences in pauses of the machine.
    """
    reflexes = {phase: dict(counts) for phase, counts in tally.reflexes.items()}
    others = {phase: dict(counts) for phase, counts in tally.other_faults.items()}
    excused = []
    for stamp, phase, reason in tally.silences:
        longest = pauses.longest_before(stamp, _NOTICED)
        if longest >= LONG_PAUSE:
            excused.append({"phase": phase, "reason": reason, "pause_ms": round(1e3 * longest, 1)})
            continue
        counts = (reflexes if "communication" in reason else others).setdefault(phase, {})
        counts[reason] = counts.get(reason, 0) + 1
    return reflexes, others, excused


def main(config: Config) -> int:
    """Run it where the simulator can be reached, and print the result."""
    if config.simulator == "franka-sim" and _INSIDE not in os.environ:
        franka_sim.prepare(franka_sim.default_folder())
        again = [sys.executable, "-m", "benchmarks.franka_endurance", *sys.argv[1:]]
        return subprocess.run(franka_sim.isolated(again), env=dict(os.environ, **{_INSIDE: "1"})).returncode
    if config.simulator == "franka-sim":
        franka_sim.raise_loopback()
    if config.simulator == "none" and not config.address:
        raise UserError("--simulator none is an arm; give its --address")
    prioritise(5)  # the simulator inherits it: a robot's computer and a robot have no neighbours
    result = run(config)
    text = json.dumps(result)
    if config.out is not None:
        config.out.write_text(text + "\n")
    if config.results is not None:
        report(result, config, config.results)
    print(text)
    return 0 if result["ok"] else 1


def report(result: dict[str, Any], config: Config, folder: Path) -> None:
    """Put a result into the report of all pairs, in the place of the one that the pair had."""
    path = folder / "franka_endurance.json"
    kept = load(path)["results"] if path.exists() else {}
    pair = f"{config.simulator}, {config.drive}"
    brief = {key: value for key, value in result.items() if key not in ("injected", "applied_reasons")}
    brief["injected"] = len(result["injected"])
    brief["withstood"] = sum(map(withstood, result["injected"]))
    brief["most_moved_while_holding_mm"] = max((each["held_within_mm"] for each in result["injected"]), default=0.0)
    kept = dict(sorted({**kept, pair: brief}.items()))
    targets = []
    for name, each in kept.items():
        uninvited = sum(sum(phase.values()) for phase in each["uninvited_reflexes"].values())
        targets += [
            target(f"{name}: reflexes that nobody injected", "0", uninvited, uninvited == 0),
            target(
                f"{name}: injected faults latched, refused, held, recovered", f"{each['injected']}", each["withstood"],
                each["withstood"] == each["injected"],
            ),
        ]  # fmt: skip
    words = f"--simulator {config.simulator} --drive {config.drive} --minutes {config.minutes:g}"
    save(
        make_report(
            "franka_endurance",
            compares="random and adversarial motions and faults over each drive and simulator, with no reflex of ours",
            command=f"python -m benchmarks.franka_endurance {words} --results benchmarks/results",
            seeds=[config.seed],
            targets=targets,
            results=kept,
            packages=("franky-control", "pylibfranka", "franky-sim"),
        ),
        folder,
    )


if __name__ == "__main__":
    try:
        sys.exit(main(tyro.cli(Config)))
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
