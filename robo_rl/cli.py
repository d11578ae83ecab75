"""The command ``robo-rl``: finds the subcommand, runs it, and turns what a person can mend into one line.

Exit codes: 0 done, 1 the machine would not (full disk), 2 the request was wrong, 128 + n stopped by signal n (130 for
Ctrl-C, 143 for termination; a run stopped so has stored a checkpoint and can be resumed).
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from robo_rl.errors import UserError, unknown_name

COMMANDS = {
    "train": "train a policy on a task, or on any Gymnasium environment with gym:ID",
    "ablate": "compare settings over several seeds, with intervals",
    "eval": "measure the success of a trained policy",
    "play": "show a trained policy, as a video or in the viewer",
    "record": "record demonstrations",
    "cockpit": "watch and move a robot from a page in a browser",
    "data": "look after recorded episodes: list, show, check, convert, merge, crop",
    "export": "write a trained policy as one file that acts without torch",
    "pretrain-encoder": "make the weights of an image encoder from pictures of the simulator",
    "reward": "train and check a success classifier on camera images",
    "tasks": "list the tasks",
    "deploy": "run a trained policy on a robot cell",
    "cell": "start a robot cell, look it over, stop it, go on",
    "bench": "measure the speed of learner, actor, replay and world on this machine",
    "doctor": "say what this machine can do, and how to mend what it cannot",
}
_MODULES = {"eval": "evaluate", "pretrain-encoder": "pretrain_encoder"}


def usage() -> str:
    """Return the help of ``robo-rl`` itself."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            "usage: robo-rl COMMAND ...",
            "",
            "Reinforcement learning for robot arms.",
            "",
            "commands:",
            *lines,
            "",
            "robo-rl COMMAND --help explains each of them. Start with: robo-rl train reach",
        ]
    )


def main(args: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code."""
    words = list(sys.argv[1:] if args is None else args)
    try:
        if not words or words[0] in ("-h", "--help", "help"):
            print(usage(), file=sys.stdout if words else sys.stderr)
            return 0 if words else 2
        if words[0] == "--version":
            from importlib.metadata import version

            print(version("robo-rl"))
            return 0
        name, rest = words[0], words[1:]
        if name not in COMMANDS:
            raise unknown_name("command", name, COMMANDS)
        from robo_rl import display, threads

        threads.configure()  # Before torch is imported.
        display.configure()  # Before mujoco is.
        command = importlib.import_module(f"robo_rl.commands.{_MODULES.get(name, name)}")
        return command.main(rest)
    except UserError as error:
        print(f"robo-rl: error: {' '.join(str(error).split())}", file=sys.stderr)
        return getattr(error, "exit_code", 2)
    except KeyboardInterrupt:
        print("robo-rl: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # ``robo-rl tasks | head``: nobody reads on.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except SystemExit as end:  # tyro has printed a help text.
        return end.code if isinstance(end.code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
