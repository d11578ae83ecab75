"""The loop of a process that times pieces of work on request.

Imports nothing but the standard library: it also runs in the virtual environments of others.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

Work = Callable[[], object]
"""One unit of what is timed."""


@dataclass(frozen=True)
class Setup:
    """What every learner is given. The first argument of its script is this, as JSON."""

    device: str = "cpu"
    """Where it learns: cpu or cuda."""
    obs: int = 24
    """Numbers of an observation."""
    actions: int = 7
    """Numbers of an action."""
    batch: int = 256
    """Transitions of one update."""
    utd: int = 20
    """Critic updates of a block."""
    hidden: int = 256
    """Width of both hidden layers."""
    transitions: int = 20_000
    """Transitions in replay."""
    image: int = 128
    """Height and width of the images, pixels; three colours."""
    cameras: int = 2
    """Images of an observation."""
    frames: int = 1_000
    """Transitions in replay where observations hold images."""
    episode: int = 100
    """Steps of an episode."""

    @classmethod
    def read(cls) -> Setup:
        """Return the one that this process was given."""
        return cls(**json.loads(sys.argv[1]))


def serve(
    cases: Mapping[str, Callable[..., Work]],
    packages: tuple[str, ...],
    *,
    stores: Mapping[str, Callable[[int], object]] | None = None,
    wait: Work = lambda: None,
) -> None:
    """Say what there is to time, then answer each request, one JSON object a line.

    ``{"case": NAME, "seconds": S, "settings": {}}`` does it for so long: ``wall`` and ``cpu``, the seconds that each
    time took by the clock and by all threads of the processor, and ``first_seconds``, those of the very first time.
    ``{"store": NAME, "count": N}`` fills a replay memory: ``bytes`` that the process grew by, a transition.
    Whatever goes wrong is the answer ``error``.

    Args:
        cases: make one unit of work each, when it is first asked for; settings are keyword arguments.
        packages: whose versions are told.
        stores: return a full replay memory of so many transitions.
        wait: until the device has done its work.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    stores = stores or {}

    def answer(found: Mapping[str, Any]) -> None:
        print(json.dumps(found), file=answers, flush=True)

    versions = {name: metadata.version(name) for name in packages}
    answer({"cases": sorted(cases), "stores": sorted(stores), "versions": versions})
    ready: dict[str, tuple[Work, float]] = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "store" in request:
                answer({"bytes": _growth(stores[request["store"]], request["count"])})
                continue
            name, settings = request["case"], request["settings"]
            work, first = ready.get(name) or _prepare(cases[name], settings, wait)
            if not settings:
                ready[name] = work, first
            answer({"first_seconds": first, **_time(work, request["seconds"], wait)})
            del work
        except Exception as error:  # whatever another library raises, the others go on
            answer({"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"})


def _prepare(case: Callable[..., Work], settings: Mapping[str, Any], wait: Work) -> tuple[Work, float]:
    work = case(**settings)
    began = time.perf_counter()
    work()
    wait()
    first = time.perf_counter() - began
    for _ in range(2):
        work()
    wait()
    return work, first


def _time(work: Work, seconds: float, wait: Work) -> dict[str, list[float]]:
    wall: list[float] = []
    cpu: list[float] = []
    until = time.perf_counter() + seconds
    while not wall or time.perf_counter() < until:
        used, began = time.process_time(), time.perf_counter()
        work()
        wait()
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - used)
    return {"wall": sorted(wall), "cpu": sorted(cpu)}


def _growth(store: Callable[[int], object], count: int) -> float:
    # What is loaded on first use is no memory of transitions; kept, or its pages would be filled again.
    warm = store(32)
    gc.collect()
    before = _resident()
    kept = store(count)
    gc.collect()
    grown = _resident() - before
    del warm, kept
    return grown / count


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
