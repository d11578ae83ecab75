"""Reads command lines with tyro, and says in one line what is wrong with them."""

from __future__ import annotations

import contextlib
import difflib
import io
import re
from collections.abc import Sequence
from typing import TypeVar

import tyro

from robo_rl.errors import UserError

T = TypeVar("T")

_BOX = "╭╮╰╯│─ "


def parse(kind: type[T], args: Sequence[str], *, prog: str, description: str, default: T | None = None) -> T:
    """Read ``args`` into the dataclass ``kind``.

    Args:
        kind: its fields are the options, their docstrings the help.
        args: what follows the name of the command.
        prog: the command, for the help.
        description: what it does, for the help.
        default: values of options that are not given; the defaults of ``kind`` if None.

    Raises:
        UserError: one line, if an option is unknown or a value is missing or wrong; an unknown option with the options
            that come nearest.
        SystemExit: after the help was asked for and printed.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            given: dict = {} if default is None else {"default": default}
            return tyro.cli(kind, args=list(args), prog=prog, description=description, **given)
    except SystemExit as end:
        if end.code in (0, None):
            raise
    message = first_sentence(said.getvalue())
    unknown = [word for word in args if word.startswith("--") and word.split("=")[0] in message]
    if "nrecognized" in message and unknown:
        raise UserError(_unknown_option(unknown[0].split("=")[0], known_options(kind, default), prog))
    raise UserError(f"{message} (see {prog} --help)")


def known_options(kind: type[T], default: T | None = None) -> list[str]:
    """Return every option that the help of ``kind`` lists, such as ``--agent.tau``."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        tyro.cli(kind, args=["--help"], default=default)
    return sorted(set(re.findall(r"(?<![\w-])--[A-Za-z][\w.-]*", said.getvalue())))


def first_sentence(text: str) -> str:
    """Return what tyro says in its box up to the first rule or empty line, as one line."""
    lines: list[str] = []
    for line in text.splitlines():
        words = line.strip(_BOX)
        if line.lstrip().startswith("╭"):
            continue
        if not words and lines:
            break
        if words:
            lines.append(words)
    return " ".join(lines).rstrip(".:")


def _unknown_option(name: str, known: list[str], prog: str) -> str:
    # An option is often looked for under the wrong group: the last part of its name counts too.
    leaf = name.lstrip("-").replace("_", "-").split(".")[-1]
    near = [option for option in known if option.lstrip("-").split(".")[-1] == leaf]
    near += [o for o in difflib.get_close_matches(name.replace("_", "-"), known, n=3, cutoff=0.6) if o not in near]
    leaves = {option.lstrip("-").split(".")[-1]: option for option in known}
    near += [leaves[m] for m in difflib.get_close_matches(leaf, leaves, n=2, cutoff=0.75) if leaves[m] not in near]
    hint = f"did you mean {' or '.join(near[:3])}?" if near else f"{prog} --help lists the options"
    return f"unknown option {name}; {hint}"
