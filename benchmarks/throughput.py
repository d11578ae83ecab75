"""How fast the environment steps: against bare physics, and against gym-hil, with and without cameras.

Each pair is measured in turns within one run; what counts is the median of the ratios of single rounds.

1. `state`: `peg_insertion` with its native impedance, 64 environments (and 1, 16), random actions, resets included,
   against bare `mujoco.rollout` of the same physics: same models, starts, control sequence, substeps and threads.
2. `single`: one environment against gym-hil's PandaPickCubeBase, both through Gymnasium.
3. `pixels`: two 128x128 cameras, several environments, against gym-hil with its two.
4. `profile`: which part of one step takes how long.

    python -m benchmarks.throughput

gym-hil is installed into runs/benchmarks/gym-hil, since it wants an older MuJoCo; where that fails, the report says so.
Writes benchmarks/results/throughput.json. Parts can be run alone (`--only state`); the others keep what they came to.
The last line on standard output is JSON.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.peers import GYM_HIL, GymHil, PeerError, make_venv
from benchmarks.rates import compare, interleave
from benchmarks.report import RESULTS, load, make_report, revision, save, target
from benchmarks.setups import choose_egl
from benchmarks.study import make_console, show_targets
from robo_rl.errors import UserError
from robo_rl.threads import configure

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

Part = Literal["state", "single", "pixels", "profile"]
PARTS: tuple[Part, ...] = ("state", "single", "pixels", "profile")


@dataclass(frozen=True)
class Options:
    """What to measure."""

    only: tuple[Part, ...] = PARTS
    """Parts."""
    task: str = "peg_insertion"
    """Task of ours."""
    envs: tuple[int, ...] = (1, 16, 64)
    """Environments side by side, against bare physics."""
    pixel_envs: tuple[int, ...] = (1, 4, 16)
    """Environments side by side, with cameras."""
    threads: int = os.cpu_count() or 1
    """Physics threads of both sides."""
    rounds: int = 9
    """Rounds of each measurement; an odd number."""
    seconds: float = 2.0
    """Least seconds of one measurement against gym-hil."""
    seed: int = 0
    """Seed of starts and actions."""
    venv: Path = Path("runs/benchmarks/gym-hil")
    """Virtual environment of gym-hil."""
    results: Path = RESULTS
    """Folder of the report."""


def measure_state(options: Options) -> dict[str, Any]:
    """Ours against bare rollout, by number of environments."""
    from benchmarks import stepping

    found = {}
    for num_envs in options.envs:
        env = stepping.make(options.task, num_envs, threads=options.threads)
        tape = stepping.record(env, options.seed)
        bare = stepping.Bare(tape, min(options.threads, num_envs))
        rates = interleave({"ours": partial(stepping.our_rate, env, tape), "rollout": bare.rate}, options.rounds)
        found[str(num_envs)] = {
            **compare(rates, "ours", "rollout"),
            "substeps": tape.substeps,
            "threads": min(options.threads, num_envs),
            "largest_joint_difference": bare.difference(),
        }
        bare.close()
        env.close()
    return found


def measure_single(options: Options) -> dict[str, Any]:
    """One environment of ours, through Gymnasium and bare, against gym-hil's."""
    from benchmarks import stepping
    from envs.gymnasium_adapters import IDS

    env_id = next(name for name, made in IDS.items() if made == (options.task, "panda"))
    env = stepping.make(options.task, 1, threads=1)
    measures = {
        "gymnasium": stepping.gymnasium_rate(env_id, options.seconds, options.seed),
        "env": stepping.steady_rate(env, options.seconds, options.seed),
    }
    world: Any = env.world
    about = {"env_id": env_id, "substeps": world.substeps, "physics_dt": world.model.opt.timestep}
    return about | _against_gym_hil(options, measures, ours="gymnasium", pixels=False)


def measure_pixels(options: Options) -> dict[str, Any]:
    """Two cameras of ours against two of gym-hil's, by number of environments."""
    from benchmarks import stepping

    found: dict[str, Any] = {"renderer": os.environ.get("MUJOCO_GL", "MuJoCo's choice")}
    for num_envs in options.pixel_envs:
        try:
            env = stepping.make(options.task, num_envs, threads=min(options.threads, num_envs), cameras=True)
        except UserError as error:
            return found | {"unavailable": str(error)}
        shapes = {
            name: space.shape for name, space in env.observation_space.spaces.items() if name.startswith("camera.")
        }
        found["cameras"] = [f"{name} {shape[0]}x{shape[1]}" for name, shape in shapes.items() if shape is not None]
        measures = {"ours": stepping.steady_rate(env, options.seconds, options.seed)}
        found[str(num_envs)] = _against_gym_hil(options, measures, ours="ours", pixels=True)
        env.close()
    return found


def measure_profile(options: Options) -> dict[str, Any]:
    """Parts of one step."""
    from benchmarks import stepping

    return stepping.profile(options.task)


MEASURES: dict[Part, Callable[[Options], dict[str, Any]]] = {
    "state": measure_state, "single": measure_single, "pixels": measure_pixels, "profile": measure_profile,
}  # fmt: skip


def _against_gym_hil(
    options: Options, measures: Mapping[str, Callable[[], float]], *, ours: str, pixels: bool
) -> dict[str, Any]:
    """Measure in turns with gym-hil; alone, and saying why, where it cannot be had."""
    try:
        peer: AbstractContextManager[GymHil] = GymHil(make_venv(options.venv, GYM_HIL), pixels=pixels)
    except PeerError as error:
        rates = interleave(measures, options.rounds)
        return {name: compare(rates, name, ours)["ours_per_second"] for name in measures} | {
            "gym_hil": {"unavailable": str(error)}
        }
    with peer as gym_hil:
        rates = interleave({**measures, "gym_hil": lambda: gym_hil.rate(options.seconds)}, options.rounds)
        found: dict[str, Any] = {f"{name}_against_gym_hil": compare(rates, name, "gym_hil") for name in measures}
        return found | compare(rates, ours, "gym_hil") | {"gym_hil": gym_hil.about}


def find_targets(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the targets that the results have something to say about."""
    targets = []
    if (many := results.get("state", {}).get("64")) is not None:
        what = "peg_insertion, state, 64 environments: share of bare mujoco.rollout"
        targets.append(target(what, ">= 0.6", many["ratio"], many["ratio"] >= 0.6))
    if (ratio := results.get("single", {}).get("ratio")) is not None:
        targets.append(target("peg_insertion, state, 1 environment: times gym-hil", ">= 10", ratio, ratio >= 10.0))
    pixels = {n: found for n, found in results.get("pixels", {}).items() if n.isdigit() and "ours_per_second" in found}
    if pixels:
        best = max(pixels, key=lambda n: pixels[n]["ours_per_second"])
        rate = pixels[best]["ours_per_second"]
        what = f"peg_insertion, two 128x128 cameras, {best} environments: env steps/s"
        targets.append(target(what, ">= 150", rate, rate >= 150.0))
    return targets


def show(results: Mapping[str, Any], console: Console) -> None:
    """Print one row for each comparison, then the profile."""
    table = Table(title="Environment steps per second, medians; ratio of ours to the reference [lowest, highest round]")
    for column in ("what", "ours", "reference", "ratio"):
        table.add_column(column, justify="left" if column == "what" else "right")

    def row(what: str, found: Mapping[str, Any]) -> None:
        if "ratio" in found:
            ratio = f"{found['ratio']:.3g} [{found['ratio_lowest']:.3g}, {found['ratio_highest']:.3g}]"
            table.add_row(what, f"{found['ours_per_second']:,.0f}", f"{found['reference_per_second']:,.1f}", ratio)

    for n, found in results.get("state", {}).items():
        if n.isdigit():
            row(f"state, {n} envs, {found['threads']} threads, {found['substeps']} substeps, against rollout", found)
    for name, title in (("gymnasium", "through Gymnasium"), ("env", "batched")):
        row(f"state, 1 env, {title}, against gym-hil", results.get("single", {}).get(f"{name}_against_gym_hil", {}))
    for n, found in results.get("pixels", {}).items():
        if n.isdigit():
            row(f"two cameras, {n} envs, against gym-hil", found)
    console.print(table)
    if "profile" in results:
        parts = results["profile"]["microseconds"]
        line = ", ".join(f"{name} {took:.0f}" for name, took in parts.items() if name != "step")
        console.print(f"one step of one environment, {parts['step']:.0f} us: {line}", highlight=False)


def main(options: Options) -> int:
    """Measure, merge with what other parts came to, and return the exit code."""
    configure(1)
    choose_egl()
    console = make_console(stderr=True)
    path = options.results / "throughput.json"
    results = dict(load(path)["results"]) if path.exists() else {}
    for part in options.only:
        console.print(f"measuring {part}")
        about = {"revision": revision(), "load_at_start": round(os.getloadavg()[0], 2)}
        results[part] = about | MEASURES[part](options)
    results = {part: results[part] for part in PARTS if part in results}
    gym_hil = results.get("single", results.get("pixels", {}).get("1", {})).get("gym_hil", {})
    targets = find_targets(results)
    report = make_report(
        "throughput",
        compares="Our environment's steps per second against bare mujoco.rollout and gym-hil's PandaPickCubeBase",
        command=f"python -m benchmarks.throughput --rounds {options.rounds} --threads {options.threads}",
        seeds=[options.seed],
        targets=targets,
        results=results,
        versions={f"{name} (of gym-hil)": version for name, version in gym_hil.get("versions", {}).items()},
    )
    save(report, options.results)
    show(results, console)
    show_targets(targets, console)
    print(json.dumps({"report": str(path), "targets": targets}))
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
