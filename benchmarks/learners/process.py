"""A learner in a process of its own, which times what it is asked for."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.learners.catalogue import LEARNERS, Peer
from benchmarks.learners.timing import Setup
from benchmarks.peers import PeerError
from benchmarks.report import ROOT


class Learner:
    """A learner's process. See :mod:`benchmarks.learners.timing` for what is said.

    Args:
        name: of one of :data:`LEARNERS`.
        setup: sizes and device.
        threads: that it may compute with; also bound to as many cores, since JAX knows no other bound.
        venvs: folder of the peers' virtual environments, and of logs.

    Attributes:
        cases: that it can be timed at.
        versions: of what it is made of.

    Raises:
        PeerError: if it does not start.
    """

    def __init__(self, name: str, setup: Setup, *, threads: int, venvs: Path) -> None:
        entry = LEARNERS[name]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "OMP_WAIT_POLICY": "PASSIVE",
            "GOMP_SPINCOUNT": "0",
            "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}",
        }
        if isinstance(entry, Peer):
            environment.pop("PYTHONPATH", None)  # of ours, it is to import nothing
        command = entry.command(json.dumps(asdict(setup)), venvs)
        cores = sorted(os.sched_getaffinity(0))[:threads]
        self.name = name
        self._log = venvs / f"{name}.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                ["taskset", "-c", ",".join(map(str, cores)), *command],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        about = self._answer()
        self.cases: list[str] = about["cases"]
        self.stores: list[str] = about["stores"]
        self.versions: dict[str, str] = about["versions"]

    def time(self, case: str, seconds: float, **settings: Any) -> dict[str, Any]:
        """Do ``case`` for so long: ``wall`` and ``cpu``, the seconds of each time, and ``first_seconds``.

        Raises:
            PeerError: if it cannot, or has ended.
        """
        return self._ask({"case": case, "seconds": seconds, "settings": settings})

    def weigh(self, store: str, count: int) -> float:
        """Bytes a transition of a replay memory that holds ``count``; the first question asked of a process.

        Raises:
            PeerError: if it cannot, or has ended.
        """
        return self._ask({"store": store, "count": count})["bytes"]

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise self._failure() from None
        answer = self._answer()
        if "error" in answer:
            raise PeerError(f"{self.name}: {answer['error']}")
        return answer

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._failure()
        return json.loads(line)

    def _failure(self) -> PeerError:
        said = self._log.read_text().strip().splitlines()
        return PeerError(f"{self.name} did not answer: {said[-1] if said else 'it said nothing'}")
