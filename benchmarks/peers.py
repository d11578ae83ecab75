"""Other people's environments, each in a virtual environment of its own, stepped on request for interleaved timing.

gym-hil wants a MuJoCo older than the one that MuJoCo Warp wants, so the two cannot share an environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

GYM_HIL = ("gym-hil==0.1.14", "mujoco>=3.8,<3.9")
"""What pip installs for gym-hil."""


class PeerError(Exception):
    """The peer could not be installed or started; the text says why in one line."""


def make_venv(folder: Path, packages: tuple[str, ...], alone: tuple[str, ...] = ()) -> Path:
    """Return the Python of a virtual environment; it is made once.

    Args:
        folder: where.
        packages: what pip installs.
        alone: what pip installs afterwards without looking at what it depends on.

    Raises:
        PeerError: if it cannot be made.
    """
    python, stamp = folder / "bin" / "python", folder / ".installed"
    if stamp.exists() and stamp.read_text() == "\n".join(packages + alone) and python.exists():
        return python
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [*pip, *packages],
        *([[*pip, "--no-deps", *alone]] if alone else []),
    ):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise PeerError(f"{' '.join(command[1:4])} failed: {said[-1] if said else done.returncode}")
    stamp.write_text("\n".join(packages + alone))
    return python


class GymHil:
    """gym-hil in a process of its own, stepped when asked.

    Args:
        python: of a virtual environment that has it.
        pixels: whether it observes its two cameras.
        timeout: seconds that it may take to start.

    Raises:
        PeerError: if it does not start.
    """

    def __init__(self, python: Path, *, pixels: bool) -> None:
        script = Path(__file__).with_name("gym_hil_peer.py")
        self._process = subprocess.Popen(
            [str(python), str(script), "pixels" if pixels else "state"],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.about: dict[str, Any] = self._answer()

    def __enter__(self) -> GymHil:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def rate(self, seconds: float) -> float:
        """Step for at least ``seconds`` and return environment steps per second."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        answer = self._answer()
        return answer["steps"] / answer["seconds"]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            _, said = self._process.communicate()
            lines = said.strip().splitlines()
            raise PeerError(f"gym-hil did not answer: {lines[-1] if lines else 'it said nothing'}")
        return json.loads(line)
