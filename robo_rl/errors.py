"""Errors that a user can mend: one line, the field at fault, the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user asked for cannot be done. The command line prints it as one line and exits with code 2."""


class MissingReading(UserError):
    """A task needs a reading that its world does not give."""


class InvalidAction(UserError, ValueError):
    """An action has the wrong shape or is not finite; it was refused before it reached a world."""


class Stale(UserError):
    """The newest value of a device is too old, or there is none."""


class Faulted(UserError):
    """An arm is in a latched fault, or has just gone into one; the text says which and what to do."""


class MissingExtra(UserError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an extra that is not installed: pip install 'robo-rl[{extra}]'")


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> UserError:
    """Say that ``name`` is no known ``kind``, and which valid names come nearest.

    Example:
        >>> str(unknown_name("task", "peg_insert", ["peg_insertion", "reach"]))
        "unknown task 'peg_insert'; did you mean 'peg_insertion'? (known: peg_insertion, reach)"
    """
    names = sorted(valid)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else ";"
    return UserError(f"unknown {kind} {name!r}{hint} (known: {', '.join(names)})")
