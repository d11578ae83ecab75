"""Nodes in processes of their own, on loopback, each test on a domain of its own."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hardware.ros import Session

ROOT = Path(__file__).resolve().parents[3]
SERVE = Path(__file__).with_name("serve.py")
_count = itertools.count()


@dataclass(frozen=True)
class Place:
    """A domain, and a name that no other test uses, should two tests meet on one domain."""

    domain: int
    name: str


@pytest.fixture(scope="module")
def place() -> Place:
    number = next(_count)
    return Place(1 + (os.getpid() * 13 + number) % 100, f"test_{os.getpid()}_{number}")


@pytest.fixture(scope="module")
def session(place) -> Iterator[Session]:
    pytest.importorskip("rclpy")
    with Session("test", domain=place.domain) as session:
        yield session


@pytest.fixture(scope="module")
def serve(place) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `serve.py KIND NAME DOMAIN ...`; what still runs at the end is killed."""
    running = []

    def start(kind: str, *more: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(SERVE), kind, place.name, str(place.domain), *more]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout.readline() == "up\n"
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="session")
def eventually() -> Callable[[Callable[[], object]], None]:
    """Wait until something holds; fail if it does not within 10 s."""

    def wait(holds: Callable[[], object], seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.005)

    return wait
