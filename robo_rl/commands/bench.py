"""``robo-rl bench``: the project's own speed on this machine, against others' where they can be installed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from robo_rl.errors import UserError, unknown_name

_PARTS = {
    "learner": (
        "updates of critics, policy and temperature; --only scaling: their cost by batch, ensemble and image size",
        [
            "benchmarks.learner", "--only", "speed",
            "--cases", "block_10", "block_2", "sac", "pixels", "cached_keypoints", "cached_resnet10",
        ],
    ),
    "actor": (
        "one action for one observation",
        ["benchmarks.learner", "--only", "speed", "--cases", "act", "act_exported", "act_pixels", "act_features"],
    ),
    "replay": (
        "batches of transitions, and what a transition weighs",
        ["benchmarks.learner", "--only", "speed", "bytes", "--cases", "replay", "replay_images"],
    ),
    "world": ("steps of environments, with and without cameras", ["benchmarks.throughput"]),
}  # fmt: skip


def main(args: Sequence[str]) -> int:
    """Run the command."""
    if not args or args[0] in ("-h", "--help"):
        lines = [f"  {name:<8} {what}" for name, (what, _) in _PARTS.items()]
        text = ["usage: robo-rl bench PART ...", "", *lines, "", "Options of a part: robo-rl bench PART --help"]
        print("\n".join(text), file=sys.stdout if args else sys.stderr)
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
