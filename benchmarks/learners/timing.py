"""The loop of a process that times pieces of work on request.

Imports nothing but the standard library: it also runs in the virtual environments of others.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from importlib import metadata

OBS, ACTIONS, BATCH, UTD, HIDDEN, TRANSITIONS = 24, 7, 256, 20, 256, 20_000
"""What every learner is given: numbers of an observation and an action, batch, critic updates of a block, width of two
hidden layers, transitions in replay."""


def serve(cases: Mapping[str, Callable[[], object]], packages: tuple[str, ...]) -> None:
    """Say what there is to time, then for each line ``[CASE, SECONDS]`` on standard input do it for so long.

    Args:
        cases: one unit of work each; run twice before anything is said.
        packages: whose versions are told.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    first = {}
    for name, work in cases.items():
        began = time.perf_counter()
        work()
        first[name] = time.perf_counter() - began
        work()
    versions = {name: metadata.version(name) for name in packages}
    print(json.dumps({"first_seconds": first, "versions": versions}), file=answers, flush=True)
    for line in sys.stdin:
        name, seconds = json.loads(line)
        wall: list[float] = []
        cpu: list[float] = []
        until = time.perf_counter() + seconds
        while not wall or time.perf_counter() < until:
            used, began = time.process_time(), time.perf_counter()
            cases[name]()
            wall.append(time.perf_counter() - began)
            cpu.append(time.process_time() - used)
        print(json.dumps({"wall": sorted(wall), "cpu": sorted(cpu)}), file=answers, flush=True)
