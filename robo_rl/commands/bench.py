"""``robo-rl bench``: the project's own speed on this machine, against others' where they can be installed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from robo_rl.errors import UserError, unknown_name

_PARTS = {
    "learner": (
        "updates of critics, policy and temperature",
        ["benchmarks.learner", "--cases", "block_10", "block_2", "sac"],
    ),
    "actor": ("one action for one observation", ["benchmarks.learner", "--cases", "act", "act_exported"]),
    "replay": ("batches of transitions", ["benchmarks.learner", "--cases", "replay"]),
    "world": ("steps of environments, with and without cameras", ["benchmarks.throughput"]),
}


def main(args: Sequence[str]) -> int:
    """Run the command."""
    if not args or args[0] in ("-h", "--help"):
        lines = [f"  {name:<8} {what}" for name, (what, _) in _PARTS.items()]
        print("\n".join(["usage: robo-rl bench PART ...", "", *lines]), file=sys.stdout if args else sys.stderr)
        return 0 if args else 2
    if args[0] not in _PARTS:
        raise unknown_name("part of robo-rl bench", args[0], _PARTS)
    root = Path(__file__).resolve().parents[2]
    if not (root / "benchmarks").is_dir():
        raise UserError(
            "bench: the benchmarks come with a checkout of the project only; install it with pip install -e"
        )
    _, words = _PARTS[args[0]]
    return subprocess.run([sys.executable, "-m", *words, *args[1:]], cwd=root, check=False).returncode
