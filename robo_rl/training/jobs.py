"""Runs commands side by side, each on a core of its own, and keeps what each came to, so that nothing is run twice."""

from __future__ import annotations

import json
import os
import queue
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from robo_rl.errors import UserError
from robo_rl.training.durable import write_json


@dataclass(frozen=True)
class Job:
    """One arm of a study with one seed.

    Attributes:
        arm: what is run.
        seed: with which seed.
        command: what is run, as a person would type it: ``robo-rl ...`` or ``python -m ...``. Its last line on standard
            output is one JSON object.
        read: makes an outcome of that object.
        go_on: gives the command that goes on with what an earlier start of this job left unfinished, None if nothing.
    """

    arm: str
    seed: int
    command: tuple[str, ...]
    read: Callable[[dict[str, Any]], Mapping[str, Any]] = field(default=dict, compare=False)
    go_on: Callable[[], Sequence[str] | None] = field(default=lambda: None, compare=False)

    @property
    def line(self) -> str:
        """The command in one line."""
        return shlex.join(self.command)

    def folder(self, work: Path) -> Path:
        """Where its log and its outcome lie."""
        return work / self.arm / f"seed-{self.seed}"


def run_jobs(
    jobs: Sequence[Job],
    work: Path,
    *,
    slots: int,
    fresh: bool = False,
    console: Console | None = None,
    folder: Path | None = None,
    about: Callable[[], Mapping[str, Any]] = dict,
) -> bool:
    """Run what has no outcome yet, ``slots`` jobs at a time, one core and one thread each.

    A finished job leaves ``WORK/ARM/seed-N/outcome.json`` at once. It counts as done only for the very same command, so
    that a trial with a small budget is not taken for the real thing. A job that fails is told of and left out; the
    others go on.

    Args:
        jobs: what to run, the most important first.
        work: folder of logs and outcomes.
        slots: jobs at a time.
        fresh: run everything anew.
        console: to tell on.
        folder: that commands are run in; this one if None.
        about: asked as each job starts; what it says becomes part of the outcome.

    Returns:
        Whether every job is done.
    """
    console = console or Console(stderr=True)
    cores: queue.SimpleQueue[int] = queue.SimpleQueue()
    usable = sorted(os.sched_getaffinity(0))
    for slot in range(slots):
        cores.put(usable[slot % len(usable)])
    pending = [job for job in jobs if fresh or find_outcome(job, work) is None]
    console.print(f"{len(jobs) - len(pending)} of {len(jobs)} jobs are done already")
    running: set[subprocess.Popen[str]] = set()

    def one(job: Job) -> bool:
        core = cores.get()
        try:
            command = None if fresh else job.go_on()
            return _run(job, command or job.command, work, core, running, console, folder, about)
        finally:
            cores.put(core)

    with ThreadPoolExecutor(slots) as pool:
        futures = [pool.submit(one, job) for job in pending]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(running):
                process.terminate()
            raise
        return sum(future.result() for future in futures) == len(pending)


def find_outcome(job: Job, work: Path) -> dict[str, Any] | None:
    """Return what a job came to, None if it has not been run with this command."""
    try:
        outcome = json.loads((job.folder(work) / "outcome.json").read_text())
    except (OSError, ValueError):
        return None
    return outcome if outcome["command"] == job.line else None


def find_outcomes(jobs: Sequence[Job], work: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the outcomes of the jobs that are done, by arm, in the order of ``jobs``."""
    found: dict[str, list[dict[str, Any]]] = {}
    for job in jobs:
        outcome = find_outcome(job, work)
        if outcome is not None:
            found.setdefault(job.arm, []).append(outcome)
    return found


def _run(
    job: Job,
    command: Sequence[str],
    work: Path,
    core: int,
    running: set[subprocess.Popen[str]],
    console: Console,
    run_in: Path | None,
    about: Callable[[], Mapping[str, Any]],
) -> bool:
    folder = job.folder(work)
    folder.mkdir(parents=True, exist_ok=True)
    os.sched_setaffinity(0, {core})  # Of this thread; what it starts inherits it.
    console.print(f"[bold]{job.arm} seed {job.seed}[/] on core {core}: {shlex.join(command)}")
    facts = {"arm": job.arm, "seed": job.seed, "command": job.line, **about()}
    facts["load_at_start"] = round(os.getloadavg()[0], 2)
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            _executable(command),
            cwd=run_in,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,  # Ctrl-C comes to us, and from us to them, once.
        )
        running.add(process)
        said, _ = process.communicate()
        running.discard(process)
    if process.returncode != 0:
        console.print(
            f"[red]{job.arm} seed {job.seed} failed[/] (exit code {process.returncode}); see {folder / 'log.txt'}"
        )
        return False
    outcome = {**facts, **job.read(json.loads(said.strip().splitlines()[-1]))}
    write_json(folder / "outcome.json", outcome)
    rate = outcome.get("success_rate")
    console.print(f"[green]{job.arm} seed {job.seed} done[/]" + (f": success {rate:.0%}" if rate is not None else ""))
    return True


def _executable(command: Sequence[str]) -> list[str]:
    """The command with this Python, whatever the search path says."""
    program, *rest = command
    if program == "robo-rl":
        return [sys.executable, "-m", "robo_rl.cli", *rest]
    if program == "python":
        return [sys.executable, *rest]
    raise UserError(f"command: cannot run {program!r}, only robo-rl and python")
